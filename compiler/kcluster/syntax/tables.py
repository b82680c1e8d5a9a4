"""The parser's tables: prebuilt inside a wheel, or built from the grammar on the spot.

Building the tables costs about as much as importing lark; a wheel therefore brings them along (`hatch_build.py`). They are
used only when they were built from this very grammar by this very lark, so a checkout always parses with the live grammar.
This module imports nothing of kcluster: the build hook loads it by its path.
"""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from lark import Lark

FORMAT: Final = 1
"""Raised whenever the options below or the header change."""

ONLY_LEXED: Final = (
    "BLANK",
    "COMMENT",
    "BAD_NUMBER",
    "FLAG",
    "SLASH_COMMENT",
    "SINGLE_QUOTED",
    "OPEN_STRING",
    "MISSPELT_OPERATOR",
    "SEMICOLON",
    "JUNK",
)
"""Terminals that no rule takes and that the lexer must give all the same."""

_NOT_STORED: Final = ("postlex", "transformer", "lexer_callbacks", "tree_class", "_plugins")
_HERE: Final = Path(__file__).resolve().parent


class _KeepAll:
    """lark's hook between lexer and parser, used only to keep the terminals that no rule takes."""

    always_accept = ONLY_LEXED

    def process(self, stream: Any) -> Any:
        return stream


def grammar_path() -> Path:
    """The grammar beside this module (a wheel) or in the checkout's `grammar/`."""
    beside = _HERE / "kcluster.lark"
    return beside if beside.is_file() else _HERE.parents[2] / "grammar" / "kcluster.lark"


def build(grammar: str) -> Lark:
    """The parser of a grammar, built now."""
    from lark import Lark

    return Lark(grammar, parser="lalr", lexer="basic", postlex=_KeepAll(), maybe_placeholders=False)


def header(grammar: str) -> bytes:
    """The line that prebuilt tables begin with: they fit only this grammar and this lark."""
    import hashlib

    import lark

    digest = hashlib.sha256(grammar.encode()).hexdigest()
    return f"kcluster tables {FORMAT} lark {lark.__version__} grammar {digest}\n".encode()


def dump(grammar: str) -> bytes:
    """Prebuilt tables with their header."""
    out = io.BytesIO()
    out.write(header(grammar))
    build(grammar).save(out, _NOT_STORED)
    return out.getvalue()


def load(tables: bytes, grammar: str) -> Lark | None:
    """The parser of prebuilt tables, or None where they belong to another grammar, lark or format."""
    from lark import Lark

    start = header(grammar)
    if not tables.startswith(start):
        return None
    return Lark.load(io.BytesIO(tables[len(start) :]))


def _stored(grammar: str) -> Lark | None:
    stored = _HERE / "tables.bin"
    return load(stored.read_bytes(), grammar) if stored.is_file() else None


@cache
def parser() -> Lark:
    """The parser, from the tables beside this module where they fit, else from the grammar."""
    grammar = grammar_path().read_text(encoding="utf-8")
    found = _stored(grammar)
    return found if found is not None else build(grammar)


def origin() -> str:
    """Where the parser comes from here: "prebuilt" tables, or the live "grammar"."""
    return "grammar" if _stored(grammar_path().read_text(encoding="utf-8")) is None else "prebuilt"
