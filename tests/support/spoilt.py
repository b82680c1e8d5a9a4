"""Spoilt texts: which mutations of a spec are made, and what of them is counted. The tests and the long run use the same."""

from __future__ import annotations

import random
from collections.abc import Iterator

from kcluster.pipeline import Checked
from kcluster.source import Source
from kcluster.syntax.formatter import format_source
from kcluster.syntax.parser import parse

from ..syntax.mutations import Mutation, character_mistakes, token_mistakes, truncations
from ..syntax.reading import trees

NAMED = tuple(f"KC10{number}" for number in range(1, 8))
"""Codes beside KC0xx that say that a text is wrong, not that what it says is unwise."""


def mutations(text: str, rng: random.Random, number: int) -> Iterator[Mutation]:
    """Single mistakes: of tokens as many as of characters, and some files that end early."""
    part = max(1, number // 5)
    yield from token_mistakes(text, rng, 2 * part)
    yield from character_mistakes(text, rng, number - 3 * part)
    yield from truncations(text, rng, part)


def counted(checked: Checked) -> int:
    """The findings that say that the text is not the language's, or that a name or value in it is wrong."""
    return sum(one.code.startswith(("KC0", *NAMED)) and not one.suppressed for one in checked.diagnostics)


def _words(tree: object) -> object:
    """A tree in which `true` and `false` read as `on` and `off`, which is how `fmt` writes them."""
    if isinstance(tree, str):
        return {"true": "on", "false": "off"}.get(tree, tree)
    if isinstance(tree, list | tuple):
        return [_words(inner) for inner in tree]
    if isinstance(tree, dict):
        return {key: _words(inner) for key, inner in tree.items()}
    return tree


def formats(text: str) -> bool:
    """Whether a text parses; if so, what `fmt` makes of it means the same, with every comment, and stays as it is."""
    source = Source("t.kcluster", text)
    file, found = parse(source)
    if found:
        return False
    after = format_source(source)
    again, errors = parse(Source("t.kcluster", after))
    assert not errors, (text, after)
    assert _words(trees(file)) == _words(trees(again)), (text, after)
    assert [one.text.rstrip() for one in file.comments] == [one.text.rstrip() for one in again.comments], (text, after)
    assert format_source(Source("t.kcluster", after)) == after, (text, after)
    return True
