"""The tensors of token mixers: attention of every kind, and recurrent blocks."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from kcluster.physics.architecture import DeltaNet, GroupedAttention, LatentAttention, Mamba, Mixer, ShortConvolution
from kcluster.physics.tensor import Tensor
from kcluster.values import evolve


def _grouped(m: GroupedAttention, hidden: int) -> tuple[Tensor, ...]:
    q = m.heads * m.head_dim * (2 if m.output_gate else 1)
    q_shape = "2 × heads × head_dim" if m.output_gate else "heads × head_dim"
    k, v, out = m.kv_heads * m.head_dim, m.kv_heads * m.v_head_dim, m.heads * m.v_head_dim
    if m.q_lora_rank:
        tensors = [
            Tensor("q_a_proj", "q_lora_rank, hidden", m.q_lora_rank, hidden, linear=True),
            Tensor("q_a_norm", "q_lora_rank", m.q_lora_rank),
            Tensor("q_b_proj", f"{q_shape}, q_lora_rank", q, m.q_lora_rank, split="rows", units=m.heads, linear=True),
        ]
    else:
        tensors = [Tensor("q_proj", f"{q_shape}, hidden", q, hidden, split="rows", units=m.heads, linear=True)]
    if not m.no_kv:
        tensors.append(
            Tensor("k_proj", "kv_heads × head_dim, hidden", k, hidden, split="kv", units=m.kv_heads, linear=True)
        )
        if not m.shared_kv:
            tensors.append(
                Tensor("v_proj", "kv_heads × v_head_dim, hidden", v, hidden, split="kv", units=m.kv_heads, linear=True)
            )
    if m.o_groups:
        inner = m.o_groups * m.o_lora_rank
        tensors += [
            Tensor(
                "o_a_proj",
                "o_groups × o_lora_rank, heads × v_head_dim ÷ o_groups",
                inner,
                out // m.o_groups,
                split="rows",
                units=m.o_groups,
                linear=True,
            ),
            Tensor(
                "o_b_proj",
                "hidden, o_groups × o_lora_rank",
                hidden,
                inner,
                split="columns",
                units=m.o_groups,
                linear=True,
            ),
        ]
    else:
        tensors.append(
            Tensor("o_proj", "hidden, heads × v_head_dim", hidden, out, split="columns", units=m.heads, linear=True)
        )
    tensors += _compressor(m, hidden)
    if m.q_bias:
        tensors.append(Tensor("q_bias", q_shape, q, split="rows", units=m.heads))
    if m.kv_bias and not m.no_kv:
        tensors.append(Tensor("k_bias", "kv_heads × head_dim", k, split="kv", units=m.kv_heads))
        if not m.shared_kv:
            tensors.append(Tensor("v_bias", "kv_heads × v_head_dim", v, split="kv", units=m.kv_heads))
    if m.out_bias:
        tensors.append(Tensor("o_bias", "hidden", hidden))
    if m.qk_norm == "head":
        tensors.append(Tensor("q_norm", "head_dim", m.head_dim))
        if not m.no_kv:
            tensors.append(Tensor("k_norm", "head_dim", m.head_dim))
    elif m.qk_norm == "full":
        tensors.append(Tensor("q_norm", "heads × head_dim", m.heads * m.head_dim))
        tensors.append(Tensor("k_norm", "kv_heads × head_dim", k))
    if m.sinks:
        tensors.append(Tensor("sinks", "heads", m.heads, split="rows", units=m.heads))
    if m.extra_parameters:
        tensors.append(Tensor("extra", "as the family has it", m.extra_parameters))
    return tuple(tensors)


def _compressor(m: GroupedAttention, hidden: int) -> list[Tensor]:
    """What sparse attention adds to grouped heads: DeepSeek V4's compressors (keys and gates, twice as wide where they overlap)
    with an indexer over their entries, or MiniMax M3's indexer over tokens."""
    tensors = []
    overlap = 2 if m.index_heads else 1
    if m.compress_ratio:
        wide = overlap * m.head_dim
        tensors += [
            Tensor("compress_kv", "overlap × head_dim, hidden", wide, hidden, copies=2),
            Tensor("compress_bias", "compress_ratio, overlap × head_dim", m.compress_ratio, wide),
            Tensor("compress_norm", "head_dim", m.head_dim),
        ]
    if not m.index_heads:
        return tensors
    queries = m.index_heads * m.index_dim
    if m.compress_ratio:
        wide = 2 * m.index_dim
        tensors += [
            Tensor(
                "index_q_proj", "index_heads × index_dim, q_lora_rank", queries, m.q_lora_rank or hidden, linear=True
            ),
            Tensor("index_kv", "2 × index_dim, hidden", wide, hidden, copies=2),
            Tensor("index_bias", "compress_ratio, 2 × index_dim", m.compress_ratio, wide),
            Tensor("index_norm", "index_dim", m.index_dim),
            Tensor("index_weights", "index_heads, hidden", m.index_heads, hidden),
        ]
    else:
        tensors += [
            Tensor("index_q_proj", "index_heads × index_dim, hidden", queries, hidden, linear=True),
            Tensor("index_k_proj", "index_dim, hidden", m.index_dim, hidden, linear=True),
            Tensor("index_norms", "2 × index_dim", 2 * m.index_dim),
        ]
    return tensors


def _latent(m: LatentAttention, hidden: int) -> tuple[Tensor, ...]:
    head = m.nope_dim + m.rope_dim
    tensors = []
    if m.q_lora_rank is None:
        tensors.append(
            Tensor(
                "q_proj",
                "heads × (nope + rope), hidden",
                m.heads * head,
                hidden,
                split="rows",
                units=m.heads,
                linear=True,
            )
        )
    else:
        tensors += [
            Tensor("q_a_proj", "q_lora_rank, hidden", m.q_lora_rank, hidden, linear=True),
            Tensor("q_a_norm", "q_lora_rank", m.q_lora_rank),
            Tensor(
                "q_b_proj",
                "heads × (nope + rope), q_lora_rank",
                m.heads * head,
                m.q_lora_rank,
                split="rows",
                units=m.heads,
                linear=True,
            ),
        ]
    tensors += [
        Tensor("kv_a_proj", "kv_lora_rank + rope, hidden", m.kv_lora_rank + m.rope_dim, hidden, linear=True),
        Tensor("kv_a_norm", "kv_lora_rank", m.kv_lora_rank),
        Tensor(
            "kv_b_proj",
            "heads × (nope + v_head_dim), kv_lora_rank",
            m.heads * (m.nope_dim + m.v_head_dim),
            m.kv_lora_rank,
            split="rows",
            units=m.heads,
            linear=True,
        ),
        Tensor(
            "o_proj",
            "hidden, heads × v_head_dim",
            hidden,
            m.heads * m.v_head_dim,
            split="columns",
            units=m.heads,
            linear=True,
        ),
    ]
    if m.index_heads:
        rank = m.q_lora_rank or hidden
        tensors += [
            Tensor(
                "index_q_proj", "index_heads × index_dim, q_lora_rank", m.index_heads * m.index_dim, rank, linear=True
            ),
            Tensor("index_k_proj", "index_dim, hidden", m.index_dim, hidden, linear=True),
            Tensor("index_k_norm", "2 × index_dim", 2 * m.index_dim),
            Tensor("index_weights", "index_heads, hidden", m.index_heads, hidden),
        ]
    if m.extra_parameters:
        tensors.append(Tensor("extra", "as the family has it", m.extra_parameters))
    return tuple(tensors)


def _kimi_delta(m: DeltaNet, hidden: int) -> tuple[Tensor, ...]:
    width, heads, head = m.value_heads * m.value_dim, m.value_heads, m.value_dim
    cut: dict[str, Any] = {"split": "rows", "units": heads}
    tensors = [
        Tensor("in_proj_qkv", "3 × heads × head_dim, hidden", width, hidden, 3, linear=True, **cut),
        Tensor("conv", "3 × heads × head_dim, kernel", 3 * width, m.conv_kernel, **cut),
        Tensor("decay_down", "head_dim, hidden", head, hidden, linear=True),
        Tensor("decay_up", "heads × head_dim, head_dim", width, head, linear=True, **cut),
        Tensor("decay", "heads × head_dim + heads", width + heads, **cut),
        Tensor("beta", "heads, hidden", heads, hidden, **cut),
        Tensor("norm", "head_dim", head),
        Tensor("out_proj", "hidden, heads × head_dim", hidden, width, split="columns", units=heads, linear=True),
    ]
    if m.decay == "full":
        tensors.append(Tensor("gate", "heads × head_dim, hidden", width, hidden, linear=True, **cut))
    else:
        tensors.append(Tensor("gate_down", "head_dim, hidden", head, hidden, linear=True))
        tensors.append(Tensor("gate_up", "heads × head_dim, head_dim", width, head, linear=True, **cut))
    return tuple(tensors)


def _delta(m: DeltaNet, hidden: int) -> tuple[Tensor, ...]:
    if m.decay != "head":
        return _kimi_delta(m, hidden)
    keys, values = m.key_heads * m.key_dim, m.value_heads * m.value_dim
    heads = m.key_heads
    return (
        Tensor(
            "in_proj_qkvz",
            "2 × keys + 2 × values, hidden",
            2 * keys + 2 * values,
            hidden,
            split="rows",
            units=heads,
            linear=True,
        ),
        Tensor("in_proj_ba", "2 × value_heads, hidden", 2 * m.value_heads, hidden, split="rows", units=heads),
        Tensor("conv", "2 × keys + values, kernel", 2 * keys + values, m.conv_kernel, split="rows", units=heads),
        Tensor("decay", "2 × value_heads", 2 * m.value_heads, split="rows", units=heads),
        Tensor("norm", "value_dim", m.value_dim),
        Tensor("out_proj", "hidden, values", hidden, values, split="columns", units=heads, linear=True),
    )


def _mamba(m: Mamba, hidden: int) -> tuple[Tensor, ...]:
    if m.version == 2:
        states = 2 * m.groups * m.state
        tensors = [
            Tensor(
                "in_proj",
                "2 × inner + 2 × groups × state + heads, hidden",
                2 * m.inner + states + m.heads,
                hidden,
                split="rows",
                linear=True,
            ),
            Tensor("conv", "inner + 2 × groups × state, kernel", m.inner + states, m.conv_kernel, split="rows"),
            Tensor("decay", "3 × heads", 3 * m.heads, split="rows"),
            Tensor("out_proj", "hidden, inner", hidden, m.inner, split="columns", linear=True),
        ]
        if m.conv_bias:
            tensors.append(Tensor("conv_bias", "inner + 2 × groups × state", m.inner + states, split="rows"))
        if m.gated_norm:
            tensors.append(Tensor("norm", "inner", m.inner, split="rows"))
        if m.projection_bias:
            tensors.append(Tensor("in_bias", "2 × inner + 2 × groups × state + heads", 2 * m.inner + states + m.heads))
            tensors.append(Tensor("out_bias", "hidden", hidden))
        return tuple(tensors)
    tensors = [
        Tensor("in_proj", "2 × inner, hidden", 2 * m.inner, hidden, split="rows", linear=True),
        Tensor("conv", "inner, kernel", m.inner, m.conv_kernel, split="rows"),
        Tensor("x_proj", "dt_rank + 2 × state, inner", m.dt_rank + 2 * m.state, m.inner, split="columns", linear=True),
        Tensor("dt_proj", "inner, dt_rank", m.inner, m.dt_rank, split="rows"),
        Tensor("dt_bias", "inner", m.inner, split="rows"),
        Tensor("decay", "inner, state", m.inner, m.state, split="rows"),
        Tensor("skip", "inner", m.inner, split="rows"),
        Tensor("out_proj", "hidden, inner", hidden, m.inner, split="columns", linear=True),
    ]
    if m.conv_bias:
        tensors.append(Tensor("conv_bias", "inner", m.inner, split="rows"))
    if m.inner_norms:
        tensors.append(Tensor("norms", "dt_rank + 2 × state", m.dt_rank + 2 * m.state))
    if m.projection_bias:
        tensors.append(Tensor("in_bias", "2 × inner", 2 * m.inner, split="rows"))
        tensors.append(Tensor("out_bias", "hidden", hidden))
    return tuple(tensors)


def _convolution(m: ShortConvolution, hidden: int) -> tuple[Tensor, ...]:
    tensors = [
        Tensor("in_proj", "3 × hidden, hidden", 3 * hidden, hidden, split="rows", linear=True),
        Tensor("conv", "hidden, kernel", hidden, m.kernel, split="rows"),
        Tensor("out_proj", "hidden, hidden", hidden, hidden, split="columns", linear=True),
    ]
    if m.bias:
        tensors.append(Tensor("biases", "5 × hidden", 5 * hidden))
    return tuple(tensors)


@lru_cache(maxsize=4096)
def mixer_tensors(mixer: Mixer, hidden: int) -> tuple[Tensor, ...]:
    """The tensors of one token mixer."""
    if isinstance(mixer, GroupedAttention):
        return _grouped(mixer, hidden)
    if isinstance(mixer, LatentAttention):
        return tuple(evolve(tensor, role="latent") for tensor in _latent(mixer, hidden))
    if isinstance(mixer, DeltaNet):
        return _delta(mixer, hidden)
    if isinstance(mixer, Mamba):
        return _mamba(mixer, hidden)
    return _convolution(mixer, hidden)
