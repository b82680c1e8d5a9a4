"""The layers of a model in words: how many are alike, how they attend, and what stands behind."""

from __future__ import annotations

from kcluster.physics.architecture import (
    Architecture,
    DeltaNet,
    DenseFfn,
    GroupedAttention,
    LatentAttention,
    Layer,
    Mamba,
    Mixer,
    MoeFfn,
)
from kcluster.physics.tensors import layer_kinds


def layers_in_words(arch: Architecture) -> list[tuple[int, str]]:
    """(how many, what they are) of every kind of layer, in the order of the first of each."""
    counts: dict[str, int] = {}
    for layer, count in layer_kinds(arch.layers):
        words = _layer(layer)
        counts[words] = counts.get(words, 0) + count
    return [(count, words) for words, count in counts.items()]


def _layer(layer: Layer) -> str:
    parts = [" and ".join(map(_mixer, layer.mixers)) if layer.mixers else "no attention", _feed_forward(layer)]
    return "; ".join(part for part in parts if part)


def _mixer(mixer: Mixer) -> str:
    if isinstance(mixer, GroupedAttention):
        return _grouped(mixer)
    if isinstance(mixer, LatentAttention):
        words = f"{mixer.heads} heads over a latent of {mixer.kv_lora_rank} + {mixer.rope_dim}"
        return words + (f", index of {mixer.index_heads} × {mixer.index_dim}" if mixer.index_heads else "")
    if isinstance(mixer, DeltaNet):
        keys, values = f"{mixer.key_heads} × {mixer.key_dim}", f"{mixer.value_heads} × {mixer.value_dim}"
        return f"gated delta rule, keys {keys}, values {values}"
    if isinstance(mixer, Mamba):
        return f"Mamba-{mixer.version}, {mixer.inner:,} channels, state {mixer.state}"
    return f"short convolution over {mixer.kernel} tokens"


def _grouped(mixer: GroupedAttention) -> str:
    words = f"{mixer.heads} heads, {mixer.kv_heads} KV head{'s' if mixer.kv_heads > 1 else ''} of {mixer.head_dim}"
    if mixer.v_head_dim != mixer.head_dim:
        words += f" and {mixer.v_head_dim}"
    seen = (
        (mixer.cross, "to the image"),
        (mixer.window is not None, f"window of {mixer.window or 0:,} tokens"),
        (mixer.chunk is not None, f"chunks of {mixer.chunk or 0:,} tokens"),
        (mixer.compress_ratio > 0, f"one entry for {mixer.compress_ratio} tokens"),
        (mixer.index_heads > 0, f"index of {mixer.index_heads} × {mixer.index_dim}"),
        (mixer.no_kv, "KV of an earlier layer"),
    )
    return ", ".join((words, *(word for applies, word in seen if applies)))


def _feed_forward(layer: Layer) -> str:
    ffn = layer.ffn
    if isinstance(ffn, DenseFfn):
        return f"MLP of {ffn.intermediate:,}"
    if not isinstance(ffn, MoeFfn):
        return ""
    words = f"{ffn.experts} experts of {ffn.intermediate:,}, {ffn.experts_per_token} a token"
    words += f", shared {ffn.shared_intermediate:,}" if ffn.shared_intermediate else ""
    return words + (f", beside an MLP of {ffn.dense_intermediate:,}" if ffn.dense_intermediate else "")
