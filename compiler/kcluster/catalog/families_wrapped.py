"""Vision-language models whose language model is whatever `text_config` says: LLaVA, InternVL, GLM-V; and Muse Glimmer."""

from __future__ import annotations

from kcluster.catalog.families_common import (
    build,
    class_name,
    family,
    layer_kinds,
    mixed_attention,
    read_sizes,
)
from kcluster.catalog.families_dense import glm4, llama
from kcluster.catalog.families_fields import Fields, shown
from kcluster.catalog.families_moe import glm4_moe
from kcluster.catalog.families_vision import glm_vision, internvl_vision, llava_vision, muse_vision
from kcluster.physics.architecture import Architecture, DenseFfn, Layer
from kcluster.values import evolve


def inner(f: Fields, default: str) -> Architecture:
    """The language model inside, read by its own family."""
    from kcluster.catalog.config_json import family_of

    kind = Fields(f.tables[:1], f.problems).text("model_type", default=default) if len(f.tables) > 1 else default
    reader = family_of(kind)
    if reader is None or kind == f.kind:
        f.problem("text_config.model_type", f"{shown(kind)} is not an architecture that is known here")
        reader = llama
    arch = reader(f.with_defaults(kind))
    return evolve(arch, model_type=f.kind, class_name=class_name(f))


@family("llava", "llava_next")
def llava(f: Fields) -> Architecture:
    """LLaVA 1.5 and 1.6 and Pixtral: a tower, a projector of two matrices, and in 1.6 a learned newline."""
    arch = inner(f, "llama")
    return evolve(arch, vision_parameters=llava_vision(f, arch.hidden, newline=f.kind == "llava_next"))


@family("internvl", "internvl_chat")
def internvl(f: Fields) -> Architecture:
    """InternVL 2.5 to 3.5, in their own layout (`internvl_chat`) and that of transformers."""
    arch = inner(f, "qwen2")
    return evolve(arch, vision_parameters=internvl_vision(f, arch.hidden))


@family("glm4v", "glm46v", "glm4v_moe")
def glm4v(f: Fields) -> Architecture:
    """GLM-4.1V, 4.5V and 4.6V: GLM-4 or GLM-4.5-Air with a tower."""
    if f.kind == "glm4v_moe":
        arch = glm4_moe(f.with_defaults("glm4_moe", attention_bias=True))
    else:
        arch = glm4(f.with_defaults("glm4", attention_bias=True))
    return evolve(arch, model_type=f.kind, vision_parameters=glm_vision(f))


@family("muse_glimmer", "muse_glimmer_text")
def muse_glimmer(f: Fields) -> Architecture:
    """Muse Glimmer: four norms a layer, an output gate over all heads, norms on q and k without weights."""
    s = read_sizes(f)
    bias = f.flag("attention_bias")
    gate = s.hidden * s.heads * s.head_dim
    kinds = layer_kinds(f, s.layers, ("full_attention",) * s.layers)
    mlps = (DenseFfn(s.intermediate),) * s.layers
    layers: tuple[Layer, ...] = mixed_attention(
        f, s, mlps, kinds, 4 * s.hidden, q_bias=bias, kv_bias=bias, out_bias=bias, extra_parameters=gate
    )
    vision = muse_vision(f, s.hidden) if f.kind == "muse_glimmer" else 0
    return build(f, s, layers, vision_parameters=vision)
