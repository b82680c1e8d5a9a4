"""The lexer: all tokens of a text, those that mean something and those that only lie between."""

from __future__ import annotations

import re
from functools import cache
from typing import Final, NamedTuple

from kcluster.source import Span
from kcluster.syntax.ast import Comment
from kcluster.syntax.limits import MAX_TOKENS
from kcluster.syntax.tables import tables

NEWLINE: Final = "_NL"
END: Final = "$END"
ERROR: Final = "ERROR"
SPOILT: Final = "SPOILT"
"""A token that was reported and cannot be guessed: the statement that holds it is dropped without a further word."""

OPERATORS: Final = frozenset(("EQUAL", "AT_MOST", "AT_LEAST"))
NAMES: Final = frozenset(("WORD", "STRING", "IMPORT"))
OPENERS: Final = {"LBRACE": "RBRACE", "LBRACKET": "RBRACKET", "LPAREN": "RPAREN"}
CLOSERS: Final = {closer: opener for opener, closer in OPENERS.items()}
SIGNS: Final = {
    "LBRACE": "{",
    "RBRACE": "}",
    "LBRACKET": "[",
    "RBRACKET": "]",
    "LPAREN": "(",
    "RPAREN": ")",
    "COMMA": ",",
    "EQUAL": "=",
    "AT_MOST": "<=",
    "AT_LEAST": ">=",
    "STAR": "*",
    "SLASH": "/",
    "PERCENT": "%",
    "TO": "..",
}
"""Terminals that are always written the same way."""


class Token(NamedTuple):
    """A terminal of the grammar, its text, and its place. Tokens that recovery puts in have a place without width."""

    type: str
    text: str
    start: int
    end: int

    @property
    def span(self) -> Span:
        return Span(self.start, self.end)


def put_in(kind: str, at: int) -> Token:
    """A token that the author left out."""
    return Token(kind, SIGNS[kind], at, at)


@cache
def _pattern() -> re.Pattern[str]:
    return re.compile(tables().pattern)


def lex(text: str, start: int = 0, end: int | None = None, most: int = MAX_TOKENS) -> list[Token]:
    """Every token of `text[start:end]`, blanks, comments and junk included: put together they are the text. Of more than `most`
    only that many and one."""
    match = _pattern().match
    end = len(text) if end is None else end
    tokens: list[Token] = []
    while start < end and len(tokens) <= most:
        found = match(text, start, end)
        # One terminal takes any character, so that the lexer never fails.
        assert found is not None
        assert found.lastgroup is not None
        tokens.append(Token(found.lastgroup, found[0], start, found.end()))
        start = found.end()
    return tokens


def comments_of(tokens: list[Token]) -> tuple[Comment, ...]:
    """The comments among all tokens of a file."""
    found = []
    own_line = True
    for token in tokens:
        if token.type == "COMMENT":
            text = token.text.rstrip()
            found.append(Comment(text, Span(token.start, token.start + len(text)), own_line))
        if token.type != "BLANK":
            own_line = token.type == NEWLINE
    return tuple(found)
