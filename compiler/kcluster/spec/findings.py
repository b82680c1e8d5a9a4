"""Where resolving puts what it finds, and the wordings that several places share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kcluster.diagnostics import CODES, Diagnostic, Edit, Fix, Label, Safety, Severity
from kcluster.diagnostics.wording import listed, plain_slip, suggestions
from kcluster.source import Source, Span
from kcluster.syntax.ast import (
    CallNode,
    ListNode,
    NumberNode,
    RangeNode,
    StringNode,
    TimesNode,
    ValueNode,
)

MAX_FINDINGS: Final = 1000
"""Findings of one run. Nobody reads the thousandth, and a hostile file could have a hundred thousand."""

MAX_SUGGESTED: Final = 50
"""Findings with the nearest names: looking for them is what costs time."""


class Findings:
    """The findings of one run, over all its files."""

    def __init__(self) -> None:
        self.found: Final[list[Diagnostic]] = []

    @property
    def many(self) -> bool:
        """Whether there are so many already that the nearest names are no longer looked for."""
        return len(self.found) >= MAX_SUGGESTED

    def add(
        self,
        code: str,
        message: str,
        source: Source,
        span: Span,
        *,
        severity: Severity | None = None,
        label: str = "",
        labels: tuple[Label, ...] = (),
        notes: tuple[str, ...] = (),
        help: tuple[str, ...] = (),
        fixes: tuple[Fix, ...] = (),
    ) -> None:
        """Report one mistake; its severity is the registry's unless said otherwise."""
        if len(self.found) == MAX_FINDINGS:
            code, severity, labels, notes, help, fixes = "KC007", None, (), (), (), ()
            message, label = f"more than {MAX_FINDINGS:,} findings: the others are not shown", ""
        elif len(self.found) > MAX_FINDINGS:
            return
        graded = severity if severity is not None else CODES[code].severity
        self.found.append(Diagnostic(code, message, source, span, graded, label, labels, notes, help, fixes))


def replace(message: str, span: Span, text: str, safety: Safety = "safe") -> Fix:
    """A fix of one edit."""
    return Fix(message, (Edit(span, text),), safety)


def renamed(wanted: str, name: str, span: Span) -> Fix:
    """The fix of a misspelt name: safe where one letter was wrong, else a guess."""
    return replace(f"write `{name}`", span, name, "safe" if plain_slip(wanted, name) else "unsafe")


def did_you_mean(wanted: str, known: Iterable[str], *, most: int = 3) -> tuple[str, ...]:
    """The help line with the nearest names, none where nothing is near."""
    near = suggestions(wanted, known, most)
    return (f"did you mean {listed(near)}?",) if near else ()


def described(node: ValueNode) -> str:
    """What a value is, in the author's words."""
    if isinstance(node, NumberNode):
        return "a number with a unit" if node.unit else "a number"
    if isinstance(node, StringNode):
        return "a string"
    if isinstance(node, ListNode):
        return "a list"
    if isinstance(node, RangeNode):
        return "a range"
    if isinstance(node, TimesNode):
        return "a count of something"
    if isinstance(node, CallNode):
        return f"`{node.name.text}(…)`"
    return f"the word `{node.text[:40]}`"
