"""Bytes of weights on the fullest rank of a stage as the engine loads it (and, from `checkpoint`, of the whole).

What a rank holds follows vLLM's loaders: tensor parallel cuts linear layers by heads or channels and the vocabulary by rows
(padded to a multiple of 64); norms, routers and the down-projections of latent attention stand on every rank; KV heads are
repeated where tp exceeds them; experts go whole to ranks with expert parallel and are sliced over tp × dp without; the embedding
is on the first stage, the head on the last (a tied head is a copy there); a vision tower is loaded by every stage.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate

from kcluster.physics.allocator import rests
from kcluster.physics.architecture import Architecture, LatentAttention, Layer, MoeFfn
from kcluster.physics.checkpoint import (
    PARTS,
    PartBytes,
    key,
    mtp_format,
    packed,
    part_bytes,
    plain,
    plain_bytes,
    tensor_bytes,
    weight_bytes,
)
from kcluster.physics.cut import Cut
from kcluster.physics.formats import WeightFormat
from kcluster.physics.parameters import add
from kcluster.physics.tensors import Tensor, embedding_tensor, head_tensor, layer_kinds, layer_tensors
from kcluster.units import Figure, derive, given
from kcluster.values import evolve, frozen

__all__ = ["PartBytes", "packed", "part_bytes", "plain_bytes", "stage_layers", "stage_weights", "weight_bytes"]

VOCAB_MULTIPLE = 64
"""The engine pads the vocabulary to a multiple of this before it cuts it."""


def stage_layers(n_layers: int, cut: Cut) -> tuple[int, ...]:
    """Layers of each stage as vLLM deals them out: equal shares, and the remainder to the stages before the last, from the back.

    `cut.layers` by hand wins. Fewer layers than stages leave empty ones (the caller judges that).
    Source: `get_pp_indices` of vLLM 0.32.
    """
    if cut.layers is not None:
        return cut.layers
    stages = max(1, cut.pp)
    share, rest = divmod(n_layers, stages)
    counts = [share] * stages
    for index in range(2, rest + 2):
        counts[-index] += 1
    return tuple(counts)


def _ceil(value: int, by: int) -> int:
    return -(-value // by)


# ---- one rank ----


@frozen(cache_hash=True)
class _Shares:
    """Over how many ranks each kind of tensor is cut."""

    tp: int
    expert_slices: int
    expert_ranks: int
    redundant: int
    replicate_shared: bool


def _shares(cut: Cut) -> _Shares:
    if cut.ep and cut.ep_size > 1:
        # with attention data parallel the engine runs shared experts on a share of the tokens and keeps them whole
        return _Shares(cut.tp, 1, cut.ep_size, cut.redundant_experts, cut.tp > 1 and cut.dp > 1)
    return _Shares(cut.tp, cut.expert_shards, 1, 0, False)


def _rank_shape(tensor: Tensor, shares: _Shares, fmt: WeightFormat, dense: bool) -> tuple[int, int, int]:
    """Rows, columns and copies of a tensor on the fullest rank."""
    rows, columns, copies = tensor.rows, tensor.columns, tensor.copies
    tp = 1 if shares.replicate_shared and tensor.name.startswith("shared.") else shares.tp
    if tensor.split == "rows":
        return _cut(rows, tensor.units, tp), columns, copies
    if tensor.split == "columns":
        return rows, _cut(columns, tensor.units, tp), copies
    if tensor.split == "kv":
        return _cut(rows, tensor.units, tp), columns, copies
    if tensor.split == "none":
        return rows, columns, copies
    copies = _ceil(copies + shares.redundant, shares.expert_ranks)
    pad = fmt.expert_padding if fmt.expert_padding and packed(tensor, fmt, dense=dense) else (1, 1)
    if tensor.split == "expert_rows":
        return _round_up(_ceil(rows, shares.expert_slices), pad[0]), _round_up(columns, pad[1]), copies
    if tensor.split == "expert_columns":
        return _round_up(rows, pad[1]), _round_up(_ceil(columns, shares.expert_slices), pad[0]), copies
    return rows, columns, copies


def _round_up(value: int, multiple: int) -> int:
    return _ceil(value, multiple) * multiple


def _cut(size: int, units: int, ways: int) -> int:
    """The fullest share of `size` values cut by whole units (heads); never less than one unit."""
    if units and size % units == 0:
        return _ceil(units, ways) * (size // units)
    return _ceil(size, ways)


@lru_cache(maxsize=16384)
def _rank_layer(layer: Layer, hidden: int, fmt: WeightFormat, dense: bool, shares: _Shares) -> Figure:
    """One layer on the fullest rank."""
    terms: list[tuple[str, Figure]] = []
    shapes = [(tensor, _rank_shape(tensor, shares, fmt, dense)) for tensor in layer_tensors(layer, hidden)]
    for part in PARTS:
        part_terms = [
            (key(tensor.name), tensor_bytes(tensor, fmt, dense, *shape))
            for tensor, shape in shapes
            if tensor.part == part
        ]
        if part == "attention":
            part_terms += _absorbed(layer, fmt, dense, shares)
        if part_terms:
            terms.append((part, add(f"{part} of a layer, per GPU", "bytes", part_terms)))
    held = rests(item for tensor, shape in shapes for item in _stored(tensor, fmt, dense, *shape))
    if held:
        terms.append(("allocator", add("what the allocator rounds up in a layer", "bytes", held)))
    return add("a layer, per GPU", "bytes", terms)


def _stored(
    tensor: Tensor, fmt: WeightFormat, dense: bool, rows: int, columns: int, copies: int
) -> list[tuple[str, float]]:
    """What is stored of a linear layer by name and bytes: its values, and where a group has one scale, the tensor of those."""
    values = rows * columns * copies
    if not packed(tensor, fmt, dense=dense):
        return [(tensor.name, values * (float(tensor.bytes_each) or plain_bytes(fmt)))]
    found = [(tensor.name, values * fmt.bytes_per_parameter)]
    if fmt.group and fmt.scale_bytes in (1.0, 2.0):
        prefix, dot, last = tensor.name.rpartition(".")
        found.append((f"scales.{prefix}{dot}{last}", copies * rows * _ceil(columns, fmt.group) * fmt.scale_bytes))
    return found


def _absorbed(layer: Layer, fmt: WeightFormat, dense: bool, shares: _Shares) -> list[tuple[str, Figure]]:
    """The 16-bit copies of a packed kv_b projection that latent attention computes with (W_UK and W_UV of vLLM)."""
    terms = []
    for mixer in layer.mixers:
        probe = Tensor("kv_b_proj", "", 1, 1, linear=True, role="latent")
        if isinstance(mixer, LatentAttention) and packed(probe, fmt, dense=dense):
            figure = derive(
                "absorbed kv_b",
                "bytes",
                "ceil(heads / tp) * (nope + v_head_dim) * kv_lora_rank * 2",
                source="W_UK and W_UV, unpacked when the model is loaded",
                heads=mixer.heads,
                tp=shares.tp,
                nope=mixer.nope_dim,
                v_head_dim=mixer.v_head_dim,
                kv_lora_rank=mixer.kv_lora_rank,
            )
            terms.append(("absorbed", figure))
    return terms


@lru_cache(maxsize=1024)
def _vocabulary(arch: Architecture, fmt: WeightFormat, tp: int, name: str) -> Figure:
    """The share of the embedding or the head on one rank, its rows padded."""
    tensor = embedding_tensor(arch) if name == "embedding" else head_tensor(arch)
    if packed(tensor, fmt, dense=False):
        return tensor_bytes(tensor, fmt, False, _ceil(arch.vocab, tp), arch.hidden, 1)
    return derive(
        name,
        "bytes",
        "ceil(ceil(vocab / multiple) * multiple / tp) * hidden * bytes_per_parameter",
        source="rows padded to a multiple of 64, then cut by tp",
        vocab=arch.vocab,
        multiple=VOCAB_MULTIPLE,
        tp=tp,
        hidden=arch.hidden,
        bytes_per_parameter=plain_bytes(fmt),
    )


@lru_cache(maxsize=256)
def _prefixes(arch: Architecture) -> tuple[tuple[Layer, ...], tuple[tuple[int, ...], ...]]:
    """The distinct layers, and for each how many stand before a given index."""
    kinds = tuple(layer for layer, _ in layer_kinds(arch.layers))
    indices = {id(layer): number for number, layer in enumerate(kinds)}
    order = [indices[id(layer)] if id(layer) in indices else kinds.index(layer) for layer in arch.layers]
    prefixes = tuple(
        tuple(accumulate((int(kind == number) for kind in order), initial=0)) for number in range(len(kinds))
    )
    return kinds, prefixes


@frozen
class _Outside:
    """What of a model is outside its layers on a rank: by the place of its stage, and by what the engine loads."""

    first: bool
    last: bool
    vision: bool
    mtp: bool


@lru_cache(maxsize=4096)
def _outside(arch: Architecture, fmt: WeightFormat, place: _Outside, shares: _Shares) -> Figure:
    """What a rank of a stage holds outside its layers."""
    first, last, tp = place.first, place.last, shares.tp
    terms = []
    if first:
        terms.append(("embedding", _vocabulary(arch, fmt, tp, "embedding")))
        if arch.learned_positions:
            terms.append(
                ("positions", plain("positions", arch.learned_positions * arch.hidden, fmt, "on the first stage"))
            )
        if arch.other_parameters:
            terms.append(("further", plain("further tensors", arch.other_parameters, fmt, "as the family has them")))
    if last:
        if not (arch.tied and first):
            terms.append(("head", _vocabulary(arch, fmt, tp, "head")))
        terms.append(("final_norm", plain("final norm", arch.final_norm_parameters, fmt, "on the last stage")))
    if arch.rope_values and arch.max_positions:
        rope = derive(
            "rotary tables",
            "bytes",
            "positions * values * 2",
            source="cosines and sines of every position, on every rank",
            positions=arch.max_positions,
            values=arch.rope_values,
        )
        terms.append(("rotary", rope))
    if place.vision and arch.vision_parameters:
        terms.append(
            (
                "vision",
                derive(
                    "vision tower",
                    "bytes",
                    "parameters / tp * bytes_per_parameter",
                    source="cut by tp, loaded by every stage, in 16 bits",
                    parameters=arch.vision_parameters,
                    tp=tp,
                    bytes_per_parameter=plain_bytes(fmt),
                ),
            )
        )
    if place.mtp and last and arch.mtp_layers:
        dense = arch.moe is None
        for layer, count in layer_kinds(arch.mtp_layers):
            each = _rank_layer(layer, arch.hidden, mtp_format(fmt), dense, shares)
            terms.append(("mtp", derive(f"{count} MTP layers", "bytes", "layers * each", layers=count, each=each)))
        terms.append(("mtp_projections", plain("MTP projections", arch.mtp_extra_parameters, fmt, "on every rank")))
    return add("outside the layers, per GPU", "bytes", terms)


# packed checkpoints of one model differ in what they leave in 16 bits
_PACKED_RANGE = (0.97, 1.06)


@lru_cache(maxsize=16384)
def stage_weights(
    arch: Architecture,
    fmt: WeightFormat,
    cut: Cut,
    stage: int,
    *,
    exact_bytes: int | None = None,
    mtp: bool = False,
    vision: bool = True,
) -> Figure:
    """Bytes of weights on the fullest rank of one stage of one engine.

    Args:
        arch: the model.
        fmt: how its linear layers are stored.
        cut: the cut of one engine; `replicas` plays no part.
        stage: from 0.
        exact_bytes: of the whole checkpoint where they are known; the computed bytes are scaled by what they differ.
        mtp: the multi-token-prediction layers are loaded too (speculative method mtp).
        vision: the vision tower is loaded (not with `--language-model-only`).

    Returns:
        bytes; with a range for packed formats.
    """
    counts = stage_layers(len(arch.layers), cut)
    start = min(sum(counts[:stage]), len(arch.layers))
    end = min(start + counts[stage], len(arch.layers))
    held = tuple(before[end] - before[start] for before in _prefixes(arch)[1])
    outside = _Outside(stage == 0, stage == len(counts) - 1, vision, mtp)
    return evolve(_held(arch, fmt, _shares(cut), held, outside, exact_bytes), name=f"weights.stage{stage}")


@lru_cache(maxsize=8192)
def _held(
    arch: Architecture,
    fmt: WeightFormat,
    shares: _Shares,
    held: tuple[int, ...],
    outside: _Outside,
    exact_bytes: int | None,
) -> Figure:
    """A rank that holds so many of each distinct layer: many stages of many cuts are the same."""
    dense = arch.moe is None
    terms: list[tuple[str, Figure]] = []
    for layer, count in zip(_prefixes(arch)[0], held, strict=True):
        if count:
            each = _rank_layer(layer, arch.hidden, fmt, dense, shares)
            figure = derive(f"{count} layers, per GPU", "bytes", "layers * each", layers=count, each=each)
            terms.append((_layer_name(layer), figure))
    terms.append(("outside", _outside(arch, fmt, outside, shares)))
    computed = add("weights", "bytes", terms)
    if exact_bytes is None:
        return computed.spread(*_PACKED_RANGE) if fmt.quantized and fmt.bytes_per_parameter < 1 else computed
    return derive(
        "weights",
        "bytes",
        "computed * exact / checkpoint",
        source="the checkpoint's own size",
        computed=computed,
        exact=given("checkpoint bytes", exact_bytes, "bytes", "safetensors"),
        checkpoint=weight_bytes(arch, fmt),
    )


def _layer_name(layer: Layer) -> str:
    """A word for a kind of layer, for the terms of a sum."""
    names = {"GroupedAttention": "attention", "LatentAttention": "attention", "DeltaNet": "linear", "Mamba": "mamba"}
    mixer = "_".join(names.get(type(mixer).__name__, "convolution") for mixer in layer.mixers)
    ffn = "" if layer.ffn is None else "moe" if isinstance(layer.ffn, MoeFfn) else "dense"
    return "_".join(part for part in (mixer, ffn, "layers") if part)
