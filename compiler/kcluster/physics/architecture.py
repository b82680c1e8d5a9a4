"""What physics needs to know of a model: its layers by kind, with the sizes that decide parameters, KV and work.

These are facts at the level of `config.json`, already read and normalised by `kcluster.catalog`. A layer is a token
mixer (attention of some kind, or a recurrent block) and a feed-forward part; identical layers share one value.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from kcluster.values import frozen

QkNorm = Literal["none", "head", "full"]


@frozen(cache_hash=True)
class GroupedAttention:
    """Multi-head, grouped-query or multi-query attention.

    `qk_norm`: "head" is one vector of head_dim for q and one for k, "full" spans all heads.
    `window`: tokens that a sliding layer sees; `chunk`: tokens of a chunked layer; None is full attention.
    `shared_kv`: one projection serves keys and values (Gemma 4's full layers).
    `output_gate`: the query projection is doubled (Qwen3-Next, Qwen3.5).
    `sinks`: one learned value a head (gpt-oss).
    """

    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    q_bias: bool = False
    kv_bias: bool = False
    out_bias: bool = False
    qk_norm: QkNorm = "none"
    window: int | None = None
    chunk: int | None = None
    shared_kv: bool = False
    output_gate: bool = False
    sinks: bool = False
    no_kv: bool = False
    """The layer reuses another layer's keys and values and holds none (cross-layer sharing)."""
    cross: bool = False
    """Cross-attention to a vision tower: its keys and values come from the image, not from the tokens."""
    extra_parameters: int = 0
    """What else the family has in this attention (gates, norms with bias)."""
    compress_ratio: int = 0
    """Beside its window the layer holds one compressed entry of head_dim for this many tokens (DeepSeek V4), 0 for none."""
    index_heads: int = 0
    index_dim: int = 0
    """A sparse indexer: one key of index_dim for each token, or for each compressed entry (MiniMax M3, DeepSeek V4)."""
    q_lora_rank: int = 0
    """The query projection in two steps over this rank, 0 for one step."""
    o_groups: int = 0
    o_lora_rank: int = 0
    """The output projection in two steps: groups of heads to o_lora_rank each, then all to hidden; 0 for one step."""


@frozen(cache_hash=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek): one compressed latent of kv_lora_rank + rope_dim a token and layer.

    `index_heads`, `index_dim`: the sparse indexer of DeepSeek V3.2 and GLM-5, 0 where there is none.
    """

    heads: int
    q_lora_rank: int | None
    kv_lora_rank: int
    rope_dim: int
    nope_dim: int
    v_head_dim: int
    index_heads: int = 0
    index_dim: int = 0
    index_topk: int = 0
    extra_parameters: int = 0


@frozen(cache_hash=True)
class DeltaNet:
    """A gated DeltaNet layer: a recurrent state per sequence, no KV per token."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv_kernel: int
    state_bytes: int = 4
    decay: Literal["head", "low_rank", "full"] = "head"
    """Decay by head (Qwen3-Next), or by channel: Kimi delta attention, its output gate of low or full rank."""


@frozen(cache_hash=True)
class Mamba:
    """A Mamba-1 or Mamba-2 layer: `inner` channels, `groups`, `state` size, `heads` (Mamba-2), `dt_rank` (Mamba-1)."""

    version: Literal[1, 2]
    inner: int
    state: int
    conv_kernel: int
    groups: int = 1
    heads: int = 0
    dt_rank: int = 0
    conv_bias: bool = True
    state_bytes: int = 4
    gated_norm: bool = True
    """Mamba-2: a norm of `inner` before the output projection."""
    inner_norms: bool = False
    """Mamba-1: norms on dt, B and C (Jamba)."""
    projection_bias: bool = False


@frozen(cache_hash=True)
class ShortConvolution:
    """The gated short convolution of LFM2."""

    kernel: int
    bias: bool = False


Mixer = GroupedAttention | LatentAttention | DeltaNet | Mamba | ShortConvolution


@frozen(cache_hash=True)
class DenseFfn:
    """A feed-forward part: three matrices where gated, two where not."""

    intermediate: int
    gated: bool = True
    bias: bool = False


@frozen(cache_hash=True)
class MoeFfn:
    """A mixture of experts with what stands beside it.

    `shared_intermediate`: the summed width of always-active shared experts. `dense_intermediate`: a dense MLP that runs
    beside the experts (Gemma 4). `latent`: experts act on a narrower width (Nemotron 3).
    """

    experts: int
    experts_per_token: int
    intermediate: int
    shared_intermediate: int = 0
    shared_gate: bool = False
    router_bias: bool = False
    expert_bias: bool = False
    gated: bool = True
    latent: int = 0
    dense_intermediate: int = 0
    extra_router: int = 0
    """Further parameters of the router a layer (scales, correction terms), stated by the family."""
    shared_bias: bool = False
    router_bytes: int = 2
    """Bytes of a router weight: 4 where the family keeps it in 32 bits."""


Ffn = DenseFfn | MoeFfn


@frozen(cache_hash=True)
class Layer:
    """One decoder layer. `mixers` has two entries where attention and Mamba run side by side (Falcon-H1), none where the
    layer is only a feed-forward part (Nemotron-H); `ffn` is None where it is only a mixer.

    `norm_parameters` counts the layer's norms (weights and biases); `extra_parameters` what else the family has a layer.
    """

    mixers: tuple[Mixer, ...]
    ffn: Ffn | None
    norm_parameters: int
    extra_parameters: int = 0


@frozen(cache_hash=True)
class Architecture:
    """A whole language model, and beside it a vision tower and multi-token-prediction layers where it has them.

    Attributes:
        model_type: the `model_type` of config.json.
        class_name: the first entry of `architectures`, by which the engine knows the model.
        hidden: the width of the residual stream.
        vocab: rows of the embedding as stored (before the engine's padding).
        layers: one entry a layer, in order.
        tied: whether the output head shares the embedding's tensor.
        max_positions: the longest context that the engine derives, in tokens; None where the config has none.
        dtype_bytes: bytes of one element of the model's own dtype (2 for bf16 and fp16).
        final_norm_parameters: of the norm before the head.
        head_bias: whether the output head has a bias.
        other_parameters: of the language model and in none of the parts above.
        vision_parameters: of the vision tower and projector, 0 without.
        mtp_layers: multi-token-prediction layers, beside `layers`.
        mtp_extra_parameters: what an MTP module has beside its layer (projections, norms), all modules together.
        stated_total: a total from the publisher where the family has no closed formula; None where parameters are computed.
        pipeline: whether the engine's class supports pipeline parallel.
    """

    model_type: str
    class_name: str
    hidden: int
    vocab: int
    layers: tuple[Layer, ...]
    tied: bool
    max_positions: int | None
    dtype: str = "bfloat16"
    final_norm_parameters: int = 0
    head_bias: bool = False
    other_parameters: int = 0
    vision_parameters: int = 0
    mtp_layers: tuple[Layer, ...] = ()
    mtp_extra_parameters: int = 0
    stated_total: int | None = None
    pipeline: bool = True
    learned_positions: int = 0
    """Rows of a learned position embedding (OPT, GPT-2), 0 where positions are computed."""
    stored_head: bool = False
    """Whether the published checkpoint stores the tied head a second time (Qwen3-0.6B)."""
    stored_mtp_embedding: bool = False
    """Whether the published checkpoint stores embedding and head again with its MTP module (DeepSeek-V3, GLM-4.5)."""
    rope_values: int = 0
    """Values of the engine's rotary tables for a position: the rotary sizes of its distinct tables, summed."""
    item_tokens: int = 0
    """Tokens of the largest multimodal item where all of them attend to each other, so that the engine takes an item in one
    step or not at all; 0 where it may cut one over steps."""
    default_positions: int | None = None
    """What the engine takes for `max_model_len` when it is told none, where that is less than `max_positions` (longrope)."""

    @property
    def attention(self) -> GroupedAttention | LatentAttention | None:
        """The first attention of the model, whose heads the engine divides by tensor parallel; None for none at all."""
        return _facts(self).attention

    @property
    def moe(self) -> MoeFfn | None:
        """The experts of the first mixture-of-experts layer, None for a dense model."""
        return _facts(self).moe

    @property
    def kinds(self) -> tuple[Layer, ...]:
        """The different layers, each once, in the order of the first of each."""
        return _facts(self).kinds

    @property
    def latent(self) -> bool:
        """Whether attention is of the latent kind, whose KV every tensor-parallel rank holds whole."""
        return isinstance(self.attention, LatentAttention)

    @property
    def recurrent(self) -> bool:
        """Whether some layers keep a state per sequence instead of KV per token (a hybrid)."""
        return _facts(self).recurrent


@lru_cache(maxsize=512)
def shared(arch: Architecture) -> Architecture:
    """The first value that was equal to this one. What is remembered by architecture is found by identity then: to compare two
    equal ones, layer by layer, costs more than most of what is looked up."""
    return arch


@frozen(eq=False)
class _Facts:
    """What is asked of an architecture again and again, found in one pass over its layers."""

    kinds: tuple[Layer, ...]
    attention: GroupedAttention | LatentAttention | None
    moe: MoeFfn | None
    recurrent: bool


@lru_cache(maxsize=512)
def _facts(arch: Architecture) -> _Facts:
    kinds = tuple(dict.fromkeys(arch.layers))
    mixers = [mixer for layer in kinds for mixer in layer.mixers]
    return _Facts(
        kinds,
        next((mixer for mixer in mixers if isinstance(mixer, GroupedAttention | LatentAttention)), None),
        next((layer.ffn for layer in kinds if isinstance(layer.ffn, MoeFfn)), None),
        any(isinstance(mixer, DeltaNet | Mamba | ShortConvolution) for mixer in mixers),
    )
