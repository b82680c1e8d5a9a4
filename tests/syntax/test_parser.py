"""What sound texts mean, and where each part of them stands."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from kcluster.source import Source, Span
from kcluster.syntax.ast import Attribute, Block, CallNode, Import, NumberNode, TimesNode
from kcluster.syntax.limits import MAX_BYTES, MAX_DEPTH, MAX_DIGITS
from kcluster.syntax.parser import parse

from .reading import EXAMPLE, ROOT, original_example, sound, specs, tree, trees


def test_the_example_is_the_one_of_the_description() -> None:
    original = original_example()
    assert original is None or original == EXAMPLE


def test_the_example() -> None:
    model, hardware, sla, serve = trees(sound(EXAMPLE))
    assert hardware == (
        "hardware",
        ["box"],
        [
            ("nodes", "=", 1),
            ("gpus", "=", (4, "*", "rtx-5090")),
            ("bus", "=", ("pcie", [5, "x16"], {"p2p": "off"})),
            ("hosts", "=", ['"10.0.0.11"']),
        ],
    )
    assert model[2][0] == ("id", "=", '"meta-llama/Llama-3.3-70B-Instruct"')  # type: ignore[index]
    assert sla[2][4:6] == [("tokens_per_second", ">=", 20), ("ttft", "<=", (3, "s"))]  # type: ignore[index]
    assert [item[0] for item in serve[2]] == ["model", "hardware", "sla", "parallel", "engine", "router"]  # type: ignore[index]


@pytest.mark.parametrize("path", specs(), ids=lambda path: path.name)
def test_specs_are_sound(path: object) -> None:
    sound(path.read_text(encoding="utf-8"))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("64", 64),
        ("0.92", 0.92),
        ("1_000", 1000),
        ("96GB", (96, "GB")),
        ("31.4 GiB", (31.4, "GiB")),
        ("64 GB/s", (64, "GB/s")),
        ("30 tok / s", (30, "tok/s")),
        ("40 %", (40, "%")),
        ("40%", (40, "%")),
        ("8K", (8, "K")),
        ("8k", (8, "k")),
        ("rtx-5090", "rtx-5090"),
        ("a_b.c-d", "a_b.c-d"),
        ("import", "import"),
        ('"RTX 5090"', '"RTX 5090"'),
        ("4 * rtx-5090", (4, "*", "rtx-5090")),
        ("4*rtx-5090", (4, "*", "rtx-5090")),
        ('4 * "RTX 5090"', (4, "*", '"RTX 5090"')),
        ("8 * infiniband(ndr)", (8, "*", ("infiniband", ["ndr"], {}))),
        ("[0..3]", ["0..3"]),
        ("[0 .. 3, 5]", ["0..3", 5]),
        ("[]", []),
        ("[1, 2,]", [1, 2]),
        ("[\n  1,\n\n  2 # two\n]", [1, 2]),
        ("[[0, 1], [2, 3]]", [[0, 1], [2, 3]]),
        ("env()", ("env", [], {})),
        ('env ( "X" )', ("env", ['"X"'], {})),
        ("pcie(p2p = off, 5)", ("pcie", [5], {"p2p": "off"})),
        ("f(k = [1])", ("f", [], {"k": [1]})),
    ],
)
def test_values(text: str, value: object) -> None:
    (block,) = sound(f"a {{ x = {text} }}").items
    assert isinstance(block, Block)
    assert [tree(item) for item in block.items] == [("x", "=", value)]


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r'"a\"b\\c\/d"', 'a"b\\c/d'),
        (r'"\b\f\n\r\t"', "\b\f\n\r\t"),
        (r'"\u00e9"', "é"),
        (r'"\ud83d\ude00"', "😀"),
        ('"é # no comment"', "é # no comment"),
        ('""', ""),
    ],
)
def test_strings(text: str, content: str) -> None:
    (block,) = sound(f"a {{ x = {text} }}").items
    assert tree(block) == ("a", [], [("x", "=", f'"{content}"')])


@pytest.mark.parametrize(
    "text",
    [
        "a { x = 1, y <= 2 }",
        "a { x = 1, y <= 2, }",
        "a {\nx = 1\ny <= 2\n}",
        "a {\n\n  x = 1,\n  # c\n  y <= 2 }",
        "a { x = 1\ny <= 2 }\n\n\n",
        "\n\n# c\na { x = 1 # c\n y <= 2 # c\n } # c",
    ],
)
def test_where_attributes_end(text: str) -> None:
    assert trees(sound(text)) == [("a", [], [("x", "=", 1), ("y", "<=", 2)])]


def test_nothing_need_follow_a_block() -> None:
    assert trees(sound('a { b { } c { x = 1 } } d "e f" { }, g { }import "h"')) == [
        ("a", [], [("b", [], []), ("c", [], [("x", "=", 1)])]),
        ("d", ['"e f"'], []),
        ("g", [], []),
        ("import", "h"),
    ]


def test_words_are_no_keywords() -> None:
    text = 'model import { model = import, "--x" = on }'
    assert trees(sound(text)) == [("model", ["import"], [("model", "=", "import"), ('"--x"', "=", "on")])]


def test_the_empty_file() -> None:
    for text in ("", "\n", "# only a comment", "   \t"):
        file = sound(text)
        assert file.items == ()


def test_spans() -> None:
    text = 'import "x"\nmodel "a b" c {\n  gpus = 4 * pcie(5, p2p = off)  # c\n  y <= 64 GB/s\n}\n'
    source = Source("t", text)
    file, _ = parse(source)
    import_, block = file.items
    assert isinstance(import_, Import)
    assert isinstance(block, Block)
    assert source.slice(import_.span) == 'import "x"'
    assert source.slice(import_.path.span) == '"x"'
    assert source.slice(block.head) == 'model "a b" c'
    assert source.slice(block.keyword.span) == "model"
    assert block.span == Span(text.index("model"), len(text) - 1)
    times, bound = block.items
    assert isinstance(times, Attribute)
    assert isinstance(bound, Attribute)
    assert source.slice(times.span) == "gpus = 4 * pcie(5, p2p = off)"
    assert isinstance(times.value, TimesNode)
    assert isinstance(times.value.item, CallNode)
    assert source.slice(times.value.item.span) == "pcie(5, p2p = off)"
    assert source.slice(times.value.item.named[0].span) == "p2p = off"
    assert source.slice(bound.operator_span) == "<="
    assert isinstance(bound.value, NumberNode)
    assert source.slice(bound.value.span) == "64 GB/s"
    assert bound.value.unit_span is not None
    assert source.slice(bound.value.unit_span) == "GB/s"


def test_comments() -> None:
    file = sound("# one\na { # two\r\n  # three  \n  x = [ # four\n  1] }\t#five")
    assert [(comment.text, comment.own_line) for comment in file.comments] == [
        ("# one", True),
        ("# two", False),
        ("# three", True),
        ("# four", False),
        ("#five", False),
    ]
    assert all(file.source.slice(comment.span) == comment.text for comment in file.comments)


def test_line_ends_of_windows_change_nothing_but_offsets() -> None:
    assert trees(sound(EXAMPLE.replace("\n", "\r\n"))) == trees(sound(EXAMPLE))


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert trees(sound("\ufeff" + EXAMPLE)) == trees(sound(EXAMPLE))


def test_importing_the_parser_does_not_import_lark() -> None:
    program = "import sys; import kcluster.syntax.parser, kcluster.syntax.formatter; print('lark' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "compiler", capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_the_page_of_the_language_is_true() -> None:
    page = (ROOT / "grammar" / "README.md").read_text(encoding="utf-8")
    examples = re.findall(r"```kcluster\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        sound(example)
    assert f"{MAX_BYTES // 2**20} MiB, {MAX_DEPTH} brackets" in page.replace("\n", " ")
    assert f"at most {MAX_DIGITS} digits" in page.replace("\n", " ")
