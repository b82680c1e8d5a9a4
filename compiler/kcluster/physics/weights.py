"""Bytes of weights: of a whole checkpoint, and on the fullest rank of a stage as the engine loads it.

What a rank holds follows vLLM's loaders: tensor parallel cuts linear layers by heads or channels and the vocabulary by rows
(padded to a multiple of 64); norms, routers and the down-projections of latent attention stand on every rank; KV heads are
repeated where tp exceeds them; experts go whole to ranks with expert parallel and are sliced over tp × dp without; the embedding
is on the first stage, the head on the last (a tied head is a copy there); a vision tower is loaded by every stage.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate

from attrs import frozen

from kcluster.physics.architecture import Architecture, LatentAttention, Layer, MoeFfn
from kcluster.physics.cut import Cut
from kcluster.physics.formats import WeightFormat
from kcluster.physics.parameters import add
from kcluster.physics.tensors import Part, Tensor, embedding_tensor, head_tensor, layer_kinds, layer_tensors
from kcluster.units import Figure, derive, given

VOCAB_MULTIPLE = 64
"""The engine pads the vocabulary to a multiple of this before it cuts it."""

_PARTS: tuple[Part, ...] = ("attention", "mlp", "experts", "router", "norm", "other")


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


def packed(tensor: Tensor, fmt: WeightFormat, *, dense: bool) -> bool:
    """Whether a format packs this tensor: linear weights of the parts that it covers; embeddings only in GGUF."""
    if not fmt.quantized:
        return False
    if tensor.part in ("embedding", "head"):
        return fmt.embeddings_quantized
    if not tensor.linear:
        return False
    if tensor.role == "latent" and not fmt.latent_attention:
        return False
    if fmt.covers == "linear" or (dense and fmt.covers == "experts"):
        return True
    if fmt.covers == "ffn":
        return tensor.role in ("ffn", "experts")
    return tensor.role == "experts"


def plain_bytes(fmt: WeightFormat) -> float:
    """Bytes of a parameter that the format leaves alone: 2, or what an unquantized format says."""
    return 2.0 if fmt.quantized else fmt.bytes_per_parameter


def _tensor_bytes(tensor: Tensor, fmt: WeightFormat, dense: bool, rows: int, columns: int, copies: int) -> Figure:
    """Bytes of `copies` matrices of rows × columns, scales included."""
    sizes = {"rows": rows, "columns": columns, "copies": copies}
    if not packed(tensor, fmt, dense=dense):
        return derive(
            tensor.name,
            "bytes",
            "copies * rows * columns * bytes_per_parameter",
            source=tensor.shape,
            bytes_per_parameter=tensor.bytes_each or plain_bytes(fmt),
            **sizes,
        )
    if tensor.role == "experts" and fmt.expert_bytes:
        return derive(
            tensor.name,
            "bytes",
            "copies * rows * columns * expert_bytes",
            source=tensor.shape,
            expert_bytes=fmt.expert_bytes,
            **sizes,
        )
    each = {"bytes_per_parameter": fmt.bytes_per_parameter, "scale_bytes": fmt.scale_bytes}
    if fmt.block is not None:
        return derive(
            tensor.name,
            "bytes",
            "copies * (rows * columns * bytes_per_parameter"
            " + ceil(rows / block_rows) * ceil(columns / block_columns) * scale_bytes)",
            source=tensor.shape,
            block_rows=fmt.block[0],
            block_columns=fmt.block[1],
            **sizes,
            **each,
        )
    if fmt.group:
        return derive(
            tensor.name,
            "bytes",
            "copies * rows * (columns * bytes_per_parameter + ceil(columns / group) * scale_bytes)",
            source=tensor.shape,
            group=fmt.group,
            **sizes,
            **each,
        )
    return derive(
        tensor.name,
        "bytes",
        "copies * rows * (columns * bytes_per_parameter + scale_bytes)",
        source=tensor.shape,
        **sizes,
        **each,
    )


def _key(name: str) -> str:
    return name.replace(".", "_")


@lru_cache(maxsize=8192)
def _layer_bytes(layer: Layer, hidden: int, fmt: WeightFormat, dense: bool, part: Part) -> Figure | None:
    """One part of one layer in the checkpoint; None where the layer has none of it."""
    terms = [
        (_key(tensor.name), _tensor_bytes(tensor, fmt, dense, tensor.rows, tensor.columns, tensor.copies))
        for tensor in layer_tensors(layer, hidden)
        if tensor.part == part
    ]
    return add(f"{part} of a layer", "bytes", terms) if terms else None


@frozen
class PartBytes:
    """Bytes of a checkpoint by part; `norms` holds what is small (norms, routers), `stored` copies that the files hold besides."""

    embedding: Figure
    head: Figure
    attention: Figure
    mlp: Figure
    experts: Figure
    norms: Figure
    vision: Figure
    mtp: Figure
    stored: Figure

    @property
    def parts(self) -> tuple[tuple[str, Figure], ...]:
        return (
            ("embedding", self.embedding),
            ("head", self.head),
            ("attention", self.attention),
            ("mlp", self.mlp),
            ("experts", self.experts),
            ("norms", self.norms),
            ("vision", self.vision),
            ("mtp", self.mtp),
            ("stored", self.stored),
        )


def _layers_bytes(name: str, arch: Architecture, layers: tuple[Layer, ...], fmt: WeightFormat, *parts: Part) -> Figure:
    terms = []
    for part in parts:
        for layer, count in layer_kinds(layers):
            each = _layer_bytes(layer, arch.hidden, fmt, arch.moe is None, part)
            if each is not None:
                figure = derive(f"{part} of {count} layers", "bytes", "layers * each", layers=count, each=each)
                terms.append((part, figure))
    return add(name, "bytes", terms)


def _plain(name: str, parameters: int, fmt: WeightFormat, source: str) -> Figure:
    return derive(
        name,
        "bytes",
        "parameters * bytes_per_parameter",
        source=source,
        parameters=parameters,
        bytes_per_parameter=plain_bytes(fmt),
    )


def _whole(tensor: Tensor, fmt: WeightFormat) -> Figure:
    return _tensor_bytes(tensor, fmt, False, tensor.rows, tensor.columns, tensor.copies)


def mtp_format(fmt: WeightFormat) -> WeightFormat:
    """How the multi-token-prediction layers of a checkpoint are stored: as the rest in FP8 and unquantized checkpoints, in 16 bits
    in packed ones (their ignore lists name `mtp*`)."""
    return WeightFormat("bf16", 2.0, quantized=False) if fmt.quantized and fmt.bytes_per_parameter < 1 else fmt


@lru_cache(maxsize=256)
def part_bytes(arch: Architecture, fmt: WeightFormat) -> PartBytes:
    """Bytes of the whole checkpoint by part."""
    nothing = given("nothing", 0, "bytes")
    embedding = _whole(embedding_tensor(arch), fmt)
    head = _whole(head_tensor(arch), fmt)
    mtp_fmt = mtp_format(fmt)
    small = [
        ("layers", _layers_bytes("norms of layers", arch, arch.layers, fmt, "router", "norm", "other")),
        ("others", _plain("other tensors", _loose_parameters(arch), fmt, "final norm, biases, positions")),
    ]
    stored = nothing
    if arch.stored_head:
        stored = derive("weights.stored", "bytes", "head", source="the tied head, stored again", head=head)
    elif arch.stored_mtp_embedding:
        stored = derive("weights.stored", "bytes", "2 * embedding", source="with the MTP module", embedding=embedding)
    mtp = nothing
    if arch.mtp_layers:
        mtp = add(
            "weights.mtp",
            "bytes",
            [
                ("layers", _layers_bytes("MTP layers", arch, arch.mtp_layers, mtp_fmt, *_PARTS)),
                ("projections", _plain("MTP projections", arch.mtp_extra_parameters, fmt, "projections and norms")),
            ],
        )
    return PartBytes(
        embedding=embedding,
        head=nothing if arch.tied else head,
        attention=_layers_bytes("weights.attention", arch, arch.layers, fmt, "attention"),
        mlp=_layers_bytes("weights.mlp", arch, arch.layers, fmt, "mlp"),
        experts=_layers_bytes("weights.experts", arch, arch.layers, fmt, "experts"),
        norms=add("weights.norms", "bytes", small),
        vision=_plain("weights.vision", arch.vision_parameters, fmt, "vision stays in 16 bits"),
        mtp=mtp,
        stored=stored,
    )


def _loose_parameters(arch: Architecture) -> int:
    """What stands outside the layers beside embedding and head."""
    bias = arch.vocab if arch.head_bias else 0
    return arch.final_norm_parameters + bias + arch.learned_positions * arch.hidden + arch.other_parameters


@lru_cache(maxsize=256)
def weight_bytes(arch: Architecture, fmt: WeightFormat) -> Figure:
    """Bytes of the whole checkpoint as published in this format, MTP layers and stored copies included."""
    parts = [(name, figure) for name, figure in part_bytes(arch, fmt).parts if figure.value]
    return add("weights.checkpoint", "bytes", parts)


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
    terms = []
    for part in _PARTS:
        part_terms = [
            (_key(tensor.name), _tensor_bytes(tensor, fmt, dense, *_rank_shape(tensor, shares, fmt, dense)))
            for tensor in layer_tensors(layer, hidden)
            if tensor.part == part
        ]
        if part == "attention":
            part_terms += _absorbed(layer, fmt, dense, shares)
        if part_terms:
            terms.append((part, add(f"{part} of a layer, per GPU", "bytes", part_terms)))
    return add("a layer, per GPU", "bytes", terms)


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
        return _tensor_bytes(tensor, fmt, False, _ceil(arch.vocab, tp), arch.hidden, 1)
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


@lru_cache(maxsize=4096)
def _outside(
    arch: Architecture, fmt: WeightFormat, tp: int, first: bool, last: bool, vision: bool, mtp: bool, shares: _Shares
) -> Figure:
    """What a rank of a stage holds outside its layers."""
    terms = []
    if first:
        terms.append(("embedding", _vocabulary(arch, fmt, tp, "embedding")))
        if arch.learned_positions:
            terms.append(
                ("positions", _plain("positions", arch.learned_positions * arch.hidden, fmt, "on the first stage"))
            )
        if arch.other_parameters:
            terms.append(("further", _plain("further tensors", arch.other_parameters, fmt, "as the family has them")))
    if last:
        if not (arch.tied and first):
            terms.append(("head", _vocabulary(arch, fmt, tp, "head")))
        terms.append(("final_norm", _plain("final norm", arch.final_norm_parameters, fmt, "on the last stage")))
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
    if vision and arch.vision_parameters:
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
    if mtp and last and arch.mtp_layers:
        dense = arch.moe is None
        for layer, count in layer_kinds(arch.mtp_layers):
            each = _rank_layer(layer, arch.hidden, mtp_format(fmt), dense, shares)
            terms.append(("mtp", derive(f"{count} MTP layers", "bytes", "layers * each", layers=count, each=each)))
        terms.append(("mtp_projections", _plain("MTP projections", arch.mtp_extra_parameters, fmt, "on every rank")))
    return add("outside the layers, per GPU", "bytes", terms)


# packed checkpoints of one model differ in what they leave in 16 bits
_PACKED_RANGE = (0.97, 1.06)


@lru_cache(maxsize=65536)
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
    shares = _shares(cut)
    dense = arch.moe is None
    kinds, prefixes = _prefixes(arch)
    terms: list[tuple[str, Figure]] = []
    for layer, before in zip(kinds, prefixes, strict=True):
        count = before[end] - before[start]
        if count:
            each = _rank_layer(layer, arch.hidden, fmt, dense, shares)
            figure = derive(f"{count} layers, per GPU", "bytes", "layers * each", layers=count, each=each)
            terms.append((_layer_name(layer), figure))
    outside = _outside(arch, fmt, cut.tp, stage == 0, stage == len(counts) - 1, vision, mtp, shares)
    terms.append(("outside", outside))
    name = f"weights.stage{stage}"
    computed = add(name, "bytes", terms)
    if exact_bytes is None:
        return computed.spread(*_PACKED_RANGE) if fmt.quantized and fmt.bytes_per_parameter < 1 else computed
    return derive(
        name,
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
