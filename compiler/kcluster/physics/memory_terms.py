"""The terms of the memory budget, each a function of the model, the cut and the limits, with constants fitted to real logs."""

from __future__ import annotations

import math
from functools import lru_cache

from kcluster.physics.architecture import Architecture, DenseFfn, LatentAttention, MoeFfn
from kcluster.physics.cut import Cut, EngineVersion, Limits
from kcluster.physics.hardware import Card
from kcluster.physics.kv import recurrent_channels, since
from kcluster.units import Figure, derive
from kcluster.values import frozen

GRAPHS_IN_BUDGET_SINCE = (0, 21)
"""From vLLM 0.21 an estimate of what CUDA graphs will take is subtracted before the KV cache is sized; 0.20 logs it only (three
of four logged starts of 0.20 hold what they would without it, the fourth is one of two equal ones on shared memory)."""

FUSED_SAMPLER_SINCE = (0, 17)
MIXED_SAMPLER_UNTIL = (0, 11, 2)
"""Before 0.11.2 the engine sampled with FlashInfer where that was installed (container images), and sorted where not (wheels)."""

LARGE_COMMUNICATORS_SINCE = (0, 17)

LATENT_PREFILL_TOKENS = 64 * 1024
"""Most tokens of earlier context whose keys and values latent attention expands at once (vLLM, mla_attention)."""

VIDEO_BOUNDED_SINCE = (0, 12)
"""Before, a Qwen3-VL was profiled with a video as long as max_model_len (QwenLM/Qwen3-VL issue 1684: 128K does not start)."""

EXPERT_CHUNK_TOKENS = 16 * 1024
"""Tokens that the fused experts take at a time (vLLM, fused_moe: a larger batch is cut)."""


@frozen(cache_hash=True)
class MemoryConstants:
    """What the formulas cannot know. Every figure has a range (9 times in 10) and says where it is from.

    Attributes:
        sampler_sorted, sampler_flashinfer, sampler_fused: bytes for each of max_num_seqs × vocabulary while the sampler is warmed
            up: by the one that sorts (until 0.16), by FlashInfer's in builds before 0.11.2 that had it, by those since 0.17.
        activation_hidden, activation_mlp, activation_experts, activation_recurrent: 16-bit elements that live at once for a
            batched token, as multiples of the hidden width, of the MLP's sharded width, of the buffers of the experts that
            a token visits, and of the sharded channels of a recurrent layer.
        encoder: bytes that profiling a vision encoder takes for a visual token of the largest item.
        base_cuda, base_rocm: bytes that a card holds beside weights and activations at tp 1.
        communicator_pcie, communicator_pair, communicator_group, communicator_large, communicator_rocm: bytes of the buffers of
            collectives: over PCIe for each doubling of tp; over NVLink for tp 2, and for each further doubling; since 0.17 at
            tp 4 and more over either; on ROCm for each doubling.
        graph_layer: bytes that CUDA graphs really take for a layer; graph_estimate: bytes of the engine's estimate of that.
        weights: what a measured weight figure is of the computed one.
        pool: what a measured KV pool is of the computed one beside the terms (0 = exact), as a share of the card.
        pool_unified: the same where card and host share memory.
    """

    sampler_sorted: Figure
    sampler_flashinfer: Figure
    sampler_fused: Figure
    activation_hidden: Figure
    activation_mlp: Figure
    activation_experts: Figure
    activation_recurrent: Figure
    encoder: Figure
    base_cuda: Figure
    base_rocm: Figure
    communicator_pcie: Figure
    communicator_pair: Figure
    communicator_group: Figure
    communicator_large: Figure
    communicator_rocm: Figure
    graph_layer: Figure
    graph_estimate: Figure
    weights: Figure
    pool: Figure
    pool_unified: Figure


def spread(figure: Figure, *parts: Figure, floor: float = 0.0) -> Figure:
    """A sum with a range: the deviations of its independent `parts` combined as independent errors."""
    down = math.sqrt(sum((part.value - part.range()[0]) ** 2 for part in parts))
    up = math.sqrt(sum((part.range()[1] - part.value) ** 2 for part in parts))
    return figure.between(max(floor, figure.value - down), figure.value + up)


def scaled(name: str, formula: str, constant: Figure, **inputs: float) -> Figure:
    """A figure in bytes that is a constant times what the formula says; its range is the constant's."""
    figure = derive(name, "bytes", formula, source=constant.source, constant=constant, **inputs)
    if not constant.value:
        return figure
    low, high = constant.range()
    return figure.spread(low / constant.value, high / constant.value)


@lru_cache(maxsize=256)
def widest_layer(arch: Architecture) -> tuple[int, int, int, int]:
    """What the widest layers of a model are made of: (dense MLP width, expert width, experts a token visits, recurrent
    channels)."""
    dense = 0
    expert = 0
    visited = 0
    channels = 0
    for layer in arch.kinds:
        if isinstance(layer.ffn, DenseFfn):
            dense = max(dense, layer.ffn.intermediate)
        elif isinstance(layer.ffn, MoeFfn):
            dense = max(dense, layer.ffn.shared_intermediate, layer.ffn.dense_intermediate)
            expert = max(expert, layer.ffn.intermediate)
            visited = max(visited, layer.ffn.experts_per_token)
        for mixer in layer.mixers:
            channels = max(channels, recurrent_channels(mixer, arch.hidden))
    return dense, expert, visited, channels


def forward(arch: Architecture, cut: Cut, limits: Limits, constants: MemoryConstants) -> Figure:
    """Bytes that one forward pass of max_num_batched_tokens holds at its widest point."""
    dense, expert, visited, channels = widest_layer(arch)
    tokens = limits.max_num_batched_tokens
    shards = 1 if cut.ep else cut.tp * cut.dp
    parts = [
        scaled(
            "memory.activation.hidden",
            "2 * constant * tokens * hidden",
            constants.activation_hidden,
            tokens=tokens,
            hidden=arch.hidden,
        )
    ]
    if dense:
        parts.append(
            scaled(
                "memory.activation.mlp",
                "2 * constant * tokens * width / tp",
                constants.activation_mlp,
                tokens=tokens,
                width=dense,
                tp=cut.tp,
            )
        )
    if visited:
        parts.append(
            scaled(
                "memory.activation.experts",
                "2 * constant * min(tokens, chunk) * experts * (max(2 * width / shards, hidden) + width / shards)",
                constants.activation_experts,
                tokens=tokens * cut.dp,
                chunk=EXPERT_CHUNK_TOKENS,
                experts=visited,
                width=expert,
                shards=shards,
                hidden=arch.hidden,
            )
        )
    if channels:
        parts.append(
            scaled(
                "memory.activation.recurrent",
                "2 * constant * tokens * channels / tp",
                constants.activation_recurrent,
                tokens=tokens,
                channels=channels,
                tp=cut.tp,
            )
        )
    latent = latent_prefill(arch, cut, limits)
    if latent is not None:
        parts.append(latent)
    names = [f"part_{index + 1}" for index in range(len(parts))]
    total = derive(
        "memory.activation.forward", "bytes", " + ".join(names), source="", **dict(zip(names, parts, strict=True))
    )
    return spread(total, *parts)


def latent_prefill(arch: Architecture, cut: Cut, limits: Limits) -> Figure | None:
    """Bytes in which latent attention expands the keys and values of earlier context; None without it."""
    attention = arch.attention
    if not isinstance(attention, LatentAttention) or attention.index_heads:
        return None
    return derive(
        "memory.activation.latent",
        "bytes",
        "2 * min(most, max(8 * max_model_len, 64 * max_num_seqs)) * heads / tp * (nope_dim + value_dim)",
        source="vLLM, mla_attention: the worst expansion is allocated while profiling",
        most=LATENT_PREFILL_TOKENS,
        max_model_len=limits.max_model_len,
        max_num_seqs=limits.max_num_seqs,
        heads=attention.heads,
        tp=cut.tp,
        nope_dim=attention.nope_dim,
        value_dim=attention.v_head_dim,
    )


def sampler(arch: Architecture, limits: Limits, engine: EngineVersion, constants: MemoryConstants) -> Figure:
    """Bytes that warming the sampler up takes on the last stage: every rank of it samples the whole vocabulary.

    Before 0.11.2 builds with FlashInfer took less; of six sources of that time five sorted, so that is the value and the range
    holds both.
    """
    constant = constants.sampler_fused if since(engine, FUSED_SAMPLER_SINCE) else constants.sampler_sorted
    figure = scaled(
        "memory.activation.sampler",
        "constant * max_num_seqs * vocabulary + 2 * tokens * hidden",
        constant,
        max_num_seqs=limits.max_num_seqs,
        vocabulary=arch.vocab,
        tokens=limits.max_num_batched_tokens,
        hidden=arch.hidden,
    )
    if not since(engine, MIXED_SAMPLER_UNTIL):
        least = constants.sampler_flashinfer.range()[0] * limits.max_num_seqs * arch.vocab
        return figure.between(least + 2 * limits.max_num_batched_tokens * arch.hidden, figure.range()[1])
    return figure


def encoder(arch: Architecture, limits: Limits, engine: EngineVersion, constants: MemoryConstants) -> Figure | None:
    """Bytes that profiling the vision encoder takes; None for a model without one, or where it is not loaded.

    The largest item is at most 16,384 tokens, but for Qwen3-VL before 0.12, whose video filled the context.
    """
    if not arch.vision_parameters or limits.language_model_only:
        return None
    if arch.model_type.startswith("qwen3_vl") and limits.video and not since(engine, VIDEO_BOUNDED_SINCE):
        return scaled(
            "memory.activation.encoder", "constant * tokens", constants.encoder, tokens=max(limits.max_model_len, 4096)
        )
    return scaled(
        "memory.activation.encoder",
        "constant * min(tokens, 16384)",
        constants.encoder,
        tokens=max(limits.max_num_batched_tokens, 4096),
    )


def activation(
    arch: Architecture, cut: Cut, limits: Limits, engine: EngineVersion, constants: MemoryConstants, stage: int
) -> Figure:
    """The peak of the profiling run on one stage: encoder, forward pass and sampler run one after the other, so the largest
    of them counts."""
    parts = {"forward": forward(arch, cut, limits, constants)}
    if stage == cut.pp - 1:
        parts["sampler"] = sampler(arch, limits, engine, constants)
    vision = encoder(arch, limits, engine, constants) if stage == 0 else None
    if vision is not None:
        parts["encoder"] = vision
    peak = derive(
        "memory.activation",
        "bytes",
        f"max({', '.join(parts)})" if len(parts) > 1 else "forward",
        source="vLLM, profile_run",
        **parts,
    )
    ranges = [part.range() for part in parts.values()]
    return peak.between(max(low for low, _ in ranges), max(high for _, high in ranges))


def non_torch(cut: Cut, card: Card, engine: EngineVersion, constants: MemoryConstants) -> Figure:
    """Bytes that libraries hold beside torch: the base at tp 1, and the buffers of collectives by tp, link and version."""
    base = constants.base_rocm if card.vendor == "amd" else constants.base_cuda
    base = scaled("memory.non_torch.base", "constant", base)
    if cut.tp == 1:
        return Figure("memory.non_torch", base.value, "bytes", "base", (("base", base),), "", base.low, base.high)
    parts = _communicators(math.log2(cut.tp), cut.tp, card, engine, constants)
    names = ["communicators", "more"][: len(parts)]
    total = derive(
        "memory.non_torch",
        "bytes",
        " + ".join(["base", *names]),
        source="",
        base=base,
        **dict(zip(names, parts, strict=True)),
    )
    return spread(total, base, *parts)


def _communicators(
    doublings: float, tp: int, card: Card, engine: EngineVersion, constants: MemoryConstants
) -> list[Figure]:
    """Buffers of collectives at tp 2 and more. Over PCIe the engine's own all-reduce is off, which spares its buffers."""
    if card.vendor == "amd":
        return [
            scaled("memory.communicators", "constant * doublings", constants.communicator_rocm, doublings=doublings)
        ]
    if since(engine, LARGE_COMMUNICATORS_SINCE) and tp > 2:
        return [scaled("memory.communicators", "constant", constants.communicator_large)]
    if card.gpu_link in (None, "pcie"):
        return [
            scaled("memory.communicators", "constant * doublings", constants.communicator_pcie, doublings=doublings)
        ]
    pair = scaled("memory.communicators.pair", "constant", constants.communicator_pair)
    if tp == 2:
        return [pair]
    group = scaled(
        "memory.communicators.group", "constant * (doublings - 1)", constants.communicator_group, doublings=doublings
    )
    return [pair, group]


def graphs(layers: int, limits: Limits, constant: Figure) -> Figure:
    """Bytes of CUDA graphs for `layers` layers, 0 in eager mode."""
    if limits.eager:
        return derive("memory.cuda_graph", "bytes", "0", source="eager mode captures no graphs")
    return scaled("memory.cuda_graph", "constant * layers", constant, layers=layers)
