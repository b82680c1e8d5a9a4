"""Quoted strings: JSON's escapes, resolved and judged."""

from __future__ import annotations

import re
from typing import Final

from kcluster.source import Span
from kcluster.syntax.findings import Findings, replace
from kcluster.syntax.tokens import Token
from kcluster.values import frozen

_SIMPLE: Final = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_ESCAPE: Final = re.compile(
    r"\\u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\.", re.DOTALL
)
_ALLOWED: Final = 'strings know \\" \\\\ \\/ \\b \\f \\n \\r \\t and \\u with four hexadecimal digits'


@frozen
class BadEscape:
    """An escape that strings do not have, at an offset into the token's text."""

    start: int
    text: str
    why: str


@frozen
class Unescaped:
    """A string without quotes and escapes, and what was wrong in it (which stands as it was written)."""

    text: str
    bad: tuple[BadEscape, ...]


def unescape(quoted: str) -> Unescaped:
    """The content of a quoted string."""
    if "\\" not in quoted:
        return Unescaped(quoted[1:-1], ())
    bad: list[BadEscape] = []

    def resolve(match: re.Match[str]) -> str:
        text = match.group()
        character = _character(text)
        if isinstance(character, str):
            return character
        bad.append(BadEscape(match.start() + 1, text, character[0]))
        return "'" if text == "\\'" else text

    return Unescaped(_ESCAPE.sub(resolve, quoted[1:-1]), tuple(bad))


def _character(escape: str) -> str | tuple[str]:
    """What an escape stands for, or why it stands for nothing."""
    if len(escape) == 2:
        return _SIMPLE.get(escape[1]) or (f"`{escape}` is not an escape",)
    if len(escape) == 12:
        high, low = int(escape[2:6], 16), int(escape[8:], 16)
        return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
    code = int(escape[2:], 16)
    if 0xD800 <= code <= 0xDFFF:
        return (f"`{escape}` is half of a surrogate pair",)
    return chr(code) if code else (f"`{escape}` is the null character, which no name, path or argument can hold",)


def check_escapes(token: Token, findings: Findings) -> None:
    """Report the escapes of a string token that strings do not have (KC003)."""
    for bad in unescape(token.text).bad:
        span = Span(token.start + bad.start, token.start + bad.start + len(bad.text))
        if bad.text == "\\'":
            fixes = (replace("a single quote needs no backslash", span, "'"),)
        else:
            fixes = (replace("double the backslash to mean a backslash", span, "\\" + bad.text, "unsafe"),)
        findings.add("KC003", f"bad escape: {bad.why}", span, label="this escape", notes=(_ALLOWED,), fixes=fixes)


def quote(text: str) -> str:
    """Text as a quoted string of the language."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
