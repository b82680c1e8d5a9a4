"""What physics gives back: memory, communication and performance of one candidate, as figures."""

from __future__ import annotations

from typing import Literal

from kcluster.physics.kv import KvLayout
from kcluster.units import Figure
from kcluster.values import frozen

Verdict = Literal["yes", "no", "uncertain"]


@frozen
class StageMemory:
    """One pipeline stage, per GPU of it: its number of layers, and bytes of weights and KV cache."""

    stage: int
    layers: int
    weights: Figure
    kv_cache: Figure


@frozen
class Memory:
    """The budget of the tightest rank, as the engine itself logs it; bytes per GPU.

    `usable` = total × utilization (less what the card's other users hold where that is tighter is a matter of `starts`).
    `kv_cache` = usable − weights − activation − non_torch − cuda_graph (the last 0 where graphs lie outside the budget).
    `kv_tokens` and `max_concurrency` are of one engine core (dp rank), at `max_model_len`, × dcp, as its log prints them.
    `kv_for_one`: bytes that one request of max_model_len needs on the tightest rank.
    `weights_fit`: usable holds weights and overhead at all. `starts`: the engine starts with these limits.
    """

    total: Figure
    usable: Figure
    weights: Figure
    activation: Figure
    non_torch: Figure
    cuda_graph: Figure
    kv_cache: Figure
    kv_bytes_per_token: Figure
    kv_fixed_bytes_per_sequence: Figure
    kv_tokens: Figure
    max_concurrency: Figure
    kv_for_one: Figure
    stages: tuple[StageMemory, ...]
    weights_fit: Verdict
    starts: Verdict
    layout: KvLayout | None = None
    """How the engine lays the cache out, for questions about requests of other lengths."""


@frozen
class Communication:
    """Bytes are of one engine; `seconds` of one decode step at the planned batch. Zero-valued figures where nothing talks."""

    allreduce_bytes_per_step: Figure
    allreduce_seconds_per_step: Figure
    pipeline_bytes_per_step: Figure
    pipeline_seconds_per_step: Figure
    alltoall_bytes_per_step: Figure
    alltoall_seconds_per_step: Figure
    prefill_allreduce_bytes: Figure
    prefill_pipeline_bytes: Figure
    prefill_pipeline_seconds: Figure
    tp_path: str
    """What tensor-parallel groups talk over, in words (`PCIe 5 x16, host-staged`, `NVLink 4`, `100 Gb/s RoCE`); empty for tp 1."""
    pp_path: str
    ep_path: str
    links: tuple[tuple[str, Figure, Figure], ...] = ()
    """(link in words, load in bytes/s at the SLA's load, what it carries in bytes/s)."""


@frozen
class StepTime:
    """One decode step by cause, in seconds; the parts add up to `total`."""

    weights: Figure
    kv: Figure
    prefill_share: Figure
    allreduce: Figure
    alltoall: Figure
    pipeline: Figure
    layers: Figure
    step: Figure
    total: Figure

    @property
    def parts(self) -> tuple[tuple[str, Figure], ...]:
        return (
            ("weights", self.weights),
            ("KV", self.kv),
            ("prefill mixed in", self.prefill_share),
            ("all-reduce", self.allreduce),
            ("all-to-all", self.alltoall),
            ("pipeline", self.pipeline),
            ("layers", self.layers),
            ("step", self.step),
        )


@frozen
class Performance:
    """At the SLA's concurrency, each figure with its range.

    `batch`: requests that one engine decodes at a time. `bound_by`: the part of a token's time that is largest, or "KV
    capacity" where requests wait for it.
    """

    ttft: Figure
    itl: Figure
    tokens_per_second: Figure
    throughput: Figure
    answer: Figure
    batch: Figure
    step: StepTime
    prefill: Figure
    """Seconds to prefill one typical prompt alone."""
    bound_by: str
