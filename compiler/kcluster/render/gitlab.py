"""GitLab's code quality report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from kcluster.diagnostics import Diagnostic, Severity
from kcluster.render.places import as_json, fingerprints, marked_region

_SEVERITIES: Final[dict[Severity, str]] = {"error": "critical", "warning": "major", "note": "info"}


def render(diagnostics: Sequence[Diagnostic], *, color: bool, width: int) -> str:
    """Every finding that is not suppressed."""
    live = [found for found in diagnostics if not found.suppressed]
    return as_json([_issue(found, mark) for found, mark in fingerprints(live)])


def _issue(found: Diagnostic, fingerprint: str) -> dict[str, Any]:
    line, _, end_line, _ = marked_region(found.source, found.span)
    return {
        "description": f"{found.code}: {found.message}",
        "check_name": found.code,
        "fingerprint": fingerprint,
        "severity": _SEVERITIES[found.severity],
        "location": {"path": found.source.path, "lines": {"begin": line, "end": end_line}},
    }
