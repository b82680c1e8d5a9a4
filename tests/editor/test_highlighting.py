"""Colours: the generated grammar is fresh, and both it and the Pygments lexer colour real specs as the language means them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pygments.token import Comment, Error, Keyword, Name, Number, String, Text

from kcluster.editor.highlighting import attribute_names, block_words, grammar_text, units
from kcluster.editor.pygments_lexer import KclusterLexer

ROOT = Path(__file__).parents[2]
GRAMMAR = ROOT / "editors" / "vscode" / "syntaxes" / "kcluster.tmLanguage.json"
SPECS = sorted((ROOT / "specs").glob("*.kcluster"))


def test_the_generated_grammar_is_fresh() -> None:
    assert GRAMMAR.read_text("utf-8") == grammar_text(), "make gen"


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_every_spec_is_coloured_whole(path: Path) -> None:
    text = path.read_text("utf-8")
    tokens = list(KclusterLexer(ensurenl=False, stripnl=False).get_tokens(text))
    assert "".join(part for _, part in tokens) == text
    assert not [part for kind, part in tokens if kind in (Error, Text)]


def test_words_have_the_colour_of_their_meaning() -> None:
    text = 'router nginx { listen = 8080 }  # a\nserve a { router = off, sla = b }\nx { gpus = 4 * h100, context = 8K, id = "a\\"b" }\n'
    found: dict[str, object] = {}
    for kind, part in KclusterLexer().get_tokens(text):
        found.setdefault(part, kind)
    assert found["router"] is Keyword
    assert found["listen"] is Name.Attribute
    assert found["off"] is Keyword.Constant
    assert found["8"] is Number
    assert found["K"] is Keyword.Type
    assert found['\\"'] is String.Escape
    assert found["# a"] is Comment.Single
    kinds = [kind for kind, part in KclusterLexer().get_tokens(text) if part == "router"]
    assert kinds == [Keyword, Name.Attribute], "the block, then the attribute"


def test_the_textmate_patterns_find_what_they_name() -> None:
    """The patterns are in the part of the notation that Python's own engine shares."""
    patterns = {
        row["name"]: row["match"] for row in json.loads(grammar_text())["patterns"] if "name" in row and "match" in row
    }
    attribute = re.compile(patterns["variable.other.property.kcluster"])
    assert [name for name in attribute_names() if not attribute.match(f"{name} = 1")] == []
    assert attribute.match("ttft<=1")
    assert not attribute.match("tp_ = 1")
    block = next(
        re.compile(row["match"])
        for row in json.loads(grammar_text())["patterns"]
        if "captures" in row and "1" in row["captures"]
    )
    assert [word for word in block_words() if not block.match(f"{word} name {{")] == []
    assert not block.match("model = a")
    number = [
        re.compile(row["match"])
        for row in json.loads(grammar_text())["patterns"]
        if "captures" in row and "2" in row["captures"]
    ][-1]
    for unit in units():
        found = number.match(f"12{unit}")
        assert found is not None, unit
        assert found[2] == unit
