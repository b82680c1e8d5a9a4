"""Families with sparse attention over grouped heads: DeepSeek V4, MiniMax M3, Step 3.5 and 3.7."""

from __future__ import annotations

from kcluster.catalog.families_common import (
    attention,
    build,
    experts_per_token,
    family,
    layer_kinds,
    read_sizes,
    sparse_layers,
    window,
)
from kcluster.catalog.families_fields import MAX_EXPERTS, MAX_HEADS, MAX_LAYERS, Fields
from kcluster.catalog.families_latent import routed
from kcluster.catalog.families_vision import minimax_m3_vision, step_vision
from kcluster.physics.architecture import Architecture, DenseFfn, GroupedAttention, Layer, MoeFfn
from kcluster.values import evolve

_RATIOS = {"sliding_attention": 0, "compressed_sparse_attention": 4, "heavily_compressed_attention": 128}


def _compress_ratios(f: Fields, count: int) -> tuple[int, ...]:
    """Tokens to a compressed entry, one a layer: 0 is a window alone, 4 is with an indexer, 128 is without."""
    default = tuple(128 if index < 2 or index % 2 else 4 for index in range(count))
    ratios = f.one_each("compress_ratios", f.integers("compress_ratios", high=1_000_000), count, default)
    kinds = f.texts("layer_types")
    if kinds is not None and not f.has("compress_ratios"):
        kinds = f.one_each("layer_types", kinds, count, ("heavily_compressed_attention",) * count)
        ratios = tuple(_RATIOS.get(kind, 128) for kind in kinds)
    return ratios


@family("deepseek_v4")
def deepseek_v4(f: Fields) -> Architecture:
    """DeepSeek V4: one KV head serves as key and value; a window, and beside it compressed entries; hyper-connections carry
    `hc_mult` residual streams; every layer a mixture, the first `num_hash_layers` routed by a table."""
    s = read_sizes(f, intermediate=f.integer("moe_intermediate_size"))
    base = GroupedAttention(
        s.heads,
        s.kv_heads,
        s.head_dim,
        s.head_dim,
        window=window(f),
        shared_kv=True,
        sinks=True,
        q_lora_rank=f.integer("q_lora_rank"),
        o_groups=f.integer("o_groups", high=MAX_HEADS),
        o_lora_rank=f.integer("o_lora_rank"),
        extra_parameters=s.head_dim,
    )
    if s.heads * s.head_dim % base.o_groups:
        f.problem("o_groups", f"{base.o_groups} does not divide {s.heads} heads × {s.head_dim}")
    index_heads = f.integer("index_n_heads", high=MAX_HEADS)
    index_dim = f.integer("index_head_dim")
    streams = f.integer("hc_mult", default=4, high=64)
    mixes = (2 + streams) * streams
    hyper = 2 * (mixes * streams * s.hidden + mixes + 3)
    moe = routed(f, bias=True)
    hashed = evolve(moe, router_bias=False)
    first = f.integer("num_hash_layers", default=3, low=0, high=MAX_LAYERS)
    kinds = f.texts("mlp_layer_types")
    if kinds is not None and not f.states("num_hash_layers"):
        first = sum(kind == "hash_moe" for kind in kinds)
    made: dict[tuple[int, bool], Layer] = {}
    layers = []
    for index, ratio in enumerate(_compress_ratios(f, s.layers)):
        key = (ratio, index < first)
        if key not in made:
            mixer = evolve(base, compress_ratio=ratio)
            if 0 < ratio < 128:
                mixer = evolve(mixer, index_heads=index_heads, index_dim=index_dim)
            made[key] = Layer((mixer,), hashed if key[1] else moe, 2 * s.hidden, hyper)
        layers.append(made[key])
    mtp = f.integer("num_nextn_predict_layers", default=0, low=0, high=16)
    head = streams * streams * s.hidden + streams + 1
    return build(
        f,
        s,
        layers,
        other_parameters=head,
        mtp_layers=(Layer((base,), moe, 2 * s.hidden, hyper),) * mtp,
        mtp_extra_parameters=mtp * (2 * s.hidden**2 + 3 * s.hidden),
    )


@family("minimax_m3", "minimax_m3_vl", "minimax_m3_vl_text")
def minimax_m3(f: Fields) -> Architecture:
    """MiniMax M3: head-size norms, an indexer in the block-sparse layers, leading dense layers, one shared expert."""
    dense_width = f.integer("dense_intermediate_size", default=f.integer("intermediate_size"), high=10**7)
    s = read_sizes(f)
    count = f.integer("num_local_experts", high=MAX_EXPERTS)
    moe = MoeFfn(
        count,
        experts_per_token(f, count),
        s.intermediate,
        shared_intermediate=f.integer("shared_intermediate_size", default=0, low=0),
        router_bias=f.flag("use_routing_bias", default=True),
    )
    dense = DenseFfn(dense_width)
    nested = f.table("sparse_attention_config") or Fields((), f.problems)
    full = attention(s, qk_norm="head")
    sparse = evolve(
        full,
        index_heads=f.integer(
            "index_n_heads", default=nested.integer("sparse_num_index_heads", default=4), high=MAX_HEADS
        ),
        index_dim=f.integer("index_head_dim", default=nested.integer("sparse_index_dim", default=128)),
    )
    flags = nested.integers("sparse_attention_freq", high=1)
    indexed = f.one_each("sparse_attention_freq", flags, s.layers, (0,) * s.layers)
    if flags is None:
        kinds = layer_kinds(f, s.layers, ("full_attention",) * s.layers)
        indexed = tuple(int(kind != "full_attention") for kind in kinds)
    made: dict[tuple[int, bool], Layer] = {}
    layers = []
    for key in zip(indexed, sparse_layers(f, s.layers), strict=True):
        if key not in made:
            made[key] = Layer((sparse if key[0] else full,), moe if key[1] else dense, 2 * s.hidden)
        layers.append(made[key])
    return build(f, s, layers, vision_parameters=minimax_m3_vision(f, s.hidden))


@family("step3p5", "step3p7")
def step3(f: Fields) -> Architecture:
    """Step 3.5 and 3.7 Flash: head-size norms, a gate for each head, more heads in sliding layers, a mixture from the fourth layer
    on with one shared expert."""
    s = read_sizes(f)
    count = f.integer("n_routed_experts", "moe_num_experts", "num_experts", high=MAX_EXPERTS)
    shared = f.integer("share_expert_dim", "share_expert_dims", default=0, low=0)
    moe = MoeFfn(
        count,
        experts_per_token(f, count, "num_experts_per_tok", "moe_top_k"),
        f.integer("moe_intermediate_size"),
        shared_intermediate=shared,
        router_bias=f.flag("use_moe_router_bias", default=True),
    )
    dense = DenseFfn(s.intermediate)
    bias = f.flag("attention_bias")
    other = f.table("attention_other_setting")
    heads = f.integer("num_sliding_attention_heads", default=s.heads, high=MAX_HEADS)
    if other is not None and not f.states("num_sliding_attention_heads"):
        heads = other.integer("num_attention_heads", default=s.heads, high=MAX_HEADS)

    def gated(count: int, size: int | None) -> GroupedAttention:
        return GroupedAttention(
            count,
            s.kv_heads,
            s.head_dim,
            s.head_dim,
            q_bias=bias,
            kv_bias=bias,
            out_bias=bias,
            qk_norm="head",
            window=size,
            extra_parameters=count * s.hidden,
        )

    full, sliding = gated(s.heads, None), gated(heads, window(f))
    first = f.integer("first_k_dense_replace", default=3, low=0, high=MAX_LAYERS)
    sparse = tuple(index >= first for index in range(s.layers))
    if f.has("mlp_layer_types"):
        sparse = sparse_layers(f, s.layers)
    kinds = layer_kinds(f, s.layers, ("full_attention",) * s.layers)
    made: dict[tuple[bool, bool], Layer] = {}
    layers = []
    for kind, is_sparse in zip(kinds, sparse, strict=True):
        key = (kind == "sliding_attention", is_sparse)
        if key not in made:
            made[key] = Layer((sliding if key[0] else full,), moe if is_sparse else dense, 2 * s.hidden)
        layers.append(made[key])
    return build(f, s, layers, vision_parameters=step_vision(f, s.hidden))
