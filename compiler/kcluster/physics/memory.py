"""The memory budget of one engine: what weights, work and libraries take of a card, what is left for KV, and whether the
engine starts.

The terms are those that start-up logs show (`physics/memory_terms.py`); the KV cache is laid out as the engine does it
(`physics/kv.py`). Source of the budget itself: vLLM, `v1/worker/gpu_worker.py` and `v1/core/kv_cache_utils.py`.
"""

from __future__ import annotations

import math
from functools import lru_cache

from kcluster.physics.architecture import Architecture
from kcluster.physics.capacity import (
    counts_states,
    default_limits,
    held_requests,
    longest_length,
    most_sequences,
    most_states,
)
from kcluster.physics.cut import Cut, EngineVersion, Limits
from kcluster.physics.formats import WeightFormat
from kcluster.physics.graphs import graphs, in_budget
from kcluster.physics.hardware import Card
from kcluster.physics.kv import (
    KvLayout,
    in_flight_tokens,
    kv_bytes_per_token,
    kv_fixed_bytes,
    kv_for_request,
    kv_layout,
    pool_blocks,
    request_blocks,
    token_line,
    usable_blocks,
)
from kcluster.physics.libraries import non_torch
from kcluster.physics.memory_terms import MemoryConstants, activation, spread
from kcluster.physics.results import Memory, StageMemory, Verdict
from kcluster.physics.weights import stage_layers, stage_weights
from kcluster.units import GIB, Figure, derive
from kcluster.values import evolve, frozen

__all__ = [
    "MemoryConstants",
    "default_limits",
    "held_requests",
    "longest_length",
    "memory",
    "most_sequences",
    "most_states",
    "unified",
]

CONTEXT_BYTES = 0.6 * GIB
"""What a process's own context takes of a card before the engine looks at what is free (0.3 to 0.6 GiB)."""


@frozen
class _Stage:
    """One stage's budget in bytes per GPU. `graphs_outside` is what graphs take beside the budget of an old engine."""

    weights: Figure
    activation: Figure
    non_torch: Figure
    cuda_graph: Figure
    graphs_outside: Figure | None
    kv_cache: Figure


@frozen
class _Pool:
    """Blocks of the pool at the low, the expected and the high end of what is left for KV."""

    low: int
    value: int
    high: int


def memory(
    arch: Architecture,
    fmt: WeightFormat,
    cut: Cut,
    limits: Limits,
    cards: tuple[Card, ...],
    engine: EngineVersion,
    constants: MemoryConstants,
    *,
    exact_weight_bytes: int | None = None,
    reserved: float = 0.0,
    draft_bytes: float = 0.0,
) -> Memory:
    """The budget of the tightest rank, per GPU, in bytes.

    Args:
        cards: one a stage, the smallest card of that stage; a single one serves for all stages.
        exact_weight_bytes: bytes of the whole checkpoint where they are known.
        reserved: bytes that others hold on every card.
        draft_bytes: bytes of a drafter on each GPU of the last stage.

    All stages hold the same number of blocks, so the stage with the smallest pool decides for all.
    """
    by_stage = cards if len(cards) == cut.pp else (cards[0],) * cut.pp
    layers = stage_layers(len(arch.layers), cut)
    layout = kv_layout(arch, cut, limits, engine, by_stage[0])
    stages = _stages(arch, fmt, cut, limits, by_stage, layers, engine, constants, exact_weight_bytes, draft_bytes)
    if limits.gpu_blocks is not None:
        stages = tuple(
            evolve(stage, kv_cache=_given_blocks(limits.gpu_blocks, size))
            for stage, size in zip(stages, layout.block_figures, strict=True)
        )
    tightest = min(range(cut.pp), key=lambda stage: _share(stages[stage].kv_cache.value, layout.block_bytes[stage]))
    own = stages[tightest]
    card = by_stage[tightest]
    pool = _pool(layout, stages)
    in_flight = in_flight_tokens(arch, limits, cut, engine)
    needed = layout.blocks(limits.max_model_len, in_flight, cut.dcp)
    one = request_blocks(layout.groups, limits.max_model_len, in_flight, cut.dcp)
    blocks = _blocks(pool, own.kv_cache, layout.block_figures[tightest])
    return Memory(
        total=card.memory,
        usable=_usable(card.memory, limits.utilization),
        weights=own.weights,
        activation=own.activation,
        non_torch=own.non_torch,
        cuda_graph=own.cuda_graph,
        kv_cache=own.kv_cache,
        kv_bytes_per_token=kv_bytes_per_token(arch, cut, limits, engine, tightest, card, layout),
        kv_fixed_bytes_per_sequence=kv_fixed_bytes(arch, cut, limits, engine, tightest, card, layout),
        kv_tokens=_tokens(layout, blocks, one, limits, cut, engine),
        max_concurrency=_concurrency(blocks, one),
        kv_for_one=kv_for_request(arch, cut, limits, limits.max_model_len, engine, tightest, card, layout),
        stages=tuple(
            StageMemory(stage, layers[stage], stages[stage].weights, stages[stage].kv_cache) for stage in range(cut.pp)
        ),
        weights_fit=_fits(stages, limits),
        starts=_starts(stages, by_stage, layout, pool, needed, limits, engine, reserved),
        layout=layout,
    )


def _stages(
    arch: Architecture,
    fmt: WeightFormat,
    cut: Cut,
    limits: Limits,
    cards: tuple[Card, ...],
    layers: tuple[int, ...],
    engine: EngineVersion,
    constants: MemoryConstants,
    exact: int | None,
    draft: float,
) -> tuple[_Stage, ...]:
    """Each stage's budget. Inner stages of the same layers on the same card are one value."""
    loads = _loads(limits)
    known: dict[tuple[object, ...], _Stage] = {}
    stages = []
    for stage in range(cut.pp):
        weights = _weights(arch, fmt, cut, stage, exact, draft, *loads, constants)
        key = (stage == 0, stage == cut.pp - 1, layers[stage], weights.value, cards[stage].id)
        if key not in known:
            known[key] = _stage(arch, fmt, limits, cards[stage], engine, constants, cut, stage, layers[stage], weights)
        stages.append(known[key])
    return tuple(stages)


def weights_exceed(
    arch: Architecture,
    fmt: WeightFormat,
    cut: Cut,
    limits: Limits,
    card: Card,
    constants: MemoryConstants,
    *,
    exact_weight_bytes: int | None = None,
    draft_bytes: float = 0.0,
) -> bool:
    """Whether weights alone are seen to be more than the engine's share of a card, so that nothing is left for KV: what `memory`
    says in the end, mostly known at once, by the mean card (which holds no more than the fullest) or one of three stages."""
    if limits.kv_cache_memory_bytes is not None:
        return False
    if cut.engine_gpus < cards_for_weights(arch, fmt, limits, card, constants, exact_weight_bytes=exact_weight_bytes):
        return True
    usable, loads = _usable(card.memory, limits.utilization).value, _loads(limits)
    return any(
        _weights(arch, fmt, cut, stage, exact_weight_bytes, draft_bytes, *loads, constants).value >= usable
        for stage in {0, cut.pp // 2, cut.pp - 1}
    )


def cards_for_weights(
    arch: Architecture,
    fmt: WeightFormat,
    limits: Limits,
    card: Card,
    constants: MemoryConstants,
    *,
    exact_weight_bytes: int | None = None,
) -> float:
    """A number of cards below which no cut holds the weights: the mean card holds no more than the fullest."""
    usable = _usable(card.memory, limits.utilization).value
    if limits.kv_cache_memory_bytes is not None or usable <= 0:
        return 0.0
    return (
        _KEPT_BY_CUTTING
        * _weights(arch, fmt, Cut(), 0, exact_weight_bytes, 0.0, *_loads(limits), constants).value
        / usable
    )


_KEPT_BY_CUTTING = 0.95
"""Of what one card would hold, the least that all cards of a cut hold together: the allocator may round less up."""


def _loads(limits: Limits) -> tuple[bool, bool]:
    """Whether an engine loads the multi-token-prediction layers and the vision tower."""
    mtp = bool(limits.speculative_tokens and limits.mtp and not limits.draft_layers)
    return mtp, not limits.language_model_only


def _given_blocks(count: int, block_bytes: Figure) -> Figure:
    blocks = Figure("kv.gpu_blocks", count, "count", source="--num-gpu-blocks-override")
    return derive("memory.kv_cache", "bytes", "blocks * block_bytes", blocks=blocks, block_bytes=block_bytes)


@lru_cache(maxsize=8192)
def _weights(
    arch: Architecture,
    fmt: WeightFormat,
    cut: Cut,
    stage: int,
    exact: int | None,
    draft: float,
    mtp: bool,
    vision: bool,
    constants: MemoryConstants,
) -> Figure:
    weights = stage_weights(arch, fmt, cut, stage, exact_bytes=exact, mtp=mtp, vision=vision)
    if weights.low is None:
        low, high = constants.weights.range()
        weights = weights.spread(low, high)
    if not draft or stage != cut.pp - 1:
        return evolve(weights, name="memory.weights")
    drafter = Figure("memory.drafter", draft, "bytes")
    return spread(derive("memory.weights", "bytes", "model + drafter", model=weights, drafter=drafter), weights)


@lru_cache(maxsize=4096)
def _usable(total: Figure, utilization: float) -> Figure:
    usable = derive(
        "memory.usable",
        "bytes",
        "ceil(total * utilization)",
        source="vLLM, v1/worker/utils.py: requested memory is a share of the total, not of what is free",
        total=total,
        utilization=Figure("utilization", utilization, "ratio"),
    )
    low, high = total.range()
    return usable.between(low * utilization, high * utilization) if total.low is not None else usable


def _stage(
    arch: Architecture,
    fmt: WeightFormat,
    limits: Limits,
    card: Card,
    engine: EngineVersion,
    constants: MemoryConstants,
    cut: Cut,
    stage: int,
    layers: int,
    weights: Figure,
) -> _Stage:
    usable = _usable(card.memory, limits.utilization)
    peak = _activation(arch, fmt, cut.tp, cut.dp, cut.ep, limits, engine, constants, *_like(stage, cut.pp))
    libraries = _non_torch(cut.tp, card, engine, constants)
    captured = _graphs(arch, layers, cut.tp, limits, engine, constants)
    inside = in_budget(arch, engine)
    graph, outside = (captured, None) if inside else (_NO_GRAPHS, captured)
    if limits.kv_cache_memory_bytes is not None:
        kv = Figure("memory.kv_cache", float(limits.kv_cache_memory_bytes), "bytes", source="kv_cache_memory_bytes")
        return _Stage(weights, peak, libraries, graph, outside, kv)
    kv = derive(
        "memory.kv_cache",
        "bytes",
        "usable - weights - activation - non_torch - cuda_graph",
        source="vLLM, v1/worker/gpu_worker.py" + ("" if measured(engine) else UNMEASURED),
        usable=usable,
        weights=weights,
        activation=peak,
        non_torch=libraries,
        cuda_graph=graph,
    )
    share = constants.pool_unified if unified(card) else constants.pool
    doubt = Figure(
        "", 0.0, "bytes", low=share.range()[0] * card.memory.value, high=share.range()[1] * card.memory.value
    )
    # terms that are subtracted push the low end with their own high end
    down = [usable.value - usable.range()[0], -doubt.range()[0]]
    up = [usable.range()[1] - usable.value, doubt.range()[1]]
    for term in (weights, peak, libraries, graph):
        down.append(term.range()[1] - term.value)
        up.append(term.value - term.range()[0])
    if not measured(engine):
        overhead = peak.value + libraries.value + graph.value
        down.append(overhead)
        up.append(overhead / 2)
    kv = kv.between(kv.value - math.hypot(*down), kv.value + math.hypot(*up))
    return _Stage(weights, peak, libraries, graph, outside, kv)


UNMEASURED = "; fitted to logs of vLLM, and of this engine none was: its overhead is taken as half to twice vLLM's"
"""What is said of an engine whose starts the terms were not fitted to."""


def measured(engine: EngineVersion) -> bool:
    """Whether the terms were fitted to starts of this engine (Triton's backend is vLLM)."""
    return engine.name in ("vllm", "triton")


_NO_GRAPHS = derive(
    "memory.cuda_graph", "bytes", "0", source="this release sizes the KV cache before it captures graphs"
)


def unified(card: Card) -> bool:
    """Whether the host shares the card's memory, which makes two equal starts differ by gigabytes."""
    return card.form in ("soc", "superchip") and card.memory.value < 200 * GIB and card.bandwidth.value < 1e12


def _like(stage: int, pp: int) -> tuple[int, int]:
    """The stage of the shortest pipeline that is like this one: the first, the last, or between two others."""
    if pp == 1:
        return 0, 1
    return (0 if stage == 0 else 2 if stage == pp - 1 else 1), 3


@lru_cache(maxsize=8192)
def _activation(
    arch: Architecture,
    fmt: WeightFormat,
    tp: int,
    dp: int,
    ep: bool,
    limits: Limits,
    engine: EngineVersion,
    constants: MemoryConstants,
    stage: int,
    pp: int,
) -> Figure:
    return activation(arch, fmt, Cut(tp=tp, pp=pp, dp=dp, ep=ep), limits, engine, constants, stage)


@lru_cache(maxsize=4096)
def _graphs(
    arch: Architecture, layers: int, tp: int, limits: Limits, engine: EngineVersion, constants: MemoryConstants
) -> Figure:
    return graphs(arch, layers, tp, limits, engine, constants)


@lru_cache(maxsize=4096)
def _non_torch(tp: int, card: Card, engine: EngineVersion, constants: MemoryConstants) -> Figure:
    return non_torch(Cut(tp=tp), card, engine, constants)


def _share(kv_bytes: float, block_bytes: float) -> float:
    return kv_bytes / block_bytes if block_bytes else math.inf


def _pool(layout: KvLayout, stages: tuple[_Stage, ...]) -> _Pool:
    return _Pool(
        pool_blocks(layout, tuple(stage.kv_cache.range()[0] for stage in stages)),
        pool_blocks(layout, tuple(stage.kv_cache.value for stage in stages)),
        pool_blocks(layout, tuple(stage.kv_cache.range()[1] for stage in stages)),
    )


def _tokens(layout: KvLayout, blocks: Figure, one: Figure, limits: Limits, cut: Cut, engine: EngineVersion) -> Figure:
    """The engine's line `GPU KV cache size`, at both ends of the pool's range too."""
    low, high = (token_line(layout, end, one, limits, cut, engine).value for end in blocks.range())
    return evolve(token_line(layout, blocks, one, limits, cut, engine), name="memory.kv_tokens").between(low, high)


def _blocks(pool: _Pool, kv_cache: Figure, block_bytes: Figure) -> Figure:
    """Blocks of the pool: those of the tightest stage, whose memory and block these are."""
    inputs = (("kv_cache", kv_cache), ("block_bytes", block_bytes))
    return Figure("kv.blocks", pool.value, "count", "floor(kv_cache / block_bytes)", inputs, "", pool.low, pool.high)


def _concurrency(blocks: Figure, one: Figure) -> Figure:
    if not one.value:
        return Figure("memory.max_concurrency", math.inf, "requests", source="nothing that grows with a request")
    source = "the engine's line `Maximum concurrency`"
    figure = derive(
        "memory.max_concurrency",
        "requests",
        "blocks / blocks_for_one",
        source=source,
        blocks=blocks,
        blocks_for_one=one,
    )
    low, high = blocks.range()
    return figure.between(low / one.value, high / one.value)


def _fits(stages: tuple[_Stage, ...], limits: Limits) -> Verdict:
    """Whether weights and overhead leave anything at all on every stage."""
    if limits.given_cache:
        return "yes"
    if all(stage.kv_cache.range()[0] > 0 for stage in stages):
        return "yes"
    return "uncertain" if all(stage.kv_cache.range()[1] > 0 for stage in stages) else "no"


def _starts(
    stages: tuple[_Stage, ...],
    cards: tuple[Card, ...],
    layout: KvLayout,
    pool: _Pool,
    needed: int,
    limits: Limits,
    engine: EngineVersion,
    reserved: float,
) -> Verdict:
    """Whether the engine starts: the share it asks for must be free, the pool must hold one longest request and a state for
    every sequence, and what lies outside the budget must still find room."""
    verdict: Verdict = "no"
    if needed <= usable_blocks(pool.low, engine) and pool.low > 0:
        verdict = "yes"
    elif needed <= usable_blocks(pool.high, engine) and pool.high > 0:
        verdict = "uncertain"
    for stage, card in zip(stages, cards, strict=True):
        verdict = _weaker(verdict, _room(stage, card, limits, reserved))
    return _weaker(verdict, _states(layout, pool, limits, engine))


def _states(layout: KvLayout, pool: _Pool, limits: Limits, engine: EngineVersion) -> Verdict:
    """Whether every sequence could have a block of recurrent state."""
    if not counts_states(layout, limits, engine) or limits.max_num_seqs <= pool.low:
        return "yes"
    return "uncertain" if limits.max_num_seqs <= pool.high else "no"


def _room(stage: _Stage, card: Card, limits: Limits, reserved: float) -> Verdict:
    free = card.memory.value - reserved
    if limits.given_cache:
        taken = (stage.weights, stage.activation, stage.non_torch, stage.kv_cache)
        least = sum(figure.range()[0] for figure in taken)
        most = sum(figure.range()[1] for figure in taken)
        return "yes" if most <= free else "uncertain" if least <= free else "no"
    asked = card.memory.value * limits.utilization
    if asked > free:
        return "no"
    if asked > free - CONTEXT_BYTES:
        return "uncertain"
    if stage.graphs_outside is not None and asked + stage.graphs_outside.range()[0] > free:
        return "uncertain"
    return "yes"


def _weaker(first: Verdict, second: Verdict) -> Verdict:
    order: tuple[Verdict, ...] = ("no", "uncertain", "yes")
    return order[min(order.index(first), order.index(second))]
