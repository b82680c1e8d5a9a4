"""The register of rules.

A rule is one small function with a docstring of fixed headings (What it checks, Why, Example, Fix, Source), which is its
page. It reads the spec or the plan, quotes their figures, and yields diagnostics; it computes nothing of its own.

Codes that are found while parsing or resolving (KC0xx, KC1xx) have pages too: `documented` registers a page without a check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

from kcluster.diagnostics import CODES, Diagnostic
from kcluster.values import frozen

Stage = Literal["file", "spec", "plan", "none"]
Check = Callable[[Any], Iterable[Diagnostic]]


@frozen
class Rule:
    """One code's check and page. `stage` says what the check is called with: an `ast.File`, a `Spec`, or a `Plan`."""

    code: str
    stage: Stage
    check: Check
    page: str


RULES: Final[dict[str, Rule]] = {}


def rule(code: str, *, stage: Stage) -> Callable[[Check], Check]:
    """Register the check of a code, its docstring being its page."""

    def register(check: Check) -> Check:
        if code not in CODES:
            raise ValueError(f"{code} is not in the registry of codes")
        if code in RULES:
            raise ValueError(f"{code} has two rules")
        RULES[code] = Rule(code, stage, check, check.__doc__ or "")
        return check

    return register


def documented(code: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register the page of a code that an earlier stage reports."""

    def register(holder: Callable[[], None]) -> Callable[[], None]:
        if code in RULES:
            raise ValueError(f"{code} has two rules")
        RULES[code] = Rule(code, "none", lambda _: (), holder.__doc__ or "")
        return holder

    return register
