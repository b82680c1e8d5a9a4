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

from kcluster.physics.architecture import Architecture, GroupedAttention, LatentAttention, Layer
from kcluster.physics.cut import Cut, EngineVersion, KvFormat, Limits
from kcluster.physics.hardware import Card
from kcluster.physics.kv_compressed import compressed, compressed_groups
from kcluster.physics.kv_engine import (
    CHECKPOINT_TOKENS,
    STATE_CHUNKS,
    default_block_size,
    delta_rule,
    drafting_layers,
    keeps_windows,
    state_blocks,
    state_checkpoint,
    state_mode,
)
from kcluster.physics.kv_layers import layer_state, layer_token, since
from kcluster.physics.weights import stage_layers
from kcluster.units import Figure, derive
from kcluster.values import evolve, frozen

NULL_BLOCK_SINCE = (0, 29)
TOKENS_BY_CONCURRENCY_SINCE = (0, 21)
BLOCKS_OF_STEPS_SINCE = (0, 20)
LATENT_BLOCKS_SINCE = (0, 29)

GroupKind = Literal["full", "window", "chunk", "state"]


def _ceil(value: int, by: int) -> int:
    return -(-value // by)


@frozen(cache_hash=True)
class KvGroup:
    """Layers that share one block table. `span` is the window or chunk in tokens, or the blocks that a sequence's recurrent
    state holds whatever its length; `block` the tokens of one block on one rank, 0 for states that do not grow with the
    tokens; `layers` how many of them each stage has."""

    kind: GroupKind
    span: int
    block: int
    layers: tuple[int, ...]

    def blocks(self, tokens: int, in_flight: int, dcp: int) -> int:
        """Blocks that a request of `tokens` tokens holds at most."""
        if self.kind == "state":
            return self.span + (_ceil(tokens, self.block) if self.block else 0)
        if self.kind == "full":
            return _ceil(_ceil(tokens, dcp), self.block)
        if self.kind == "window":
            return _ceil(min(self.span - 1 + in_flight, tokens), self.block) + 1
        return _ceil(min(self.span + in_flight, tokens), self.block)


@frozen(cache_hash=True)
class KvLayout:
    """The whole pool. `block_bytes` is what one block takes on one rank of each stage, and `block_figures` how that comes about; a
    block id is taken on all stages at once, so a request takes the sum of its groups' blocks everywhere."""

    groups: tuple[KvGroup, ...]
    block_figures: tuple[Figure, ...]

    @property
    def block_bytes(self) -> tuple[float, ...]:
        return tuple(figure.value for figure in self.block_figures)

    def blocks(self, tokens: int, in_flight: int, dcp: int) -> int:
        return sum(group.blocks(tokens, in_flight, dcp) for group in self.groups)

    @property
    def hybrid(self) -> bool:
        return len(self.groups) > 1


@frozen
class _LayerCache:
    """What one layer holds: bytes of a token (or of one state), and the tokens of its natural block (0 for states). `grown` is how
    the block came to be larger than what was asked for, None where it is not."""

    kind: GroupKind
    span: int
    block: int
    figure: Figure
    stage: int
    grown: Figure | None = None

    @property
    def bytes(self) -> float:
        return self.figure.value

    @property
    def page(self) -> float:
        return self.bytes if self.kind == "state" else self.bytes * self.block


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
        _States(
            state_blocks(arch, limits, engine, card),
            STATE_CHUNKS[arch.model_type] if state_mode(arch, limits, engine) == "all" else 0,
            limits.speculative_tokens,
            limits.conv_bytes,
            limits.ssm_bytes,
        ),
        drafting_layers(arch, limits),
        keeps_windows(arch, limits, engine),
        engine,
        card,
    )


@frozen(cache_hash=True)
class _States:
    """Of recurrent layers: blocks that a sequence holds whatever its length, tokens of the kernel's chunk where every block keeps
    a state (0 where not), speculative tokens, and bytes of a value of both states."""

    held: int
    chunk: int
    speculative: int
    conv_bytes: int
    ssm_bytes: int | None


@lru_cache(maxsize=4096)
def _layout(
    arch: Architecture,
    tp: int,
    stages: tuple[int, ...],
    kv_format: KvFormat,
    block: int,
    states: _States,
    drafter: tuple[Layer, ...],
    windows: bool,
    engine: EngineVersion,
    card: Card | None,
) -> KvLayout:
    if compressed(arch):
        return _compressed(_placed(arch, stages, drafter), block, len(stages))
    caches = _layer_caches(arch, tp, stages, kv_format, block, states, drafter, card)
    if not windows and any(cache.kind == "full" for cache in caches):
        caches = [
            evolve(cache, kind="full", span=0) if cache.kind in ("window", "chunk") else cache for cache in caches
        ]
    count = len(stages)
    kinds = {(cache.kind, cache.span) for cache in caches}
    if len(kinds) <= 1:
        if not caches:
            return KvLayout((), (Figure("kv.block_bytes", 0.0, "bytes", source="no layer keeps anything"),) * count)
        first = caches[0]
        pages = tuple(_together([cache for cache in caches if cache.stage == stage]) for stage in range(count))
        return KvLayout((KvGroup(first.kind, first.span, first.block, _per_stage(caches, count)),), pages)
    caches, page = _unify(caches, _block_step(arch, block, states, engine, card), states.chunk)
    return _grouped(caches, page, count, engine)


def _placed(arch: Architecture, stages: tuple[int, ...], drafter: tuple[Layer, ...]) -> list[tuple[Layer, int]]:
    """Every layer with its stage; those of a drafter stand on the last."""
    stage_of = [stage for stage, layers in enumerate(stages) for _ in range(layers)]
    return [*zip(arch.layers, stage_of, strict=False), *((layer, len(stages) - 1) for layer in drafter)]


def _compressed(layers: list[tuple[Layer, int]], block: int, stages: int) -> KvLayout:
    """The layout of a model that keeps compressed entries (`kv_compressed`)."""
    found = compressed_groups(layers, block)
    groups = tuple(
        KvGroup(
            group.kind,
            group.span,
            group.block,
            tuple(sum(held == stage for _, held in group.pages) for stage in range(stages)),
        )
        for group in found
    )
    packed = "vLLM, models/deepseek_v4: windows, compressed entries and indexes, packed into blocks of one size"
    sizes = (max(group.bytes(stage) for group in found) for stage in range(stages))
    return KvLayout(groups, tuple(Figure("kv.block_bytes", size, "bytes", source=packed) for size in sizes))


def _together(caches: list[_LayerCache]) -> Figure:
    """Bytes of a block of layers that share one table: what each kind of them takes, summed."""
    parts: dict[str, Figure] = {}
    for index, (figure, members) in enumerate(_by_figure(caches).items()):
        parts[f"layers_{index + 1}" if index else "layers"] = derive(
            "kv.block_of_layers",
            "bytes",
            "layers * state" if members[0].kind == "state" else "layers * block * token_bytes",
            source="",
            layers=len(members),
            **({"state": figure} if members[0].kind == "state" else {"block": members[0].block, "token_bytes": figure}),
        )
    if len(parts) == 1:
        return evolve(parts["layers"], name="kv.block_bytes")
    return derive("kv.block_bytes", "bytes", " + ".join(parts) or "0", source="", **parts)


def _by_figure(caches: list[_LayerCache]) -> dict[Figure, list[_LayerCache]]:
    found: dict[Figure, list[_LayerCache]] = {}
    # Like layers mostly have one figure, whose hash would go through all of its inputs.
    known: dict[int, list[_LayerCache]] = {}
    for cache in caches:
        members = known.get(id(cache.figure))
        if members is None:
            members = known[id(cache.figure)] = found.setdefault(cache.figure, [])
        members.append(cache)
    return found


def _block_step(arch: Architecture, block: int, states: _States, engine: EngineVersion, card: Card | None) -> int:
    """Tokens in steps of which an attention block grows until its page holds a state (vLLM, `platforms/interface.py`,
    _align_hybrid_block_size)."""
    latent = arch.latent
    if not since(engine, BLOCKS_OF_STEPS_SINCE):
        step = 64 if latent else 16
    else:
        step = max(block, 128) if latent and since(engine, LATENT_BLOCKS_SINCE) else block
    if states.chunk:
        return math.lcm(states.chunk, step)
    # Mamba-2's kernel leaves a checkpoint after any token, that of the delta rule does not.
    return math.lcm(step, CHECKPOINT_TOKENS) if delta_rule(arch) and state_checkpoint(arch, engine, card) else step


def _layer_caches(
    arch: Architecture,
    tp: int,
    stages: tuple[int, ...],
    kv_format: KvFormat,
    block: int,
    states: _States,
    drafter: tuple[Layer, ...],
    card: Card | None,
) -> list[_LayerCache]:
    known: dict[tuple[int, int], list[_LayerCache]] = {}  # like layers mostly are one object, and quicker found by it
    caches = []
    for layer, stage in _placed(arch, stages, drafter):
        found = known.get((id(layer), stage))
        if found is None:
            found = _caches_of(layer, stage, arch, tp, kv_format, block, states, card)
            known[id(layer), stage] = found
        caches += found
    return caches


def _caches_of(
    layer: Layer,
    stage: int,
    arch: Architecture,
    tp: int,
    kv_format: KvFormat,
    block: int,
    states: _States,
    card: Card | None,
) -> list[_LayerCache]:
    caches = []
    for mixer in layer.mixers:
        if isinstance(mixer, GroupedAttention):
            if mixer.no_kv or mixer.cross:
                continue
            kind: GroupKind = "window" if mixer.window else "chunk" if mixer.chunk else "full"
            span = mixer.window or mixer.chunk or 0
            caches.append(_LayerCache(kind, span, block, layer_token(mixer, kv_format, tp, None), stage))
        elif isinstance(mixer, LatentAttention):
            caches.append(_LayerCache("full", 0, block, layer_token(mixer, kv_format, tp, card), stage))
        else:
            size = layer_state(mixer, arch.hidden, tp, states.speculative, states.conv_bytes, states.ssm_bytes)
            caches.append(_LayerCache("state", states.held, 0, size, stage))
    return caches


def _unify(caches: list[_LayerCache], step: int, chunk: int) -> tuple[list[_LayerCache], float]:
    """Give every layer a page of one size: attention blocks grow by steps until a page holds the largest state, the smaller pages
    get more tokens where that divides, and are padded where it does not. With a chunk every such block keeps a state."""
    attention = [cache for cache in caches if cache.kind != "state"]
    states = [cache for cache in caches if cache.kind == "state"]
    if attention and states:
        grown = derive(
            "kv.block",
            "tokens",
            "step * ceil(state / (step * token_bytes))",
            source="vLLM, platforms/interface.py, _align_hybrid_block_size: a page of attention holds a recurrent state",
            step=step,
            state=max((cache.figure for cache in states), key=lambda figure: figure.value),
            token_bytes=min((cache.figure for cache in attention), key=lambda figure: figure.value),
        )
        needed = int(grown.value)
        caches = [
            (evolve(cache, block=needed, grown=grown) if needed > cache.block else cache)
            if cache.kind != "state"
            else evolve(cache, block=needed if chunk else 0)
            for cache in caches
        ]
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
    if since(engine, (0, 18)):
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
    largest = _page(next(cache for cache in caches if cache.page == page))
    widest = tuple(
        derive(
            "kv.block_bytes",
            "bytes",
            "layers * page",
            source="vLLM, kv_cache_utils: layers dealt into groups of equal pages, padding included",
            layers=max(group.layers[stage] for group in groups),
            page=largest,
        )
        for stage in range(stages)
    )
    return KvLayout(tuple(groups), widest)


def _page(cache: _LayerCache) -> Figure:
    """Bytes of one page, by the layer whose page is the largest."""
    if cache.kind == "state":
        return cache.figure
    block = cache.grown if cache.grown is not None and cache.grown.value == cache.block else cache.block
    return derive("kv.page", "bytes", "block * token_bytes", block=block, token_bytes=cache.figure)


def _per_stage(caches: list[_LayerCache], stages: int) -> tuple[int, ...]:
    counts = [0] * stages
    for cache in caches:
        counts[cache.stage] += 1
    return tuple(counts)
