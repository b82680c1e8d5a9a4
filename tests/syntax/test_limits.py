"""Hostile texts: bounded work, bounded findings, no exception."""

from __future__ import annotations

import pytest

from kcluster.source import Source
from kcluster.syntax.limits import MAX_DEPTH, MAX_REPORTED, MAX_TOKENS
from kcluster.syntax.parser import parse

from .reading import read, sound, trees


def nested(depth: int, opener: str, closer: str) -> str:
    return opener * depth + closer * depth


def test_depth_within_the_limit() -> None:
    sound(nested(MAX_DEPTH, "a { ", "}"))
    sound("a { x = " + nested(MAX_DEPTH - 1, "[", "]") + " }")
    sound("a { x = " + nested(MAX_DEPTH - 1, "f(", ")") + " }")


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 200, 5000])
def test_depth_beyond_the_limit(depth: int) -> None:
    for text in (
        nested(depth, "a { ", "}"),
        "a { x = " + nested(depth, "[", "]") + " }",
        "a { x = " + nested(depth, "f(", ")") + " }",
        "a { x = " + nested(depth, "f(k = ", ")") + " }",
    ):
        file, found = read(text + "\nb { y = 1 }")
        assert [one.code for one in found] == ["KC007"]
        assert trees(file)[-1] == ("b", [], [("y", "=", 1)])


def test_unclosed_depth() -> None:
    for text in ("[" * 5000, "a { x = " + "[" * 5000, "a {" * 5000, "(" * 5000, "]" * 5000, "}" * 5000):
        _, found = read(text)
        assert 1 <= len(found) <= 3


def test_findings_are_capped_and_say_so() -> None:
    file, found = read("a { }\n" + "x = = 1\n" * 100 + "b { }\n")
    assert len(found) == MAX_REPORTED
    assert found[-1].notes == (f"reading stopped after {MAX_REPORTED} syntax errors; there may be more",)
    assert trees(file)[0] == ("a", [], [])


def test_the_cap_closes_open_blocks() -> None:
    file, found = read("a {\n  b {\n    y = 1\n" + "    x = = 1\n" * 100 + "  }\n}\n")
    assert len(found) == MAX_REPORTED
    (block,) = trees(file)
    assert block[0] == "a"  # type: ignore[index]
    assert block[2][0][2][0] == ("y", "=", 1)  # type: ignore[index]


@pytest.mark.parametrize(
    "piece",
    ['"', '";', "a{", "}", ")", "[1,", "//", "/*", "'", "é", "\u200b", "1.", "1_", "-1 ", ";", "=", "a b ", "x=//", '"a" ', "1,000",
     "0..", "@", "a @\n", "4x ", ": ", "a:b ", "{}", "a\n{\n", "# x\n", '"\\', "“", "a=[\n", "import ", "\x00"],
)  # fmt: skip
def test_long_lines_of_anything(piece: str) -> None:
    _, found = parse(Source("a", piece * 3000))
    assert len(found) <= MAX_REPORTED


def test_more_signs_than_a_spec_has_end_with_one_finding() -> None:
    """Tokens take many times the memory of their text."""
    assert not read("#\n" + "a {}\n" * 60_000)[1]
    for text in (",\t" * (MAX_TOKENS // 2 + 1), "a " * (MAX_TOKENS // 2 + 1)):
        file, found = read(text)
        assert [one.code for one in found] == ["KC007"] and not file.items and not file.complete
        assert found[0].span.end <= MAX_TOKENS + 1
