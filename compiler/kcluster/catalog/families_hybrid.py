"""Families that mix attention with recurrent layers, or have only the latter: Qwen3-Next and 3.5, Jamba, Mamba, Bamba, Falcon-H1,
Granite 4 H, Nemotron-H, LFM2."""

from __future__ import annotations

from collections.abc import Sequence

from kcluster.catalog.families_common import (
    Sizes,
    attention,
    build,
    experts_per_token,
    family,
    layer_kinds,
    read_dtype,
    read_sizes,
    sparse_layers,
)
from kcluster.catalog.families_fields import MAX_EXPERTS, MAX_HEADS, MAX_LAYERS, MAX_VOCAB, MAX_WIDTH, Fields, shown
from kcluster.catalog.families_moe import choose
from kcluster.catalog.families_vision import qwen3_vision
from kcluster.physics.architecture import (
    Architecture,
    DeltaNet,
    DenseFfn,
    Ffn,
    Layer,
    Mamba,
    Mixer,
    MoeFfn,
    ShortConvolution,
)

_RECURRENT = frozenset({"linear_attention", "mamba", "recurrent", "conv", "short_conv"})


def state_bytes(f: Fields, default: str | None = None) -> int:
    """Bytes of one value of the recurrent state: the config's own dtype for it, else the model's."""
    stated = f.text("mamba_ssm_dtype", "mamba_ssm_cache_dtype", default=default or "")
    return 4 if (stated or read_dtype(f)) == "float32" else 2


def mixed(kinds: Sequence[str], mixers: dict[str, Mixer], ffn: Sequence[Ffn | None], norms: int) -> tuple[Layer, ...]:
    """One layer a kind; equal layers share one value."""
    made: dict[tuple[str, int], Layer] = {}
    layers = []
    for kind, part in zip(kinds, ffn, strict=True):
        key = (kind, id(part))
        if key not in made:
            made[key] = Layer((mixers[kind],), part, norms)
        layers.append(made[key])
    return tuple(layers)


@family("qwen3_next", "qwen3_5", "qwen3_5_moe", "qwen3_5_text", "qwen3_5_moe_text")
def qwen3_next(f: Fields) -> Architecture:
    """Qwen3-Next, 3.5 and 3.6: three gated DeltaNet layers to one of full attention with an output gate; an MTP layer of full
    attention."""
    sparse = f.kind == "qwen3_next" or f.kind.startswith("qwen3_5_moe")
    s = read_sizes(f, intermediate=None if f.states("intermediate_size") or not sparse else 1)
    bias = f.flag("attention_bias")
    gate = f.flag("attn_output_gate", default=True)
    full = attention(s, q_bias=bias, kv_bias=bias, out_bias=bias, qk_norm="head", output_gate=gate)
    delta = DeltaNet(
        key_heads=f.integer("linear_num_key_heads", high=MAX_HEADS),
        value_heads=f.integer("linear_num_value_heads", high=MAX_HEADS),
        key_dim=f.integer("linear_key_head_dim"),
        value_dim=f.integer("linear_value_head_dim"),
        conv_kernel=f.integer("linear_conv_kernel_dim", default=4, high=1024),
        state_bytes=state_bytes(f, None if f.kind == "qwen3_next" else "float32"),
    )
    dense = DenseFfn(s.intermediate)
    parts: tuple[DenseFfn | MoeFfn, ...] = (dense,) * s.layers
    if sparse:
        count = f.integer("num_experts", "num_local_experts", high=MAX_EXPERTS)
        shared = f.integer("shared_expert_intermediate_size", default=0, low=0)
        moe = MoeFfn(
            count,
            experts_per_token(f, count),
            f.integer("moe_intermediate_size"),
            shared_intermediate=shared,
            shared_gate=shared > 0,
        )
        parts = choose(sparse_layers(f, s.layers), moe, dense)
    period = f.integer("full_attention_interval", default=4, high=MAX_LAYERS)
    default = tuple("linear_attention" if (index + 1) % period else "full_attention" for index in range(s.layers))
    kinds = tuple("linear" if kind in _RECURRENT else "full" for kind in layer_kinds(f, s.layers, default))
    layers = mixed(kinds, {"linear": delta, "full": full}, parts, 2 * s.hidden)
    mtp = f.integer("mtp_num_hidden_layers", "num_nextn_predict_layers", default=0, low=0, high=16)
    return build(
        f,
        s,
        layers,
        mtp_layers=(Layer((full,), parts[-1], 2 * s.hidden),) * mtp,
        mtp_extra_parameters=mtp * (2 * s.hidden**2 + 3 * s.hidden),
        vision_parameters=0 if f.kind == "qwen3_next" else qwen3_vision(f),
    )


@family("jamba")
def jamba(f: Fields) -> Architecture:
    """Jamba: Mamba-1 with norms on dt, B and C; attention every `attn_layer_period` layers, a mixture every `expert_layer_period`."""
    s = read_sizes(f)
    count = f.integer("num_experts", "num_local_experts", default=1, high=MAX_EXPERTS)
    dense = DenseFfn(s.intermediate)
    moe: Ffn = MoeFfn(count, experts_per_token(f, count), s.intermediate) if count > 1 else dense
    rank = f.find("mamba_dt_rank")[1]
    auto = -(-s.hidden // 16)
    mamba = Mamba(
        1,
        inner=f.integer("mamba_expand", default=2, high=64) * s.hidden,
        state=f.integer("mamba_d_state", default=16),
        conv_kernel=f.integer("mamba_d_conv", default=4, high=1024),
        dt_rank=auto if rank == "auto" else f.integer("mamba_dt_rank", default=auto),
        conv_bias=f.flag("mamba_conv_bias", default=True),
        projection_bias=f.flag("mamba_proj_bias"),
        inner_norms=True,
        state_bytes=state_bytes(f),
    )
    period = f.integer("attn_layer_period", default=8, high=MAX_LAYERS)
    offset = f.integer("attn_layer_offset", default=4, low=0, high=MAX_LAYERS)
    every = f.integer("expert_layer_period", default=2, high=MAX_LAYERS)
    first = f.integer("expert_layer_offset", default=1, low=0, high=MAX_LAYERS)
    kinds = ["full" if index % period == offset else "mamba" for index in range(s.layers)]
    parts = [moe if index % every == first else dense for index in range(s.layers)]
    return build(f, s, mixed(kinds, {"full": attention(s), "mamba": mamba}, parts, 2 * s.hidden))


@family("mamba", "falcon_mamba")
def mamba1(f: Fields) -> Architecture:
    """Mamba 1 and Falcon-Mamba: no attention at all."""
    hidden = f.integer("hidden_size", "d_model")
    count = f.integer("num_hidden_layers", "n_layer", high=MAX_LAYERS)
    rank = f.find("time_step_rank")[1]
    auto = -(-hidden // 16)
    mixer = Mamba(
        1,
        inner=f.integer("intermediate_size", default=f.integer("expand", default=2, high=64) * hidden),
        state=f.integer("state_size", default=16),
        conv_kernel=f.integer("conv_kernel", default=4, high=1024),
        dt_rank=auto if rank == "auto" else f.integer("time_step_rank", default=auto),
        conv_bias=f.flag("use_conv_bias", default=True),
        projection_bias=f.flag("use_bias"),
        state_bytes=state_bytes(f),
    )
    s = Sizes(hidden, count, 1, 1, hidden, 1, f.integer("vocab_size", high=MAX_VOCAB))
    return build(f, s, (Layer((mixer,), None, hidden),) * count, tied=True)


@family("mamba2")
def mamba2(f: Fields) -> Architecture:
    """Mamba 2 (Codestral Mamba)."""
    hidden = f.integer("hidden_size", "d_model")
    count = f.integer("num_hidden_layers", "n_layer", high=MAX_LAYERS)
    mixer = Mamba(
        2,
        inner=f.integer("expand", default=2, high=64) * hidden,
        state=f.integer("state_size", default=128),
        conv_kernel=f.integer("conv_kernel", default=4, high=1024),
        groups=f.integer("n_groups", default=8, high=MAX_HEADS),
        heads=f.integer("num_heads", high=MAX_HEADS),
        conv_bias=f.flag("use_conv_bias", default=True),
        projection_bias=f.flag("use_bias"),
        state_bytes=state_bytes(f),
    )
    s = Sizes(hidden, count, 1, 1, hidden, 1, f.integer("vocab_size", high=MAX_VOCAB))
    # vLLM's class has no pipeline support
    return build(f, s, (Layer((mixer,), None, hidden),) * count, pipeline=False)


def mamba2_mixer(f: Fields, inner: int, *, gated_norm: bool = True) -> Mamba:
    """Mamba-2 as Bamba, Granite 4 H and Falcon-H1 name its fields."""
    return Mamba(
        2,
        inner=inner,
        state=f.integer("mamba_d_state", default=256),
        conv_kernel=f.integer("mamba_d_conv", default=4, high=1024),
        groups=f.integer("mamba_n_groups", default=1, high=MAX_HEADS),
        heads=f.integer("mamba_n_heads", default=128, high=MAX_HEADS),
        conv_bias=f.flag("mamba_conv_bias", default=True),
        projection_bias=f.flag("mamba_proj_bias"),
        gated_norm=gated_norm,
        state_bytes=state_bytes(f),
    )


@family("bamba")
def bamba(f: Fields) -> Architecture:
    """Bamba: Mamba-2, attention in `attn_layer_indices`, a dense MLP in every layer."""
    s = read_sizes(f)
    full_at = set(f.integers("attn_layer_indices", high=MAX_LAYERS) or ())
    bias = f.flag("attention_bias")
    kinds = ["full" if index in full_at else "mamba" for index in range(s.layers)]
    mixer = mamba2_mixer(f, f.integer("mamba_expand", default=2, high=64) * s.hidden)
    full = attention(s, q_bias=bias, kv_bias=bias, out_bias=bias)
    mlp = DenseFfn(s.intermediate, bias=f.flag("mlp_bias"))
    return build(f, s, mixed(kinds, {"full": full, "mamba": mixer}, (mlp,) * s.layers, 2 * s.hidden))


@family("granitemoehybrid")
def granite_hybrid(f: Fields) -> Architecture:
    """Granite 4 (H and not): Mamba-2 or attention, a shared MLP in every layer and a mixture beside it where there are experts."""
    s = read_sizes(f)
    count = f.integer("num_local_experts", default=0, low=0, high=MAX_EXPERTS)
    shared = f.integer("shared_intermediate_size")
    part: Ffn = DenseFfn(shared)
    if count:
        part = MoeFfn(count, experts_per_token(f, count), s.intermediate, shared_intermediate=shared)
    bias = f.flag("attention_bias")
    default = ("mamba",) * s.layers
    kinds = ["mamba" if kind in _RECURRENT else "full" for kind in layer_kinds(f, s.layers, default)]
    mixers: dict[str, Mixer] = {"full": attention(s, q_bias=bias, kv_bias=bias, out_bias=bias)}
    if "mamba" in kinds:
        mixers["mamba"] = mamba2_mixer(f, f.integer("mamba_expand", default=2, high=64) * s.hidden)
    return build(f, s, mixed(kinds, mixers, (part,) * s.layers, 2 * s.hidden))


@family("falcon_h1")
def falcon_h1(f: Fields) -> Architecture:
    """Falcon-H1: attention and Mamba-2 side by side in every layer; the inner width is `mamba_d_ssm`, or heads × head size."""
    s = read_sizes(f)
    heads = f.integer("mamba_n_heads", default=128, high=MAX_HEADS)
    head = f.find("mamba_d_head")[1]
    expanded = f.integer("mamba_expand", default=2, high=64) * s.hidden
    by_heads = expanded if head is None or head == "auto" else heads * f.integer("mamba_d_head")
    mixer = mamba2_mixer(f, f.integer("mamba_d_ssm", default=by_heads), gated_norm=f.flag("mamba_rms_norm"))
    if f.flag("projectors_bias") != f.flag("mamba_proj_bias"):
        f.problem("projectors_bias", "is not as mamba_proj_bias is, which is not read here")
    bias = f.flag("attention_bias")
    full = attention(s, q_bias=bias, kv_bias=bias, out_bias=bias)
    layer = Layer((full, mixer), DenseFfn(s.intermediate, bias=f.flag("mlp_bias")), 2 * s.hidden)
    return build(f, s, (layer,) * s.layers)


_BLOCKS = {
    "M": "mamba",
    "*": "attention",
    "-": "mlp",
    "E": "moe",
    "mamba": "mamba",
    "linear_attention": "mamba",
    "attention": "attention",
    "full_attention": "attention",
    "mlp": "mlp",
    "moe": "moe",
}


def _blocks(f: Fields, names: str, pattern: str) -> tuple[str, ...] | None:
    """Nemotron-H's list of blocks, or its pattern string, by kind."""
    _, listed = f.find(names)
    entries = f.texts(names)
    name = names
    if listed is None and f.has(pattern):
        text = f.text(pattern).replace("|", "")
        if len(text) > MAX_LAYERS:
            f.problem(pattern, f"has more than {MAX_LAYERS} blocks")
            return ()
        entries, name = tuple(text), pattern
    if entries is None:
        return None
    unknown = next((entry for entry in entries if entry not in _BLOCKS), None)
    if unknown is not None:
        f.problem(name, f"{shown(unknown)} is not a kind of block that is known here")
        return ()
    return tuple(_BLOCKS[entry] for entry in entries)


@family("nemotron_h")
def nemotron_h(f: Fields) -> Architecture:
    """Nemotron-H, Nano 2 and 3, Super and Ultra: each layer is one block with one norm — Mamba-2, attention, an ungated MLP or a
    mixture whose experts may act on a latent width; the pattern decides everything."""
    blocks = _blocks(f, "layers_block_type", "hybrid_override_pattern")
    if blocks is None:
        blocks = _blocks(f, "layer_types", "hybrid_override_pattern")
    if blocks is None:
        f.problem("hybrid_override_pattern", "is missing")
        blocks = ("mlp",)
    s = read_sizes(f, layers=max(1, len(blocks)), intermediate=None if "mlp" in blocks else 1)
    bias = f.flag("use_bias")
    mlp_bias = f.flag("mlp_bias")
    kinds = {
        "attention": Layer((attention(s),), None, s.hidden),
        "mlp": Layer((), DenseFfn(s.intermediate, gated=False, bias=mlp_bias), s.hidden),
    }
    if "mamba" in blocks:
        heads = f.integer("mamba_num_heads", high=MAX_HEADS)
        mixer = Mamba(
            2,
            inner=heads * f.integer("mamba_head_dim"),
            state=f.integer("ssm_state_size"),
            conv_kernel=f.integer("conv_kernel", default=4, high=1024),
            groups=f.integer("n_groups", default=8, high=MAX_HEADS),
            heads=heads,
            conv_bias=f.flag("use_conv_bias", default=True),
            projection_bias=bias,
            state_bytes=state_bytes(f, "float32"),
        )
        kinds["mamba"] = Layer((mixer,), None, s.hidden)
    mtp_blocks: tuple[str, ...] = ()
    mtp = f.integer("num_nextn_predict_layers", default=0, low=0, high=16)
    if mtp:
        mtp_blocks = _blocks(f, "mtp_layers_block_type", "mtp_hybrid_override_pattern") or ("attention", "moe")
    if "moe" in (*blocks, *mtp_blocks):
        count = f.integer("n_routed_experts", high=MAX_EXPERTS)
        shared = f.integer("n_shared_experts", default=1, low=0, high=MAX_EXPERTS)
        moe = MoeFfn(
            count,
            experts_per_token(f, count),
            f.integer("moe_intermediate_size"),
            shared_intermediate=f.integer("moe_shared_expert_intermediate_size", default=0, low=0) if shared else 0,
            router_bias=True,
            gated=False,
            latent=f.integer("moe_latent_size", default=0, low=0),
        )
        if mlp_bias:
            f.problem("mlp_bias", "is true, which is not read here for experts")
        kinds["moe"] = Layer((), moe, s.hidden)
    if "mamba" in mtp_blocks and "mamba" not in kinds:
        f.problem("mtp_layers_block_type", "names a block that the model itself does not have")
        mtp_blocks = ()
    return build(
        f,
        s,
        [kinds[block] for block in blocks],
        mtp_layers=tuple(kinds[block] for block in mtp_blocks) * mtp,
        mtp_extra_parameters=mtp * (2 * s.hidden**2 + 3 * s.hidden),
    )


def _lfm2_width(f: Fields, stated: int) -> int:
    """LFM2's feed-forward width: two thirds of the stated one, times a factor, rounded up to a multiple."""
    if not f.flag("block_auto_adjust_ff_dim", default=True):
        return stated
    width = int(2 * stated / 3)
    factor = f.number("block_ffn_dim_multiplier", 1.0, 0.01, 100)
    multiple = f.integer("block_multiple_of", default=256, high=MAX_WIDTH)
    return -(-int(factor * width) // multiple) * multiple


@family("lfm2", "lfm2_moe")
def lfm2(f: Fields) -> Architecture:
    """LFM2: gated short convolutions and a few attention layers with head-size norms; tied; LFM2-MoE after
    `num_dense_layers`."""
    s = read_sizes(f)
    dense = DenseFfn(s.intermediate if f.kind == "lfm2_moe" else _lfm2_width(f, s.intermediate))
    parts: tuple[Ffn, ...] = (dense,) * s.layers
    if f.kind == "lfm2_moe":
        count = f.integer("num_experts", "num_local_experts", high=MAX_EXPERTS)
        moe = MoeFfn(
            count,
            experts_per_token(f, count),
            f.integer("moe_intermediate_size"),
            router_bias=f.flag("use_expert_bias", default=True),
        )
        first = f.integer("num_dense_layers", default=2, low=0, high=MAX_LAYERS)
        parts = tuple(moe if index >= first else dense for index in range(s.layers))
    full_at = f.integers("full_attn_idxs", high=MAX_LAYERS)
    default = tuple("full_attention" if full_at is None or index in full_at else "conv" for index in range(s.layers))
    kinds = ["conv" if kind in _RECURRENT else "full" for kind in layer_kinds(f, s.layers, default)]
    mixer = ShortConvolution(f.integer("conv_L_cache", default=3, high=1024), f.flag("conv_bias"))
    layers = mixed(kinds, {"full": attention(s, qk_norm="head"), "conv": mixer}, parts, 2 * s.hidden)
    return build(f, s, layers, tied=True)
