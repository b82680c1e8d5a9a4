"""One file per output: each turns diagnostics or a plan into text. They read no spec and judge nothing."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Final

from kcluster.diagnostics import Diagnostic

FORMATS: Final[dict[str, str]] = {
    "pretty": "pretty",
    "concise": "concise",
    "json": "json_",
    "sarif": "sarif",
    "github": "github",
    "gitlab": "gitlab",
    "junit": "junit",
}
"""Formats of findings, each with the module whose `render` writes it."""


def render(format_: str, diagnostics: Sequence[Diagnostic], *, color: bool = False, width: int = 100) -> str:
    """The findings as text.

    Args:
        format_: a key of FORMATS.
        color, width: read by the formats for people only; the others are the same everywhere.
    """
    module = import_module(f"{__name__}.{FORMATS[format_]}")
    text: str = module.render(tuple(diagnostics), color=color, width=width)
    return text


def summary(diagnostics: Sequence[Diagnostic], *, files: int | None = None) -> str:
    """One line: `3 errors, 1 warning in 2 files (1 suppressed)`, or `no findings in 2 files`."""
    live = [found.severity for found in diagnostics if not found.suppressed]
    parts = [
        f"{number} {severity}{'' if number == 1 else 's'}"
        for severity in ("error", "warning", "note")
        if (number := live.count(severity))
    ]
    text = ", ".join(parts) or "no findings"
    if files is not None:
        text += f" in {files} file{'' if files == 1 else 's'}"
    hidden = len(diagnostics) - len(live)
    return f"{text} ({hidden} suppressed)" if hidden else text
