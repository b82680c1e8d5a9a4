"""Findings built by hand for the tests of the renderers."""

from __future__ import annotations

import re

from kcluster.diagnostics import Diagnostic, Fix, Label, Severity
from kcluster.render import render
from kcluster.source import Source, Span

_READ = re.compile(r" +(\x1b\S+)?=\S* \S*read\S*: kcluster explain KC00[0-9]$")


def at(source: Source, text: str, number: int = 0) -> Span:
    """The span of an occurrence of a text."""
    start = -1
    for _ in range(number + 1):
        start = source.text.index(text, start + 1)
    return Span(start, start + len(text))


def over(source: Source, first: str, last: str) -> Span:
    """From the beginning of one text to the end of another."""
    return Span(at(source, first).start, at(source, last).end)


def finding(
    source: Source,
    span: Span,
    label: str = "",
    *labels: Label,
    message: str = "what is wrong",
    code: str = "KC001",
    severity: Severity = "error",
    notes: tuple[str, ...] = (),
    help: tuple[str, ...] = (),
    fixes: tuple[Fix, ...] = (),
    figure: str = "",
    suppressed: str = "",
) -> Diagnostic:
    return Diagnostic(code, message, source, span, severity, label, labels, notes, help, fixes, figure, suppressed)


def picture(*found: Diagnostic, color: bool = False, width: int = 100) -> str:
    """Rendered for people, without the last line of a finding, which is always the same, and trailing empty lines."""
    text = render("pretty", found, color=color, width=width)
    return "\n".join(line for line in text.rstrip("\n").split("\n") if not _READ.match(line))
