"""What a step has to move and to compute: weight bytes read, experts touched, floating-point operations, KV bytes read.

All per rank of one pipeline stage; the tensors are those of `physics/tensors.py`, from which parameters are counted too.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from kcluster.physics.architecture import (
    Architecture,
    DeltaNet,
    GroupedAttention,
    LatentAttention,
    Layer,
    Mamba,
    Mixer,
    MoeFfn,
)
from kcluster.physics.cut import Cut, KvFormat
from kcluster.physics.formats import WeightFormat
from kcluster.physics.hardware import Card
from kcluster.physics.kv import element_bytes, grouped_token_bytes, latent_token_bytes, state_bytes
from kcluster.physics.kv_compressed import compressed_read_bytes
from kcluster.physics.tensors import Tensor, head_tensor, layer_kinds, layer_tensors
from kcluster.physics.weights import packed, plain_bytes
from kcluster.values import frozen

TOUCHED: Final = "experts * (1 - (1 - taken / experts) ** tokens)"
"""Experts that a batch touches, each token taking `taken` of them at random: E (1 − (1 − k/E)^b)."""

# Tokens of context that a sparse attention reads beside its index (index_topk of DeepSeek V3.2 and GLM-5, 16 blocks of MiniMax M3).
_SPARSE_TOKENS: Final = 2048
# Compressed entries that DeepSeek V4 reads beside its index (index_topk).
_SPARSE_ENTRIES: Final = 512


@frozen(cache_hash=True)
class LayerWork:
    """One kind of layer on one rank, `count` of them in the stage.

    Attributes:
        plain_bytes, packed_bytes: weights read at every step: in 16 bits, and in the quantized format.
        expert_bytes: of one whole expert. `experts`, `taken`: in the layer, and of them for each token.
        flops, plain_flops: of one token in all linear weights but experts, and the 16-bit part of it; `expert_flops` of one
            token in the experts that it takes. Already divided over the ranks.
        allreduces: of a forward pass.
        moe: whether the layer holds experts.
    """

    count: int
    plain_bytes: float
    packed_bytes: float
    expert_bytes: float
    experts: int
    taken: int
    flops: float
    plain_flops: float
    expert_flops: float
    allreduces: int
    moe: bool
    layer: Layer


@frozen
class StageWork:
    """One stage on one rank: its kinds of layer and, from `count` on, their sums. `head_bytes`, `head_flops`: of the output head on
    the last stage (operations of one sequence, not token)."""

    layers: tuple[LayerWork, ...]
    head_bytes: float
    head_flops: float
    head_packed: bool
    tp: int
    expert_ranks: int
    count: int
    moe_count: int
    allreduces: int
    plain_bytes: float
    packed_bytes: float
    plain_flops: float
    packed_flops: float
    expert_flops: float


def _summed(
    layers: tuple[LayerWork, ...], head_bytes: float, head_flops: float, head_packed: bool, tp: int, ranks: int
) -> StageWork:
    return StageWork(
        layers=layers,
        head_bytes=head_bytes,
        head_flops=head_flops,
        head_packed=head_packed,
        tp=tp,
        expert_ranks=ranks,
        count=sum(item.count for item in layers),
        moe_count=sum(item.count for item in layers if item.moe),
        allreduces=sum(item.count * item.allreduces for item in layers),
        plain_bytes=sum(item.count * item.plain_bytes for item in layers),
        packed_bytes=sum(item.count * item.packed_bytes for item in layers),
        plain_flops=sum(item.count * item.plain_flops for item in layers),
        packed_flops=sum(item.count * (item.flops - item.plain_flops) for item in layers),
        expert_flops=sum(item.count * item.expert_flops for item in layers),
    )


def stored_bytes(tensor: Tensor, fmt: WeightFormat, dense: bool) -> float:
    """Bytes of one element of a tensor as stored, its share of scales included."""
    if not packed(tensor, fmt, dense=dense):
        return float(tensor.bytes_each or plain_bytes(fmt))
    if tensor.role in fmt.apart:
        return fmt.apart_bytes
    scales = 0.0
    if fmt.block is not None:
        scales = fmt.scale_bytes / (fmt.block[0] * fmt.block[1])
    elif fmt.group:
        scales = fmt.scale_bytes / fmt.group
    return fmt.bytes_per_parameter + scales


def share(tensor: Tensor, tp: int, expert_ranks: int) -> float:
    """The part of a tensor that one rank holds: whole where nothing splits it; KV heads at least one a rank; experts over
    the ranks that share them."""
    if tensor.split == "none":
        return 1.0
    if tensor.split == "kv":
        return max(1.0, tensor.units / tp) / max(1, tensor.units)
    if tensor.split.startswith("expert"):
        return 1.0 / expert_ranks
    return 1.0 / tp


@lru_cache(maxsize=4096)
def _layer_work(
    layer: Layer, count: int, hidden: int, fmt: WeightFormat, dense: bool, tp: int, shards: int
) -> LayerWork:
    plain_bytes = packed_bytes = expert_bytes = flops = plain_flops = expert_flops = 0.0
    moe = layer.ffn if isinstance(layer.ffn, MoeFfn) else None
    for tensor in layer_tensors(layer, hidden):
        each = stored_bytes(tensor, fmt, dense)
        held = tensor.elements * share(tensor, tp, shards)
        if tensor.split.startswith("expert"):
            expert_bytes += tensor.elements / tensor.copies * each
            if moe is not None and tensor.columns > 1:
                expert_flops += 2 * tensor.elements / tensor.copies * moe.experts_per_token / shards
            continue
        if packed(tensor, fmt, dense=dense):
            packed_bytes += held * each
        else:
            plain_bytes += held * each
        if tensor.columns > 1:
            flops += 2 * held
            plain_flops += 0.0 if packed(tensor, fmt, dense=dense) else 2 * held
    return LayerWork(
        count=count,
        plain_bytes=plain_bytes,
        packed_bytes=packed_bytes,
        expert_bytes=expert_bytes,
        experts=moe.experts if moe else 0,
        taken=moe.experts_per_token if moe else 0,
        flops=flops,
        plain_flops=plain_flops,
        expert_flops=expert_flops,
        allreduces=(1 if layer.mixers else 0) + (1 if layer.ffn is not None else 0),
        moe=moe is not None,
        layer=layer,
    )


def stage_work(
    arch: Architecture, fmt: WeightFormat, cut: Cut, stage: int, layers: tuple[int, ...], *, shards: int | None = None
) -> StageWork:
    """The work of one stage on one rank.

    Args:
        layers: how many layers each stage has (`physics.weights.stage_layers`).
        shards: ranks over which the experts of a stage are spread, None for those of the cut.
    """
    over = cut.expert_shards if shards is None else shards
    start = sum(layers[:stage])
    last = stage == cut.pp - 1
    key = (id(arch), id(fmt), start, layers[stage], last, cut.tp, over)
    known = _works.get(key)
    if known is None:
        if len(_works) >= _MOST_WORKS:
            _works.clear()
        # the values are kept with the result, so that no other object can take their identity
        known = _works[key] = (
            arch,
            fmt,
            _stage_work(arch, fmt, arch.layers[start : start + layers[stage]], last, cut.tp, over),
        )
    return known[2]


_works: dict[tuple[int, int, int, int, bool, int, int], tuple[Architecture, WeightFormat, StageWork]] = {}
_MOST_WORKS: Final = 4096


def _stage_work(
    arch: Architecture, fmt: WeightFormat, held: tuple[Layer, ...], last: bool, tp: int, over: int
) -> StageWork:
    dense = arch.moe is None
    works = tuple(_layer_work(layer, count, arch.hidden, fmt, dense, tp, over) for layer, count in layer_kinds(held))
    if not last:
        return _summed(works, 0.0, 0.0, False, tp, over)
    head = head_tensor(arch)
    each = fmt.bytes_per_parameter if fmt.embeddings_quantized else plain_bytes(fmt)
    elements = head.elements / tp
    return _summed(works, elements * each, 2 * elements, fmt.embeddings_quantized, tp, over)


def kv_read_bytes(mixer: Mixer, hidden: int, context: float, tp: int, kv_format: KvFormat, card: Card | None) -> float:
    """Bytes that one sequence of `context` tokens has to read in one layer on one rank for its next token.

    Sliding layers read their window, chunked ones half of their chunk, sparse attention its index and the tokens that it
    picks, recurrent layers their state twice (read and written).
    """
    if isinstance(mixer, GroupedAttention):
        if mixer.o_groups:
            return compressed_read_bytes(mixer, context, _SPARSE_ENTRIES)
        seen = context
        if mixer.window is not None:
            seen = min(seen, mixer.window)
        if mixer.chunk is not None:
            seen = min(seen, mixer.chunk / 2)
        if mixer.index_heads:
            index = 2.0 * mixer.index_dim
            whole = grouped_token_bytes(mixer, kv_format, tp)
            return context * index + min(context, _SPARSE_TOKENS) * (whole - index)
        return seen * grouped_token_bytes(mixer, kv_format, tp)
    if isinstance(mixer, LatentAttention):
        whole = latent_token_bytes(mixer, kv_format, card)
        if not mixer.index_heads:
            return context * whole
        latent = (mixer.kv_lora_rank + mixer.rope_dim) * element_bytes(kv_format)
        return context * (whole - latent if whole > latent else mixer.index_dim) + min(context, _SPARSE_TOKENS) * latent
    if isinstance(mixer, DeltaNet | Mamba):
        return 2 * state_bytes(mixer, hidden, tp)
    return 0.0


@lru_cache(maxsize=4096)
def _kv_layer(layer: Layer, hidden: int, context: float, tp: int, kv_format: KvFormat) -> float:
    return sum(kv_read_bytes(mixer, hidden, context, tp, kv_format, None) for mixer in layer.mixers)


def stage_kv_bytes(work: StageWork, hidden: int, context: float, kv_format: KvFormat, dcp: int) -> float:
    """Bytes of KV and state that one sequence of `context` tokens reads in a stage on one rank; decode context parallel divides it."""
    context = round(context)
    return sum(item.count * _kv_layer(item.layer, hidden, context, work.tp, kv_format) / dcp for item in work.layers)


def attention_flops(mixer: Mixer, context: float, tp: int) -> float:
    """Operations of one token that attends to `context` tokens, in one layer on one rank: two products of 2 × heads × dim."""
    if isinstance(mixer, GroupedAttention):
        seen = context if mixer.window is None else min(context, mixer.window)
        seen = seen if mixer.chunk is None else min(seen, mixer.chunk / 2)
        return 2 * seen * mixer.heads * (mixer.head_dim + mixer.v_head_dim) / tp
    if isinstance(mixer, LatentAttention):
        seen = context if not mixer.index_heads else min(context, _SPARSE_TOKENS)
        index = 2 * context * mixer.index_heads * mixer.index_dim if mixer.index_heads else 0.0
        return 2 * seen * mixer.heads * (mixer.nope_dim + mixer.rope_dim + mixer.v_head_dim) / tp + index
    return 0.0


@lru_cache(maxsize=4096)
def _attention_layer(layer: Layer, context: float, tp: int) -> float:
    return sum(attention_flops(mixer, context, tp) for mixer in layer.mixers)


def stage_attention_flops(work: StageWork, context: float) -> float:
    """Operations of one token of a prompt that attends to `context` tokens, in a stage on one rank."""
    context = round(context)
    return sum(item.count * _attention_layer(item.layer, context, work.tp) for item in work.layers)


def context_bytes(mixer: Mixer, tp: int, dcp: int) -> float:
    """Bytes of one decoding token that decode context parallel gathers and scatters again in one layer, for one group of dcp ranks.

    Each rank holds a part of the context of the heads of all of them: their queries are gathered, their outputs summed and
    scattered (vLLM's attention with dcp; in latent attention both in the width of the latents). 0 for layers without a cache by
    token.
    """
    if isinstance(mixer, GroupedAttention):
        return 2 * mixer.heads / tp * dcp * (mixer.head_dim + mixer.v_head_dim)
    if isinstance(mixer, LatentAttention):
        return 2 * mixer.heads / tp * dcp * (2 * mixer.kv_lora_rank + mixer.rope_dim)
    return 0.0


def stage_context_bytes(work: StageWork, dcp: int) -> tuple[int, float]:
    """(layers of a stage that decode context parallel splits, bytes of one token in all of them); nothing for dcp 1."""
    if dcp < 2:
        return 0, 0.0
    each = [
        (item.count, sum(context_bytes(mixer, work.tp, dcp) for mixer in item.layer.mixers)) for item in work.layers
    ]
    return sum(count for count, size in each if size), sum(count * size for count, size in each)
