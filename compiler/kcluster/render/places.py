"""What the formats for machines share: regions, addresses of pages, fingerprints that survive other lines' changes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from kcluster.diagnostics import CODES, Diagnostic
from kcluster.source import Source, Span

PAGES: Final = "docs/rules"
"""Where the pages of the rules lie, in the repository; the one place to put a public address in front."""


def url(code: str) -> str:
    """The address of a code's page."""
    return f"{PAGES}/{code}.md"


def name_of(code: str) -> str:
    """The kebab-case name of a code."""
    known = CODES.get(code)
    return known.name if known is not None else code.lower()


def as_json(value: Any) -> str:
    """JSON as people may read it too, of characters that every encoding of Unicode can hold."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n"


def region(source: Source, span: Span) -> tuple[int, int, int, int]:
    """Start line and column, end line and column, from 1; the end is behind the last character."""
    start, end = source.position(span.start), source.position(span.end)
    return start.line, start.column, end.line, end.column


def marked_region(source: Source, span: Span) -> tuple[int, int, int, int]:
    """The region for readers who mark lines: a line end at its end belongs to the line that it ends, not to the next one."""
    line, column, end_line, end_column = region(source, span)
    if end_column == 1 and end_line > line:
        end_line -= 1
        end_column = len(source.line(end_line)) + 1
    return line, column, end_line, end_column


def fingerprints(diagnostics: Iterable[Diagnostic]) -> Iterator[tuple[Diagnostic, str]]:
    """Each finding with what names it from run to run: code, path and the text of its line (not its number, nor the figures
    of the message), and how many alike stand before it."""
    from hashlib import sha256

    seen: dict[str, int] = {}
    for found in diagnostics:
        line = found.source.line(found.source.position(found.span.start).line).strip()
        same = "\0".join((found.code, found.source.path, line))
        seen[same] = seen.get(same, 0) + 1
        yield found, f"{sha256(same.encode('utf-8', 'replace')).hexdigest()[:32]}:{seen[same]}"


def explanation(found: Diagnostic) -> str:
    """Everything that a finding says behind its message, one sentence a line."""
    lines = [found.label] if found.label else []
    for label in found.labels:
        source = label.source or found.source
        start = source.position(label.span.start)
        lines.append(f"{source.path}:{start.line}:{start.column}: {label.text}")
    return "\n".join([*lines, *found.notes, *(f"help: {text}" for text in found.help)])
