"""Mixtures of experts with grouped-query attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcluster.catalog.families_common import (
    Sizes,
    attention,
    build,
    every_nth_full,
    experts_per_token,
    family,
    layer_kinds,
    mixed_attention,
    read_sizes,
    sparse_layers,
    window,
)
from kcluster.catalog.families_fields import MAX_EXPERTS, MAX_HEADS, MAX_LAYERS, MAX_POSITIONS, Fields
from kcluster.catalog.families_vision import llama4_vision
from kcluster.physics.architecture import Architecture, DenseFfn, GroupedAttention, Layer, MoeFfn


def choose(sparse: Sequence[bool], moe: MoeFfn, dense: DenseFfn) -> tuple[DenseFfn | MoeFfn, ...]:
    """One feed-forward part a layer."""
    return tuple(moe if is_sparse else dense for is_sparse in sparse)


def full_attention(s: Sizes) -> tuple[str, ...]:
    return ("full_attention",) * s.layers


def experts(f: Fields, *names: str) -> int:
    """The number of routed experts, from the first of these fields that is there."""
    return f.integer(*(names or ("num_experts", "num_local_experts", "n_routed_experts")), high=MAX_EXPERTS)


@family("mixtral")
def mixtral(f: Fields) -> Architecture:
    """Mixtral: every layer a mixture, experts of `intermediate_size`."""
    s = read_sizes(f)
    count = experts(f, "num_local_experts")
    moe = MoeFfn(count, experts_per_token(f, count), s.intermediate)
    kinds = ("sliding_attention",) * s.layers
    return build(f, s, mixed_attention(f, s, (moe,) * s.layers, kinds, 2 * s.hidden))


@family("phimoe")
def phimoe(f: Fields) -> Architecture:
    """Phi-3.5-MoE: layer norms with bias, biases by `attention_bias`, a head bias by `lm_head_bias`."""
    s = read_sizes(f)
    count = experts(f, "num_local_experts")
    moe = MoeFfn(count, experts_per_token(f, count), s.intermediate)
    bias = f.flag("attention_bias")
    kinds = ("sliding_attention",) * s.layers
    layers = mixed_attention(f, s, (moe,) * s.layers, kinds, 4 * s.hidden, q_bias=bias, kv_bias=bias, out_bias=bias)
    return build(f, s, layers, final_norm=2 * s.hidden, head_bias=f.flag("lm_head_bias"))


@family("olmoe", "flex_olmo")
def olmoe(f: Fields) -> Architecture:
    """OLMoE and FlexOlmo: q and k norms over all heads, experts of `intermediate_size`."""
    s = read_sizes(f)
    count = experts(f, "num_experts")
    moe = MoeFfn(count, experts_per_token(f, count), s.intermediate)
    bias = f.flag("attention_bias")
    layers = mixed_attention(
        f,
        s,
        (moe,) * s.layers,
        full_attention(s),
        2 * s.hidden,
        q_bias=bias,
        kv_bias=bias,
        out_bias=bias,
        qk_norm="full",
    )
    return build(f, s, layers)


@family("qwen2_moe")
def qwen2_moe(f: Fields) -> Architecture:
    """Qwen1.5-MoE and Qwen2-57B-A14B: a shared expert with a gate of its own, bias on q, k and v."""
    s = read_sizes(f)
    count = experts(f, "num_experts")
    shared = f.integer("shared_expert_intermediate_size", default=0, low=0)
    moe = MoeFfn(
        count,
        experts_per_token(f, count),
        f.integer("moe_intermediate_size"),
        shared_intermediate=shared,
        shared_gate=shared > 0,
    )
    bias = f.flag("qkv_bias", default=True)
    parts = choose(sparse_layers(f, s.layers), moe, DenseFfn(s.intermediate))
    kinds = full_attention(s)
    if f.flag("use_sliding_window"):
        first = f.integer("max_window_layers", default=0, low=0, high=MAX_LAYERS)
        kinds = tuple("sliding_attention" if index >= first else "full_attention" for index in range(s.layers))
    return build(f, s, mixed_attention(f, s, parts, kinds, 2 * s.hidden, q_bias=bias, kv_bias=bias))


def qwen3_moe_layers(f: Fields, s: Sizes) -> tuple[Layer, ...]:
    """Qwen3's layers with 128 or more experts and no shared one."""
    count = experts(f, "num_experts", "num_local_experts")
    moe = MoeFfn(count, experts_per_token(f, count), f.integer("moe_intermediate_size"))
    bias = f.flag("attention_bias")
    parts = choose(sparse_layers(f, s.layers), moe, DenseFfn(s.intermediate))
    kinds = layer_kinds(f, s.layers, full_attention(s)) if f.kind == "mellum" else full_attention(s)
    return mixed_attention(f, s, parts, kinds, 2 * s.hidden, q_bias=bias, kv_bias=bias, out_bias=bias, qk_norm="head")


@family("qwen3_moe", "mellum")
def qwen3_moe(f: Fields) -> Architecture:
    """Qwen3's mixtures, and Mellum 2, whose `layer_types` may slide."""
    s = read_sizes(f)
    return build(f, s, qwen3_moe_layers(f, s))


@family("gpt_oss")
def gpt_oss(f: Fields) -> Architecture:
    """gpt-oss: biases on all projections, on the router and in each expert, one sink value a head, every other layer slides."""
    s = read_sizes(f)
    count = experts(f, "num_local_experts", "num_experts")
    moe = MoeFfn(
        count,
        experts_per_token(f, count, "num_experts_per_tok", "experts_per_token"),
        s.intermediate,
        router_bias=True,
        expert_bias=True,
    )
    default = tuple("full_attention" if index % 2 else "sliding_attention" for index in range(s.layers))
    bias = f.flag("attention_bias", default=True)
    layers = mixed_attention(
        f,
        s,
        (moe,) * s.layers,
        layer_kinds(f, s.layers, default),
        2 * s.hidden,
        q_bias=bias,
        kv_bias=bias,
        out_bias=bias,
        sinks=True,
    )
    return build(f, s, layers)


@family("minimax_m2")
def minimax_m2(f: Fields) -> Architecture:
    """MiniMax-M2: q and k norms over all heads, a router correction bias, experts of `intermediate_size`."""
    s = read_sizes(f)
    count = experts(f, "num_local_experts")
    shared = f.integer("shared_intermediate_size", default=0, low=0)
    moe = MoeFfn(
        count,
        experts_per_token(f, count),
        s.intermediate,
        shared_intermediate=shared,
        router_bias=f.flag("use_routing_bias", default=True),
        router_bytes=4,
    )
    norm = "full" if f.flag("use_qk_norm", default=True) else "none"
    return build(f, s, mixed_attention(f, s, (moe,) * s.layers, full_attention(s), 2 * s.hidden, qk_norm=norm))


@family("glm4_moe", "dots1", "solar_open")
def glm4_moe(f: Fields) -> Architecture:
    """GLM-4.5 to 4.7 (and dots.llm1): leading dense layers, a router correction bias, shared experts, q and k norms by
    `use_qk_norm`, bias on q, k and v but not on the output; an MTP layer whose checkpoint may hold embedding and head again."""
    s = read_sizes(f, intermediate=1 if f.kind == "solar_open" and not f.states("intermediate_size") else None)
    count = experts(f, "n_routed_experts")
    inner = f.integer("moe_intermediate_size")
    moe = MoeFfn(
        count,
        experts_per_token(f, count),
        inner,
        shared_intermediate=inner * f.integer("n_shared_experts", default=0, low=0, high=MAX_EXPERTS),
        router_bias=True,
    )
    glm = f.kind in ("glm4_moe", "solar_open")
    bias = f.flag("attention_bias")
    norm = "head" if f.flag("use_qk_norm", default=f.kind == "dots1") else "none"
    parts = choose(sparse_layers(f, s.layers), moe, DenseFfn(s.intermediate))
    kinds = full_attention(s) if glm else layer_kinds(f, s.layers, full_attention(s))
    options: dict[str, Any] = {"q_bias": bias, "kv_bias": bias, "out_bias": bias and not glm, "qk_norm": norm}
    layers = mixed_attention(f, s, parts, kinds, 2 * s.hidden, **options)
    mtp = f.integer("num_nextn_predict_layers", default=0, low=0, high=16)
    return build(
        f,
        s,
        layers,
        mtp_layers=(Layer((attention(s, **options),), moe, 2 * s.hidden),) * mtp,
        mtp_extra_parameters=mtp * (2 * s.hidden**2 + 3 * s.hidden),
        stored_mtp_embedding=mtp > 0 and f.flag("stores_mtp_embedding"),
    )


@family("ernie4_5_moe")
def ernie4_5_moe(f: Fields) -> Architecture:
    """ERNIE 4.5: a mixture from `moe_layer_start_index` on, shared experts of the routed ones' width, a correction bias; its
    MTP layer is dense, with four norms."""
    s = read_sizes(f)
    count = experts(f, "moe_num_experts")
    inner = f.integer("moe_intermediate_size")
    moe = MoeFfn(
        count,
        experts_per_token(f, count, "moe_k", "num_experts_per_tok"),
        inner,
        shared_intermediate=inner * f.integer("moe_num_shared_experts", default=0, low=0, high=MAX_EXPERTS),
        router_bias=True,
    )
    first = f.integer("moe_layer_start_index", default=1, low=0, high=MAX_LAYERS)
    last = f.integer("moe_layer_end_index", default=-1, low=-1, high=MAX_LAYERS)
    every = f.integer("moe_layer_interval", default=1, high=MAX_LAYERS)
    end = last if last >= 0 else s.layers - 1
    sparse = tuple(first <= index <= end and (index + 1) % every == 0 for index in range(s.layers))
    if f.flag("use_bias"):
        f.problem("use_bias", "is true, which no published model has and which is not read here")
    options: dict[str, Any] = {}
    dense = DenseFfn(s.intermediate)
    layers = mixed_attention(f, s, choose(sparse, moe, dense), full_attention(s), 2 * s.hidden, **options)
    mtp = f.integer("num_nextn_predict_layers", default=0, low=0, high=16)
    return build(
        f,
        s,
        layers,
        tied=True,
        mtp_layers=(Layer((attention(s, **options),), dense, 2 * s.hidden),) * mtp,
        mtp_extra_parameters=mtp * (2 * s.hidden**2 + 2 * s.hidden),
    )


@family("exaone_moe", "hy_v3")
def exaone_moe(f: Fields) -> Architecture:
    """K-EXAONE and Hunyuan V3: leading dense layers, a correction bias, head-size norms on q and k; a dense MTP layer."""
    s = read_sizes(f)
    count = experts(f, "num_experts")
    inner = f.integer("moe_intermediate_size")
    moe = MoeFfn(
        count,
        experts_per_token(f, count),
        inner,
        shared_intermediate=inner * f.integer("num_shared_experts", default=0, low=0, high=MAX_EXPERTS),
        router_bias=True,
    )
    dense = DenseFfn(s.intermediate)
    parts = choose(sparse_layers(f, s.layers), moe, dense)
    kinds = layer_kinds(f, s.layers, every_nth_full(s.layers, 4))
    bias = f.flag("attention_bias")
    options: dict[str, Any] = {"q_bias": bias, "kv_bias": bias, "out_bias": bias, "qk_norm": "head"}
    layers = mixed_attention(f, s, parts, kinds, 2 * s.hidden, **options)
    mtp = f.integer("num_nextn_predict_layers", default=0, low=0, high=16)
    return build(
        f,
        s,
        layers,
        mtp_layers=(Layer((attention(s, **options),), dense, 2 * s.hidden),) * mtp,
        mtp_extra_parameters=mtp * (2 * s.hidden**2 + 3 * s.hidden),
    )


@family("llama4", "llama4_text")
def llama4(f: Fields) -> Architecture:
    """Llama 4: a mixture every `interleave_moe_layer_step` layers with one shared expert, dense layers of
    `intermediate_size_mlp`; three layers of four are chunked; q and k norms have no weights."""
    s = read_sizes(f)
    count = experts(f, "num_local_experts")
    step = f.integer("interleave_moe_layer_step", default=1, low=0, high=MAX_LAYERS)
    listed = f.integers("moe_layers", high=MAX_LAYERS)
    sparse = tuple(
        index in listed if listed is not None else step > 0 and (index + 1) % step == 0 for index in range(s.layers)
    )
    moe = MoeFfn(count, experts_per_token(f, count), s.intermediate, shared_intermediate=s.intermediate)
    dense = DenseFfn(f.integer("intermediate_size_mlp", default=s.intermediate, high=10**7))
    chunk = f.integer("attention_chunk_size", default=0, low=0, high=MAX_POSITIONS) or None
    rope = f.integers("no_rope_layers", high=1) or ()
    kinds = layer_kinds(f, s.layers, ()) or tuple(
        "chunked_attention" if (rope[index] if index < len(rope) else (index + 1) % 4) else "full_attention"
        for index in range(s.layers)
    )
    bias = f.flag("attention_bias")
    full = attention(s, q_bias=bias, kv_bias=bias, out_bias=bias)
    chunked = attention(s, q_bias=bias, kv_bias=bias, out_bias=bias, chunk=chunk)
    made = {
        (is_sparse, kind): Layer(
            (chunked if kind == "chunked_attention" else full,), moe if is_sparse else dense, 2 * s.hidden
        )
        for is_sparse, kind in set(zip(sparse, kinds, strict=True))
    }
    layers = [made[key] for key in zip(sparse, kinds, strict=True)]
    return build(f, s, layers, vision_parameters=llama4_vision(f, s.hidden))


@family("mimo_v2_flash")
def mimo_v2_flash(f: Fields) -> Architecture:
    """MiMo-V2-Flash: sliding layers have their own head counts (untold, twice the KV heads), sinks, values narrower than keys; a correction bias."""
    s = read_sizes(f)
    count = experts(f, "n_routed_experts")
    inner = f.integer("moe_intermediate_size")
    moe = MoeFfn(
        count,
        experts_per_token(f, count),
        inner,
        shared_intermediate=inner * f.integer("n_shared_experts", default=0, low=0, high=MAX_EXPERTS),
        router_bias=True,
    )
    bias = f.flag("attention_bias")
    full = attention(
        s,
        v_head_dim=f.integer("v_head_dim", default=s.head_dim),
        q_bias=bias,
        kv_bias=bias,
        sinks=f.flag("add_full_attention_sink_bias"),
    )
    sliding = GroupedAttention(
        heads=f.integer("swa_num_attention_heads", default=s.heads, high=MAX_HEADS),
        kv_heads=f.integer("swa_num_key_value_heads", default=2 * s.kv_heads, high=MAX_HEADS),
        head_dim=f.integer("swa_head_dim", default=s.head_dim),
        v_head_dim=f.integer("swa_v_head_dim", default=full.v_head_dim),
        q_bias=bias,
        kv_bias=bias,
        window=window(f),
        sinks=f.flag("add_swa_attention_sink_bias", default=True),
    )
    pattern = f.integers("hybrid_layer_pattern", high=1)
    slides = f.one_each("hybrid_layer_pattern", pattern, s.layers, (0,) * s.layers)
    if pattern is None:
        default = tuple(
            "full_attention" if index == 0 or (index + 1) % 6 == 0 else "sliding_attention" for index in range(s.layers)
        )
        kinds = layer_kinds(f, s.layers, default)
        slides = tuple(int(kind == "sliding_attention") for kind in kinds)
    sparse = sparse_layers(f, s.layers)
    dense = DenseFfn(s.intermediate)
    made = {
        (slide, is_sparse): Layer((sliding if slide else full,), moe if is_sparse else dense, 2 * s.hidden)
        for slide, is_sparse in set(zip(slides, sparse, strict=True))
    }
    return build(f, s, [made[key] for key in zip(slides, sparse, strict=True)])


@family("hunyuan_v1_moe")
def hunyuan_moe(f: Fields) -> Architecture:
    """Hunyuan MoE: head-size norms, a shared MLP of `intermediate_size` beside experts of the same or (`moe_intermediate_size`)
    another width. Lists that repeat one number a layer read as that number."""
    s = read_sizes(f)
    count = experts(f, "num_experts")
    moe = MoeFfn(
        count,
        _repeated(f, "moe_topk", 1, count),
        _repeated(f, "moe_intermediate_size", s.intermediate, 1_000_000),
        shared_intermediate=s.intermediate * _repeated(f, "num_shared_expert", 1, MAX_EXPERTS),
        router_bytes=4,
    )
    bias = f.flag("attention_bias")
    layers = mixed_attention(
        f,
        s,
        (moe,) * s.layers,
        full_attention(s),
        2 * s.hidden,
        q_bias=bias,
        kv_bias=bias,
        out_bias=bias,
        qk_norm="head",
    )
    return build(f, s, layers)


def _repeated(f: Fields, name: str, default: int, high: int) -> int:
    """A number, or a list of equal numbers."""
    if not isinstance(f.find(name)[1], list):
        return f.integer(name, default=default, high=high)
    values = f.integers(name, low=1, high=high) or ()
    if len(set(values)) != 1:
        f.problem(name, "has other than equal entries, which are not read here")
        return default
    return values[0]


@family("afmoe")
def afmoe(f: Fields) -> Architecture:
    """Arcee AFM (Trinity): four norms, an output gate over all heads, head-size norms, leading dense layers, a correction bias."""
    s = read_sizes(f)
    count = experts(f, "num_experts")
    inner = f.integer("moe_intermediate_size")
    moe = MoeFfn(
        count,
        experts_per_token(f, count),
        inner,
        shared_intermediate=inner * f.integer("num_shared_experts", default=0, low=0, high=MAX_EXPERTS),
        router_bias=True,
    )
    first = f.integer("num_dense_layers", default=0, low=0, high=MAX_LAYERS)
    parts = choose([index >= first for index in range(s.layers)], moe, DenseFfn(s.intermediate))
    period = f.integer("global_attn_every_n_layers", default=4, high=MAX_LAYERS)
    kinds = layer_kinds(f, s.layers, every_nth_full(s.layers, period))
    bias = f.flag("attention_bias")
    layers = mixed_attention(
        f,
        s,
        parts,
        kinds,
        4 * s.hidden,
        q_bias=bias,
        kv_bias=bias,
        out_bias=bias,
        qk_norm="head",
        extra_parameters=s.hidden * s.heads * s.head_dim,
    )
    return build(f, s, layers)
