"""Findings as text and back, for the cache and between processes: nothing of them is lost, and nothing of the text is run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kcluster.diagnostics.types import Diagnostic, Edit, Fix, Label
from kcluster.source import Source, Span


def dump(diagnostics: Iterable[Diagnostic], own: Source) -> str:
    """Findings of one spec. The text of `own` is not stored, that of other files is."""
    import json

    found = tuple(diagnostics)
    others: list[Source] = []

    def number(source: Source) -> int:
        if _same(source, own):
            return -1
        for index, other in enumerate(others):
            if _same(source, other):
                return index
        others.append(source)
        return len(others) - 1

    rows = [_row(diagnostic, number) for diagnostic in found]
    return json.dumps({"sources": [[source.path, source.text] for source in others], "findings": rows})


def load(text: str | bytes, own: Source) -> tuple[Diagnostic, ...]:
    """What `dump` wrote, with the same `own`.

    Raises:
        ValueError, KeyError, TypeError, IndexError: the text is not of `dump`.
    """
    import json

    stored = json.loads(text)
    sources = [*(Source(path, content) for path, content in stored["sources"]), own]
    return tuple(_diagnostic(row, sources) for row in stored["findings"])


def _same(one: Source, other: Source) -> bool:
    return one is other or (one.path == other.path and one.text == other.text)


def _span(span: Span) -> list[int]:
    return [span.start, span.end]


def _row(found: Diagnostic, number: Any) -> list[Any]:
    return [
        found.code,
        found.message,
        number(found.source),
        _span(found.span),
        found.severity,
        found.label,
        [
            [_span(label.span), label.text, None if label.source is None else number(label.source)]
            for label in found.labels
        ],
        found.notes,
        found.help,
        [[fix.message, [[_span(edit.span), edit.text] for edit in fix.edits], fix.safety] for fix in found.fixes],
        found.figure,
        found.suppressed,
    ]


def _diagnostic(row: list[Any], sources: list[Source]) -> Diagnostic:
    code, message, source, span, severity, label, labels, notes, help_, fixes, figure, suppressed = row
    return Diagnostic(
        code=code,
        message=message,
        source=sources[source],
        span=Span(*span),
        severity=severity,
        label=label,
        labels=tuple(Label(Span(*at), text, None if which is None else sources[which]) for at, text, which in labels),
        notes=tuple(notes),
        help=tuple(help_),
        fixes=tuple(
            Fix(text, tuple(Edit(Span(*at), new) for at, new in edits), safety) for text, edits, safety in fixes
        ),
        figure=figure,
        suppressed=suppressed,
    )
