"""Bytes of a checkpoint as published: what a format packs, what it leaves alone, scales, and copies that files hold."""

from __future__ import annotations

from functools import lru_cache

from kcluster.physics.architecture import Architecture, Layer
from kcluster.physics.formats import WeightFormat
from kcluster.physics.parameters import add
from kcluster.physics.tensors import Part, Tensor, embedding_tensor, head_tensor, layer_kinds, layer_tensors
from kcluster.units import Figure, derive, given
from kcluster.values import frozen

PARTS: tuple[Part, ...] = ("attention", "mlp", "experts", "router", "norm", "other")


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


def tensor_bytes(tensor: Tensor, fmt: WeightFormat, dense: bool, rows: int, columns: int, copies: int) -> Figure:
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
    if tensor.role in fmt.apart:
        return derive(
            tensor.name,
            "bytes",
            "copies * rows * columns * apart_bytes",
            source=tensor.shape,
            apart_bytes=fmt.apart_bytes,
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


def key(name: str) -> str:
    return name.replace(".", "_")


@lru_cache(maxsize=8192)
def _layer_bytes(layer: Layer, hidden: int, fmt: WeightFormat, dense: bool, part: Part) -> Figure | None:
    """One part of one layer in the checkpoint; None where the layer has none of it."""
    terms = [
        (key(tensor.name), tensor_bytes(tensor, fmt, dense, tensor.rows, tensor.columns, tensor.copies))
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


def plain(name: str, parameters: int, fmt: WeightFormat, source: str) -> Figure:
    return derive(
        name,
        "bytes",
        "parameters * bytes_per_parameter",
        source=source,
        parameters=parameters,
        bytes_per_parameter=plain_bytes(fmt),
    )


def _whole(tensor: Tensor, fmt: WeightFormat) -> Figure:
    return tensor_bytes(tensor, fmt, False, tensor.rows, tensor.columns, tensor.copies)


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
        ("others", plain("other tensors", _loose_parameters(arch), fmt, "final norm, biases, positions")),
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
                ("layers", _layers_bytes("MTP layers", arch, arch.mtp_layers, mtp_fmt, *PARTS)),
                ("projections", plain("MTP projections", arch.mtp_extra_parameters, fmt, "projections and norms")),
            ],
        )
    return PartBytes(
        embedding=embedding,
        head=nothing if arch.tied else head,
        attention=_layers_bytes("weights.attention", arch, arch.layers, fmt, "attention"),
        mlp=_layers_bytes("weights.mlp", arch, arch.layers, fmt, "mlp"),
        experts=_layers_bytes("weights.experts", arch, arch.layers, fmt, "experts"),
        norms=add("weights.norms", "bytes", small),
        vision=plain("weights.vision", arch.vision_parameters, fmt, "vision stays in 16 bits"),
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
