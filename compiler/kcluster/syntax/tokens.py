"""The lexer: all tokens of a text, those that mean something and those that only lie between."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from kcluster.source import Span
from kcluster.syntax.ast import Comment
from kcluster.syntax.tables import parser

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


def lex(text: str, start: int = 0, end: int | None = None) -> list[Token]:
    """Every token of `text[start:end]`, blanks, comments and junk included: put together they are the text."""
    part = text if start == 0 and end is None else text[start:end]
    state = parser().parse_interactive(part)
    stream: Iterable[Any] = state.lexer_thread.lex(state.parser_state)  # type: ignore[no-untyped-call]
    tokens = []
    for token in stream:
        at = start + token.start_pos
        tokens.append(Token(token.type, token.value, at, at + len(token.value)))
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
