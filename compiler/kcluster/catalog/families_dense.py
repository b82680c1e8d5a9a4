"""Dense decoder families with grouped-query attention.

Each function is one family: what its config leaves unsaid (biases, norms, tying) is said here. Facts were read from the
model classes of transformers 5.23 and hold to the parameter (tests/catalog).
"""

from __future__ import annotations

from kcluster.catalog.families_common import (
    attention,
    build,
    every_nth_full,
    family,
    layer_kinds,
    mixed_attention,
    read_sizes,
    uniform,
    window,
)
from kcluster.catalog.families_fields import MAX_LAYERS, MAX_WIDTH, Fields
from kcluster.catalog.families_vision import gemma3_vision
from kcluster.physics.architecture import Architecture, DenseFfn, GroupedAttention, Layer


@family(
    "llama",
    "internlm3",
    "smollm3",
    "arcee",
    "granite",
    "helium",
    "seed_oss",
    "exaone",
    "hunyuan_v1_dense",
    "cwm",
    "iquestcoder",
    "ernie4_5",
)
def llama(f: Fields) -> Architecture:
    """Llama and what copies it: biases by `attention_bias` and `mlp_bias`, two RMS norms a layer."""
    s = read_sizes(f)
    bias = f.flag("attention_bias", "qkv_bias", "use_bias", default=f.kind == "seed_oss")
    if f.kind == "exaone":
        bias = False
    out_bias = f.flag("attention_out_bias") if f.kind == "seed_oss" else bias and f.kind != "helium"
    mlp = DenseFfn(
        s.intermediate,
        gated=f.kind != "arcee",
        bias=f.flag("mlp_bias", "bias", "use_bias") if f.kind in ("internlm3", "ernie4_5") else f.flag("mlp_bias"),
    )
    layers = mixed_attention(
        f,
        s,
        (mlp,) * s.layers,
        layer_kinds(f, s.layers, _kinds(f, s.layers)),
        2 * s.hidden,
        q_bias=bias,
        kv_bias=bias,
        out_bias=out_bias,
        qk_norm="head" if f.kind == "hunyuan_v1_dense" else "none",
    )
    return build(f, s, layers, tied=f.kind in ("smollm3", "ernie4_5"))


def _kinds(f: Fields, count: int) -> tuple[str, ...]:
    """Which layers slide where no `layer_types` says it: all but every fourth of CWM, none of the others."""
    if f.kind == "cwm":
        return tuple("sliding_attention" if index % 4 else "full_attention" for index in range(count))
    return ("full_attention",) * count


@family("internlm2")
def internlm2(f: Fields) -> Architecture:
    """InternLM2: one fused qkv projection, `bias` for all of the attention."""
    s = read_sizes(f)
    bias = f.flag("bias")
    mixer = attention(s, q_bias=bias, kv_bias=bias, out_bias=bias)
    return build(f, s, uniform(mixer, DenseFfn(s.intermediate), s, 2 * s.hidden))


@family("mistral", "ministral", "ministral3")
def mistral(f: Fields) -> Architecture:
    """Mistral: no biases; `sliding_window`, where given, is of all layers, or of those that `layer_types` names."""
    s = read_sizes(f)
    kinds = layer_kinds(f, s.layers, ("sliding_attention",) * s.layers)
    return build(f, s, mixed_attention(f, s, (DenseFfn(s.intermediate),) * s.layers, kinds, 2 * s.hidden))


@family("qwen2")
def qwen2(f: Fields) -> Architecture:
    """Qwen2 and 2.5: bias on q, k and v though the config has no field for it; windows only with `use_sliding_window`."""
    s = read_sizes(f)
    return build(f, s, qwen2_layers(f, "none"))


def qwen2_layers(f: Fields, qk_norm: str) -> tuple[Layer, ...]:
    """Qwen2's or (`qk_norm` "head") Qwen3's layers."""
    s = read_sizes(f)
    kinds: tuple[str, ...] = ("full_attention",) * s.layers
    if f.flag("use_sliding_window"):
        first = f.integer("max_window_layers", default=0, low=0, high=MAX_LAYERS)
        kinds = tuple("sliding_attention" if index >= first else "full_attention" for index in range(s.layers))
        kinds = layer_kinds(f, s.layers, kinds)
    bias = qk_norm == "none"
    out = False
    if qk_norm == "head":
        bias = out = f.flag("attention_bias")
    mlps = (DenseFfn(s.intermediate),) * s.layers
    return mixed_attention(f, s, mlps, kinds, 2 * s.hidden, q_bias=bias, kv_bias=bias, out_bias=out, qk_norm=qk_norm)


@family("qwen3")
def qwen3(f: Fields) -> Architecture:
    """Qwen3: norms of head size on q and k, no biases."""
    return build(f, read_sizes(f), qwen2_layers(f, "head"))


@family("mimo")
def mimo(f: Fields) -> Architecture:
    """MiMo-7B: Qwen2 with a multi-token-prediction layer."""
    s = read_sizes(f)
    layers = qwen2_layers(f, "none")
    heads = f.integer("num_nextn_predict_layers", default=0, low=0, high=16)
    return build(
        f, s, layers, mtp_layers=layers[:1] * heads, mtp_extra_parameters=heads * (2 * s.hidden**2 + 3 * s.hidden)
    )


@family("olmo2", "olmo3")
def olmo2(f: Fields) -> Architecture:
    """OLMo 2 and 3: q and k norms over all heads; OLMo 3 slides on three layers of four."""
    s = read_sizes(f)
    bias = f.flag("attention_bias")
    kinds = layer_kinds(f, s.layers, every_nth_full(s.layers, 4))
    mlps = (DenseFfn(s.intermediate),) * s.layers
    layers = mixed_attention(f, s, mlps, kinds, 2 * s.hidden, qk_norm="full", q_bias=bias, kv_bias=bias, out_bias=bias)
    return build(f, s, layers)


@family("olmo")
def olmo(f: Fields) -> Architecture:
    """OLMo 1: its layer norms have no weights."""
    s = read_sizes(f)
    bias = f.flag("attention_bias")
    mixer = attention(s, q_bias=bias, kv_bias=bias, out_bias=bias)
    return build(f, s, uniform(mixer, DenseFfn(s.intermediate), s, 0), final_norm=0)


@family("phi3")
def phi3(f: Fields) -> Architecture:
    """Phi-3, 3.5-mini and 4: fused projections, no biases."""
    s = read_sizes(f)
    mixer = attention(s, window=window(f))
    return build(f, s, uniform(mixer, DenseFfn(s.intermediate), s, 2 * s.hidden))


@family("phi")
def phi(f: Fields) -> Architecture:
    """Phi-1.5 and 2: biases everywhere, one layer norm a layer, an ungated MLP, a bias on the head."""
    s = read_sizes(f)
    if f.flag("qk_layernorm"):
        f.problem("qk_layernorm", "is true, which is not read here")
    mixer = attention(s, q_bias=True, kv_bias=True, out_bias=True)
    layers = uniform(mixer, DenseFfn(s.intermediate, gated=False, bias=True), s, 2 * s.hidden)
    return build(f, s, layers, final_norm=2 * s.hidden, head_bias=True)


@family("starcoder2")
def starcoder2(f: Fields) -> Architecture:
    """StarCoder2: layer norms with bias, an ungated MLP, biases by `use_bias` (on by default), tied."""
    s = read_sizes(f)
    bias = f.flag("use_bias", default=True)
    mixer = attention(s, q_bias=bias, kv_bias=bias, out_bias=bias, window=window(f))
    layers = uniform(mixer, DenseFfn(s.intermediate, gated=False, bias=bias), s, 4 * s.hidden)
    return build(f, s, layers, tied=True, final_norm=2 * s.hidden)


@family("stablelm")
def stablelm(f: Fields) -> Architecture:
    """StableLM: layer norms with bias, one of them with `use_parallel_residual`, bias on q, k and v by `use_qkv_bias`."""
    s = read_sizes(f)
    bias = f.flag("use_qkv_bias")
    norms = 2 * s.hidden if f.flag("use_parallel_residual") else 4 * s.hidden
    extra = (s.heads + s.kv_heads) * s.head_dim if f.flag("qk_layernorm") else 0
    layers = uniform(attention(s, q_bias=bias, kv_bias=bias), DenseFfn(s.intermediate), s, norms, extra)
    return build(f, s, layers, final_norm=2 * s.hidden)


@family("nemotron")
def nemotron(f: Fields) -> Architecture:
    """Nemotron-4 and Minitron: squared ReLU (ungated), layer norms with bias."""
    s = read_sizes(f)
    bias = f.flag("attention_bias")
    mixer = attention(s, q_bias=bias, kv_bias=bias, out_bias=bias)
    layers = uniform(mixer, DenseFfn(s.intermediate, gated=False, bias=f.flag("mlp_bias")), s, 4 * s.hidden)
    return build(f, s, layers, final_norm=2 * s.hidden)


@family("apertus")
def apertus(f: Fields) -> Architecture:
    """Apertus: an ungated MLP with two learned values of its xIELU activation, head-size norms on q and k."""
    s = read_sizes(f)
    bias = f.flag("attention_bias")
    mixer = attention(s, q_bias=bias, kv_bias=bias, out_bias=bias, qk_norm="head")
    mlp = DenseFfn(s.intermediate, gated=False)
    return build(f, s, uniform(mixer, mlp, s, 2 * s.hidden, extra=2))


@family("glm", "glm4")
def glm4(f: Fields) -> Architecture:
    """GLM-4: bias on q, k and v by `attention_bias`; four norms a layer in the 0414 line (`glm4`), two before."""
    s = read_sizes(f)
    bias = f.flag("attention_bias", default=True)
    norms = 4 if f.kind == "glm4" else 2
    mixer = attention(s, q_bias=bias, kv_bias=bias)
    return build(f, s, uniform(mixer, DenseFfn(s.intermediate), s, norms * s.hidden))


@family("exaone4")
def exaone4(f: Fields) -> Architecture:
    """EXAONE 4: head-size norms on q and k; the 32B slides on three layers of four (`sliding_window_pattern`)."""
    s = read_sizes(f)
    pattern = f.find("sliding_window_pattern")[1]
    default: tuple[str, ...] = every_nth_full(s.layers, 4)
    if isinstance(pattern, str) and 0 < len(pattern) <= 64:
        default = tuple(
            "sliding_attention" if pattern[index % len(pattern)] == "L" else "full_attention"
            for index in range(s.layers)
        )
    elif isinstance(pattern, int) and not isinstance(pattern, bool):
        default = every_nth_full(s.layers, f.integer("sliding_window_pattern", low=0, high=MAX_LAYERS))
    mlps = (DenseFfn(s.intermediate),) * s.layers
    layers = mixed_attention(f, s, mlps, layer_kinds(f, s.layers, default), 2 * s.hidden, qk_norm="head")
    return build(f, s, layers)


@family("cohere", "cohere2")
def cohere(f: Fields) -> Architecture:
    """Command R, R7B, A and Aya: one norm a layer (a parallel block), tied; q and k norms over all heads in R+."""
    s = read_sizes(f)
    bias = f.flag("attention_bias")
    qk_norm = "full" if f.flag("use_qk_norm") and f.kind == "cohere" else "none"
    period = f.integer("sliding_window_pattern", default=4, high=MAX_LAYERS)
    kinds = layer_kinds(f, s.layers, every_nth_full(s.layers, period))
    mlps = (DenseFfn(s.intermediate),) * s.layers
    layers = mixed_attention(f, s, mlps, kinds, s.hidden, q_bias=bias, kv_bias=bias, out_bias=bias, qk_norm=qk_norm)
    return build(f, s, layers, tied=True)


@family("falcon")
def falcon(f: Fields) -> Architecture:
    """Falcon 7B, 40B and 180B: layer norms with bias, an ungated MLP of 4 × hidden, tied; 7B has one KV head whatever the
    config says; published files hold the tied head as a copy."""
    hidden = f.integer("hidden_size")
    s = read_sizes(f, intermediate=f.integer("ffn_hidden_size", "intermediate_size", default=4 * hidden, high=10**7))
    new = f.flag("new_decoder_architecture")
    bias = f.flag("bias")
    kv_heads = s.kv_heads if new else 1 if f.flag("multi_query", default=True) else s.heads
    two = (
        f.integer("num_ln_in_parallel_attn", default=2, low=1, high=2) == 2
        if new
        else not f.flag("parallel_attn", default=True)
    )
    mixer = GroupedAttention(s.heads, kv_heads, s.head_dim, s.head_dim, q_bias=bias, kv_bias=bias, out_bias=bias)
    layers = uniform(mixer, DenseFfn(s.intermediate, gated=False, bias=bias), s, (4 if two else 2) * s.hidden)
    return build(
        f, s, layers, tied=True, final_norm=2 * s.hidden, stored_head=f.flag("tie_word_embeddings", default=True)
    )


@family("gemma")
def gemma(f: Fields) -> Architecture:
    """Gemma 1: tied, biases by `attention_bias`."""
    s = read_sizes(f)
    bias = f.flag("attention_bias")
    mixer = attention(s, q_bias=bias, kv_bias=bias, out_bias=bias)
    return build(f, s, uniform(mixer, DenseFfn(s.intermediate), s, 2 * s.hidden), tied=True)


@family("gemma2")
def gemma2(f: Fields) -> Architecture:
    """Gemma 2: four norms a layer, every other layer slides, tied."""
    s = read_sizes(f)
    bias = f.flag("attention_bias")
    kinds = layer_kinds(f, s.layers, every_nth_full(s.layers, 2))
    mlps = (DenseFfn(s.intermediate),) * s.layers
    layers = mixed_attention(f, s, mlps, kinds, 4 * s.hidden, q_bias=bias, kv_bias=bias, out_bias=bias)
    return build(f, s, layers, tied=True)


@family("gemma3", "gemma3_text")
def gemma3(f: Fields) -> Architecture:
    """Gemma 3: four norms a layer, norms on q and k, five sliding layers to a full one, tied; SigLIP beside it from 4B up."""
    s = read_sizes(f)
    bias = f.flag("attention_bias")
    period = f.integer("sliding_window_pattern", "_sliding_window_pattern", default=6, high=MAX_LAYERS)
    kinds = layer_kinds(f, s.layers, every_nth_full(s.layers, period))
    mlps = (DenseFfn(s.intermediate),) * s.layers
    layers = mixed_attention(f, s, mlps, kinds, 4 * s.hidden, q_bias=bias, kv_bias=bias, out_bias=bias, qk_norm="head")
    vision = gemma3_vision(f, s.hidden)
    item = f.integer("mm_tokens_per_image", default=256, high=MAX_WIDTH) if vision else 0
    return build(f, s, layers, tied=True, scaled_positions=False, vision_parameters=vision, item_tokens=item)
