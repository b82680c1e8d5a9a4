"""The diagnostic and its parts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from kcluster.source import Source, Span
from kcluster.values import frozen

Severity = Literal["error", "warning", "note"]
Safety = Literal["safe", "unsafe", "display"]

_RANK: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}


@frozen
class Label:
    """A further place that explains the finding, with a short text that is not the message again."""

    span: Span
    text: str
    source: Source | None = None
    """The file of the span where it is not the diagnostic's own (an import)."""


@frozen
class Edit:
    """Replace the text of a span."""

    span: Span
    text: str


@frozen
class Fix:
    """Edits that mend the finding. `safe` never changes what the author meant; `unsafe` may; `display` is only shown."""

    message: str
    edits: tuple[Edit, ...]
    safety: Safety = "safe"


@frozen
class Diagnostic:
    """One finding.

    `message` is one sentence in lower case without a full stop, with the figures in it; `label` a short text under the
    primary span; `notes` are further facts; `help` says what to write instead (each a line of its own).
    """

    code: str
    message: str
    source: Source
    span: Span
    severity: Severity
    label: str = ""
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: tuple[str, ...] = ()
    fixes: tuple[Fix, ...] = ()
    figure: str = ""
    """The name that `plan --why` takes for the arithmetic behind the finding; empty where there is none."""
    suppressed: str = ""
    """The reason given in the spec for ignoring this finding; empty where it stands."""

    def sort_key(self) -> tuple[str, int, int, str, str]:
        return (self.source.path, self.span.start, self.span.end, self.code, self.message)


def in_order(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Sorted by file and place, without exact repetitions."""
    seen: dict[tuple[str, int, int, str, str], Diagnostic] = {}
    for diagnostic in diagnostics:
        seen.setdefault(diagnostic.sort_key(), diagnostic)
    return tuple(seen[key] for key in sorted(seen))


def at_worst(diagnostics: Iterable[Diagnostic]) -> Severity | None:
    """The gravest severity among the findings that are not suppressed."""
    live = {d.severity for d in diagnostics if not d.suppressed}
    return next((severity for severity in _RANK if severity in live), None)
