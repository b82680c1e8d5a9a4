"""Judging one candidate: constraints, limits, memory, links, time, and the SLA's bounds."""

from __future__ import annotations

from typing import Final

from kcluster.physics.communication import communication
from kcluster.physics.cut import Cut, KvFormat, Limits
from kcluster.physics.engine import Engine, build_engine
from kcluster.physics.hardware import Card, EnginePlacement
from kcluster.physics.performance import served
from kcluster.physics.results import Communication, Performance, Verdict
from kcluster.planner.case import Case
from kcluster.planner.fit import card_violations, memory_violations
from kcluster.planner.fitting import Fit, constraints_of, fit_engine
from kcluster.planner.limits import first_limits
from kcluster.planner.links import link_violations, survival
from kcluster.planner.placement import Placed, Topology, smallest_card, stage_cards
from kcluster.planner.types import Candidate, SlaVerdict, Violation
from kcluster.spec.types import Bound, BoundName
from kcluster.units import Figure, Unit, human
from kcluster.values import evolve

AXES: Final = frozenset({"tp", "pp", "dp", "ep", "dcp", "eplb", "layers"})
"""The numbers of a cut; other subjects (lengths, formats) are the same for every cut."""


FitKey = tuple[Cut, KvFormat, int, tuple[str, ...]]
"""What the memory of one engine depends on within a case: its shape, KV format, sequences and cards."""


class Judge:
    """Judges the candidates of one case, each distinct question to physics once.

    `fits`: what is known of memory from other amounts of the case's hardware. `measured` counts the evaluations of time, the dearest ones.
    """

    def __init__(self, case: Case, fits: dict[FitKey, Fit] | None = None) -> None:
        self.case = case
        self.topology = Topology(case.cluster)
        self.measured = 0
        self._constraints: dict[tuple[Cut, Limits, tuple[str, ...]], tuple[Violation, ...]] = {}
        self._fits = {} if fits is None else fits
        self._candidates: dict[tuple[Cut, KvFormat], Candidate] = {}
        self._smallest = smallest_card(case.cluster) if case.cluster.gpus else None

    def capacity(self, cut: Cut) -> int:
        """How many engines of this shape the cluster holds."""
        return len(self._placed(cut).engines)

    def replica_steps(self, cut: Cut) -> tuple[int, ...]:
        """The numbers of replicas worth judging: as many as the cards hold, and on unequal cards those of the stronger ones
        alone. None where the shape finds no place, but one where the author pinned it or there is no card at all."""
        placed = self._placed(cut)
        if placed.engines:
            return self.topology.steps(placed)
        pins = self.case.pins
        pinned = (pins.tp, pins.pp, pins.dp) != (None, None, None)
        return (1,) if pinned or self._smallest is None else ()

    def candidate(self, cut: Cut, kv_format: KvFormat) -> Candidate:
        """One candidate with everything that speaks against it. Raises for nothing that a spec can hold."""
        key = (cut, kv_format)
        found = self._candidates.get(key)
        if found is None:
            found = self._candidates[key] = self._judge(cut, kv_format)
        return found

    def barred(self, cut: Cut, kv_format: KvFormat) -> Candidate | None:
        """The candidate as the constraints of its axes reject it, without memory or time; None where they do not. Cheap."""
        if self._smallest is None:
            return None
        fit = self._fit(cut, kv_format, (self._smallest,), memory_too=False)
        if not any(found.fatal and found.subject in AXES for found in fit.constraints):
            return None
        idle = max(0, self.case.cluster.gpus - cut.gpus)
        return Candidate(cut, fit.limits, (), None, None, None, fit.constraints, (), idle)

    def fit(self, cut: Cut, kv_format: KvFormat, limits: Limits | None = None) -> Fit:
        """The memory of one engine of this cut on the tightest cards that it would get; `limits` replace the rule's."""
        placed = self._placed(cut)
        fits = [
            self._fit(cut, kv_format, stage_cards(self.case.cluster, placed.engines[index]), limits=limits)
            for index in placed.kinds
            if index < cut.replicas
        ]
        if not fits:
            assert self._smallest is not None
            fits = [self._fit(cut, kv_format, (self._smallest,), limits=limits)]
        return min(fits, key=lambda fit: fit.room)

    def _placed(self, cut: Cut) -> Placed:
        return self.topology.place(cut.tp, cut.pp, cut.dp)

    def _fit(
        self,
        cut: Cut,
        kv_format: KvFormat,
        cards: tuple[Card, ...],
        *,
        limits: Limits | None = None,
        memory_too: bool = True,
    ) -> Fit:
        smallest = min(cards, key=lambda card: card.memory.value)
        first = limits or first_limits(self.case, cut, kv_format, smallest)
        single = cut if cut.replicas == 1 else evolve(cut, replicas=1)
        asked = (single, first, tuple(card.id for card in cards))
        constraints = self._constraints.get(asked)
        if constraints is None:
            constraints = self._constraints[asked] = constraints_of(self.case, cut, first, cards)
        if not memory_too:
            return Fit(first, constraints, None, None, None)
        key = (single, kv_format, first.max_num_seqs, asked[2])
        found = self._fits.get(key) if limits is None else None
        if found is None:
            found = fit_engine(self.case, single, cards, first, constraints, settle=limits is None)
            if limits is None:
                self._fits[key] = found
        return found

    def _judge(self, cut: Cut, kv_format: KvFormat) -> Candidate:
        case = self.case
        placed = self._placed(cut)
        engines = placed.engines[: cut.replicas]
        idle = max(0, case.cluster.gpus - cut.engine_gpus * len(engines))
        if self._smallest is None:
            limits = Limits(case.load.context, 1, case.load.context, kv_format, case.default_utilization)
            return Candidate(cut, limits, (), None, None, None, _too_many(cut, 0), (), 0)
        fit = self.fit(cut, kv_format)
        found = [*fit.constraints, *card_violations(case, cut, len(engines), placed.even)]
        if fit.memory is not None:
            found += memory_violations(case, cut, fit.limits, fit.memory, fit.held_longest, fit.held_typical)
        timed: Performance | None = None
        talk: Communication | None = None
        verdicts: tuple[SlaVerdict, ...] = ()
        starts = fit.memory is not None and fit.room > 0 and len(engines) == cut.replicas
        if starts and self.asks_times(cut, fit, found):
            timed, model, engine = self._times(cut, fit, engines, placed.kinds)
            verdicts = tuple(_verdict(bound, timed) for bound in case.bounds)
            if self.asks_links(verdicts):
                talk = self._talk(cut, fit, engine, model, timed)
                found += link_violations(case, cut, engines[0], talk, timed)
        found += survival(case, cut, engines)
        return Candidate(cut, fit.limits, engines, fit.memory, talk, timed, tuple(found), verdicts, idle)

    def asks_times(self, cut: Cut, fit: Fit, found: list[Violation]) -> bool:
        """Whether times are worth working out for a cut of which this is known."""
        return True

    def asks_links(self, verdicts: tuple[SlaVerdict, ...]) -> bool:
        """Whether what its parts send to each other is worth working out for a cut that meets the bounds so."""
        return True

    def built(self, cut: Cut, index: int, engine: EnginePlacement, limits: Limits) -> Engine:
        """The engine of a cut at an index of its placement, ready to be asked for times."""
        case = self.case
        return build_engine(
            case.architecture,
            case.weights,
            cut,
            limits,
            engine,
            case.cluster,
            case.load,
            case.engine,
            case.time_constants,
        )

    def _times(
        self, cut: Cut, fit: Fit, engines: tuple[EnginePlacement, ...], kinds: tuple[int, ...]
    ) -> tuple[Performance, Engine, EnginePlacement]:
        """Times of the slowest replica, and that replica: the router sends every one of them the same share."""
        case = self.case
        assert fit.memory is not None
        timed = []
        for index in kinds:
            if index >= cut.replicas:
                continue
            self.measured += 1
            model = self.built(cut, index, engines[index], fit.limits)
            figures = served(model, cut.replicas, fit.memory, case.engine)
            timed.append((figures, model, engines[index]))
        return max(timed, key=lambda one: one[0].itl.value)

    def _talk(self, cut: Cut, fit: Fit, engine: EnginePlacement, model: Engine, timed: Performance) -> Communication:
        case = self.case
        return communication(
            case.architecture,
            cut,
            engine,
            case.cluster,
            timed.batch.value,
            case.load,
            fit.limits,
            case.engine,
            case.time_constants,
            step=timed.step,
            links=model.links,
        )


def _too_many(cut: Cut, cards: int) -> tuple[Violation, ...]:
    return (Violation("KC303", "gpus", f"{cut.gpus:,} cards are needed and there are {cards}", True),)


def _verdict(bound: Bound, timed: Performance) -> SlaVerdict:
    predicted = predicted_for(bound, timed)
    return SlaVerdict(bound, predicted, _met(bound, predicted))


def predicted_for(bound: Bound, timed: Performance) -> Figure:
    """The predicted figure that a bound is about."""
    figures: dict[BoundName, Figure] = {
        "tokens_per_second": timed.tokens_per_second,
        "ttft": timed.ttft,
        "itl": timed.itl,
        "answer": timed.answer,
        "throughput": timed.throughput,
    }
    return figures[bound.name]


def _met(bound: Bound, predicted: Figure) -> Verdict:
    """Yes or no where the whole range is on one side of the target, else uncertain."""
    low, high = predicted.range()
    target = bound.value.value
    if bound.operator == "<=":
        return "yes" if high <= target else "no" if low > target else "uncertain"
    return "yes" if low >= target else "no" if high < target else "uncertain"


def expected_met(verdict: SlaVerdict) -> bool:
    """Whether a bound is met at the expected value."""
    target, value = verdict.bound.value.value, verdict.predicted.value
    return value <= target if verdict.bound.operator == "<=" else value >= target


def asked_value(bound: Bound) -> str:
    """A bound's side and target: `≤ 3.0 s`."""
    unit: Unit = "s" if bound.name in ("ttft", "itl", "answer") else "tokens/s"
    return f"{'≤' if bound.operator == '<=' else '≥'} {human(bound.value.value, unit)}"


def asked(bound: Bound) -> str:
    """A bound as people read it: `ttft ≤ 3.0 s`."""
    return f"{bound.name} {asked_value(bound)}"
