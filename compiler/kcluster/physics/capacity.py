"""What a budget holds, asked the other way round: requests of a length, the longest length, the most sequences; and the limits
that an engine takes by itself.
"""

from __future__ import annotations

import math

from kcluster.physics.architecture import Architecture
from kcluster.physics.constraints import CHUNKS_BY_LENGTH, ITEM_FLOOR_SINCE
from kcluster.physics.cut import Cut, EngineVersion, Limits
from kcluster.physics.hardware import Card
from kcluster.physics.kv import in_flight_tokens, kv_layout, longest_tokens, since, usable_blocks
from kcluster.physics.kv_layout import KvLayout
from kcluster.physics.results import Memory
from kcluster.units import GIB, Figure, derive
from kcluster.values import evolve

LARGEST_TIER_SINCE = (0, 28)
GB10_SMALL_TIER_SINCE = (0, 33)
A100_SMALL_TIER_SINCE = (0, 9)
TIERS_SINCE = (0, 8)
"""Before, on every card: a step of 2,048 tokens where the model is long enough for chunked prefill, else one whole prompt."""
STATES_CHECKED_SINCE = (0, 20)
"""From vLLM 0.20 a hybrid with more max_num_seqs than blocks is refused before its graphs are captured."""
MOST_LENGTH = 2**27
"""Tokens beyond which no search for a length goes."""


def counts_states(layout: KvLayout, limits: Limits, engine: EngineVersion) -> bool:
    """Whether the engine asks a block of recurrent state for every one of max_num_seqs: hybrids with graphs do."""
    recurrent = any(group.kind == "state" for group in layout.groups)
    return recurrent and not limits.eager and since(engine, STATES_CHECKED_SINCE)


def held_requests(
    memory: Memory, arch: Architecture, cut: Cut, limits: Limits, engine: EngineVersion, tokens: int
) -> Figure:
    """Requests of `tokens` tokens that the KV of one engine core holds at once, with its range; not more than the pool's
    blocks allow, whatever `max_num_seqs` says."""
    layout = memory.layout or kv_layout(arch, cut, limits, engine)
    in_flight = in_flight_tokens(arch, limits, cut, engine)
    longest = layout.blocks(limits.max_model_len, in_flight, cut.dcp)
    needed = layout.blocks(tokens, in_flight, cut.dcp)
    if not needed:
        return Figure("memory.held_requests", math.inf, "requests", source="nothing that grows with a request")
    figure = derive(
        "memory.held_requests",
        "requests",
        "max_concurrency * blocks_for_longest / blocks_for_one",
        source="every request holds whole blocks of every group",
        max_concurrency=memory.max_concurrency,
        blocks_for_longest=longest,
        blocks_for_one=needed,
    )
    low, high = memory.max_concurrency.range()
    return figure.between(low * longest / needed, high * longest / needed)


def holds_longest(memory: Memory, engine: EngineVersion) -> bool:
    """Whether the expected pool, less the block that newer engines keep back, holds one request of max_model_len."""
    inputs = dict(memory.max_concurrency.inputs)
    if "blocks" not in inputs:
        return memory.max_concurrency.value >= 1
    return usable_blocks(int(inputs["blocks"].value), engine) >= inputs["blocks_for_one"].value


def longest_length(
    memory: Memory,
    arch: Architecture,
    cut: Cut,
    limits: Limits,
    engine: EngineVersion,
    *,
    safe: bool = False,
) -> int:
    """The largest max_model_len in tokens for which one request fits the pool: the engine's own estimate, block for block.

    With `safe` at the low end of the pool's range. At most the model's positions, where it has them; 0 where nothing fits.
    """
    layout = memory.layout or kv_layout(arch, cut, limits, engine)
    in_flight = in_flight_tokens(arch, limits, cut, engine)
    limit = arch.max_positions or MOST_LENGTH
    held = memory.max_concurrency.range()[0] if safe else memory.max_concurrency.value
    if math.isinf(held):
        return limit
    blocks = usable_blocks(round(held * layout.blocks(limits.max_model_len, in_flight, cut.dcp)), engine)
    return longest_tokens(layout, blocks, in_flight, cut.dcp, limit)


def most_states(memory: Memory, limits: Limits, engine: EngineVersion) -> Figure | None:
    """The most max_num_seqs with which a hybrid starts: the blocks of its pool; None where the engine does not ask."""
    if memory.layout is None or not counts_states(memory.layout, limits, engine):
        return None
    blocks = dict(memory.max_concurrency.inputs).get("blocks")
    if blocks is None:
        return None
    return evolve(blocks, name="memory.most_states", unit="requests")


def most_sequences(
    memory: Memory, arch: Architecture, cut: Cut, limits: Limits, engine: EngineVersion, tokens: int
) -> int:
    """Whole requests of `tokens` tokens that the pool holds at its low end: a max_num_seqs that does not preempt."""
    low = held_requests(memory, arch, cut, limits, engine, tokens).range()[0]
    return limits.max_num_seqs if math.isinf(low) else max(0, int(low))


def default_limits(
    arch: Architecture,
    card: Card,
    engine: EngineVersion,
    *,
    max_model_len: int | None = None,
    max_num_seqs: int | None = None,
    max_num_batched_tokens: int | None = None,
    chunked_prefill: bool = True,
) -> tuple[int, int]:
    """What the engine's API server takes for (max_num_seqs, max_num_batched_tokens) where they are not given.

    Tiers by what the driver reports as total: 160 GiB (since 0.28), 70 GiB (A100 excepted since 0.9, GB10 since 0.33), smaller. Source:
    vLLM, `engine/arg_utils.py`.
    """
    size = card.memory.value
    a100 = card.id.startswith("a100") and since(engine, A100_SMALL_TIER_SINCE)
    gb10 = card.id == "gb10" and since(engine, GB10_SMALL_TIER_SINCE)
    if size >= 160 * GIB and since(engine, LARGEST_TIER_SINCE):
        sequences, batched = 1024, 16384
    elif size >= 70 * GIB and not a100 and not gb10:
        sequences, batched = 1024, 8192
    else:
        sequences, batched = 256, 2048
    length = max_model_len or arch.max_positions
    if not since(engine, TIERS_SINCE):
        sequences, batched = 256, 2048 if (length or 0) > CHUNKS_BY_LENGTH else max(length or 0, 2048)
    if max_num_batched_tokens is None:
        if length is not None:
            if not chunked_prefill:
                batched = max(batched, length)
            batched = min(batched, (max_num_seqs or sequences) * length)
        if arch.item_tokens > batched and since(engine, ITEM_FLOOR_SINCE):
            batched = min(arch.item_tokens, length or arch.item_tokens)
    else:
        batched = max_num_batched_tokens
    return (min(sequences, batched) if max_num_seqs is None else max_num_seqs, batched)
