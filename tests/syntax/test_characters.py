"""Bytes and characters: what is accepted, what is named, what never reaches anyone's terminal unseen."""

from __future__ import annotations

import unicodedata

import pytest

from kcluster.source import Source
from kcluster.syntax.characters import _harmless, _suspect, clean, decode
from kcluster.syntax.findings import Findings
from kcluster.syntax.limits import MAX_BYTES
from kcluster.syntax.parser import parse

from .reading import read, trees


def test_decode() -> None:
    source, found = decode(b"\xef\xbb\xbfa { }\r\n# \xc3\xa9\r\n", "a.kcluster")
    assert (source.path, source.text, found) == ("a.kcluster", "a { }\r\n# é\r\n", ())
    assert source.line(2) == "# é"


def test_not_utf8() -> None:
    source, (found,) = decode(b"a { }\n# caf\xe9 \xfc\n", "a")
    assert source.text == "a { }\n# caf\ufffd \ufffd\n"
    assert found.code == "KC004"
    assert source.slice(found.span) == "\ufffd"
    assert found.notes == ("the first such byte is 0xE9, at byte 11 of the file", "such places in the file: 2")


def test_not_utf8_is_reported_once_by_decoding_and_parsing_together() -> None:
    source, decoded = decode(b"a { x = 1 }\n# caf\xe9\n", "a")
    file, parsed = parse(source)
    assert [one.sort_key() for one in decoded] == [one.sort_key() for one in parsed]
    assert trees(file) == [("a", [], [("x", "=", 1)])]


def test_utf16_is_named() -> None:
    source, (found,) = decode("a { x = 1 }\n".encode("utf-16"), "a")
    assert found.message == "the file is UTF-16, and specs are UTF-8"
    assert trees(parse(source)[0]) == [("a", [], [("x", "=", 1)])]


def test_binary_gets_few_findings() -> None:
    source, decoded = decode(bytes(range(256)) * 40, "a")
    _, parsed = parse(source)
    assert len(decoded) <= 3
    assert len(parsed) <= 20


def test_too_large() -> None:
    source, (found,) = decode(b"#" * (MAX_BYTES + 1), "a")
    assert (found.code, source.text) == ("KC007", "")
    file, (found,) = parse(Source("a", "#" * (MAX_BYTES + 1)))
    assert (found.code, file.complete, file.items) == ("KC007", False, ())
    assert decode(b"#" * MAX_BYTES, "a")[1] == ()


@pytest.mark.parametrize(
    ("character", "name"),
    [
        ("\x00", "control character U+0000 (null)"),
        ("\x1b", "control character U+001B (escape)"),
        ("\r", "control character U+000D (carriage return)"),
        ("\x85", "control character U+0085 (a control character)"),
        ("\u00ad", "invisible character U+00AD (soft hyphen)"),
        ("\u200b", "invisible character U+200B (zero width space)"),
        ("\u202e", "invisible character U+202E (right-to-left override)"),
        ("\u2066", "invisible character U+2066 (left-to-right isolate)"),
        ("\ufeff", "invisible character U+FEFF (zero width no-break space)"),
        ("\U000e0041", "invisible character U+E0041 (tag latin capital letter a)"),
    ],
)
@pytest.mark.parametrize("text", ["a { x = 1 } # {}", 'a {{ x = "b{}c" }}', "a {{ x = 1{} }}"])
def test_control_and_invisible_characters_stand_nowhere(character: str, name: str, text: str) -> None:
    whole = text.replace("{{", "{").replace("}}", "}").replace("{}", character)
    _, found = read(whole)
    assert [(one.code, one.message) for one in found] == [("KC004", name)]
    assert found[0].source.slice(found[0].span) == character


def test_runs_are_one_finding_and_heaps_are_counted() -> None:
    _, found = read("a { x = 1 } # " + " ".join(["\u200b\u200b"] * 5))
    assert len(found) == 3
    assert found[0].message == "invisible character U+200B (zero width space) and 1 more"
    assert found[2].notes[-1] == "such places in the file: 5"


def test_cleaning_keeps_every_offset() -> None:
    for text in ("\ufeffa\r\nb\u200bc\x07\ufffd\rd", "", "plain\n"):
        cleaned = clean(Source("a", text), Findings(Source("a", text)))
        assert cleaned is not None
        assert len(cleaned) == len(text)
        assert not any(unicodedata.category(c) in ("Cc", "Cf") and c not in "\t\n" for c in cleaned)


def test_the_quick_way_past_harmless_characters_lets_no_harmful_one_by() -> None:
    for code in range(0x110000):
        character = chr(code)
        if unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in "\t\n":
            assert _suspect().match(character), hex(code)
    assert _suspect().match("\ufffd")


def test_ascii_texts_are_judged_as_the_table_would() -> None:
    for code in range(0x80):
        assert _harmless(f"a{chr(code)}b") == (_suspect().search(f"a{chr(code)}b") is None), hex(code)
