"""Families whose classes come with their checkpoints: Nemotron Super and Ultra of variable blocks, Ling and Ring, the first GLM-4 and
DeepSeek-MoE. Sources: the classes of vLLM 0.32 (`nemotron_nas`, `bailing_moe`, `chatglm`, `deepseek_v2`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kcluster.catalog.families_common import (
    Sizes,
    attention,
    build,
    experts_per_token,
    family,
    read_sizes,
    sparse_layers,
    uniform,
)
from kcluster.catalog.families_fields import MAX_EXPERTS, MAX_HEADS, MAX_LAYERS, MAX_VOCAB, Fields
from kcluster.catalog.families_moe import choose
from kcluster.physics.architecture import Architecture, DenseFfn, GroupedAttention, Layer, MoeFfn


@family("nemotron-nas")
def nemotron_nas(f: Fields) -> Architecture:
    """Llama-Nemotron Super 49B and Ultra 253B: `block_configs` says for each layer how many query heads share a KV head and how wide
    the MLP is, or that there is none; a part that is not there has no norm either."""
    hidden = f.integer("hidden_size")
    count = f.integer("num_hidden_layers", high=MAX_LAYERS)
    heads = f.integer("num_attention_heads", high=MAX_HEADS)
    head = f.integer("head_dim", default=max(1, hidden // heads))
    path, blocks = f.find("block_configs")
    if not isinstance(blocks, list) or len(blocks) != count or not all(isinstance(block, Mapping) for block in blocks):
        f.problem(path, "is missing" if blocks is None else f"must be a list of {count} tables, one a layer")
        blocks = []
    made: dict[str, Layer] = {}
    layers = []
    for index, block in enumerate(blocks):
        key = repr(block)
        if key not in made:
            made[key] = _block(Fields(((f"{path}[{index}].", block),), f.problems), hidden, heads, head)
        layers.append(made[key])
    s = Sizes(hidden, count, heads, heads, head, 1, f.integer("vocab_size", high=MAX_VOCAB))
    return build(f, s, layers or uniform(attention(s), DenseFfn(1), s, 0))


def _block(block: Fields, hidden: int, heads: int, head: int) -> Layer:
    empty = Fields((), block.problems)
    mixer, ffn = block.table("attention") or empty, block.table("ffn") or empty
    for part in (mixer, ffn):
        if part.flag("replace_with_linear"):
            part.problem(part.find("replace_with_linear")[0], "is true, which is not read here")
    mixers: tuple[GroupedAttention, ...] = ()
    if not mixer.flag("no_op"):
        group = mixer.integer("n_heads_in_group", high=MAX_HEADS)
        if heads % group:
            mixer.problem(mixer.find("n_heads_in_group")[0], f"{group} does not divide the {heads} attention heads")
        mixers = (GroupedAttention(heads, max(1, heads // group), head, head),)
    dense = None
    if not ffn.flag("no_op"):
        width = ffn.integer("intermediate_size", default=0, low=0, high=10**7)
        multiple = ffn.number("ffn_mult", 0.0, 1e-3, 100)
        if not width and not multiple:
            ffn.problem(ffn.find("ffn_mult")[0], "is missing")
        # the class rounds two thirds of the multiple up to 256
        dense = DenseFfn(width or max(1, -(-int(2 * multiple * hidden / 3) // 256) * 256))
    return Layer(mixers, dense, hidden * (len(mixers) + (dense is not None)))


@family("bailing_moe", "bailing_moe_v2", "deepseek")
def bailing(f: Fields) -> Architecture:
    """Ling and Ring up to 2.0 and DeepSeek-MoE: leading dense layers, shared experts beside the routed ones; head-size norms on q and k
    and a correction bias by their flags."""
    s = read_sizes(f)
    count = f.integer("num_experts", "n_routed_experts", high=MAX_EXPERTS)
    inner = f.integer("moe_intermediate_size")
    shared = f.integer("num_shared_experts", "n_shared_experts", default=0, low=0, high=MAX_EXPERTS)
    bias, qkv = f.flag("use_bias", "attention_bias"), f.flag("use_qkv_bias")
    if f.flag("use_bias"):
        f.problem("use_bias", "is true, which is not read here")
    moe = MoeFfn(
        count,
        experts_per_token(f, count),
        inner,
        shared_intermediate=shared * f.integer("moe_shared_expert_intermediate_size", default=inner),
        router_bias=f.flag("moe_router_enable_expert_bias"),
    )
    options: dict[str, Any] = {"q_bias": bias or qkv, "kv_bias": bias or qkv, "out_bias": bias}
    options["qk_norm"] = "head" if f.flag("use_qk_norm") else "none"
    made = {part: Layer((attention(s, **options),), part, 2 * s.hidden) for part in (moe, DenseFfn(s.intermediate))}
    parts = choose(sparse_layers(f, s.layers), moe, DenseFfn(s.intermediate))
    mtp = f.integer("num_nextn_predict_layers", default=0, low=0, high=16)
    return build(
        f,
        s,
        [made[part] for part in parts],
        mtp_layers=(made[moe],) * mtp,
        mtp_extra_parameters=mtp * (2 * s.hidden**2 + 3 * s.hidden),
    )


@family("chatglm")
def chatglm(f: Fields) -> Architecture:
    """GLM-4-9B and ChatGLM 2 and 3: a fused projection with `add_qkv_bias`, KV heads by `multi_query_group_num`."""
    hidden = f.integer("hidden_size")
    heads = f.integer("num_attention_heads", high=MAX_HEADS)
    kv_heads = heads
    if f.flag("multi_query_attention"):
        kv_heads = f.integer("multi_query_group_num", high=MAX_HEADS)
    if heads % kv_heads:
        f.problem("multi_query_group_num", f"{kv_heads} does not divide the {heads} attention heads")
    if not f.flag("rmsnorm", default=True):
        f.problem("rmsnorm", "is false, which is not read here")
    s = Sizes(
        hidden,
        f.integer("num_layers", "num_hidden_layers", high=MAX_LAYERS),
        heads,
        kv_heads,
        f.integer("kv_channels", default=max(1, hidden // heads)),
        f.integer("ffn_hidden_size", high=10**7),
        f.integer("padded_vocab_size", "vocab_size", high=MAX_VOCAB),
    )
    bias = f.flag("add_bias_linear")
    qkv = bias or f.flag("add_qkv_bias")
    mixer = attention(s, q_bias=qkv, kv_bias=qkv, out_bias=bias)
    layers = uniform(mixer, DenseFfn(s.intermediate, bias=bias), s, 2 * hidden)
    return build(f, s, layers, final_norm=hidden if f.flag("post_layer_norm", default=True) else 0)
