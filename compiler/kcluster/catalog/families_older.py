"""Older dense families, still served: GPT-2, OPT, GPT-NeoX, DBRX."""

from __future__ import annotations

from kcluster.catalog.families_common import Sizes, attention, build, experts_per_token, family, read_sizes, uniform
from kcluster.catalog.families_fields import MAX_EXPERTS, MAX_HEADS, MAX_LAYERS, MAX_POSITIONS, MAX_VOCAB, Fields
from kcluster.physics.architecture import Architecture, DenseFfn, MoeFfn


@family("gpt2")
def gpt2(f: Fields) -> Architecture:
    """GPT-2: learned positions, biases everywhere, layer norms, an ungated MLP of 4 × hidden, tied."""
    hidden = f.integer("hidden_size", "n_embd")
    s = read_sizes(f, intermediate=f.integer("n_inner", default=4 * hidden, high=10**7))
    mixer = attention(s, q_bias=True, kv_bias=True, out_bias=True)
    layers = uniform(mixer, DenseFfn(s.intermediate, gated=False, bias=True), s, 4 * s.hidden)
    rows = f.integer("n_positions", "max_position_embeddings", default=1024, high=MAX_POSITIONS)
    return build(f, s, layers, tied=True, final_norm=2 * s.hidden, learned_positions=rows, rope_values=0)


@family("opt")
def opt(f: Fields) -> Architecture:
    """OPT: learned positions with two rows more, biases and layer norms, a ReLU MLP, tied; 350M embeds in another width."""
    s = read_sizes(f)
    bias = f.flag("enable_bias", default=True)
    mixer = attention(s, q_bias=bias, kv_bias=bias, out_bias=bias)
    layers = uniform(mixer, DenseFfn(s.intermediate, gated=False, bias=bias), s, 4 * s.hidden)
    before = f.flag("do_layer_norm_before", default=True)
    width = f.integer("word_embed_proj_dim", default=s.hidden)
    if width != s.hidden:
        f.problem(
            "word_embed_proj_dim", f"{width} is another width than hidden_size {s.hidden}, which is not read here"
        )
    rows = f.integer("max_position_embeddings", default=2048, high=MAX_POSITIONS) + 2
    final = 2 * s.hidden if before else 0
    return build(f, s, layers, tied=True, final_norm=final, learned_positions=rows, rope_values=0)


@family("gpt_neox")
def gpt_neox(f: Fields) -> Architecture:
    """GPT-NeoX and Pythia: biases by `attention_bias`, layer norms with bias, an ungated MLP, rotary on part of a head."""
    s = read_sizes(f)
    bias = f.flag("attention_bias", default=True)
    mixer = attention(s, q_bias=bias, kv_bias=bias, out_bias=bias)
    layers = uniform(mixer, DenseFfn(s.intermediate, gated=False, bias=True), s, 4 * s.hidden)
    share = f.number("rotary_pct", 0.25, 0, 1)
    return build(f, s, layers, final_norm=2 * s.hidden, rope_values=int(s.head_dim * share))


@family("dbrx")
def dbrx(f: Fields) -> Architecture:
    """DBRX: sizes in `attn_config` and `ffn_config`, layer norms without bias, every layer a mixture."""
    empty = Fields((), f.problems)
    inner, outer = f.table("attn_config") or empty, f.table("ffn_config") or empty
    hidden = f.integer("d_model", "hidden_size")
    heads = f.integer("n_heads", "num_attention_heads", high=MAX_HEADS)
    kv_heads = inner.integer("kv_n_heads", default=1, high=MAX_HEADS)
    count = outer.integer("moe_num_experts", high=MAX_EXPERTS)
    taken = outer.integer("moe_top_k", high=MAX_EXPERTS)
    if taken > count:
        f.problem("ffn_config.moe_top_k", f"{taken} is more than the {count} experts")
    if hidden % heads or heads % kv_heads:
        f.problem("n_heads", f"{heads} does not divide d_model {hidden}, or kv_n_heads {kv_heads} does not divide it")
    width = outer.integer("ffn_hidden_size")
    s = Sizes(
        hidden,
        f.integer("n_layers", "num_hidden_layers", high=MAX_LAYERS),
        heads,
        kv_heads,
        max(1, hidden // heads),
        width,
        f.integer("vocab_size", high=MAX_VOCAB),
    )
    return build(f, s, uniform(attention(s), MoeFfn(count, taken, width), s, 2 * s.hidden))


@family("granitemoe", "granitemoeshared")
def granite_moe(f: Fields) -> Architecture:
    """Granite 3 MoE: a mixture in every layer, a shared MLP beside it in `granitemoeshared`; tied."""
    s = read_sizes(f)
    count = f.integer("num_local_experts", high=MAX_EXPERTS)
    shared = f.integer("shared_intermediate_size", default=0, low=0)
    moe = MoeFfn(count, experts_per_token(f, count), s.intermediate, shared_intermediate=shared)
    bias = f.flag("attention_bias")
    return build(f, s, uniform(attention(s, q_bias=bias, kv_bias=bias, out_bias=bias), moe, s, 2 * s.hidden))
