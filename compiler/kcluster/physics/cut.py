"""The cut of a model over cards, the limits that an engine is started with, and the load that it is judged at."""

from __future__ import annotations

from typing import Final, Literal

from kcluster.physics.architecture import Layer
from kcluster.values import frozen

KvFormat = Literal["bf16", "fp16", "fp8", "nvfp4"]

StateMode = Literal["none", "align", "all"]
"""Recurrent states that the engine keeps of a sequence: the newest alone, with prefix caching one more at the end of a block, or
one for every block."""


@frozen(cache_hash=True)
class Cut:
    """One engine's cut. `replicas` of it stand behind the router.

    `dp` counts ranks inside one engine (attention ranks where `ep`); `layers` is a partition of the layers over stages by
    hand, None where the engine deals them out itself; `redundant_experts` belongs to `eplb`.
    """

    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: bool = False
    dcp: int = 1
    replicas: int = 1
    layers: tuple[int, ...] | None = None
    eplb: bool = False
    redundant_experts: int = 0

    @property
    def engine_gpus(self) -> int:
        return self.tp * self.pp * self.dp

    @property
    def gpus(self) -> int:
        return self.engine_gpus * self.replicas

    @property
    def ep_size(self) -> int:
        """Ranks that share the experts whole: tp × dp with expert parallel, else 1 (vLLM derives it so)."""
        return self.tp * self.dp if self.ep else 1

    @property
    def expert_shards(self) -> int:
        """Ranks over which one stage's experts are spread, whole (ep) or sliced (tp over tp × dp)."""
        return self.tp * self.dp


ENGINE_NAMES: Final = {"vllm": "vLLM", "sglang": "SGLang", "trtllm": "TensorRT-LLM", "triton": "Triton"}
"""What people call each engine."""


@frozen(cache_hash=True)
class EngineVersion:
    """An engine and its version, for thresholds: `EngineVersion("vllm", (0, 33)) >= (0, 21)` is asked as `at_least(0, 21)`."""

    name: Literal["vllm", "sglang", "trtllm", "triton"]
    version: tuple[int, ...]

    def at_least(self, *version: int) -> bool:
        return self.version >= version

    @property
    def text(self) -> str:
        return ".".join(str(part) for part in self.version)


@frozen(cache_hash=True)
class Limits:
    """What the engine is started with and what its memory and time depend on.

    Lengths and counts are of one engine core (one dp rank). `utilization` is the share of a card's total memory.
    """

    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    kv_format: KvFormat
    utilization: float
    prefix_caching: bool = True
    chunked_prefill: bool = True
    eager: bool = False
    kv_cache_memory_bytes: int | None = None
    block_size: int | None = None
    gpu_blocks: int | None = None
    """Blocks of the pool where they are given outright (`--num-gpu-blocks-override`)."""
    async_scheduling: bool = True
    hybrid_manager: bool = True
    """Whether layers of several kinds may have tables of their own; off, sliding layers keep every token."""
    state_mode: StateMode | None = None
    """The states that are asked for, None where the engine chooses."""
    conv_bytes: int = 2
    """Bytes of a value of a recurrent layer's convolution state."""
    ssm_bytes: int | None = None
    """Bytes of a value of its other state, None for the model's own, which is no smaller than the convolution's."""
    language_model_only: bool = False
    video: bool = True
    """Whether requests may have videos; `--limit-mm-per-prompt` can say that they have none."""
    speculative_tokens: int = 0
    speculative_acceptance: float = 0.0
    mtp: bool = True
    """Whether drafting (speculative_tokens above 0) is by the model's own multi-token-prediction layers, where it has them."""
    draft_layers: tuple[Layer, ...] = ()
    """The layers of a drafter of its own, whose KV lives in the same pool."""
    sampler: Literal["", "sorted", "flashinfer"] = ""
    """Which sampler a build from before 0.17 has, where that is known."""

    @property
    def given_cache(self) -> bool:
        """Whether the KV cache's size is given outright, whatever the utilization leaves."""
        return self.gpu_blocks is not None or self.kv_cache_memory_bytes is not None


@frozen
class Load:
    """What the SLA says of the work: requests in flight over all replicas, lengths in tokens, and the repeating share of
    a prompt. `context` is the longest request (prompt + completion), `prompt` and `completion` typical ones."""

    concurrency: int
    context: int
    prompt: int
    completion: int
    prefix_share: float = 0.0
