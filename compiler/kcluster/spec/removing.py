"""Fixes that take something out of a text: whole lines where it has lines to itself, and never a comment of the author's."""

from __future__ import annotations

import re
from typing import Final

from kcluster.diagnostics import Edit, Fix, Safety
from kcluster.source import Source, Span

_BEHIND: Final = re.compile(r"[ \t]*,?[ \t]*")


def remove(message: str, source: Source, span: Span, safety: Safety) -> tuple[Fix, ...]:
    """The fix that takes an attribute or a block out; none where a comment stands inside it, which would be lost with it."""
    if "#" in source.slice(span):
        return ()
    return (Fix(message, (Edit(_with_separator(source.text, span), ""),), safety),)


def remove_comment(message: str, source: Source, span: Span, safety: Safety = "safe") -> tuple[Fix, ...]:
    """The fix that takes a comment out, with the blanks before it or, where nothing else stands there, its line."""
    text = source.text
    start = _back_over_blanks(text, span.start)
    alone = start == 0 or text[start - 1] == "\n"
    end = _line_end(text, span.end)
    if alone and not text[span.end : end].strip():
        return (Fix(message, (Edit(Span(start, end), ""),), safety),)
    return (Fix(message, (Edit(Span(start, span.end), ""),), safety),)


def _with_separator(text: str, span: Span) -> Span:
    """A statement with what holds it apart from the next: its comma, or its lines."""
    start = _back_over_blanks(text, span.start)
    found = _BEHIND.match(text, span.end)
    end = found.end() if found is not None else span.end
    comma = "," in text[span.end : end]
    line_end = _line_end(text, end)
    alone = start == 0 or text[start - 1] == "\n"
    if not text[end:line_end].strip():
        if alone:
            return Span(start, line_end)
        if not comma and text[start - 1] == ",":
            # The last of a line: the comma before it held it apart.
            return Span(start - 1, span.end)
        return Span(start, span.end if not comma else end)
    if comma or alone:
        return Span(span.start, end)
    if text[start - 1] == ",":
        return Span(start - 1, span.end)
    return Span(span.start, end)


def _back_over_blanks(text: str, at: int) -> int:
    while at > 0 and text[at - 1] in " \t":
        at -= 1
    return at


def _line_end(text: str, at: int) -> int:
    """Behind the line end that comes next."""
    found = text.find("\n", at)
    return len(text) if found < 0 else found + 1
