"""What the families share: sizes that nearly every config states, positions, and the whole from its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from kcluster.catalog.families_fields import (
    MAX_EXPERTS,
    MAX_HEADS,
    MAX_LAYERS,
    MAX_POSITIONS,
    MAX_VOCAB,
    Fields,
)
from kcluster.physics.architecture import Architecture, DenseFfn, GroupedAttention, LatentAttention, Layer, MoeFfn
from kcluster.values import frozen

Family = Callable[[Fields], Architecture]
FAMILIES: Final[dict[str, Family]] = {}
"""The reader of each `model_type`."""


def family(*model_types: str) -> Callable[[Family], Family]:
    """Register the reader of these model types."""

    def register(reader: Family) -> Family:
        for model_type in model_types:
            FAMILIES[model_type] = reader
        return reader

    return register


@frozen
class Sizes:
    """The sizes that nearly every config states."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int


def read_sizes(
    f: Fields, *, layers: int | None = None, intermediate: int | None = None, needs_head_dim: bool = True
) -> Sizes:
    """The usual sizes; `head_dim` falls back to hidden / heads. `layers` and `intermediate` where the family knows them otherwise."""
    before = len(f.problems)
    hidden = f.integer("hidden_size", "n_embd", "d_model", "dim")
    heads = f.integer("num_attention_heads", "n_head", "n_heads", high=MAX_HEADS)
    kv_heads = f.integer("num_key_value_heads", "num_kv_heads", "multi_query_group_num", default=heads, high=MAX_HEADS)
    if len(f.problems) == before:
        # a field that could not be read is not also reported as one that does not fit the others
        if needs_head_dim and not f.has("head_dim") and hidden % heads:
            f.problem("head_dim", f"is missing, and hidden_size {hidden} is not a multiple of {heads} heads")
        if kv_heads > heads or heads % kv_heads:
            f.problem("num_key_value_heads", f"{kv_heads} does not divide the {heads} attention heads")
    return Sizes(
        hidden=hidden,
        layers=layers or f.integer("num_hidden_layers", "n_layer", "num_layers", "n_layers", high=MAX_LAYERS),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=f.integer("head_dim", default=max(1, hidden // heads)) if needs_head_dim else max(1, hidden // heads),
        intermediate=intermediate
        or f.integer("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", high=10**7),
        vocab=f.integer("vocab_size", "padded_vocab_size", high=MAX_VOCAB),
    )


def attention(s: Sizes, **options: Any) -> GroupedAttention:
    """The attention that these sizes describe; `options` are fields of `GroupedAttention`."""
    return GroupedAttention(s.heads, s.kv_heads, s.head_dim, options.pop("v_head_dim", s.head_dim), **options)


def uniform(mixer: GroupedAttention, ffn: DenseFfn | MoeFfn, s: Sizes, norms: int, extra: int = 0) -> tuple[Layer, ...]:
    """`s.layers` equal layers."""
    return (Layer((mixer,), ffn, norms, extra),) * s.layers


_LENGTHS: Final = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
_NOT_MULTIPLIED: Final = frozenset({"su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling"})


def _rope(f: Fields) -> Fields | None:
    """The rope parameters that decide the length: those of the full-attention layers where they differ by kind."""
    for name in ("rope_parameters", "rope_scaling"):
        rope = f.table(name)
        if rope is not None:
            for kind in ("full_attention", "global"):
                if isinstance(rope.find(kind)[1], dict):
                    return rope.table(kind)
            return rope
    return None


def positions(f: Fields, *, scaled: bool = True) -> tuple[int | None, int | None]:
    """The longest context as vLLM derives it, and what it takes untold where that is less (longrope).

    The least of the length fields, times the rope `factor` for every rope type but su, longrope, llama3, yarn and its
    DeepSeek kin, whose configs hold the scaled length already. `scaled` False skips the factor (Gemma 3).
    """
    stated = [f.integer(name, default=1, high=MAX_POSITIONS) for name in _LENGTHS if f.has(name)]
    longest = min(stated, default=None)
    rope = _rope(f)
    if rope is None or longest is None:
        return longest, None
    kind = rope.text("rope_type", "type", default="default")
    factor = rope.number("factor", 1.0, 1e-3, 1e6)
    original = rope.integer("original_max_position_embeddings", default=0, low=0, high=MAX_POSITIONS)
    if kind == "longrope":
        original = original or f.integer("original_max_position_embeddings", default=0, high=MAX_POSITIONS)
        return longest, original or None
    if scaled and kind not in _NOT_MULTIPLIED:
        longest = max(1, int(longest * factor))
    return longest, None


_DTYPES: Final = {
    "bfloat16": "bfloat16",
    "float16": "float16",
    "half": "float16",
    "float32": "float32",
    "float": "float32",
    "auto": "bfloat16",
    "float8_e4m3fn": "bfloat16",
    "uint8": "bfloat16",
    "int8": "bfloat16",
}


def read_dtype(f: Fields) -> str:
    """The dtype that activations have; a dtype of packed weights reads as bfloat16."""
    name = f.text("dtype", "torch_dtype", default="auto").removeprefix("torch.")
    if name not in _DTYPES:
        f.problem("dtype", "is not a dtype that is known here (bfloat16, float16, float32)")
    return _DTYPES.get(name, "bfloat16")


def class_name(f: Fields) -> str:
    """The first of `architectures`, by which the engine knows the model."""
    names = Fields(f.tables[-1:], f.problems).texts("architectures")
    return names[0] if names else ""


def rotary_values(f: Fields, layers: Sequence[Layer]) -> int:
    """Values a position in the engine's rotary tables: one table for each rotary size (and for windows of another base), four
    times as long where positions have sections (M-RoPE)."""
    rope = _rope(f) or Fields((), f.problems)
    share = rope.number("partial_rotary_factor", f.number("partial_rotary_factor", 1.0, 0, 1), 0, 1)
    if rope.text("rope_type", "type") == "proportional":
        share = 1.0
    windows_apart = f.has("rope_local_base_freq", "swa_rope_theta") or f.kind.startswith(("gemma3", "gemma4"))
    sizes = set()
    for mixer in {mixer for layer in layers for mixer in layer.mixers}:
        if isinstance(mixer, LatentAttention):
            sizes.add((mixer.rope_dim, False))
        elif isinstance(mixer, GroupedAttention) and not mixer.cross:
            stated = f.integer("rotary_dim", "qk_rope_head_dim", default=0, low=0)
            size = stated or int(mixer.head_dim * share)
            sizes.add((size, windows_apart and mixer.window is not None))
    longer = 4 if rope.has("mrope_section") else 1
    return longer * sum(size for size, _ in sizes)


def build(
    f: Fields,
    s: Sizes,
    layers: Sequence[Layer],
    *,
    tied: bool = False,
    final_norm: int | None = None,
    scaled_positions: bool = True,
    **more: Any,
) -> Architecture:
    """The whole model from its layers. `tied` is the family's own default; `more` are fields of `Architecture`."""
    longest, untold = positions(f, scaled=scaled_positions)
    more.setdefault("rope_values", rotary_values(f, layers))
    more.setdefault("stored_head", f.flag("stores_tied_head"))
    return Architecture(
        model_type=f.kind,
        class_name=class_name(f),
        hidden=s.hidden,
        vocab=s.vocab,
        layers=tuple(layers),
        tied=Fields(f.tables[::-1], f.problems, defaults=f.defaults).flag("tie_word_embeddings", default=tied),
        max_positions=longest,
        default_positions=untold,
        dtype=read_dtype(f),
        final_norm_parameters=s.hidden if final_norm is None else final_norm,
        **more,
    )


def window(f: Fields, *names: str) -> int | None:
    """`sliding_window` in tokens; None where it is absent or at least as long as the model's longest context."""
    size = f.integer(*(names or ("sliding_window",)), default=0, low=0, high=MAX_POSITIONS)
    longest = f.integer("max_position_embeddings", default=MAX_POSITIONS, high=MAX_POSITIONS)
    return size if 0 < size < longest else None


def mixed_attention(
    f: Fields,
    s: Sizes,
    ffn: Sequence[DenseFfn | MoeFfn],
    kinds: Sequence[str],
    norms: int,
    extra: int = 0,
    **options: Any,
) -> tuple[Layer, ...]:
    """Layers whose attention is full, or sliding where their kind says so; equal layers share one value."""
    size = window(f)
    full, sliding = attention(s, **options), attention(s, window=size, **options)
    made: dict[tuple[bool, int], Layer] = {}
    layers = []
    for kind, part in zip(kinds, ffn, strict=True):
        slides = kind == "sliding_attention" and size is not None
        key = (slides, id(part))
        if key not in made:
            made[key] = Layer((sliding if slides else full,), part, norms, extra)
        layers.append(made[key])
    return tuple(layers)


def every_nth_full(count: int, period: int) -> tuple[str, ...]:
    """The usual pattern: every `period`-th layer is full attention, the others slide."""
    return tuple("sliding_attention" if (index + 1) % max(1, period) else "full_attention" for index in range(count))


def layer_kinds(f: Fields, count: int, default: Sequence[str]) -> tuple[str, ...]:
    """`layer_types`, one a layer."""
    return f.one_each("layer_types", f.texts("layer_types"), count, tuple(default))


def experts_per_token(f: Fields, experts: int, *names: str) -> int:
    """How many experts a token takes; at most `experts`."""
    name = names[0] if names else "num_experts_per_tok"
    before = len(f.problems)
    count = f.integer(name, *names[1:], low=0, high=MAX_EXPERTS)
    if count > experts and len(f.problems) == before:
        f.problem(name, f"{count} is more than the {experts} experts")
    return count


def sparse_layers(f: Fields, count: int) -> tuple[bool, ...]:
    """Which layers are a mixture of experts, by the fields that say it: `mlp_layer_types`, `moe_layer_freq`,
    `first_k_dense_replace`, `mlp_only_layers` with `decoder_sparse_step`."""
    kinds = f.texts("mlp_layer_types")
    if kinds is not None:
        kinds = f.one_each("mlp_layer_types", kinds, count, ("sparse",) * count)
        return tuple(kind == "sparse" for kind in kinds)
    _, frequency = f.find("moe_layer_freq")
    if isinstance(frequency, list | tuple | dict):
        flags = f.integers("moe_layer_freq", high=1)
        return tuple(bool(flag) for flag in f.one_each("moe_layer_freq", flags, count, (1,) * count))
    every = f.integer("moe_layer_freq", default=1, high=MAX_LAYERS)
    first = f.integer("first_k_dense_replace", default=0, low=0, high=MAX_LAYERS)
    step = f.integer("decoder_sparse_step", default=1, low=0, high=MAX_LAYERS)
    dense = set(f.integers("mlp_only_layers", high=MAX_LAYERS) or ())
    return tuple(
        index >= first and index % every == 0 and index not in dense and step > 0 and (index + 1) % step == 0
        for index in range(count)
    )
