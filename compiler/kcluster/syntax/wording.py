"""What the grammar wanted and what it found, in words that an author uses."""

from __future__ import annotations

from typing import Final

from kcluster.source import Span
from kcluster.syntax.tokens import END, NAMES, NEWLINE, OPENERS, OPERATORS, SIGNS, Token

VALUE_ENDS: Final = frozenset(("NUMBER", "WORD", "STRING", "IMPORT", "RBRACKET", "RPAREN", "PERCENT"))
"""What the last token of a value can be."""

_SHOWN: Final = 40
"""Characters of a found text that a message shows."""

_AFTER: Final = {
    "STAR": "what is counted after `*`",
    "TO": "a number after `..`",
    "SLASH": "the second half of the unit after `/`",
    "IMPORT": "a quoted path after `import`",
}


def found(token: Token) -> str:
    """A token as a person would call it."""
    if token.type == NEWLINE:
        return "the end of the line"
    if token.type == END:
        return "the end of the file"
    text = token.text if len(token.text) <= _SHOWN else token.text[: _SHOWN - 1] + "…"
    return f"`{text}`"


def place(token: Token) -> Span:
    """Where to point at for a token: for the end of a line or file, just behind what stands there."""
    return Span(token.start, token.start) if token.type in (NEWLINE, END) else token.span


def written(tokens: list[Token]) -> str:
    """Tokens in one line, as `written` in a message."""
    text = " ".join(token.text for token in tokens)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def expected(statement: list[Token], in_block: bool) -> str:
    """What the grammar could take after the tokens of a statement so far."""
    if not statement:
        return "an attribute, a block or `}`" if in_block else "a block or an import"
    last = statement[-1]
    opener = innermost(statement)
    if last.type in OPERATORS:
        return f"a value after `{last.text}`"
    if last.type in _AFTER and (last.type != "IMPORT" or len(statement) == 1):
        return _AFTER[last.type]
    if opener is not None:
        closer = SIGNS[OPENERS[opener.type]]
        return f"`,` or `{closer}`" if last.type in VALUE_ENDS else f"a value or `{closer}`"
    if statement[0].type == "IMPORT":
        return "the end of the line after the path"
    if all(token.type in NAMES for token in statement):
        head = written(statement)
        return f"`=`, `<=`, `>=` or `{{` after `{head}`" if len(statement) == 1 else f"`{{` after `{head}`"
    return "the end of the line after the value"


def innermost(statement: list[Token]) -> Token | None:
    """The last ( or [ of a statement that is still open."""
    open_: list[Token] = []
    for token in statement:
        if token.type in ("LPAREN", "LBRACKET"):
            open_.append(token)
        elif token.type in ("RPAREN", "RBRACKET") and open_:
            open_.pop()
    return open_[-1] if open_ else None
