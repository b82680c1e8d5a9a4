"""One engine on its cards: constraints, the limits that follow from what its pool holds, and its memory."""

from __future__ import annotations

import math
from typing import Final

from kcluster.physics.capacity import held_requests, holds_longest, longest_length, most_states
from kcluster.physics.constraints import violations as broken_constraints
from kcluster.physics.cut import Cut, Limits
from kcluster.physics.hardware import Card
from kcluster.physics.memory import cards_for_weights, memory, weights_exceed
from kcluster.physics.results import Memory
from kcluster.planner.case import Case
from kcluster.planner.limits import first_limits
from kcluster.planner.types import Violation
from kcluster.units import Figure
from kcluster.values import evolve, frozen

ROUNDS: Final = 4
"""Corrections of a sequence limit after its first estimate; the estimate is a line through two points, and nearly right."""


@frozen
class Fit:
    """One engine: what the constraints say, its limits, and its memory.

    `memory` is None where the cut makes it meaningless. `held_longest` and `held_typical`: requests of the SLA's longest and
    typical length that one engine core's KV cache holds.
    """

    limits: Limits
    constraints: tuple[Violation, ...]
    memory: Memory | None
    held_longest: Figure | None
    held_typical: Figure | None

    @property
    def room(self) -> float:
        """Sorts engines by how tight their memory is: the tightest lowest."""
        return self.held_longest.value if self.held_longest else -1.0


def constraints_of(case: Case, cut: Cut, limits: Limits, cards: tuple[Card, ...]) -> tuple[Violation, ...]:
    """What the axes, blocks, lengths and formats forbid, whatever the memory."""
    layers = len(case.architecture.layers)
    if cut.pp > layers:
        return (Violation("KC304", "pp", f"{cut.pp:,} pipeline stages for {layers} layers", True),)
    broken = broken_constraints(case.architecture, case.weights, cut, limits, case.engine, cards)
    return tuple(Violation(found.code, found.subject, found.because, found.fatal, found.figures) for found in broken)


def fit_engine(
    case: Case, cut: Cut, cards: tuple[Card, ...], limits: Limits, constraints: tuple[Violation, ...], *, settle: bool
) -> Fit:
    """The memory of one engine. With `settle`, a max_num_seqs that nobody wrote is lowered to what the pool holds of typical
    requests (and has of recurrent states), so that what does not fit waits instead of being preempted."""
    senseless = any(found.subject == "layers" and found.fatal for found in constraints)
    if cut.pp > len(case.architecture.layers) or senseless:
        return Fit(limits, constraints, None, None, None)
    settle = settle and case.pins.max_num_seqs is None
    if settle and not case.pins.fitted_length and is_heavy(case, cut, limits, cards):
        single = _measured(case, cut, cards, evolve(limits, max_num_seqs=1), constraints)
        if _most(case, single) < 1:
            return single
    fit = _measured(case, cut, cards, limits, constraints)
    if case.pins.fitted_length:
        fit = _shortened(case, cut, cards, fit)
    return _settled(case, cut, cards, fit) if settle and _most(case, fit) < limits.max_num_seqs else fit


def fewest_cards(case: Case, card: Card) -> float:
    """Fewer of these cards do not hold the weights, however they are cut."""
    limits = first_limits(case, Cut(), case.dtype, card)
    return cards_for_weights(
        case.architecture,
        case.weights,
        limits,
        card,
        case.memory_constants,
        exact_weight_bytes=case.exact_weight_bytes,
    )


def is_heavy(case: Case, cut: Cut, limits: Limits, cards: tuple[Card, ...]) -> bool:
    """Whether weights alone are more than any of the cards takes."""
    return weights_exceed(
        case.architecture,
        case.weights,
        cut,
        limits,
        max(cards, key=lambda card: card.memory.value),
        case.memory_constants,
        exact_weight_bytes=case.exact_weight_bytes,
        draft_bytes=case.draft_bytes / cut.tp,
    )


def _shortened(case: Case, cut: Cut, cards: tuple[Card, ...], fit: Fit) -> Fit:
    """With the longest length that the pool holds, where it does not hold the model's own."""
    if fit.memory is None or holds_longest(fit.memory, case.engine):
        return fit
    length = longest_length(fit.memory, case.architecture, cut, fit.limits, case.engine)
    return _measured(case, cut, cards, evolve(fit.limits, max_model_len=max(1, length)), fit.constraints)


def _settled(case: Case, cut: Cut, cards: tuple[Card, ...], fit: Fit) -> Fit:
    """The most sequences that the pool still holds beside what they cost themselves (sampler, graphs): KV shrinks in a line with
    them, so two points give the answer, and a few rounds take the corners off."""

    def at(sequences: int) -> Fit:
        return _measured(case, cut, cards, evolve(fit.limits, max_num_seqs=sequences), fit.constraints)

    wanted = fit.limits.max_num_seqs
    single = at(1)
    most = _most(case, single)
    if most < 2 or wanted < 3:
        return single
    assert single.memory is not None and fit.memory is not None
    cost = (single.memory.kv_cache.value - fit.memory.kv_cache.value) / (wanted - 1)
    request = single.memory.kv_cache.value / most
    estimate = (single.memory.kv_cache.value + cost) / (request + cost) if request + cost > 0 else 1.0
    sequences = max(1, min(math.floor(estimate), wanted - 1))
    for _ in range(ROUNDS):
        if sequences == 1:
            return single
        found = at(sequences)
        most = _most(case, found)
        if most >= sequences:
            return found
        sequences = max(1, min(math.floor(most), sequences - 1))
    return single


def _most(case: Case, fit: Fit) -> float:
    """Sequences that the pool takes without preempting, and a hybrid without being refused."""
    if fit.memory is None or fit.held_typical is None:
        return 0.0
    states = most_states(fit.memory, fit.limits, case.engine)
    return min(fit.held_typical.value, states.range()[0] if states is not None else math.inf)


def _measured(case: Case, cut: Cut, cards: tuple[Card, ...], limits: Limits, constraints: tuple[Violation, ...]) -> Fit:
    budget = memory(
        case.architecture,
        case.weights,
        cut,
        limits,
        cards,
        case.engine,
        case.memory_constants,
        exact_weight_bytes=case.exact_weight_bytes,
        reserved=case.cluster.reserved,
        draft_bytes=case.draft_bytes / cut.tp,
    )
    longest = max(1, min(case.load.context, limits.max_model_len))
    typical = max(1, min(case.load.prompt + case.load.completion, longest))
    held = [held_requests(budget, case.architecture, cut, limits, case.engine, tokens) for tokens in (longest, typical)]
    return Fit(limits, constraints, budget, *held)
