"""The rules: what is wrong with a spec, judged by the figures of the same model that plans it.

A family is a module; it is imported when a stage that its rules need is there. Rules quote figures and compute none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Final

from kcluster.diagnostics import Diagnostic, in_order
from kcluster.rules.registry import RULES, Rule, Stage

if TYPE_CHECKING:
    from kcluster.planner.types import Plan
    from kcluster.spec.types import Spec
    from kcluster.syntax.ast import File

PAGES_ONLY: Final = ("syntax", "names")
"""Families of codes that parsing and resolving report: pages without checks, which `run` need not import."""
CHECKED: Final = (
    "fit",
    "limits",
    "axes",
    "experts",
    "bandwidth",
    "sla",
    "load",
    "routing",
    "gaps",
    "exposure",
    "operation",
    "engine",
    "formats",
)

__all__ = ["CHECKED", "PAGES_ONLY", "RULES", "Rule", "all_rules", "run"]


def all_rules() -> dict[str, Rule]:
    """Every rule with its page, by code, in the order of codes."""
    for family in (*PAGES_ONLY, *CHECKED):
        import_module(f"{__name__}.{family}")
    return {code: RULES[code] for code in sorted(RULES)}


def run(
    file: File | None, spec: Spec | None, plan: Plan | None, select: Collection[str] | None = None
) -> tuple[Diagnostic, ...]:
    """The findings of every rule whose stage was reached, sorted by place.

    Args:
        file, spec, plan: what the stages before gave; None where one did not run.
        select: the codes to run; None for all.

    Raises:
        Nothing for a mistake of a user; an exception of a rule is a fault of this program and passes through.
    """
    return in_order(_findings({"file": file, "spec": spec, "plan": plan}, select))


def _findings(stages: dict[Stage, object], select: Collection[str] | None) -> Iterator[Diagnostic]:
    for family in CHECKED:
        import_module(f"{__name__}.{family}")
    for code in sorted(RULES):
        rule = RULES[code]
        value = stages.get(rule.stage)
        if value is not None and (select is None or code in select):
            yield from rule.check(value)
