"""The search: every cut that the spec leaves open, judged, best first.

Exhaustive with three shortcuts that cannot change the choice (a test holds them against brute force): more pipeline stages
than hold the load without idle cards only add hops; fewer replicas than there are cards for only raise every batch (on
unequal cards each strength is tried as the weakest one used); lossy KV is judged only where the model's own format leaves
something to mend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import evolve, frozen

from kcluster.physics.cut import Cut, KvFormat
from kcluster.planner.case import Case
from kcluster.planner.judge import Judge
from kcluster.planner.ranking import does, is_warned, order
from kcluster.planner.space import Family, context_counts, cut, families, kv_formats, stage_counts
from kcluster.planner.types import Candidate


@frozen
class Found:
    """Candidates, the chosen one first, and how many cuts were considered (those that a constraint barred included)."""

    candidates: tuple[Candidate, ...]
    considered: int


def search(judge: Judge) -> Found:
    """The candidates of a case in their order. There is always at least one."""
    case = judge.case
    candidates: list[Candidate] = []
    for kv_format in kv_formats(case):
        if candidates and not _wants_more(case, candidates):
            candidates += _same_with(judge, candidates, kv_format)
            break
        for family in families(case):
            candidates += _family(judge, family, kv_format)
    ranked = order(case, _distinct(candidates))
    if ranked[0].memory is None:
        # nothing works: the nearest is shown with all the figures that it has
        ranked[0] = judge.candidate(ranked[0].cut, ranked[0].limits.kv_format)
    ranked += _fewer_replicas(judge, ranked[0])
    return Found(tuple(ranked), len(ranked))


def _wants_more(case: Case, candidates: list[Candidate]) -> bool:
    """Whether the best so far leaves something that another KV format could mend."""
    best = order(case, candidates)[0]
    return not does(best) or is_warned(best)


def _same_with(judge: Judge, candidates: list[Candidate], kv_format: KvFormat) -> list[Candidate]:
    """The best cut with another KV format, so that a plan can say that it is not needed."""
    best = order(judge.case, candidates)[0]
    return [judge.barred(best.cut, kv_format) or judge.candidate(best.cut, kv_format)]


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
            if _barred(rejected, "tp", "dp", "ep", "eplb", "dcp"):
                return
            continue
        steps = (case.pins.replicas,) if case.pins.replicas is not None else judge.replica_steps(shape)
        judged = [judge.candidate(evolve(shape, replicas=replicas), kv_format) for replicas in steps]
        yield from judged
        if any(_settled(candidate) for candidate in judged):
            return


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
