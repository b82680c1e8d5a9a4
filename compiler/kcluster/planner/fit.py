"""What speaks against a candidate's memory and its use of the cards (KC201–KC205, KC207, KC303, KC505)."""

from __future__ import annotations

import math
from typing import Final

from kcluster.physics.capacity import holds_longest, most_states
from kcluster.physics.cut import Cut, Limits
from kcluster.physics.memory import CONTEXT_BYTES
from kcluster.physics.results import Memory
from kcluster.planner.case import Case
from kcluster.planner.limits import sequences_wanted
from kcluster.planner.types import Violation
from kcluster.units import Figure, derive, given, human

WASTE: Final = 0.10
"""A share of the card left unused beyond which a written utilization is called wasteful."""
LIBRARIES: Final = 0.05
"""Of a card, what drivers and contexts outside the engine's budget may want: not counted as waste."""
TOO_MANY_SEQUENCES: Final = 2.0
"""max_num_seqs over what the KV cache holds of the longest requests, from which on it is far above."""


def card_violations(case: Case, cut: Cut, placed: int, even: bool) -> tuple[Violation, ...]:
    """Cards that are missing or idle, and forms that the executor cannot start."""
    total = case.cluster.gpus
    found = []
    if cut.gpus > total:
        text = f"{_shape(cut)} needs {cut.gpus:,} cards and there are {total:,}"
        found.append(Violation("KC303", _card_subject(case), text, True))
    elif placed < cut.replicas:
        text = f"{_shape(cut)} does not fit the nodes: {placed:,} of {cut.replicas:,} replicas find their cards"
        found.append(Violation("KC303", _card_subject(case), text, True))
    elif cut.gpus < total:
        idle = total - cut.gpus
        text = f"{idle:,} of {total:,} cards {'is' if idle == 1 else 'are'} idle"
        found.append(Violation("KC303", _card_subject(case), text, False))
    if not even and case.pins.executor == "mp":
        text = "the engine's own multi-node needs the same number of ranks on every node; Ray does not"
        found.append(Violation("KC303", "executor", text, True))
    elif not even and case.engine.name == "sglang":
        text = "SGLang needs the same number of ranks on every node"
        found.append(Violation("KC303", _card_subject(case), text, True))
    return tuple(found)


def memory_violations(
    case: Case, cut: Cut, limits: Limits, budget: Memory, longest: Figure | None, typical: Figure | None
) -> tuple[Violation, ...]:
    """Weights, one request, the load, the utilization and the sequences against the memory."""
    utilization = _utilization(case, limits, budget)
    weights = _weights(budget)
    if weights is not None:
        return (*utilization, weights)
    one = _one_request(case, limits, budget)
    states = _states(case, limits, budget)
    found = [*utilization, *((one,) if one else ()), *states]
    if not (one and one.fatal) and longest is not None and typical is not None:
        found += _load(case, cut, limits, longest, typical)
        found += () if states else _sequences(case, cut, limits, longest, typical)
    return tuple(found)


def _weights(budget: Memory) -> Violation | None:
    """KC201: what is missing on the fullest rank."""
    if budget.kv_cache.value > 0:
        return None
    missing = derive(
        "memory.missing",
        "bytes",
        "weights + engine - usable",
        weights=budget.weights,
        engine=_engine_bytes(budget),
        usable=budget.usable,
    )
    stage = f" of stage {_fullest(budget)}" if len(budget.stages) > 1 else ""
    text = (
        f"{human(budget.weights.value, 'bytes')} of weights and {human(_engine_bytes(budget).value, 'bytes')} of the engine on the "
        f"fullest card{stage}, {human(budget.usable.value, 'bytes')} usable: {human(missing.value, 'bytes')} missing"
    )
    return Violation("KC201", "tp", text, budget.weights_fit == "no", (missing, budget.weights, budget.usable))


def _one_request(case: Case, limits: Limits, budget: Memory) -> Violation | None:
    """KC202: one request of max_model_len against the pool."""
    if holds_longest(budget, case.engine):
        return None
    text = (
        "the KV cache holds one request and not the block beside it that the engine keeps back"
        if budget.max_concurrency.value >= 1
        else f"one request of {limits.max_model_len:,} tokens needs {human(budget.kv_for_one.value, 'bytes')} of KV a card and "
        f"{human(budget.kv_cache.value, 'bytes')} are left"
    )
    return Violation("KC202", "max_model_len", text, budget.starts == "no", (budget.kv_for_one, budget.kv_cache))


def _load(case: Case, cut: Cut, limits: Limits, longest: Figure, typical: Figure) -> tuple[Violation, ...]:
    """KC203 and KC204: the SLA's concurrency against what all engines' KV holds."""
    wanted = case.load.concurrency
    found = []
    for code, held, tokens, what in (
        ("KC203", longest, min(case.load.context, limits.max_model_len), "the longest"),
        ("KC204", typical, min(case.load.prompt + case.load.completion, limits.max_model_len), "typical ones"),
    ):
        everywhere = held_everywhere(held, cut)
        if everywhere.value < wanted:
            number = math.floor(everywhere.value)
            text = f"the KV cache holds {number:,} of {wanted:,} requests of {tokens:,} tokens, {what}"
            found.append(Violation(code, "concurrency", text, False, (everywhere,)))
    return tuple(found)


def held_everywhere(held: Figure, cut: Cut) -> Figure:
    """Requests that all engine cores of all replicas hold at once."""
    figure = derive(
        "load.held",
        "requests",
        "held * dp * replicas",
        held=held,
        dp=given("dp ranks", cut.dp, "count"),
        replicas=given("replicas", cut.replicas, "count"),
    )
    low, high = held.range()
    return figure.between(low * cut.dp * cut.replicas, high * cut.dp * cut.replicas)


def _sequences(case: Case, cut: Cut, limits: Limits, longest: Figure, typical: Figure) -> tuple[Violation, ...]:
    """KC207, for a written max_num_seqs only: the planner's own never exceeds what the cache holds of typical requests."""
    written = case.pins.max_num_seqs
    if written is None:
        return ()
    wanted = sequences_wanted(case, cut)
    if written < wanted:
        text = f"max_num_seqs {written:,} where {wanted:,} requests at a time come to each engine"
        return (Violation("KC207", "max_num_seqs", text, False, (longest,)),)
    # As many as the SLA has in flight are never too many: what is not typical of them waits for its turn or is preempted (KC203).
    if written > max(wanted, TOO_MANY_SEQUENCES * max(1.0, longest.value), typical.value):
        tokens = min(case.load.context, limits.max_model_len)
        text = f"max_num_seqs {written:,} where the KV cache holds {math.floor(longest.value):,} requests of {tokens:,} tokens"
        return (Violation("KC207", "max_num_seqs", text, False, (longest,)),)
    return ()


def _states(case: Case, limits: Limits, budget: Memory) -> tuple[Violation, ...]:
    """KC207: a hybrid is refused with more sequences than its pool has blocks of recurrent state."""
    most = most_states(budget, limits, case.engine)
    if most is None or limits.max_num_seqs <= most.value:
        return ()
    text = f"max_num_seqs {limits.max_num_seqs:,} where the pool has {most.value:,.0f} blocks of recurrent state"
    return (Violation("KC207", "max_num_seqs", text, limits.max_num_seqs > most.range()[1], (most,)),)


def _utilization(case: Case, limits: Limits, budget: Memory) -> tuple[Violation, ...]:
    """KC205: more asked than is free (refused), or much less than could be used."""
    if limits.given_cache:
        return _given_cache(case, budget)
    total, held = budget.total.value, case.cluster.reserved
    if limits.utilization > 1 or budget.usable.value > total - held:
        text = (
            f"{limits.utilization:g} of {human(total, 'bytes')} is {human(budget.usable.value, 'bytes')}, and "
            f"{human(max(0.0, total - held), 'bytes')} are free"
        )
        return (Violation("KC205", "gpu_memory_utilization", text, True, (budget.usable, budget.total)),)
    if budget.usable.value > total - held - CONTEXT_BYTES:
        text = (
            f"{limits.utilization:g} of {human(total, 'bytes')} is {human(budget.usable.value, 'bytes')}, and the process's own "
            f"context takes up to {human(CONTEXT_BYTES, 'bytes')} before the engine looks at what is free"
        )
        return (Violation("KC205", "gpu_memory_utilization", text, False, (budget.usable, budget.total)),)
    unused = 1 - limits.utilization - held / total - case.neighbours - LIBRARIES
    if case.pins.utilization is not None and unused > WASTE:
        text = f"{human(unused * total, 'bytes')} of every card stay unused at {limits.utilization:g}"
        return (Violation("KC205", "gpu_memory_utilization", text, False, (budget.usable, budget.total)),)
    return ()


def _given_cache(case: Case, budget: Memory) -> tuple[Violation, ...]:
    """KC205 where the KV cache's size is given outright, which switches the engine's own check off."""
    taken = derive(
        "memory.taken",
        "bytes",
        "weights + engine + kv_cache",
        weights=budget.weights,
        engine=_engine_bytes(budget),
        kv_cache=budget.kv_cache,
    )
    free = budget.total.value - case.cluster.reserved
    if budget.starts != "no" or budget.max_concurrency.value < 1 or taken.value <= free:
        return ()
    text = (
        f"the given KV cache, weights and engine take {human(taken.value, 'bytes')} and {human(free, 'bytes')} are free"
    )
    return (Violation("KC205", "gpu_memory_utilization", text, True, (taken, budget.total)),)


def _engine_bytes(budget: Memory) -> Figure:
    return derive(
        "memory.engine",
        "bytes",
        "activation + non_torch + graphs",
        activation=budget.activation,
        non_torch=budget.non_torch,
        graphs=budget.cuda_graph,
    )


def _fullest(budget: Memory) -> int:
    return min(budget.stages, key=lambda stage: (stage.kv_cache.value, stage.stage)).stage


def _card_subject(case: Case) -> str:
    """The written number that a finding about the count of cards can point at."""
    for name in ("replicas", "dp", "tp", "pp"):
        if getattr(case.pins, name) is not None:
            return name
    return "gpus"


def _shape(cut: Cut) -> str:
    parts = [f"{value:,} {name}" for name, value in (("replicas", cut.replicas), ("dp", cut.dp)) if value > 1]
    return " × ".join((*parts, f"tp {cut.tp:,}", f"pp {cut.pp:,}"))
