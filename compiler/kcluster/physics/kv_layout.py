"""The KV cache as the engine lays it out: layers in groups of equal pages, and the blocks that a request takes of each.

Layers of one kind share a block table. Layers of several kinds (full and sliding attention, attention and recurrent state)
are dealt into groups of the same number of layers with pages of the same size, so that one pool of blocks serves all; the
padding that this costs is part of the figures. Source: vLLM 0.11 to 0.33, `v1/core/kv_cache_utils.py`, lately
`v1/core/kv_cache_planning.py`, `v1/kv_cache_interface.py` and `platforms/interface.py`; checked against start-up logs.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

from kcluster.physics.architecture import Architecture, DeltaNet, GroupedAttention, LatentAttention, Layer, Mamba
from kcluster.physics.cut import Cut, EngineVersion, KvFormat, Limits
from kcluster.physics.hardware import Card
from kcluster.physics.kv_layers import grouped_token_bytes, latent_token_bytes, since, state_bytes
from kcluster.physics.weights import stage_layers
from kcluster.values import evolve, frozen

BATCHES_IN_FLIGHT_SINCE = (0, 26)
HYBRID_PREFIX_CACHING_SINCE = (0, 26)
NULL_BLOCK_SINCE = (0, 29)
STATE_CHECKPOINT_SINCE = (0, 33)
MAMBA2_CHECKPOINT_SINCE = (0, 32)
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


def default_block_size(arch: Architecture, limits: Limits, engine: EngineVersion, card: Card | None) -> int:
    """Tokens of a block when nobody sets it: 16, but what the latent-attention kernel of the card wants."""
    attention = arch.attention
    if not isinstance(attention, LatentAttention) or card is None or card.compute_capability is None:
        return 16
    if attention.index_heads:
        return 64
    major = card.compute_capability[0]
    if major == 9:
        return 64 if not since(engine, (0, 19)) or limits.kv_format == "fp8" else 16
    if major == 10:
        return 32 if since(engine, (0, 19)) else 128
    return 16


def in_flight_tokens(limits: Limits, cut: Cut, engine: EngineVersion) -> int:
    """Tokens scheduled but not yet settled, which a sliding layer keeps beside its window: one batch, since 0.26 every batch
    that the scheduler keeps in flight (vLLM, `config/vllm.py`, max_concurrent_batches)."""
    batches = cut.pp + 1 if since(engine, BATCHES_IN_FLIGHT_SINCE) else 1
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
    return not arch.recurrent or since(engine, HYBRID_PREFIX_CACHING_SINCE)


@lru_cache(maxsize=256)
def _mixers(arch: Architecture) -> frozenset[type]:
    return frozenset(type(mixer) for layer in arch.kinds for mixer in layer.mixers)


def state_checkpoint(arch: Architecture, engine: EngineVersion, card: Card | None) -> bool:
    """Whether prefills leave a checkpoint of the state inside a batch: Mamba-2 (`mamba_mixer2.py` of 0.32 and 0.33; Mamba-1 has
    none), and since 0.33 gated delta-rule layers where FlashInfer's kernel runs (compute capability 9 and 10)."""
    if DeltaNet in _mixers(arch):
        capability = card.compute_capability if card is not None else None
        return capability is not None and capability[0] in (9, 10) and since(engine, STATE_CHECKPOINT_SINCE)
    second = any(isinstance(mixer, Mamba) and mixer.version == 2 for layer in arch.kinds for mixer in layer.mixers)
    return second and since(engine, MAMBA2_CHECKPOINT_SINCE)


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
    # Mamba-2's kernel leaves one after any token.
    kernel = DeltaNet in _mixers(arch) and state_checkpoint(arch, engine, card)
    aligned = math.lcm(block, CHECKPOINT_TOKENS) if kernel else block
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
    if since(engine, (0, 19)):
        return 1.5
    return 1.25 if since(engine, (0, 12)) else 1.0


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
