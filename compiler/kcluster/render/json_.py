"""The public JSON of findings (`schemas/lint.schema.json`): lines and columns from 1, columns in code points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcluster.diagnostics import Diagnostic, Fix
from kcluster.render.places import as_json, name_of, region, url
from kcluster.source import Source, Span


def render(diagnostics: Sequence[Diagnostic], *, color: bool, width: int) -> str:
    """Every finding, suppressed ones too."""
    return as_json([diagnostic_object(found) for found in diagnostics])


def diagnostic_object(found: Diagnostic) -> dict[str, Any]:
    """One finding with its fixed keys."""
    return {
        "code": found.code,
        "name": name_of(found.code),
        "severity": found.severity,
        "message": found.message,
        "path": found.source.path,
        "span": _span(found.source, found.span),
        "label": found.label,
        "labels": [
            {
                "path": (label.source or found.source).path,
                "span": _span(label.source or found.source, label.span),
                "text": label.text,
            }
            for label in found.labels
        ],
        "notes": list(found.notes),
        "help": "\n".join(found.help) or None,
        "fixes": [_fix(found.source, fix) for fix in found.fixes],
        "figure": found.figure or None,
        "url": url(found.code),
        "suppressed": found.suppressed or None,
    }


def _fix(source: Source, fix: Fix) -> dict[str, Any]:
    edits = [{"span": _span(source, edit.span), "text": edit.text} for edit in fix.edits]
    return {"safety": fix.safety, "message": fix.message, "edits": edits}


def _span(source: Source, span: Span) -> dict[str, Any]:
    line, column, end_line, end_column = region(source, span)
    return {"start": {"line": line, "column": column}, "end": {"line": end_line, "column": end_column}}
