"""Families with multi-head latent attention: DeepSeek V2 to V3.2, Kimi K2, GLM-5."""

from __future__ import annotations

from kcluster.catalog.families_common import (
    build,
    experts_per_token,
    family,
    read_sizes,
    sparse_layers,
)
from kcluster.catalog.families_fields import MAX_EXPERTS, MAX_HEADS, Fields
from kcluster.catalog.families_vision import kimi_vision
from kcluster.physics.architecture import Architecture, DenseFfn, LatentAttention, Layer, MoeFfn
from kcluster.values import evolve


def latent_attention(f: Fields, heads: int) -> LatentAttention:
    """The latent attention that a config describes; no `q_lora_rank` is a query projection without a rank."""
    index_heads = f.integer("index_n_heads", default=0, low=0, high=MAX_HEADS)
    query, latent = f.integer("q_lora_rank", default=0, low=0), f.integer("kv_lora_rank")
    rope = f.integer("qk_rope_head_dim", low=0)
    # the three projections with a bias: down to the ranks, and out
    biases = query + latent + rope + f.integer("hidden_size") if f.flag("attention_bias") else 0
    return LatentAttention(
        heads=heads,
        q_lora_rank=query or None,
        kv_lora_rank=latent,
        rope_dim=rope,
        nope_dim=f.integer("qk_nope_head_dim"),
        v_head_dim=f.integer("v_head_dim"),
        index_heads=index_heads,
        index_dim=f.integer("index_head_dim", default=0, low=0) if index_heads else 0,
        index_topk=f.integer("index_topk", default=0, low=0) if index_heads else 0,
        extra_parameters=biases,
    )


def routed(f: Fields, *, bias: bool) -> MoeFfn:
    """DeepSeek's mixture: routed experts and `n_shared_experts` always active ones of the same width."""
    count = f.integer("n_routed_experts", "num_experts", high=MAX_EXPERTS)
    inner = f.integer("moe_intermediate_size")
    return MoeFfn(
        count,
        experts_per_token(f, count),
        inner,
        shared_intermediate=inner
        * f.integer("n_shared_experts", "num_shared_experts", default=0, low=0, high=MAX_EXPERTS),
        router_bias=bias,
    )


@family(
    "deepseek_v2",
    "deepseek_v3",
    "deepseek_v32",
    "kimi_k2",
    "kimi_k25",
    "kimi_vl",
    "glm_moe_dsa",
    "glm4_moe_lite",
    "mistral4",
)
def deepseek(f: Fields) -> Architecture:
    """DeepSeek V2, V3, V3.2, R1, Kimi K2 and GLM-5: leading dense layers, then mixtures; a router correction bias from V3
    on; GLM-5.2 shares an indexer among layers (`indexer_types`); V3's files hold embedding and head again with the MTP layer."""
    s = read_sizes(f, needs_head_dim=False)
    kind = f.kind
    correction = kind not in ("deepseek_v2", "mistral4") or f.text("topk_method") == "noaux_tc"
    moe = routed(f, bias=correction)
    dense = DenseFfn(s.intermediate)
    own = latent_attention(f, s.heads)
    shared = evolve(own, index_heads=0, index_dim=0)
    indexers = f.one_each("indexer_types", f.texts("indexer_types"), s.layers, ("full",) * s.layers)
    norms = 2 * s.hidden
    made: dict[tuple[bool, bool], Layer] = {}
    layers = []
    for sparse, indexer in zip(sparse_layers(f, s.layers), indexers, strict=True):
        key = (sparse, indexer == "full")
        if key not in made:
            made[key] = Layer((own if key[1] else shared,), moe if sparse else dense, norms)
        layers.append(made[key])
    mtp = f.integer("num_nextn_predict_layers", default=0, low=0, high=16)
    return build(
        f,
        s,
        layers,
        mtp_layers=(Layer((own,), moe, norms),) * mtp,
        mtp_extra_parameters=mtp * (2 * s.hidden**2 + 3 * s.hidden),
        stored_mtp_embedding=mtp > 0 and f.flag("stores_mtp_embedding", default=kind == "deepseek_v3"),
        vision_parameters=kimi_vision(f),
    )


@family("longcat_flash")
def longcat_flash(f: Fields) -> Architecture:
    """LongCat-Flash: two latent attentions and two dense MLPs a layer, a mixture beside them whose router also knows experts that
    compute nothing."""
    intermediate = f.integer("ffn_hidden_size", "intermediate_size", high=10**7)
    s = read_sizes(f, needs_head_dim=False, intermediate=intermediate)
    count = f.integer("n_routed_experts", high=MAX_EXPERTS)
    idle = f.integer("zero_expert_num", default=0, low=0, high=MAX_EXPERTS)
    moe = MoeFfn(
        count,
        experts_per_token(f, count, "moe_topk", "num_experts_per_tok"),
        f.integer("expert_ffn_hidden_size", "moe_intermediate_size"),
        router_bias=True,
        extra_router=idle * s.hidden + idle,
        dense_intermediate=2 * intermediate,
    )
    mixer = latent_attention(f, s.heads)
    return build(f, s, (Layer((mixer, mixer), moe, 4 * s.hidden),) * s.layers)
