"""Where the passes over one file put what they find: in one list, with one rule against repeating themselves."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Final

from kcluster.diagnostics import CODES, Diagnostic, Edit, Fix, Label, Safety
from kcluster.source import Source, Span
from kcluster.syntax.limits import MAX_REPORTED


def replace(message: str, span: Span, text: str, safety: Safety = "safe") -> Fix:
    """A fix of one edit."""
    return Fix(message, (Edit(span, text),), safety)


class Findings:
    """The syntax errors of one file, at most `MAX_REPORTED` of them.

    A statement in which something was reported already reports nothing more (`within`): what follows in it is mostly the
    same mistake seen again.
    """

    def __init__(self, source: Source) -> None:
        self.source: Final = source
        self._found: list[Diagnostic] = []
        self._places: list[int] = []
        self._line = (0, -1)

    def add(
        self,
        code: str,
        message: str,
        span: Span,
        *,
        label: str = "",
        labels: tuple[Label, ...] = (),
        notes: tuple[str, ...] = (),
        help: tuple[str, ...] = (),
        fixes: tuple[Fix, ...] = (),
    ) -> None:
        """Report one mistake; beyond the limit it is forgotten."""
        if self.full:
            return
        insort(self._places, span.start)
        severity = CODES[code].severity
        found = Diagnostic(code, message, self.source, span, severity, label, labels, notes, help, fixes)
        self._found.append(found)

    def taint(self, offset: int) -> None:
        """Mark a place as spoilt by a mistake that was reported elsewhere."""
        insort(self._places, offset)

    def within(self, start: int, end: int) -> bool:
        """Whether something was reported at an offset from `start` to `end`, both included."""
        at = bisect_left(self._places, start)
        return at < len(self._places) and self._places[at] <= end

    def on_line_of(self, offset: int) -> bool:
        """Whether something was reported on the line of an offset already."""
        start, end = self._line
        if not start <= offset <= end:
            text = self.source.text
            start, end = text.rfind("\n", 0, offset) + 1, text.find("\n", offset)
            self._line = start, end = start, end if end >= 0 else len(text)
        return self.within(start, end)

    @property
    def full(self) -> bool:
        return len(self._found) >= MAX_REPORTED

    @property
    def any(self) -> bool:
        return bool(self._found)

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """All findings in the order of the file; the last one says where reporting stopped."""
        from kcluster.values import evolve

        found = sorted(self._found, key=Diagnostic.sort_key)
        if len(found) < MAX_REPORTED:
            return tuple(found)
        found = found[:MAX_REPORTED]
        note = f"reading stopped after {MAX_REPORTED} syntax errors; there may be more"
        found[-1] = evolve(found[-1], notes=(*found[-1].notes, note))
        return tuple(found)
