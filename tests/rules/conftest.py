"""Running the whole way over a text, and holding its findings against the marks on its lines.

A mark is a comment at the end of the offending line: `#! KC201`, several codes with blanks between them, a severity with
`=` (`#! KC302=note`). A line of its own that begins with `#!^` marks the line above, for lines that cannot end in a comment.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import frozen

from kcluster.pipeline import Checked, decode_and_check

_MARK = re.compile(r"#!(\^?)[ \t]*((?:KC\d{3}(?:=\w+)?[ \t]*)+)$")


@frozen(order=True)
class Expected:
    """A finding on a line; any severity where it is empty."""

    line: int
    code: str
    severity: str = ""


def expectations(text: str) -> list[Expected]:
    """The findings that a text's marks say it has."""
    found = []
    above = 0
    for number, line in enumerate(text.splitlines(), start=1):
        mark = _MARK.search(line)
        if mark is None:
            above = number
            continue
        for item in mark[2].split():
            code, _, severity = item.partition("=")
            found.append(Expected(above if mark[1] else number, code, severity))
        if not mark[1]:
            above = number
    return sorted(found)


def findings(checked: Checked) -> list[Expected]:
    """What was found in the file itself and not suppressed."""
    return sorted(
        Expected(found.source.position(found.span.start).line, found.code, found.severity)
        for found in checked.diagnostics
        if not found.suppressed
    )


def unmet(text: str, checked: Checked) -> tuple[list[Expected], list[Expected]]:
    """Expectations that were not met, and findings that were not expected."""
    real = Counter(findings(checked))
    missing = []
    for wanted in expectations(text):
        match = next(
            (
                found
                for found in sorted(real)
                if real[found] > 0
                and (found.line, found.code) == (wanted.line, wanted.code)
                and wanted.severity in ("", found.severity)
            ),
            None,
        )
        if match is None:
            missing.append(wanted)
        else:
            real[match] -= 1
    return missing, sorted(real.elements())


def described(checked: Checked) -> str:
    """The findings as text, for a failing test."""
    lines = []
    for found in checked.diagnostics:
        line = found.source.position(found.span.start).line
        lines.append(f"{line}: {found.severity} {found.code} {found.message}")
        lines += [f"      here {found.label}"] if found.label else []
        lines += [f"      label {label.text}" for label in found.labels]
        lines += [f"      note {note}" for note in found.notes]
        lines += [f"      help {help_}" for help_ in found.help]
    return "\n".join(lines)


Check = Callable[..., Checked]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Parse, resolve, plan, judge and suppress a text, with the files that it may import beside it."""

    def run(text: str, files: dict[str, str] | None = None) -> Checked:
        (tmp_path / "kcluster.toml").write_text("", encoding="utf-8")
        for name, content in (files or {}).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        shown = text.replace("<U+200B>", "\u200b")
        (tmp_path / "spec.kcluster").write_text(shown, encoding="utf-8")
        return decode_and_check(shown.encode(), "spec.kcluster", folder=tmp_path)

    return run
