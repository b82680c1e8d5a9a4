"""Families that mix Kimi delta attention with latent attention: Kimi Linear, Kimi K3, GLM-5.3."""

from __future__ import annotations

from kcluster.catalog.families_common import build, experts_per_token, family, layer_kinds, read_sizes, sparse_layers
from kcluster.catalog.families_fields import MAX_EXPERTS, MAX_HEADS, MAX_LAYERS, Fields
from kcluster.catalog.families_hybrid import state_bytes
from kcluster.catalog.families_latent import latent_attention
from kcluster.catalog.families_vision import glm_vision, kimi_vision
from kcluster.physics.architecture import Architecture, DeltaNet, DenseFfn, Layer, MoeFfn
from kcluster.values import evolve


def delta_attention(f: Fields, *, full_gate: bool = False) -> DeltaNet:
    """Kimi delta attention: as many key as value heads of one size, decay by channel, gates of low rank or (K3) full."""
    nested = f.table("linear_attn_config") or Fields((), f.problems)
    heads = nested.integer("num_heads", default=f.integer("linear_num_heads", default=0, low=0), low=0, high=MAX_HEADS)
    head = nested.integer("head_dim", default=f.integer("linear_head_dim", default=0, low=0), low=0)
    kernel = nested.integer(
        "short_conv_kernel_size", default=f.integer("linear_conv_kernel_dim", default=4, high=1024), high=1024
    )
    if not heads or not head:
        f.problem("linear_attn_config", "is missing, or has no num_heads and head_dim")
        heads = head = 1
    full = full_gate or nested.flag("use_full_rank_gate")
    return DeltaNet(heads, heads, head, head, kernel, state_bytes(f, "float32"), decay="full" if full else "low_rank")


def _recurrent_layers(f: Fields, count: int) -> tuple[bool, ...]:
    """Which layers are recurrent: `layer_types`, or the layers (counted from 1) that `linear_attn_config.kda_layers` lists."""
    nested = f.table("linear_attn_config")
    listed = nested.integers("kda_layers", high=MAX_LAYERS) if nested is not None else None
    if listed is not None and not f.has("layer_types"):
        return tuple(index + 1 in listed for index in range(count))
    default = tuple("linear_attention" if index % 4 != 3 else "full_attention" for index in range(count))
    return tuple(kind == "linear_attention" for kind in layer_kinds(f, count, default))


def _mixture(f: Fields, *, latent: int = 0, latent_norm: bool = False) -> MoeFfn:
    count = f.integer("n_routed_experts", "num_experts", "num_local_experts", high=MAX_EXPERTS)
    inner = f.integer("moe_intermediate_size")
    shared = f.integer("n_shared_experts", "num_shared_experts", default=0, low=0, high=MAX_EXPERTS)
    return MoeFfn(
        count,
        experts_per_token(f, count, "num_experts_per_tok", "num_experts_per_token"),
        inner,
        shared_intermediate=inner * shared,
        router_bias=True,
        latent=latent,
        extra_router=latent if latent_norm else 0,
    )


@family("kimi_linear", "kimi_k3")
def kimi_linear(f: Fields) -> Architecture:
    """Kimi Linear, and K3 with its tower: three delta layers to one of latent attention without positions, a correction bias;
    K3's experts act on `routed_expert_hidden_size`, its attention has output gates and its residual stream is mixed."""
    s = read_sizes(f, needs_head_dim=False)
    latent = f.integer("routed_expert_hidden_size", default=0, low=0)
    moe = _mixture(f, latent=latent, latent_norm=latent > 0 and f.flag("latent_moe_use_norm"))
    dense = DenseFfn(s.intermediate)
    full = latent_attention(f, s.heads)
    if f.flag("mla_use_output_gate"):
        full = evolve(full, extra_parameters=full.extra_parameters + s.hidden * s.heads * full.v_head_dim)
    delta = delta_attention(f)
    if f.kind == "kimi_k3" and not latent:
        f.problem("routed_expert_hidden_size", "is missing")
    mixing = 2 * s.hidden + 2 * s.hidden if f.states("attn_res_block_size") else 0
    made: dict[tuple[bool, bool], Layer] = {}
    layers = []
    for key in zip(_recurrent_layers(f, s.layers), sparse_layers(f, s.layers), strict=True):
        if key not in made:
            made[key] = Layer((delta if key[0] else full,), moe if key[1] else dense, 2 * s.hidden, mixing)
        layers.append(made[key])
    vision = kimi_vision(f) if f.kind == "kimi_k3" else 0
    other = 2 * s.hidden if mixing else 0
    return build(f, s, layers, other_parameters=other, vision_parameters=vision, rope_values=0)


@family("glm5_next", "glm5_next_text")
def glm5_next(f: Fields) -> Architecture:
    """GLM-5.3-Flash: delta layers and latent attention with a pooled indexer, hyper-connections, leading dense layers."""
    s = read_sizes(f, needs_head_dim=False)
    moe = _mixture(f)
    dense = DenseFfn(s.intermediate)
    pool = f.integer("index_kpool", default=16, low=0, high=4096)
    own = latent_attention(f, s.heads)
    shared = evolve(own, index_heads=0, index_dim=0)
    own = evolve(own, extra_parameters=own.extra_parameters + pool * own.index_dim + own.index_dim * s.hidden)
    delta = delta_attention(f)
    streams = f.integer("hc_mult", default=4, high=64)
    mixes = (2 + streams) * streams
    hyper = 2 * (mixes * streams * s.hidden + mixes + 3)
    indexers = f.one_each("indexer_types", f.texts("indexer_types"), s.layers, ("full",) * s.layers)
    sparse = tuple(index >= 3 for index in range(s.layers))
    if f.states("mlp_layer_types", "first_k_dense_replace", "moe_layer_freq"):
        sparse = sparse_layers(f, s.layers)
    made: dict[tuple[bool, bool, bool], Layer] = {}
    layers = []
    for recurrent, is_sparse, indexer in zip(_recurrent_layers(f, s.layers), sparse, indexers, strict=True):
        key = (recurrent, is_sparse, indexer == "full")
        if key not in made:
            mixer = delta if recurrent else own if key[2] else shared
            made[key] = Layer((mixer,), moe if is_sparse else dense, 2 * s.hidden, hyper)
        layers.append(made[key])
    vision = glm_vision(f) if f.kind == "glm5_next" else 0
    return build(f, s, layers, vision_parameters=vision)
