"""What the profiling run of an engine takes, as a function of the model, the cut and the limits, with constants from real logs.

What libraries hold beside it is in `physics/libraries.py`, what graphs take in `physics/graphs.py`.
"""

from __future__ import annotations

import math
from functools import lru_cache

from kcluster.physics.architecture import Architecture, DenseFfn, LatentAttention, MoeFfn
from kcluster.physics.cut import Cut, EngineVersion, Limits
from kcluster.physics.formats import WeightFormat
from kcluster.physics.kv import recurrent_channels, since
from kcluster.physics.runner import second_runner
from kcluster.units import Figure, derive
from kcluster.values import frozen

FUSED_SAMPLER_SINCE = (0, 17)
MIXED_SAMPLER_UNTIL = (0, 11, 2)
"""Before 0.11.2 the engine sampled with FlashInfer where that was installed (container images), and sorted where not (wheels). A
log says which: "Using FlashInfer for top-p & top-k sampling" or "FlashInfer is not available"."""

KEPT_WORK_BUFFERS_SINCE = (0, 13)
"""From here the work buffers of the fused experts stay allocated (vLLM, v1/worker/workspace.py), so that they lie beside the
sampler's: 0.10.2 logged a Qwen3-Next without them, 0.19 five models with them, to 0.01 GiB (benchmarks/fit/terms.toml)."""

LIBRARIES_GREW_SINCE = (0, 18)
MULTICAST_GREW_SINCE = (0, 17)

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
        sampler_sorted, sampler_flashinfer, sampler_fused, sampler_second: bytes for each of max_num_seqs × vocabulary while the
            sampler is warmed up: by the one that sorts (until 0.16), by FlashInfer's in builds before 0.11.2 that had it, by the
            kernel since 0.17, by the second model runner's.
        sampler_rows: rows of the vocabulary that the kernel since 0.17 works on beside, one for each multiprocessor.
        activation_buffers: bytes of the inputs of a step, held throughout.
        activation_hidden, activation_mlp, activation_recurrent: 16-bit elements that live at once for a batched token, as multiples
            of the hidden width, of the MLP's sharded width, and of the sharded channels of a recurrent layer.
        activation_experts: what the work buffers of the experts are of their computed size.
        encoder: bytes that profiling a vision encoder takes for a visual token of the largest item.
        base_cuda, base_cuda_grown, base_rocm: bytes that a card holds beside weights and activations at tp 1, on CUDA before and
            since 0.18.
        communicator_plain: bytes of the buffers of collectives for each doubling of tp, over PCIe, bridges and older NVLink.
        communicator_multicast, communicator_multicast_grown: the same at tp 2 where a switch adds up in the fabric (Hopper and later
            on NVSwitch), before and since 0.17; communicator_step: for each further doubling there.
        communicator_rocm: the same on ROCm for each doubling.
        graph_first: bytes of the first captured graph for a token of the largest batch; graph_layer, graph_experts: of each further
            piecewise graph for a dense layer and for one with experts; graph_full: of each further whole graph; graph_recurrent:
            16-bit elements that the estimate counts as graphs for a batched token, as a multiple of the sharded channels of a
            recurrent layer, from 0.26 to 0.28.
        weights: what a measured weight figure is of the computed one.
        pool: what a measured KV pool is of the computed one beside the terms (0 = exact), as a share of the card.
        pool_unified: the same where card and host share memory.
    """

    sampler_sorted: Figure
    sampler_flashinfer: Figure
    sampler_fused: Figure
    sampler_second: Figure
    sampler_rows: Figure
    activation_buffers: Figure
    activation_hidden: Figure
    activation_mlp: Figure
    activation_experts: Figure
    activation_recurrent: Figure
    encoder: Figure
    base_cuda: Figure
    base_cuda_grown: Figure
    base_rocm: Figure
    communicator_plain: Figure
    communicator_multicast: Figure
    communicator_multicast_grown: Figure
    communicator_step: Figure
    communicator_rocm: Figure
    graph_first: Figure
    graph_layer: Figure
    graph_experts: Figure
    graph_full: Figure
    graph_recurrent: Figure
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


def added(name: str, parts: dict[str, Figure]) -> Figure:
    """The sum of parts with a range: their deviations combined as independent errors."""
    total = derive(name, "bytes", " + ".join(parts), source="", **parts)
    return spread(total, *parts.values())


def held(arch: Architecture, limits: Limits, constants: MemoryConstants, first: bool) -> dict[str, Figure]:
    """Bytes that lie there throughout the profiling run: the inputs of a step and, on the `first` stage of a model with a vision
    encoder, the visual tokens that it made."""
    parts = {"buffers": scaled("memory.activation.buffers", "constant", constants.activation_buffers)}
    if first and arch.vision_parameters and not limits.language_model_only:
        parts["visual"] = derive(
            "memory.activation.visual",
            "bytes",
            "2 * tokens * hidden",
            source="vLLM, profile_run: the encoder's output is kept until the sampler has run",
            tokens=max(limits.max_num_batched_tokens, 4096),
            hidden=arch.hidden,
        )
    return parts


def expert_buffers(
    arch: Architecture, fmt: WeightFormat, cut: Cut, limits: Limits, constants: MemoryConstants
) -> Figure | None:
    """Bytes of the two work buffers of the fused experts; None without experts, and for 4-bit floating-point experts, whose
    kernels have none of this size."""
    _, expert, visited, _ = widest_layer(arch)
    if not visited or fmt.arithmetic == "fp4":
        return None
    return scaled(
        "memory.activation.experts",
        "2 * constant * min(tokens, chunk) * experts * (max(width / shards, hidden) + max(2 * width / shards, hidden))",
        constants.activation_experts,
        tokens=limits.max_num_batched_tokens * cut.dp,
        chunk=EXPERT_CHUNK_TOKENS,
        experts=visited,
        width=expert,
        shards=1 if cut.ep else cut.tp * cut.dp,
        hidden=arch.hidden,
    )


def forward(
    arch: Architecture, fmt: WeightFormat, cut: Cut, limits: Limits, constants: MemoryConstants, stage: int
) -> Figure:
    """Bytes that one forward pass of max_num_batched_tokens holds at its widest point."""
    dense, _, _, channels = widest_layer(arch)
    tokens = limits.max_num_batched_tokens
    parts = held(arch, limits, constants, stage == 0)
    parts["width"] = scaled(
        "memory.activation.hidden",
        "2 * constant * tokens * hidden",
        constants.activation_hidden,
        tokens=tokens,
        hidden=arch.hidden,
    )
    if cut.pp > 1:
        parts["between"] = derive(
            "memory.activation.between",
            "bytes",
            "2 * 2 * tokens * hidden",
            source="vLLM: hidden states and residual of the boundary to another stage",
            tokens=tokens,
            hidden=arch.hidden,
        )
    if dense:
        parts["mlp"] = scaled(
            "memory.activation.mlp",
            "2 * constant * tokens * width / tp",
            constants.activation_mlp,
            tokens=tokens,
            width=dense,
            tp=cut.tp,
        )
    experts = expert_buffers(arch, fmt, cut, limits, constants)
    if experts is not None:
        parts["experts"] = experts
    if channels:
        parts["recurrent"] = scaled(
            "memory.activation.recurrent",
            "2 * constant * tokens * channels / tp",
            constants.activation_recurrent,
            tokens=tokens,
            channels=channels,
            tp=cut.tp,
        )
    latent = latent_prefill(arch, cut, limits)
    if latent is not None:
        parts["latent"] = latent
    return added("memory.activation.forward", parts)


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


def sampler(
    arch: Architecture,
    fmt: WeightFormat,
    cut: Cut,
    limits: Limits,
    engine: EngineVersion,
    constants: MemoryConstants,
    stage: int,
) -> Figure:
    """Bytes that lie there while the sampler is warmed up, on the last stage: every rank of it samples the whole vocabulary.

    Before 0.11.2 builds with FlashInfer took less; where `limits.sampler` does not say which, the value is the sorting one's (of six
    sources of that time five sorted) and the range holds both.
    """
    constant, open_ = _sampler_constant(arch, limits, engine, constants)
    parts = held(arch, limits, constants, stage == 0)
    logits = scaled(
        "memory.activation.logits",
        "constant * max_num_seqs * vocabulary",
        constant,
        max_num_seqs=limits.max_num_seqs,
        vocabulary=arch.vocab,
    )
    if open_:
        least = constants.sampler_flashinfer.range()[0] * limits.max_num_seqs * arch.vocab
        logits = logits.between(least, logits.range()[1])
    parts["logits"] = logits
    if constant is constants.sampler_fused:
        low, high = (4 * min(rows, limits.max_num_seqs) * arch.vocab for rows in constants.sampler_rows.range())
        rows = derive(
            "memory.activation.rows",
            "bytes",
            "4 * min(rows, max_num_seqs) * vocabulary",
            source=constants.sampler_rows.source,
            rows=constants.sampler_rows,
            max_num_seqs=limits.max_num_seqs,
            vocabulary=arch.vocab,
        )
        parts["rows"] = rows.between(low, high)
    parts["states"] = derive(
        "memory.activation.states",
        "bytes",
        "2 * (tokens + max_num_seqs) * hidden",
        source="vLLM, profile_run: the hidden states of the batch and of the sampled rows",
        tokens=limits.max_num_batched_tokens,
        max_num_seqs=limits.max_num_seqs,
        hidden=arch.hidden,
    )
    experts = expert_buffers(arch, fmt, cut, limits, constants) if since(engine, KEPT_WORK_BUFFERS_SINCE) else None
    if experts is not None:
        parts["experts"] = experts
    return added("memory.activation.sampler", parts)


def _sampler_constant(
    arch: Architecture, limits: Limits, engine: EngineVersion, constants: MemoryConstants
) -> tuple[Figure, bool]:
    """Bytes of a logit, and whether the build may have had another sampler."""
    if second_runner(arch, engine):
        return constants.sampler_second, False
    if since(engine, FUSED_SAMPLER_SINCE):
        return constants.sampler_fused, False
    if limits.sampler == "flashinfer":
        return constants.sampler_flashinfer, False
    return constants.sampler_sorted, not limits.sampler and not since(engine, MIXED_SAMPLER_UNTIL)


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
    arch: Architecture,
    fmt: WeightFormat,
    cut: Cut,
    limits: Limits,
    engine: EngineVersion,
    constants: MemoryConstants,
    stage: int,
) -> Figure:
    """The peak of the profiling run on one stage: encoder, forward pass and sampler run one after the other, so the largest
    of them counts."""
    parts = {"forward": forward(arch, fmt, cut, limits, constants, stage)}
    if stage == cut.pp - 1:
        parts["sampler"] = sampler(arch, fmt, cut, limits, engine, constants, stage)
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
