"""The tensors of a model: the one list from which parameters are counted, weight bytes summed and ranks cut.

A tensor is a matrix as a linear layer holds it (rows = outputs, columns = inputs); vectors have one column. Shapes follow the
families' published definitions; `catalog` says which family has which.
"""

from __future__ import annotations

from functools import lru_cache

from kcluster.physics.architecture import Architecture, DenseFfn, Ffn, Layer, MoeFfn
from kcluster.physics.mixer_tensors import mixer_tensors
from kcluster.physics.tensor import Part, Split, Tensor

__all__ = [
    "Part",
    "Split",
    "Tensor",
    "embedding_tensor",
    "ffn_tensors",
    "head_tensor",
    "layer_kinds",
    "layer_tensors",
    "mixer_tensors",
]


def _mlp(prefix: str, width: int, hidden: int, *, gated: bool, bias: bool, words: str = "intermediate") -> list[Tensor]:
    up = 2 if gated else 1
    names = ("gate_proj", "up_proj") if gated else ("up_proj",)
    tensors = [
        Tensor(f"{prefix}{name}", f"{words}, hidden", width, hidden, part="mlp", split="rows", linear=True, role="ffn")
        for name in names
    ]
    tensors.append(
        Tensor(
            f"{prefix}down_proj",
            f"hidden, {words}",
            hidden,
            width,
            part="mlp",
            split="columns",
            linear=True,
            role="ffn",
        )
    )
    if bias:
        tensors.append(Tensor(f"{prefix}up_bias", words, width, copies=up, part="mlp", split="rows"))
        tensors.append(Tensor(f"{prefix}down_bias", "hidden", hidden, part="mlp"))
    return tensors


def _moe(f: MoeFfn, hidden: int) -> tuple[Tensor, ...]:
    width = f.latent or hidden
    words = "latent" if f.latent else "hidden"
    names = ("gate_proj", "up_proj") if f.gated else ("up_proj",)
    kept = f.router_bytes if f.router_bytes != 2 else 0
    tensors = [Tensor("router", "experts, hidden", f.experts, hidden, part="router", bytes_each=kept)]
    if f.router_bias:
        tensors.append(Tensor("router_bias", "experts", f.experts, part="router", bytes_each=kept))
    if f.extra_router:
        tensors.append(Tensor("router_extra", "as the family has it", f.extra_router, part="router"))
    tensors += [
        Tensor(
            f"experts.{name}",
            f"expert_intermediate, {words}",
            f.intermediate,
            width,
            f.experts,
            part="experts",
            split="expert_rows",
            linear=True,
            role="experts",
        )
        for name in names
    ]
    tensors.append(
        Tensor(
            "experts.down_proj",
            f"{words}, expert_intermediate",
            width,
            f.intermediate,
            f.experts,
            part="experts",
            split="expert_columns",
            linear=True,
            role="experts",
        )
    )
    if f.expert_bias:
        up = len(names)
        tensors.append(
            Tensor(
                "experts.up_bias",
                "expert_intermediate",
                up * f.intermediate,
                copies=f.experts,
                part="experts",
                split="expert_rows",
                role="experts",
            )
        )
        tensors.append(
            Tensor("experts.down_bias", words, width, copies=f.experts, part="experts", split="expert", role="experts")
        )
    if f.shared_intermediate:
        tensors += _mlp(
            "shared.", f.shared_intermediate, hidden, gated=f.gated, bias=f.shared_bias, words="shared_intermediate"
        )
    if f.shared_gate:
        tensors.append(Tensor("shared.gate", "hidden", hidden, part="router"))
    if f.latent:
        tensors.append(Tensor("latent_down", "latent, hidden", f.latent, hidden, part="mlp", linear=True, role="ffn"))
        tensors.append(Tensor("latent_up", "hidden, latent", hidden, f.latent, part="mlp", linear=True, role="ffn"))
    if f.dense_intermediate:
        tensors += _mlp("dense.", f.dense_intermediate, hidden, gated=f.gated, bias=False, words="dense_intermediate")
    return tuple(tensors)


@lru_cache(maxsize=4096)
def ffn_tensors(ffn: Ffn, hidden: int) -> tuple[Tensor, ...]:
    """The tensors of one feed-forward part."""
    if isinstance(ffn, DenseFfn):
        return tuple(_mlp("", ffn.intermediate, hidden, gated=ffn.gated, bias=ffn.bias))
    return _moe(ffn, hidden)


@lru_cache(maxsize=4096)
def layer_tensors(layer: Layer, hidden: int) -> tuple[Tensor, ...]:
    """The tensors of one layer: its mixers, its feed-forward part, its norms."""
    tensors = [tensor for mixer in layer.mixers for tensor in mixer_tensors(mixer, hidden)]
    if layer.ffn is not None:
        tensors += ffn_tensors(layer.ffn, hidden)
    if layer.norm_parameters:
        tensors.append(Tensor("norms", "as the family has them", layer.norm_parameters, part="norm"))
    if layer.extra_parameters:
        tensors.append(Tensor("extra", "as the family has it", layer.extra_parameters, part="other"))
    return tuple(tensors)


def embedding_tensor(arch: Architecture) -> Tensor:
    return Tensor("embedding", "vocab, hidden", arch.vocab, arch.hidden, part="embedding", split="rows")


def head_tensor(arch: Architecture) -> Tensor:
    """The output head, whether or not it is tied."""
    return Tensor("head", "vocab, hidden", arch.vocab, arch.hidden, part="head", split="rows")


@lru_cache(maxsize=1024)
def layer_kinds(layers: tuple[Layer, ...]) -> tuple[tuple[Layer, int], ...]:
    """The distinct layers and how many there are of each, in order of first appearance."""
    counts: dict[Layer, int] = {}
    for layer in layers:
        counts[layer] = counts.get(layer, 0) + 1
    return tuple(counts.items())
