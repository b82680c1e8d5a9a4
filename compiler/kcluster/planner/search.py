"""The search: every cut that the spec leaves open, judged, best first.

Exhaustive on small clusters, with shortcuts that cannot change the choice (a test holds them against brute force): more
pipeline stages than hold the load without idle cards only add hops; fewer replicas than there are cards for only raise every
batch (on unequal cards each strength is tried as the weakest one used). On large ones sizes also stop growing where nothing more than a third of the KV could be gained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from kcluster.physics.cut import Cut, KvFormat
from kcluster.planner.judge import Judge
from kcluster.planner.ranking import does, is_warned, order
from kcluster.planner.space import Family, context_counts, cut, families, is_large, kv_formats, stage_counts
from kcluster.planner.types import Candidate
from kcluster.values import evolve, frozen

ENOUGH_RANKS: Final = 4
"""On large clusters experts are spread over at most so many times the ranks that the model needs to start."""
MENDED: Final = 12
"""Another KV format is tried with so many of the best cuts."""


@frozen
class Found:
    """Candidates, the chosen one first, and how many cuts were considered (those that a constraint barred included)."""

    candidates: tuple[Candidate, ...]
    considered: int


def search(judge: Judge) -> Found:
    """The candidates of a case in their order. There is always at least one."""
    case = judge.case
    own, *others = kv_formats(case)
    candidates = list(judged(judge, own))
    for kv_format in others:
        candidates += _mended(judge, candidates, kv_format)
    ranked = _ranked(judge, candidates)
    ranked += _fewer_replicas(judge, ranked[0])
    return Found(tuple(ranked), len(ranked))


def _ranked(judge: Judge, candidates: list[Candidate]) -> list[Candidate]:
    ranked = order(judge.case, _distinct(candidates))
    if ranked[0].memory is None:
        # nothing works: the nearest is shown with all the figures that it has
        ranked[0] = judge.candidate(ranked[0].cut, ranked[0].limits.kv_format)
    return ranked


def judged(judge: Judge, kv_format: KvFormat) -> Iterator[Candidate]:
    """Every family with one KV format."""
    large = is_large(judge.case)
    whole: set[tuple[int, int]] = set()
    indivisible: set[int] = set()
    least: dict[int, int] = {}
    for family in families(judge.case):
        pair = (family.tp, family.dp)
        if family.tp in indivisible or (large and pair in whole):
            continue
        if large and family.dp > ENOUGH_RANKS * least.get(family.tp, family.dp):
            continue
        tried = list(_family(judge, family, kv_format))
        yield from tried
        if any(candidate.memory is not None for candidate in tried):
            whole.add(pair)
        if any(found.code in ("KC301", "KC302") and found.fatal for one in tried for found in one.violations):
            indivisible.add(family.tp)
        if family.dp > 1 and any(candidate.fits != "no" or _barred(candidate, "time") for candidate in tried):
            least.setdefault(family.tp, family.dp)


def _mended(judge: Judge, candidates: list[Candidate], kv_format: KvFormat) -> Iterator[Candidate]:
    """Candidates with another KV format than the model's own, which are never chosen unasked: the best cut, so that a plan can
    say that it is not needed; where that leaves something to mend, more of the best, so that it can say what would."""
    ranked = order(judge.case, candidates)
    best = ranked[0]
    for one in ranked[: 1 if does(best) and not is_warned(best) else MENDED]:
        if one.memory is not None and one.memory.weights_fit == "no":
            continue  # no KV format makes room for weights
        yield judge.barred(one.cut, kv_format) or judge.candidate(one.cut, kv_format)


def _family(judge: Judge, family: Family, kv_format: KvFormat) -> Iterator[Candidate]:
    """A family's candidates over dcp and stages, until more of either cannot help."""
    for dcp in context_counts(judge.case, family.tp):
        judged = list(_stages(judge, family, dcp, kv_format))
        yield from judged
        if any(_barred(candidate, "tp", "dp", "ep", "eplb") for candidate in judged):
            return
        if any(_settled(candidate) and does(candidate) for candidate in judged):
            return


def _stages(judge: Judge, family: Family, dcp: int, kv_format: KvFormat) -> Iterator[Candidate]:
    case = judge.case
    for pp in stage_counts(case, family):
        shape = cut(case, family, pp, dcp, case.pins.replicas or 1)
        rejected = judge.barred(shape, kv_format)
        if rejected is not None:
            yield rejected
            if _barred(rejected, "tp", "dp", "ep", "eplb", "dcp", "time"):
                return
            continue
        steps = (case.pins.replicas,) if case.pins.replicas is not None else judge.replica_steps(shape)
        judged = [judge.candidate(evolve(shape, replicas=replicas), kv_format) for replicas in steps]
        yield from judged
        if any(_settled(candidate) for candidate in judged):
            return
        if is_large(case) and any(_roomy(candidate) for candidate in judged):
            return


def _roomy(candidate: Candidate) -> bool:
    """Whether weights take so little of the cards that more stages could add a third to the KV at most."""
    budget = candidate.memory
    return budget is not None and candidate.fits == "yes" and budget.weights.value <= budget.usable.value / 4


def _barred(candidate: Candidate, *subjects: str) -> bool:
    return any(found.fatal and found.subject in subjects for found in candidate.violations)


def _settled(candidate: Candidate) -> bool:
    """Whether more stages could not mend anything: it holds the load and leaves no card idle."""
    return candidate.idle == 0 and holds(candidate)


def holds(candidate: Candidate) -> bool:
    """Whether it starts for certain and its KV cache holds the load."""
    memory_codes = ("KC201", "KC202", "KC203", "KC204")
    return candidate.fits == "yes" and not any(found.code in memory_codes for found in candidate.violations)


def _distinct(candidates: list[Candidate]) -> list[Candidate]:
    found: dict[tuple[Cut, KvFormat], Candidate] = {}
    for candidate in candidates:
        found.setdefault((candidate.cut, candidate.limits.kv_format), candidate)
    return list(found.values())


def _fewer_replicas(judge: Judge, chosen: Candidate) -> list[Candidate]:
    """The fewest replicas of the chosen cut that would do as well by the bounds and the KV: what the other cards are for."""
    if judge.case.pins.replicas is not None or chosen.cut.replicas < 2 or not (does(chosen) and holds(chosen)):
        return []
    least = fewest(
        1,
        chosen.cut.replicas,
        lambda count: (
            does(one := judge.candidate(evolve(chosen.cut, replicas=count), chosen.limits.kv_format)) and holds(one)
        ),
    )
    if least is None or least == chosen.cut.replicas:
        return []
    return [judge.candidate(evolve(chosen.cut, replicas=least), chosen.limits.kv_format)]


def fewest(low: int, high: int, enough: Callable[[int], bool]) -> int | None:
    """The smallest number in [low, high] that is enough, where more never hurts; None where none is."""
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle + 1
    return high
