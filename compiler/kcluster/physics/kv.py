"""KV figures: bytes of a token, of a request and of a sequence's fixed part, and what a pool of blocks holds.

How the cache is laid out is in `kv_layout`, bytes of one layer in `kv_layers`, what versions and flags decide in `kv_engine`; all are
offered here too.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache
from typing import Final

from kcluster.physics.architecture import Architecture, GroupedAttention, LatentAttention, Layer
from kcluster.physics.cut import Cut, EngineVersion, KvFormat, Limits
from kcluster.physics.hardware import Card
from kcluster.physics.kv_engine import (
    default_block_size,
    default_prefix_caching,
    drafting_layers,
    in_flight_tokens,
    state_blocks,
)
from kcluster.physics.kv_layers import (
    element_bytes,
    grouped_token_bytes,
    latent_token_bytes,
    layer_token,
    recurrent_channels,
    since,
    state_bytes,
)
from kcluster.physics.kv_layout import (
    NULL_BLOCK_SINCE,
    TOKENS_BY_CONCURRENCY_SINCE,
    GroupKind,
    KvGroup,
    KvLayout,
    kv_layout,
)
from kcluster.physics.weights import stage_layers
from kcluster.units import Figure, Number, derive, given
from kcluster.values import evolve

__all__ = [
    "KvGroup",
    "KvLayout",
    "concurrency",
    "default_block_size",
    "default_prefix_caching",
    "drafting_layers",
    "element_bytes",
    "grouped_token_bytes",
    "in_flight_tokens",
    "kv_bytes_per_token",
    "kv_fixed_bytes",
    "kv_for_request",
    "kv_layout",
    "latent_token_bytes",
    "longest_tokens",
    "pool_blocks",
    "printed_tokens",
    "recurrent_channels",
    "request_blocks",
    "since",
    "state_blocks",
    "state_bytes",
    "token_line",
    "usable_blocks",
]


def kv_bytes_per_token(
    arch: Architecture,
    cut: Cut,
    limits: Limits,
    engine: EngineVersion,
    stage: int = 0,
    card: Card | None = None,
    layout: KvLayout | None = None,
) -> Figure:
    """Bytes that one more token of a long context takes on one rank of a stage: the layers that keep every token, with the
    padding of their groups. Sliding layers and recurrent states are in `kv_fixed_bytes`."""
    layout = layout or kv_layout(arch, cut, limits, engine, card)
    full = [group for group in layout.groups if group.kind == "full"]
    if not full:
        return given("kv.bytes_per_token", 0.0, "bytes/token", "no layer keeps every token")
    if layout.hybrid:
        return derive(
            "kv.bytes_per_token",
            "bytes/token",
            "full_groups * block_bytes / block / dcp",
            source="vLLM, kv_cache_utils: layers dealt into groups of equal pages, padding included",
            full_groups=len(full),
            block_bytes=layout.block_figures[stage],
            block=Figure("kv.block", full[0].block, "tokens"),
            dcp=cut.dcp,
        )
    parts = _token_parts(
        arch,
        stage_layers(len(arch.layers), cut),
        stage,
        drafting_layers(arch, limits),
        cut.tp,
        cut.dcp,
        limits.kv_format,
        card,
    )
    if len(parts) == 1:
        return evolve(next(iter(parts.values())), name="kv.bytes_per_token")
    return derive("kv.bytes_per_token", "bytes/token", " + ".join(parts), source="", **parts)


@lru_cache(maxsize=4096)
def _token_parts(
    arch: Architecture,
    layers: tuple[int, ...],
    stage: int,
    drafter: tuple[Layer, ...],
    tp: int,
    dcp: int,
    kv_format: KvFormat,
    card: Card | None,
) -> dict[str, Figure]:
    """One figure for every kind of layer of a stage that keeps tokens."""
    start = sum(layers[:stage])
    members = list(arch.layers[start : start + layers[stage]])
    if stage == len(layers) - 1:
        members += drafter
    times = Counter(map(id, members))  # like layers mostly are one object, and quicker found by it
    counts: dict[GroupedAttention | LatentAttention, int] = {}
    for layer in {id(layer): layer for layer in members}.values():
        for mixer in layer.mixers:
            if isinstance(mixer, LatentAttention) or (
                isinstance(mixer, GroupedAttention) and not (mixer.no_kv or mixer.cross)
            ):
                counts[mixer] = counts.get(mixer, 0) + times[id(layer)]
    parts = {}
    for index, (mixer, count) in enumerate(counts.items()):
        name = "layers" if len(counts) == 1 else f"layers_{index + 1}"
        parts[name] = _token_part(mixer, count, tp, dcp, kv_format, card)
    return parts


def _token_part(
    mixer: GroupedAttention | LatentAttention,
    count: int,
    tp: int,
    dcp: int,
    kv_format: KvFormat,
    card: Card | None,
) -> Figure:
    return derive(
        "kv.bytes_per_token.layers",
        "bytes/token",
        "layers * each / dcp",
        layers=count,
        each=layer_token(mixer, kv_format, tp, card),
        dcp=dcp,
    )


def kv_fixed_bytes(
    arch: Architecture,
    cut: Cut,
    limits: Limits,
    engine: EngineVersion,
    stage: int = 0,
    card: Card | None = None,
    layout: KvLayout | None = None,
) -> Figure:
    """Bytes that one long request takes beside its tokens on one rank of a stage: sliding or chunked layers at their
    bound, and recurrent states."""
    layout = layout or kv_layout(arch, cut, limits, engine, card)
    in_flight = in_flight_tokens(arch, limits, cut, engine)
    fixed = tuple(group for group in layout.groups if group.kind != "full")
    return derive(
        "kv.fixed_bytes_per_sequence",
        "bytes",
        "blocks * block_bytes",
        blocks=request_blocks(fixed, limits.max_model_len, in_flight, cut.dcp),
        block_bytes=layout.block_figures[stage],
    )


def kv_for_request(
    arch: Architecture,
    cut: Cut,
    limits: Limits,
    tokens: int,
    engine: EngineVersion,
    stage: int = 0,
    card: Card | None = None,
    layout: KvLayout | None = None,
) -> Figure:
    """Bytes that one request of `tokens` tokens takes on one rank of a stage, in whole blocks of every group."""
    layout = layout or kv_layout(arch, cut, limits, engine, card)
    return derive(
        "kv.one_request",
        "bytes",
        "blocks * block_bytes",
        source="vLLM, kv_cache_utils: every group draws whole blocks from one pool",
        blocks=request_blocks(layout.groups, tokens, in_flight_tokens(arch, limits, cut, engine), cut.dcp),
        block_bytes=layout.block_figures[stage],
    )


_BLOCKS: Final[dict[GroupKind, str]] = {
    "full": "groups * ceil(ceil(tokens / dcp) / block)",
    "window": "groups * (ceil(min(window - 1 + in_flight, tokens) / block) + 1)",
    "chunk": "groups * ceil(min(chunk + in_flight, tokens) / block)",
}


@lru_cache(maxsize=4096)
def request_blocks(groups: tuple[KvGroup, ...], tokens: int, in_flight: int, dcp: int) -> Figure:
    """Blocks that a request of `tokens` tokens takes of these groups: what `KvGroup.blocks` counts, with how it comes about."""
    settled = "vLLM, config/vllm.py: max_num_batched_tokens of every batch that may be in flight (one before 0.26)"
    unsettled = Figure("kv.in_flight", in_flight, "tokens", source=settled)
    alike: dict[tuple[GroupKind, int, int], int] = {}
    for group in groups:
        key = (group.kind, group.span, group.block)
        alike[key] = alike.get(key, 0) + 1
    parts: dict[str, Figure] = {}
    for (kind, span, block), count in alike.items():
        name = kind if kind not in parts else f"{kind}_{len(parts) + 1}"
        source = "vLLM, kv_cache_interface.py: what a request of this length holds at most"
        if kind == "state":
            formula = "groups * (states + ceil(tokens / block))" if block else "groups * states"
            more: dict[str, Number] = {"tokens": tokens, "block": block} if block else {}
            parts[name] = derive("kv.blocks", "count", formula, source=source, groups=count, states=span, **more)
            continue
        inputs: dict[str, dict[str, Number]] = {
            "full": {"dcp": dcp},
            "window": {"window": span, "in_flight": unsettled},
        }
        more = inputs.get(kind, {"chunk": span, "in_flight": unsettled})
        parts[name] = derive(
            "kv.blocks", "count", _BLOCKS[kind], source=source, groups=count, tokens=tokens, block=block, **more
        )
    if len(parts) == 1:
        return evolve(next(iter(parts.values())), name="kv.blocks_for_one")
    return derive("kv.blocks_for_one", "count", " + ".join(parts) or "0", source="", **parts)


def pool_blocks(layout: KvLayout, kv_bytes: tuple[float, ...]) -> int:
    """Blocks of the pool: the smallest count over the stages, each with the KV bytes of its tightest rank."""
    counts = [int(available // size) for available, size in zip(kv_bytes, layout.block_bytes, strict=True) if size > 0]
    return max(0, min(counts, default=0))


def usable_blocks(blocks: int, engine: EngineVersion) -> int:
    """Blocks that requests can hold: newer engines keep one null block back when they check the longest request."""
    return max(0, blocks - 1) if since(engine, NULL_BLOCK_SINCE) else blocks


def concurrency(layout: KvLayout, blocks: int, tokens: int, in_flight: int, dcp: int) -> float:
    """Requests of `tokens` tokens that a pool holds at once, as the engine's "Maximum concurrency" line counts."""
    needed = layout.blocks(tokens, in_flight, dcp)
    return blocks / needed if needed else math.inf


def printed_tokens(
    layout: KvLayout, blocks: int, limits: Limits, in_flight: int, cut: Cut, engine: EngineVersion
) -> float:
    """The value of `token_line` for a pool of so many blocks."""
    one = request_blocks(layout.groups, limits.max_model_len, in_flight, cut.dcp)
    return token_line(layout, blocks, one, limits, cut, engine).value


def token_line(
    layout: KvLayout, blocks: Number, one: Figure, limits: Limits, cut: Cut, engine: EngineVersion
) -> Figure:
    """The engine's "GPU KV cache size" line: concurrency × max_model_len since 0.21, before that the blocks of one group."""
    source = "the engine's line `GPU KV cache size`"
    if not layout.groups:
        return Figure("kv.tokens", 0.0, "tokens", source="no layer keeps anything")
    if since(engine, TOKENS_BY_CONCURRENCY_SINCE):
        return derive(
            "kv.tokens",
            "tokens",
            "floor(blocks / blocks_for_one * max_model_len)",
            source=source,
            blocks=blocks,
            blocks_for_one=one,
            max_model_len=Figure("max_model_len", limits.max_model_len, "tokens"),
        )
    return derive(
        "kv.tokens",
        "tokens",
        "floor(blocks / groups) * block * dcp",
        source=f"{source}: before 0.21 the blocks of one group",
        blocks=blocks,
        groups=len(layout.groups),
        block=min((group.block for group in layout.groups if group.kind != "state"), default=1),
        dcp=cut.dcp,
    )


def longest_tokens(layout: KvLayout, blocks: int, in_flight: int, dcp: int, limit: int) -> int:
    """The longest request in tokens that `blocks` blocks hold, at most `limit`; 0 where not even one token fits.

    The same search as the engine's "estimated maximum model length".
    """
    if layout.blocks(1, in_flight, dcp) > blocks:
        return 0
    low, high = 1, limit
    while low < high:
        middle = (low + high + 1) // 2
        if layout.blocks(middle, in_flight, dcp) <= blocks:
            low = middle
        else:
            high = middle - 1
    return low
