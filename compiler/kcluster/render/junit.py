"""JUnit's XML, which every continuous integration shows: a test case per finding, an error being a failure."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from kcluster.diagnostics import Diagnostic
from kcluster.render.places import explanation
from kcluster.render.text import visible


def render(diagnostics: Sequence[Diagnostic], *, color: bool, width: int) -> str:
    """Every finding, suppressed ones as skipped. Warnings and notes pass, with their text. Without findings, one test passes."""
    failures = sum(found.severity == "error" and not found.suppressed for found in diagnostics)
    skipped = sum(bool(found.suppressed) for found in diagnostics)
    cases = [_case(found) for found in diagnostics] or ['    <testcase classname="kcluster" name="no findings"/>']
    counts = f'tests="{len(cases)}" failures="{failures}" errors="0"'
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites name="kcluster" {counts}>',
        f'  <testsuite name="kcluster lint" {counts} skipped="{skipped}">',
        *cases,
        "  </testsuite>",
        "</testsuites>",
    ]
    return "\n".join(lines) + "\n"


def _case(found: Diagnostic) -> str:
    start = found.source.position(found.span.start)
    place = f"{found.source.path}:{start.line}:{start.column}"
    text = "\n".join([f"{place}: {found.severity}[{found.code}] {found.message}", explanation(found)]).strip()
    body = escape(visible(text, "\n"))
    if found.suppressed:
        inner = f"<skipped message={_attribute(found.suppressed)}/>"
    elif found.severity == "error":
        inner = f'<failure type="{found.code}" message={_attribute(found.message)}>{body}</failure>'
    else:
        inner = f"<system-out>{body}</system-out>"
    head = f"    <testcase classname={_attribute(found.source.path)} name={_attribute(f'{found.code} at {start.line}:{start.column}')}>"
    return f"{head}\n      {inner}\n    </testcase>"


def _attribute(text: str) -> str:
    return quoteattr(visible(text))
