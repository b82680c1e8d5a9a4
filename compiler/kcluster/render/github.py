"""Annotations by GitHub's workflow commands: `::error file=…,line=…::message`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kcluster.diagnostics import Diagnostic, Severity
from kcluster.render.places import explanation, marked_region, name_of
from kcluster.render.text import visible

_COMMANDS: Final[dict[Severity, str]] = {"error": "error", "warning": "warning", "note": "notice"}


def render(diagnostics: Sequence[Diagnostic], *, color: bool, width: int) -> str:
    """Every finding that is not suppressed."""
    return "".join(_annotation(found) for found in diagnostics if not found.suppressed)


def _annotation(found: Diagnostic) -> str:
    line, column, end_line, end_column = marked_region(found.source, found.span)
    properties = {"file": found.source.path, "line": line, "endLine": end_line}
    if line == end_line:
        properties |= {"col": column, "endColumn": end_column}
    properties["title"] = f"{found.code} {name_of(found.code)}"
    listed = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items())
    more = explanation(found)
    text = f"{found.message}\n{more}" if more else found.message
    return f"::{_COMMANDS[found.severity]} {listed}::{_data(text)}\n"


def _data(text: str) -> str:
    shown = visible(text.replace("\r", ""), "\n")
    return shown.replace("%", "%25").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
