"""The order of candidates, and the reason why one stands behind another.

Bounds met come first, then the absence of KC2xx–KC4xx findings, then the predicted cost of an output token, then idle
cards, then the field's rules of thumb. Fp8 KV costs accuracy, which is the author's to spend: unasked it is always an
alternative, told with what it would mend, and never the choice.
"""

from __future__ import annotations

import math
from typing import Final

from kcluster.planner.case import Case
from kcluster.planner.judge import asked, expected_met
from kcluster.planner.links import switched
from kcluster.planner.placement import group_spans_nodes
from kcluster.planner.types import Candidate, Violation
from kcluster.units import human

Key = tuple[float, ...]

SAME_COST: Final = 0.05
"""Costs this close are the same: every prediction is less sure than that."""
SAME_COST_UNASKED: Final = 0.25
"""The same where the SLA bounds nothing: then the field's rules of thumb (replicas first) stand unless the prediction clearly
speaks against them."""
WIDE_GROUP: Final = 4
_NOTES: Final = ("KC302", "KC305")
_THUMB_WORDS: Final = (
    "tensor parallel stays inside a node",
    "fewer idle cards",
    "decode context parallel is not needed",
    "replicas before larger engines",
    "tensor parallel beyond four cards pays on switched links only",
    "experts exchanged between data-parallel ranks pay on switched links only",
    "no pipeline where none is needed",
    "whole experts on each card where the link is fast",
)
"""What the entries of `thumb` say, in their order."""
_MILD: Final = ("KC303", "KC304")
"""Told only where nothing graver speaks against a candidate."""

_BOUND_CODE: Final = {
    "tokens_per_second": "KC501",
    "ttft": "KC502",
    "itl": "KC502",
    "answer": "KC503",
    "throughput": "KC504",
}


def quality(case: Case, candidate: Candidate) -> Key:
    """What decides before cost: the KV format, whether it runs, the bounds, findings, and decode context parallel, whose own
    messages are not in the cost: it is for KV that does not fit otherwise."""
    unmet, missed, shortfall = _bounds(candidate)
    return (
        float(is_lossy(case, candidate)),
        _running(candidate),
        _shortage(candidate),
        unmet,
        missed,
        shortfall,
        float(is_warned(candidate)),
        float(candidate.cut.dcp > 1 and case.pins.dcp is None),
    )


def cost(case: Case, candidate: Candidate) -> float:
    """GPU-seconds of an output token: all cards of the serve are paid for, used or not."""
    if candidate.performance is None or candidate.performance.throughput.value <= 0:
        return math.inf
    return case.cluster.gpus / candidate.performance.throughput.value


def thumb(case: Case, candidate: Candidate) -> Key:
    """The rules of thumb: tp inside a node, no idle cards, no dcp, few cards an engine (replicas first), no more than four cards
    a group without a switched link, no experts exchanged between data-parallel ranks without one (what was measured of that over PCIe is
    far slower than the model says), no pipeline, whole experts where the link is switched."""
    cut = candidate.cut
    engine = candidate.placement[0] if candidate.placement else None
    fast = engine is not None and switched(case, engine)
    return (
        float(engine is not None and group_spans_nodes(engine)),
        float(candidate.idle),
        float(cut.dcp > 1),
        float(cut.engine_gpus),
        float(cut.tp > WIDE_GROUP and not fast),
        float(cut.dp > 1 and not fast and case.architecture.moe is not None),
        float(cut.pp),
        float(not cut.ep and fast and case.architecture.moe is not None),
    )


def _last(candidate: Candidate) -> Key:
    """What decides where nothing else does, so that the answer is the same everywhere: the smaller number."""
    cut = candidate.cut
    return (float(cut.tp), float(cut.dp), float(cut.dcp), float(cut.replicas), float(cut.ep))


def order(case: Case, candidates: list[Candidate]) -> list[Candidate]:
    """All candidates, the chosen one first: of those that do as well as the best and cost about the same, the one that the
    rules of thumb prefer; the others by the plain order."""
    ranked = sorted(
        candidates,
        key=lambda one: (quality(case, one), cost(case, one), thumb(case, one), _last(one), one.limits.kv_format),
    )
    if not ranked:
        return ranked
    best = quality(case, ranked[0])
    least = cost(case, ranked[0])
    alike = [one for one in ranked if quality(case, one) == best and cost(case, one) <= least * (1 + same_cost(case))]
    if len(alike) > 1:
        chosen = min(alike, key=lambda one: (thumb(case, one), cost(case, one), _last(one)))
        ranked.remove(chosen)
        ranked.insert(0, chosen)
    return ranked


def same_cost(case: Case) -> float:
    """How far apart two costs may be and count as the same."""
    return SAME_COST if case.bounds else SAME_COST_UNASKED


def is_lossy(case: Case, candidate: Candidate) -> bool:
    """Whether the KV format gives up accuracy that nobody asked to give up."""
    return case.pins.kv_format is None and candidate.limits.kv_format != case.dtype


def is_warned(candidate: Candidate) -> bool:
    """Whether a warning of the KC2xx–KC4xx kind stands against it, or its start is uncertain."""
    return candidate.fits != "yes" or any(warns(found) for found in candidate.violations)


def warns(found: Violation) -> bool:
    """Whether a violation is more than a note (replicated KV and uneven experts are notes) and about fit, axes or links."""
    return "KC2" <= found.code[:3] <= "KC4" and (found.fatal or found.code not in _NOTES)


def does(candidate: Candidate) -> bool:
    """Whether it is expected to start, and every bound is met at the expected value."""
    return _running(candidate) == 0 and _bounds(candidate)[:2] == (0.0, 0.0)


def reason(case: Case, chosen: Candidate, other: Candidate) -> tuple[str, str]:
    """(code, clause) of the first thing that speaks against a candidate beside the chosen one; the code is empty where it only
    ranks lower."""
    for speaks in (_is_fatal, _is_error):
        for found in other.violations:
            if speaks(found):
                return found.code, found.because
    missed = [verdict for verdict in other.verdicts if not expected_met(verdict)]
    if missed and not all(expected_met(verdict) for verdict in chosen.verdicts) and _bounds(chosen) == _bounds(other):
        missed = []
    if missed:
        verdict = missed[0]
        code = _BOUND_CODE[verdict.bound.name]
        return code, f"{human(verdict.predicted.value, verdict.predicted.unit)}, asked {asked(verdict.bound)}"
    if is_lossy(case, other):
        kind = other.limits.kv_format
        if is_warned(chosen) or not does(chosen):
            return "", f"holds more at some cost of accuracy: the author's to choose by kv_cache = {kind}"
        return "", f"{kind} KV is not needed"
    if is_warned(other) and not is_warned(chosen):
        warnings = [found for found in other.violations if warns(found)]
        if not warnings:
            return "", "its start is uncertain"
        found = min(warnings, key=lambda found: (found.code in _MILD, found.code))
        return found.code, found.because
    if other.cut.dcp > 1 and chosen.cut.dcp == 1:
        return "", "decode context parallel is not needed"
    return "", _lower(case, chosen, other)


def _is_fatal(found: Violation) -> bool:
    return found.fatal


def _is_error(found: Violation) -> bool:
    return found.error or found.code in ("KC201", "KC202")


def _lower(case: Case, chosen: Candidate, other: Candidate) -> str:
    mine, its = cost(case, chosen), cost(case, other)
    if math.isinf(its):
        return "no throughput"
    if its > mine * (1 + same_cost(case)) and chosen.performance and other.performance:
        slower = f"{human(other.performance.throughput.value, 'tokens/s')} against "
        return f"dearer a token: {slower}{human(chosen.performance.throughput.value, 'tokens/s')}"
    return "as fast within the range; " + _thumb_words(case, chosen, other)


def _thumb_words(case: Case, chosen: Candidate, other: Candidate) -> str:
    """The first rule of thumb by which two candidates differ."""
    pairs = zip(thumb(case, chosen), thumb(case, other), _THUMB_WORDS, strict=True)
    return next((words for mine, its, words in pairs if its != mine), "a little dearer")


def _running(candidate: Candidate) -> float:
    """0 expected to start, 1 not expected to but it may, 2 an error by its rule, 3 does not start."""
    if candidate.fits == "no":
        return 3.0
    codes = {found.code for found in candidate.violations}
    if any(found.error and found.code != "KC505" for found in candidate.violations):
        return 2.0
    return 1.0 if codes & {"KC201", "KC202"} else 0.0


def _shortage(candidate: Candidate) -> float:
    """Of candidates that do not start, how far they are from it: the missing share of a card's memory; those that no memory
    would help come last."""
    if candidate.fits != "no":
        return 0.0
    if candidate.memory is None:
        return math.inf
    barred = sum(1 for found in candidate.violations if found.fatal and found.code not in ("KC201", "KC202", "KC205"))
    budget = candidate.memory
    missing = max(0.0, budget.kv_for_one.value - budget.kv_cache.value) / max(1.0, budget.total.value)
    return 1000.0 * barred + missing


def _bounds(candidate: Candidate) -> Key:
    """(bounds out of reach, bounds missed at the expected value, how far together as a log ratio). An SLA that wants to survive
    a loss and cannot counts as a bound out of reach."""
    unmet = sum(1.0 for verdict in candidate.verdicts if verdict.met == "no")
    unmet += sum(1.0 for found in candidate.violations if found.code == "KC505")
    missed, shortfall = 0.0, 0.0
    for verdict in candidate.verdicts:
        if not expected_met(verdict):
            missed += 1
            shortfall += _distance(verdict.predicted.value, verdict.bound.value.value)
    return (unmet, missed, shortfall)


def _distance(value: float, target: float) -> float:
    if value <= 0 or target <= 0 or math.isinf(value) or math.isinf(target):
        return 100.0
    return min(100.0, abs(math.log(value / target)))
