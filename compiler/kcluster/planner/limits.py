"""What an engine is started with: the closed rule that gives every cut its lengths, counts and shares.

A value that the author wrote stands, however bad; the others follow from the load and the card. What is emitted is what was
modelled, so nothing here is left to the engine's own defaults.
"""

from __future__ import annotations

import math
from typing import Final

from kcluster.physics.capacity import default_limits
from kcluster.physics.cut import Cut, KvFormat, Limits
from kcluster.physics.hardware import Card
from kcluster.physics.kv import default_prefix_caching
from kcluster.physics.memory import CONTEXT_BYTES
from kcluster.planner.case import Case

SEQUENCE_STEP: Final = 8
"""CUDA graphs are captured for 1, 2, 4 and then multiples of eight sequences; a limit between two is padded up to one."""


def utilization_of(case: Case, card: Card) -> float:
    """The author's share of a card; else the engine's default, less where others hold more of the card than it leaves."""
    if case.pins.utilization is not None:
        return case.pins.utilization
    total = card.memory.value
    if not case.cluster.reserved or total <= 0:
        return case.default_utilization
    free = math.floor((total - case.cluster.reserved - CONTEXT_BYTES) / total * 100) / 100
    return max(0.01, min(case.default_utilization, free))


def context_of(case: Case) -> int:
    """The author's max_model_len; else the SLA's longest request, at most what the model's positions allow: these themselves where
    the engine is told to find the length."""
    if case.pins.max_model_len is not None:
        return case.pins.max_model_len
    positions = case.architecture.max_positions
    if case.pins.fitted_length and positions:
        return positions
    return min(case.load.context, positions) if positions else case.load.context


def sequences_wanted(case: Case, cut: Cut) -> int:
    """Sequences that one engine core must run at once for the SLA's concurrency, evenly over replicas and ranks."""
    return max(1, math.ceil(case.load.concurrency / (cut.replicas * cut.dp)))


def first_limits(case: Case, cut: Cut, kv_format: KvFormat, card: Card) -> Limits:
    """The limits before it is known what the KV cache holds: sequences for the load, at most the engine's own default."""
    context, chunked = context_of(case), case.pins.chunked_prefill
    sequences = case.pins.max_num_seqs
    if sequences is None:
        most, _ = default_limits(case.architecture, card, case.engine, max_model_len=context, chunked_prefill=chunked)
        sequences = min(_stepped(sequences_wanted(case, cut)), most)
    tokens = case.pins.max_num_batched_tokens
    if tokens is None:
        _, tokens = default_limits(
            case.architecture,
            card,
            case.engine,
            max_model_len=context,
            max_num_seqs=sequences,
            chunked_prefill=chunked,
        )
        tokens = max(tokens, sequences)
    return Limits(
        max_model_len=context,
        max_num_seqs=sequences,
        max_num_batched_tokens=tokens,
        kv_format=kv_format,
        utilization=utilization_of(case, card),
        prefix_caching=_prefix_caching(case),
        chunked_prefill=case.pins.chunked_prefill,
        eager=case.pins.eager,
        kv_cache_memory_bytes=case.pins.kv_cache_memory_bytes,
        block_size=case.pins.block_size,
        gpu_blocks=case.pins.gpu_blocks,
        async_scheduling=case.pins.async_scheduling,
        hybrid_manager=case.pins.hybrid_manager,
        state_mode=case.pins.state_mode,
        conv_bytes=case.pins.conv_bytes,
        ssm_bytes=case.pins.ssm_bytes,
        language_model_only=case.pins.language_model_only,
        video=case.pins.video,
        sampler=case.pins.sampler,
        speculative_tokens=case.speculative_tokens,
        speculative_acceptance=case.speculative_acceptance,
        mtp=case.mtp,
        draft_layers=case.draft_layers,
    )


def _prefix_caching(case: Case) -> bool:
    """As written, else what the engine does by itself: that is what it is started with, since no flag says otherwise."""
    written = case.pins.prefix_caching
    return default_prefix_caching(case.architecture, case.engine) if written is None else written


def _stepped(sequences: int) -> int:
    if sequences <= 4:
        return 4 if sequences == 3 else sequences
    return math.ceil(sequences / SEQUENCE_STEP) * SEQUENCE_STEP
