"""What `verify` found, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from kcluster.verify.checks import Check, Report, said
from kcluster.version import VERSION

SCHEMA: Final = "kcluster.verify/1"
LONGEST: Final = 400
"""Characters of an engine's own message that are shown; JSON has all of it."""

_MARK: Final = {"as planned": "=", "differs": "≠", "not judged": "?"}
_COLOR: Final = {"as planned": "32", "differs": "31", "not judged": "2"}


def as_json(report: Report, plan: str) -> dict[str, Any]:
    """The object of one report; `plan` is the path of its `plan.toml`."""
    first = report.first
    return {
        "schema": SCHEMA,
        "kcluster_version": VERSION,
        "plan": plan,
        "serve": report.serve,
        "source": {"kind": report.kind, "path": report.source},
        "verdict": report.verdict,
        "refusal": report.refusal or None,
        "first": first.name if first else None,
        "checks": [_row(check) for check in report.checks],
    }


def _row(check: Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "planned": check.planned,
        "low": check.low,
        "high": check.high,
        "real": check.real,
        "unit": check.unit or None,
        "verdict": check.verdict,
        "why": list(check.why),
        "spec": check.attribute or None,
    }


def as_text(report: Report, *, color: bool = False) -> str:
    """For a person: the first thing that differs in a sentence, then everything beside each other."""
    return "".join(f"{line}\n" for line in _lines(report, color))


def _lines(report: Report, color: bool) -> Iterator[str]:
    first = report.first
    if report.refusal:
        yield _paint(f"{report.serve}: the engine refused to start", "differs", color)
        yield f"  {_one_line(report.refusal)[:LONGEST]}"
    if first is None:
        known = sum(check.verdict == "as planned" for check in report.checks)
        yield _paint(
            f"{report.serve}: as planned ({known} of {len(report.checks)} things compared)", "as planned", color
        )
    elif first.name != "start":
        sentence = f"`{first.name}` is {_value(first.real, first.unit)}, {_planned(first)}"
        yield _paint(f"{report.serve}: the first thing that differs: {sentence}", "differs", color)
        if first.attribute:
            yield f"  in the spec: `{first.attribute}`"
        yield from (f"  {_one_line(reason)}" for reason in first.why)
    yield ""
    width = max((len(check.name) for check in report.checks), default=0)
    for check in report.checks:
        real = _value(check.real, check.unit) if check.real is not None else "not said"
        line = f"{_MARK[check.verdict]} {check.name:<{width}}  {real}"
        if check.verdict != "as planned" or check.low is not None:
            line += f"   ({_planned(check)})"
        yield _paint(line, check.verdict, color)
        if check is not first or check.name == "start":
            yield from (f"    {_one_line(reason)}" for reason in check.why)


def _planned(check: Check) -> str:
    planned = _value(check.planned, check.unit)
    if check.name.startswith("sla."):
        return f"asked at most {planned}"
    if check.low is None or check.high is None:
        return f"planned {planned}"
    between = f"{said(float(check.low))} to {said(float(check.high))}"
    return f"planned {between}" if check.planned is None else f"planned {planned}, {between}"


def _value(value: Any, unit: str) -> str:
    if isinstance(value, float) and unit in ("tokens", "requests") and value == round(value):
        text = f"{value:,.0f}"
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and unit:
        text = f"{value:.4g}"
    else:
        text = _one_line(said(value))
    return f"{text} {unit}" if unit and unit != "ratio" and value is not None else text


def _one_line(text: str) -> str:
    """A text of a log without what a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in text)


def _paint(text: str, kind: str, color: bool) -> str:
    return f"\x1b[{_COLOR[kind]}m{text}\x1b[0m" if color else text
