"""Language models with a vision tower beside them: the language part is that of a family elsewhere."""

from __future__ import annotations

from typing import Any

from kcluster.catalog.families_common import (
    attention,
    build,
    every_nth_full,
    experts_per_token,
    family,
    layer_kinds,
    read_sizes,
    window,
)
from kcluster.catalog.families_dense import mistral, qwen2_layers
from kcluster.catalog.families_fields import MAX_EXPERTS, MAX_HEADS, MAX_LAYERS, MAX_VOCAB, Fields
from kcluster.catalog.families_moe import qwen3_moe_layers
from kcluster.catalog.families_vision import (
    gemma4_audio,
    gemma4_embedder,
    gemma4_vision,
    mllama_vision,
    pixtral_vision,
    qwen2_5_vision,
    qwen2_vision,
    qwen3_vision,
)
from kcluster.physics.architecture import Architecture, DenseFfn, GroupedAttention, Layer, MoeFfn
from kcluster.values import evolve


@family("qwen2_vl", "qwen2_5_vl")
def qwen2_vl(f: Fields) -> Architecture:
    """Qwen2-VL and Qwen2.5-VL: Qwen2 with a tower."""
    vision = qwen2_vision(f) if f.kind == "qwen2_vl" else qwen2_5_vision(f)
    return build(f, read_sizes(f), qwen2_layers(f, "none"), vision_parameters=vision)


@family("qwen3_vl", "qwen3_vl_moe")
def qwen3_vl(f: Fields) -> Architecture:
    """Qwen3-VL: Qwen3, dense or with experts, with a tower whose deeper layers feed the first decoder layers."""
    s = read_sizes(f)
    layers = qwen3_moe_layers(f, s) if f.kind == "qwen3_vl_moe" else qwen2_layers(f, "head")
    return build(f, s, layers, vision_parameters=qwen3_vision(f))


@family("mistral3")
def mistral3(f: Fields) -> Architecture:
    """Mistral Small 3.1 and later, Devstral Small 2, Ministral 3: Mistral with Pixtral."""
    arch = mistral(f)
    return evolve(arch, vision_parameters=pixtral_vision(f, arch.hidden))


@family("mllama")
def mllama(f: Fields) -> Architecture:
    """Llama 3.2 Vision: cross-attention layers with head-size norms and two gates; 8 rows more in the embedding than the head."""
    s = read_sizes(f)
    crossed = set(f.integers("cross_attention_layers", high=MAX_LAYERS) or ())
    mlp = DenseFfn(s.intermediate)
    own = Layer((attention(s),), mlp, 2 * s.hidden)
    cross = Layer((attention(s, qk_norm="head", cross=True),), mlp, 2 * s.hidden, extra_parameters=2)
    layers = [cross if index in crossed else own for index in range(s.layers)]
    # vLLM's class has no pipeline support
    vision = mllama_vision(f, s.hidden)
    return build(f, s, layers, other_parameters=8 * s.hidden, vision_parameters=vision, pipeline=False)


GEMMA4_VIDEO_TOKENS = 32 * (70 + 2 + 6)
"""A video of Gemma 4 as vLLM takes it: 32 frames of 70 tokens, two marks and a time stamp (vLLM pull request 43051). Its tokens
attend to each other in the models without per-layer embeddings (`use_bidirectional_attention = "vision"`)."""


def _gemma4_ffn(f: Fields, intermediate: int, hidden: int) -> tuple[DenseFfn | MoeFfn, int]:
    """Gemma 4's feed-forward part and its further norms: a dense MLP, with experts beside it in the mixture variant."""
    if not f.flag("enable_moe_block"):
        return DenseFfn(intermediate), 0
    count = f.integer("num_experts", high=MAX_EXPERTS)
    moe = MoeFfn(
        count,
        experts_per_token(f, count, "top_k_experts", "num_experts_per_tok"),
        f.integer("moe_intermediate_size"),
        dense_intermediate=intermediate,
        extra_router=hidden + count,
    )
    return moe, 3 * hidden


@family("gemma4", "gemma4_text", "gemma4_unified", "gemma4_unified_text")
def gemma4(f: Fields) -> Architecture:
    """Gemma 4: full layers have their own head size and KV heads, and one projection for keys and values where
    `attention_k_eq_v`; the last `num_kv_shared_layers` reuse the KV of others; per-layer embeddings in E2B and E4B; tied."""
    s = read_sizes(f)
    full_heads = s.kv_heads
    shared_kv = f.flag("attention_k_eq_v")
    if shared_kv:
        full_heads = f.integer("num_global_key_value_heads", default=s.kv_heads, high=MAX_HEADS)
    head = f.integer("global_head_dim", default=512)
    bias = f.flag("attention_bias")
    options: dict[str, Any] = {"q_bias": bias, "kv_bias": bias, "out_bias": bias, "qk_norm": "head"}
    full = GroupedAttention(s.heads, full_heads, head, head, shared_kv=shared_kv, **options)
    sliding = attention(s, window=window(f), **options)
    reuse = f.integer("num_kv_shared_layers", default=0, low=0, high=MAX_LAYERS)
    per_layer = f.integer("hidden_size_per_layer_input", default=0, low=0)
    part, norms = _gemma4_ffn(f, s.intermediate, s.hidden)
    wide, wide_norms = part, norms
    if reuse and f.flag("use_double_wide_mlp"):
        wide, wide_norms = _gemma4_ffn(f, 2 * s.intermediate, s.hidden)
    extra = 2 * s.hidden * per_layer + (s.hidden if per_layer else 0)
    kinds = list(layer_kinds(f, s.layers, every_nth_full(s.layers, 6)))
    kinds[-1] = "full_attention"
    made: dict[tuple[bool, bool], Layer] = {}
    layers = []
    for index, kind in enumerate(kinds):
        key = (kind == "full_attention", index >= s.layers - reuse)
        if key not in made:
            mixer = evolve(full if key[0] else sliding, no_kv=key[1])
            made[key] = Layer(
                (mixer,), wide if key[1] else part, 4 * s.hidden + (wide_norms if key[1] else norms), extra
            )
        layers.append(made[key])
    other = 0
    if per_layer:
        rows = f.integer("vocab_size_per_layer_input", default=s.vocab, high=MAX_VOCAB)
        other = s.layers * per_layer * (rows + s.hidden) + per_layer
    beside = 0
    if f.kind == "gemma4":
        beside = gemma4_vision(f, s.hidden) + gemma4_audio(f, s.hidden)
    elif f.kind == "gemma4_unified":
        beside = gemma4_embedder(f, s.hidden)
    item = GEMMA4_VIDEO_TOKENS if f.kind == "gemma4" and beside and not per_layer else 0
    return build(f, s, layers, tied=True, other_parameters=other, vision_parameters=beside, item_tokens=item)
