"""KV figures: bytes of a token, of a request and of a sequence's fixed part, and what a pool of blocks holds.

How the cache is laid out is in `kv_layout`, bytes of one layer in `kv_layers`, what versions and flags decide in `kv_engine`; all are
offered here too.
"""

from __future__ import annotations

import math
from functools import lru_cache

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
    ELEMENT_BYTES,
    PACKED_LATENT_BYTES,
    element_bytes,
    grouped_token_bytes,
    index_token_bytes,
    latent_token_bytes,
    packed_latent,
    recurrent_channels,
    since,
    state_bytes,
)
from kcluster.physics.kv_layout import (
    NULL_BLOCK_SINCE,
    TOKENS_BY_CONCURRENCY_SINCE,
    KvGroup,
    KvLayout,
    kv_layout,
)
from kcluster.physics.weights import stage_layers
from kcluster.units import Figure, derive, given
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
    "since",
    "state_blocks",
    "state_bytes",
    "usable_blocks",
]


def kv_bytes_per_token(
    arch: Architecture,
    cut: Cut,
    limits: Limits,
    engine: EngineVersion,
    stage: int = 0,
    card: Card | None = None,
) -> Figure:
    """Bytes that one more token of a long context takes on one rank of a stage: the layers that keep every token, with the
    padding of their groups. Sliding layers and recurrent states are in `kv_fixed_bytes`."""
    layout = kv_layout(arch, cut, limits, engine, card)
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
            block_bytes=Figure("kv.block_bytes", layout.block_bytes[stage], "bytes"),
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
    counts: dict[GroupedAttention | LatentAttention, int] = {}
    for layer in members:
        for mixer in layer.mixers:
            if isinstance(mixer, LatentAttention) or (
                isinstance(mixer, GroupedAttention) and not (mixer.no_kv or mixer.cross)
            ):
                counts[mixer] = counts.get(mixer, 0) + 1
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
    if isinstance(mixer, GroupedAttention):
        each = "max(1, floor(kv_heads / tp)) * (key_dim + value_dim) * element_bytes"
        index = {"index_dim": mixer.index_dim} if mixer.index_heads else {}
        if index:
            each = f"({each} + 2 * index_dim)"  # a key of 16 bits, whole on every rank
        return derive(
            "kv.bytes_per_token.attention",
            "bytes/token",
            f"layers * {each} / dcp",
            source="vLLM, kv_cache_interface: a rank holds at least one KV head",
            layers=count,
            kv_heads=mixer.kv_heads,
            tp=tp,
            key_dim=mixer.head_dim,
            value_dim=mixer.v_head_dim,
            element_bytes=ELEMENT_BYTES[kv_format],
            dcp=dcp,
            **index,
        )
    if packed_latent(mixer, kv_format, card):
        return derive(
            "kv.bytes_per_token.latent",
            "bytes/token",
            "layers * (packed_latent + index) / dcp",
            source="vLLM, flashmla_sparse: 656 bytes a token, whole on every tensor-parallel rank",
            layers=count,
            packed_latent=PACKED_LATENT_BYTES,
            index=index_token_bytes(mixer),
            dcp=dcp,
        )
    return derive(
        "kv.bytes_per_token.latent",
        "bytes/token",
        "layers * ((kv_lora_rank + rope_dim) * element_bytes + index) / dcp",
        source="vLLM, kv_cache_interface: the latent is whole on every tensor-parallel rank",
        layers=count,
        kv_lora_rank=mixer.kv_lora_rank,
        rope_dim=mixer.rope_dim,
        element_bytes=ELEMENT_BYTES[kv_format],
        index=index_token_bytes(mixer),
        dcp=dcp,
    )


def kv_fixed_bytes(
    arch: Architecture,
    cut: Cut,
    limits: Limits,
    engine: EngineVersion,
    stage: int = 0,
    card: Card | None = None,
) -> Figure:
    """Bytes that one long request takes beside its tokens on one rank of a stage: sliding or chunked layers at their
    bound, and recurrent states."""
    layout = kv_layout(arch, cut, limits, engine, card)
    in_flight = in_flight_tokens(arch, limits, cut, engine)
    blocks = sum(
        group.blocks(limits.max_model_len, in_flight, cut.dcp) for group in layout.groups if group.kind != "full"
    )
    return derive(
        "kv.fixed_bytes_per_sequence",
        "bytes",
        "blocks * block_bytes",
        blocks=blocks,
        block_bytes=Figure("kv.block_bytes", layout.block_bytes[stage], "bytes"),
    )


def kv_for_request(
    arch: Architecture,
    cut: Cut,
    limits: Limits,
    tokens: int,
    engine: EngineVersion,
    stage: int = 0,
    card: Card | None = None,
) -> Figure:
    """Bytes that one request of `tokens` tokens takes on one rank of a stage, in whole blocks of every group."""
    layout = kv_layout(arch, cut, limits, engine, card)
    return derive(
        "kv.one_request",
        "bytes",
        "blocks * block_bytes",
        source="vLLM, kv_cache_utils: every group draws whole blocks from one pool",
        blocks=layout.blocks(tokens, in_flight_tokens(arch, limits, cut, engine), cut.dcp),
        block_bytes=Figure("kv.block_bytes", layout.block_bytes[stage], "bytes"),
    )


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
    """The engine's "GPU KV cache size" line: concurrency × max_model_len since 0.21, before that the blocks of one group."""
    if not layout.groups:
        return 0.0
    if since(engine, TOKENS_BY_CONCURRENCY_SINCE):
        return float(int(concurrency(layout, blocks, limits.max_model_len, in_flight, cut.dcp) * limits.max_model_len))
    smallest = min((group.block for group in layout.groups if group.kind != "state"), default=1)
    return float(blocks // len(layout.groups) * smallest * cut.dcp)


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
