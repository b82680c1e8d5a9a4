"""One line a finding, as editors and grep read them: `path:line:col: severity[CODE] message`."""

from __future__ import annotations

from collections.abc import Sequence

from kcluster.diagnostics import Diagnostic
from kcluster.render.text import paint, visible


def render(diagnostics: Sequence[Diagnostic], *, color: bool, width: int) -> str:
    """Every finding that is not suppressed."""
    return "".join(_line(found, color) for found in diagnostics if not found.suppressed)


def _line(found: Diagnostic, color: bool) -> str:
    start = found.source.position(found.span.start)
    head = paint(f"{found.severity}[{found.code}]", found.severity, color)
    return f"{visible(found.source.path)}:{start.line}:{start.column}: {head} {visible(found.message)}\n"
