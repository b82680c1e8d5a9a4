"""The KV cache as the engine lays it out: layers in groups of equal pages, blocks, and what one request takes.

Layers of one kind share a block table. Layers of several kinds (full and sliding attention, attention and recurrent state)
are dealt into groups of the same number of layers with pages of the same size, so that one pool of blocks serves all; the
padding that this costs is part of the figures. Source: vLLM 0.11 to 0.33, `v1/core/kv_cache_utils.py`, from 0.3x
`v1/core/kv_cache_planning.py`, and `v1/kv_cache_interface.py`; checked against start-up logs.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

from attrs import evolve, frozen

from kcluster.physics.architecture import (
    Architecture,
    DeltaNet,
    GroupedAttention,
    LatentAttention,
    Layer,
    Mamba,
    Mixer,
    ShortConvolution,
)
from kcluster.physics.cut import Cut, EngineVersion, KvFormat, Limits
from kcluster.physics.hardware import Card
from kcluster.physics.weights import stage_layers
from kcluster.units import Figure, derive, given

ELEMENT_BYTES: dict[KvFormat, float] = {"bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "nvfp4": 0.5625}
"""Bytes of one element of K or V. fp8 has one scale a tensor (nothing per token); nvfp4 has one fp8 scale for 16 values."""

INDEX_SCALE_GROUP = 128
"""Values of the sparse index that share one fp32 scale: 128 + 4 = 132 bytes a token and layer for DeepSeek V3.2."""

PACKED_LATENT_BYTES = 656
"""One token of DeepSeek's packed fp8 latent: 512 fp8 values, 4 fp32 scales, 64 rope values of 16 bits."""

BATCHES_IN_FLIGHT_SINCE = (0, 26)
HYBRID_PREFIX_CACHING_SINCE = (0, 26)
NULL_BLOCK_SINCE = (0, 29)
STATE_CHECKPOINT_SINCE = (0, 33)
TOKENS_BY_CONCURRENCY_SINCE = (0, 21)

CHECKPOINT_TOKENS = 64
"""Tokens on which FlashInfer's delta-rule kernel can leave a checkpoint."""

GroupKind = Literal["full", "window", "chunk", "state"]


def _ceil(value: int, by: int) -> int:
    return -(-value // by)


@frozen
class KvGroup:
    """Layers that share one block table. `span` is the window or chunk in tokens, or the blocks that a sequence's
    recurrent state holds; `block` the tokens of one block on one rank; `layers` how many of them each stage has."""

    kind: GroupKind
    span: int
    block: int
    layers: tuple[int, ...]

    def blocks(self, tokens: int, in_flight: int, dcp: int) -> int:
        """Blocks that a request of `tokens` tokens holds at most."""
        if self.kind == "state":
            return self.span
        if self.kind == "full":
            return _ceil(_ceil(tokens, dcp), self.block)
        if self.kind == "window":
            return _ceil(min(self.span - 1 + in_flight, tokens), self.block) + 1
        return _ceil(min(self.span + in_flight, tokens), self.block)


@frozen(cache_hash=True)
class KvLayout:
    """The whole pool. `block_bytes` is what one block takes on one rank of each stage; a block id is taken on all stages
    at once, so a request takes the sum of its groups' blocks everywhere."""

    groups: tuple[KvGroup, ...]
    block_bytes: tuple[float, ...]

    def blocks(self, tokens: int, in_flight: int, dcp: int) -> int:
        return sum(group.blocks(tokens, in_flight, dcp) for group in self.groups)

    @property
    def hybrid(self) -> bool:
        return len(self.groups) > 1


@frozen
class _LayerCache:
    """What one layer holds: bytes of a token (or of one state), and the tokens of its natural block."""

    kind: GroupKind
    span: int
    block: int
    bytes: float
    stage: int

    @property
    def page(self) -> float:
        return self.bytes if self.kind == "state" else self.bytes * self.block


def element_bytes(kv_format: KvFormat) -> float:
    """Bytes of one KV element, scales included."""
    return ELEMENT_BYTES[kv_format]


def packed_latent(mixer: Mixer, kv_format: KvFormat, card: Card | None) -> bool:
    """Whether a sparse latent layer is stored in DeepSeek's packed fp8 form: for fp8 on Hopper, always on compute
    capability 12 (its only sparse kernel reads nothing else), never on Blackwell data-centre cards."""
    if not isinstance(mixer, LatentAttention) or not mixer.index_heads or card is None:
        return False
    if card.compute_capability is None or mixer.kv_lora_rank != 512:
        return False
    major = card.compute_capability[0]
    return major == 12 or (major == 9 and kv_format == "fp8")


def latent_token_bytes(mixer: LatentAttention, kv_format: KvFormat, card: Card | None) -> float:
    """Bytes of one token in one latent layer on every rank, the sparse index included."""
    packed = packed_latent(mixer, kv_format, card)
    latent = float(PACKED_LATENT_BYTES) if packed else (mixer.kv_lora_rank + mixer.rope_dim) * ELEMENT_BYTES[kv_format]
    return latent + _index_token_bytes(mixer)


def _index_token_bytes(mixer: LatentAttention) -> float:
    if not mixer.index_heads:
        return 0.0
    return mixer.index_dim + 4.0 * math.ceil(mixer.index_dim / INDEX_SCALE_GROUP)


def grouped_token_bytes(mixer: GroupedAttention, kv_format: KvFormat, tp: int) -> float:
    """Bytes of one token in one grouped-attention layer on one of `tp` ranks (a rank holds at least one KV head)."""
    return max(1, mixer.kv_heads // tp) * (mixer.head_dim + mixer.v_head_dim) * ELEMENT_BYTES[kv_format]


def state_bytes(mixer: Mixer, hidden: int, tp: int, speculative: int = 0, conv_bytes: int = 2) -> float:
    """Bytes of the recurrent state of one sequence in one layer on one of `tp` ranks; 0 for attention.

    Speculative tokens lengthen the convolution's state. Source: vLLM, `layers/mamba/mamba_utils.py`.
    """
    if isinstance(mixer, DeltaNet):
        conv = recurrent_channels(mixer, hidden) / tp * (mixer.conv_kernel - 1 + speculative) * conv_bytes
        return conv + mixer.value_heads / tp * mixer.value_dim * mixer.key_dim * mixer.state_bytes
    if isinstance(mixer, Mamba):
        groups = mixer.groups if mixer.groups % tp == 0 else tp
        channels = mixer.inner + (2 * groups * mixer.state if mixer.version == 2 else 0)
        taps = mixer.conv_kernel - 1 + (speculative if mixer.version == 2 else 0)
        return channels / tp * taps * conv_bytes + mixer.inner / tp * mixer.state * mixer.state_bytes
    if isinstance(mixer, ShortConvolution):
        return hidden / tp * (mixer.kernel - 1 + speculative) * conv_bytes
    return 0.0


def recurrent_channels(mixer: Mixer, hidden: int) -> int:
    """Channels that the convolution of a recurrent layer runs over, all ranks together; 0 for attention."""
    if isinstance(mixer, DeltaNet):
        return 2 * mixer.key_heads * mixer.key_dim + mixer.value_heads * mixer.value_dim
    if isinstance(mixer, Mamba):
        return mixer.inner + (2 * mixer.groups * mixer.state if mixer.version == 2 else 0)
    return hidden if isinstance(mixer, ShortConvolution) else 0


def default_block_size(arch: Architecture, limits: Limits, engine: EngineVersion, card: Card | None) -> int:
    """Tokens of a block when nobody sets it: 16, but what the latent-attention kernel of the card wants."""
    attention = arch.attention
    if not isinstance(attention, LatentAttention) or card is None or card.compute_capability is None:
        return 16
    if attention.index_heads:
        return 64
    major = card.compute_capability[0]
    if major == 9:
        return 64 if not engine.at_least(0, 19) or limits.kv_format == "fp8" else 16
    if major == 10:
        return 32 if engine.at_least(0, 19) else 128
    return 16


def in_flight_tokens(limits: Limits, cut: Cut, engine: EngineVersion) -> int:
    """Tokens scheduled but not yet settled, which a sliding layer keeps beside its window: one batch, since 0.26 every batch
    that the scheduler keeps in flight (vLLM, `config/vllm.py`, max_concurrent_batches)."""
    batches = cut.pp + 1 if engine.at_least(*BATCHES_IN_FLIGHT_SINCE) else 1
    return batches * limits.max_num_batched_tokens


def state_blocks(arch: Architecture, limits: Limits, engine: EngineVersion, card: Card | None) -> int:
    """Blocks of recurrent state that one sequence holds in every recurrent group: one, a second with prefix caching, a third
    where the kernel keeps a checkpoint (0.33), and one a speculative token."""
    blocks = 1 + limits.speculative_tokens
    if limits.prefix_caching:
        blocks += 1 + state_checkpoint(arch, engine, card)
    return blocks


def default_prefix_caching(arch: Architecture, engine: EngineVersion) -> bool:
    """Whether the engine caches prefixes when it is not told: always for plain attention, for hybrids only since 0.26."""
    return not arch.recurrent or engine.at_least(*HYBRID_PREFIX_CACHING_SINCE)


def state_checkpoint(arch: Architecture, engine: EngineVersion, card: Card | None) -> bool:
    """Whether prefills leave a checkpoint of the state inside a batch: Mamba-2, and gated delta-rule layers where FlashInfer's
    kernel runs (compute capability 9 and 10)."""
    if not engine.at_least(*STATE_CHECKPOINT_SINCE):
        return False
    mixers = {type(mixer) for layer in arch.layers for mixer in layer.mixers}
    if DeltaNet in mixers:
        return card is not None and card.compute_capability is not None and card.compute_capability[0] in (9, 10)
    return Mamba in mixers


def kv_layout(
    arch: Architecture, cut: Cut, limits: Limits, engine: EngineVersion, card: Card | None = None
) -> KvLayout:
    """How the engine lays the cache of this model out over the stages of this cut. Cached."""
    block = limits.block_size or default_block_size(arch, limits, engine, card)
    return _layout(
        arch,
        cut.tp,
        stage_layers(len(arch.layers), cut),
        limits.kv_format,
        block,
        state_blocks(arch, limits, engine, card),
        limits.speculative_tokens,
        drafting_layers(arch, limits),
        engine,
        card,
    )


def drafting_layers(arch: Architecture, limits: Limits) -> tuple[Layer, ...]:
    """The layers of a drafter that hold KV beside the model's: its own, or the model's multi-token-prediction layers."""
    if not limits.speculative_tokens:
        return ()
    return limits.draft_layers or (arch.mtp_layers if limits.mtp else ())


@lru_cache(maxsize=4096)
def _layout(
    arch: Architecture,
    tp: int,
    stages: tuple[int, ...],
    kv_format: KvFormat,
    block: int,
    states: int,
    speculative: int,
    drafter: tuple[Layer, ...],
    engine: EngineVersion,
    card: Card | None,
) -> KvLayout:
    caches = _layer_caches(arch, tp, stages, kv_format, block, states, speculative, drafter, card)
    count = len(stages)
    kinds = {(cache.kind, cache.span) for cache in caches}
    if len(kinds) <= 1:
        if not caches:
            return KvLayout((), (0.0,) * count)
        first = caches[0]
        pages = tuple(sum(cache.page for cache in caches if cache.stage == stage) for stage in range(count))
        return KvLayout((KvGroup(first.kind, first.span, first.block, _per_stage(caches, count)),), pages)
    aligned = block if not state_checkpoint(arch, engine, card) else math.lcm(block, CHECKPOINT_TOKENS)
    caches, page = _unify(caches, aligned)
    return _grouped(caches, page, count, engine)


def _layer_caches(
    arch: Architecture,
    tp: int,
    stages: tuple[int, ...],
    kv_format: KvFormat,
    block: int,
    states: int,
    speculative: int,
    drafter: tuple[Layer, ...],
    card: Card | None,
) -> list[_LayerCache]:
    stage_of = [stage for stage, layers in enumerate(stages) for _ in range(layers)]
    layers = [(layer, stage_of[index]) for index, layer in enumerate(arch.layers)]
    layers += [(layer, len(stages) - 1) for layer in drafter]
    caches = []
    for layer, stage in layers:
        for mixer in layer.mixers:
            if isinstance(mixer, GroupedAttention):
                if mixer.no_kv or mixer.cross:
                    continue
                kind: GroupKind = "window" if mixer.window else "chunk" if mixer.chunk else "full"
                span = mixer.window or mixer.chunk or 0
                caches.append(_LayerCache(kind, span, block, grouped_token_bytes(mixer, kv_format, tp), stage))
            elif isinstance(mixer, LatentAttention):
                caches.append(_LayerCache("full", 0, block, latent_token_bytes(mixer, kv_format, card), stage))
            else:
                size = state_bytes(mixer, arch.hidden, tp, speculative)
                caches.append(_LayerCache("state", states, 0, size, stage))
    return caches


def _unify(caches: list[_LayerCache], block: int) -> tuple[list[_LayerCache], float]:
    """Give every layer a page of one size: attention blocks grow until a page holds the largest state, the smaller pages
    get more tokens where that divides, and are padded where it does not."""
    attention = max((cache.bytes for cache in caches if cache.kind != "state"), default=0.0)
    state = max((cache.bytes for cache in caches if cache.kind == "state"), default=0.0)
    if attention and state:
        smallest = min(cache.bytes for cache in caches if cache.kind != "state")
        needed = block * math.ceil(state / (block * smallest))
        if needed > block:
            caches = [evolve(cache, block=needed) if cache.kind != "state" else cache for cache in caches]
    page = max(cache.page for cache in caches)
    unified = []
    for cache in caches:
        if cache.kind == "state" or cache.page == page or page % cache.page:
            unified.append(cache)
        else:
            unified.append(evolve(cache, block=cache.block * int(page // cache.page)))
    return unified, page


def _pad_below(engine: EngineVersion) -> float:
    """How much larger the largest kind may be for all groups to take its size."""
    if engine.at_least(0, 19):
        return 1.5
    return 1.25 if engine.at_least(0, 12) else 1.0


def _grouped(caches: list[_LayerCache], page: float, stages: int, engine: EngineVersion) -> KvLayout:
    """Deal layers of each kind into groups of one size: the smallest count, or the largest where it is little larger."""
    kinds: dict[tuple[GroupKind, int, int], list[_LayerCache]] = {}
    for cache in caches:
        kinds.setdefault((cache.kind, cache.span, cache.block), []).append(cache)
    counts = [len(members) for members in kinds.values()]
    size = min(counts)
    if max(counts) < _pad_below(engine) * size:
        size = max(counts)
    groups = []
    for (kind, span, block), members in kinds.items():
        number = _ceil(len(members), size)
        groups += [KvGroup(kind, span, block, _per_stage(members[index::number], stages)) for index in range(number)]
    widest = tuple(page * max(group.layers[stage] for group in groups) for stage in range(stages))
    return KvLayout(tuple(groups), widest)


def _per_stage(caches: list[_LayerCache], stages: int) -> tuple[int, ...]:
    counts = [0] * stages
    for cache in caches:
        counts[cache.stage] += 1
    return tuple(counts)


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
    parts = _token_parts(arch, cut, limits, stage, card)
    if len(parts) == 1:
        return evolve(next(iter(parts.values())), name="kv.bytes_per_token")
    return derive("kv.bytes_per_token", "bytes/token", " + ".join(parts), source="", **parts)


def _token_parts(arch: Architecture, cut: Cut, limits: Limits, stage: int, card: Card | None) -> dict[str, Figure]:
    """One figure for every kind of layer of a stage."""
    layers = stage_layers(len(arch.layers), cut)
    start = sum(layers[:stage])
    members = list(arch.layers[start : start + layers[stage]])
    if stage == len(layers) - 1:
        members += drafting_layers(arch, limits)
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
        parts[name] = _token_part(mixer, count, cut, limits.kv_format, card)
    return parts


def _token_part(
    mixer: GroupedAttention | LatentAttention, count: int, cut: Cut, kv_format: KvFormat, card: Card | None
) -> Figure:
    if isinstance(mixer, GroupedAttention):
        return derive(
            "kv.bytes_per_token.attention",
            "bytes/token",
            "layers * max(1, floor(kv_heads / tp)) * (key_dim + value_dim) * element_bytes / dcp",
            source="vLLM, kv_cache_interface: a rank holds at least one KV head",
            layers=count,
            kv_heads=mixer.kv_heads,
            tp=cut.tp,
            key_dim=mixer.head_dim,
            value_dim=mixer.v_head_dim,
            element_bytes=ELEMENT_BYTES[kv_format],
            dcp=cut.dcp,
        )
    if packed_latent(mixer, kv_format, card):
        return derive(
            "kv.bytes_per_token.latent",
            "bytes/token",
            "layers * (packed_latent + index) / dcp",
            source="vLLM, flashmla_sparse: 656 bytes a token, whole on every tensor-parallel rank",
            layers=count,
            packed_latent=PACKED_LATENT_BYTES,
            index=_index_token_bytes(mixer),
            dcp=cut.dcp,
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
        index=_index_token_bytes(mixer),
        dcp=cut.dcp,
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
    in_flight = in_flight_tokens(limits, cut, engine)
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
        blocks=layout.blocks(tokens, in_flight_tokens(limits, cut, engine), cut.dcp),
        block_bytes=Figure("kv.block_bytes", layout.block_bytes[stage], "bytes"),
    )


def pool_blocks(layout: KvLayout, kv_bytes: tuple[float, ...]) -> int:
    """Blocks of the pool: the smallest count over the stages, each with the KV bytes of its tightest rank."""
    counts = [int(available // size) for available, size in zip(kv_bytes, layout.block_bytes, strict=True) if size > 0]
    return max(0, min(counts, default=0))


def usable_blocks(blocks: int, engine: EngineVersion) -> int:
    """Blocks that requests can hold: newer engines keep one null block back when they check the longest request."""
    return max(0, blocks - 1) if engine.at_least(*NULL_BLOCK_SINCE) else blocks


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
    if engine.at_least(*TOKENS_BY_CONCURRENCY_SINCE):
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


def kv_read_bytes(
    arch: Architecture, cut: Cut, limits: Limits, tokens: float, stage: int = 0, card: Card | None = None
) -> float:
    """Bytes of KV and state that decoding one token reads on one rank of a stage, at a context of `tokens` tokens: what
    the layers hold of it, without padding or tokens in flight."""
    layers = stage_layers(len(arch.layers), cut)
    start = sum(layers[:stage])
    total = 0.0
    for layer in arch.layers[start : start + layers[stage]]:
        for mixer in layer.mixers:
            if isinstance(mixer, GroupedAttention):
                seen = min(tokens, mixer.window or mixer.chunk or tokens)
                total += grouped_token_bytes(mixer, limits.kv_format, cut.tp) * seen / cut.dcp
            elif isinstance(mixer, LatentAttention):
                total += latent_token_bytes(mixer, limits.kv_format, card) * tokens / cut.dcp
            else:
                total += state_bytes(mixer, arch.hidden, cut.tp)
    return total
