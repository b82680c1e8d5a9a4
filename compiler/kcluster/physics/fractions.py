"""Figures that each engine means in another way, from the same plan: shares of memory, and whose a number is.

vLLM takes a share of the card's whole memory for everything. SGLang means weights and KV by its number, of what is free before the
weights are loaded; TensorRT-LLM the KV alone, of what is free after them. Copied across, a number is wrong; so each is computed from
the plan's own KV. Likewise some numbers are of one rank in one engine and of all together in another.
"""

from __future__ import annotations

from kcluster.physics.cut import Cut
from kcluster.physics.results import Memory
from kcluster.units import GIB, Figure, derive


def static_fraction(memory: Memory, reserved: float = 0.0) -> Figure:
    """SGLang's `--mem-fraction-static`: weights and KV as a share of what is free before loading, in whole thousandths below.
    `reserved`: bytes of each card that others hold.

    Source: SGLang 0.5.23, `arg_groups/memory_hook.py` ("(model weights + KV cache pool) / GPU memory capacity") and
    `kv_cache_configurator.py`, which subtracts from the memory that was free before loading.
    """
    return derive(
        "engine.mem_fraction_static",
        "ratio",
        "floor(1000 * (weights + kv) / (total - reserved - other)) / 1000",
        source="SGLang 0.5.23, memory_hook.py: weights and KV pool over the memory free before loading",
        weights=memory.weights,
        kv=memory.kv_cache,
        total=memory.total,
        reserved=Figure("reserved", reserved, "bytes"),
        other=memory.non_torch,
    )


def free_fraction(memory: Memory, reserved: float = 0.0) -> Figure:
    """TensorRT-LLM's `free_gpu_memory_fraction`: the KV as a share of what weights and buffers leave, in whole thousandths below.
    `reserved`: bytes of each card that others hold.

    Source: TensorRT-LLM, `commands/serve.py` ("free GPU memory fraction reserved for KV cache, after allocating model weights
    and buffers").
    """
    return derive(
        "engine.free_gpu_memory_fraction",
        "ratio",
        "floor(1000 * kv / (total - reserved - weights - activation - other)) / 1000",
        source="TensorRT-LLM, commands/serve.py: KV over what is free after weights and buffers",
        kv=memory.kv_cache,
        total=memory.total,
        reserved=Figure("reserved", reserved, "bytes"),
        weights=memory.weights,
        activation=memory.activation,
        other=memory.non_torch,
    )


def host_cache_share(offload: float, cut: Cut) -> Figure:
    """SGLang's `--hicache-size`: gigabytes of host memory that each rank takes of what the spec gives the engine (bytes), one at least.

    Source: SGLang 0.5.23, `mem_cache/pool_host/base.py`: every rank makes a pool of `host_size * 1e9` bytes.
    """
    return derive(
        "engine.hicache_size",
        "count",
        "max(1, floor(offload / 1e9 / (tp * dp * pp)))",
        source="SGLang 0.5.23, mem_cache/pool_host/base.py: a pool of size × 10^9 bytes a rank",
        offload=offload,
        tp=cut.tp,
        dp=cut.dp,
        pp=cut.pp,
    )


def rank_host_cache(offload: float, cut: Cut) -> Figure:
    """TensorRT-LLM's `host_cache_size`: bytes of host memory that each rank takes of what the spec gives the engine.

    Source: TensorRT-LLM, `_torch/pyexecutor/resource_manager.py`: every rank's manager makes a second pool of that size.
    """
    return derive(
        "engine.host_cache_size",
        "bytes",
        "floor(offload / (tp * dp * pp))",
        source="TensorRT-LLM, _torch/pyexecutor/resource_manager.py: a second pool of that size a rank",
        offload=offload,
        tp=cut.tp,
        dp=cut.dp,
        pp=cut.pp,
    )


def core_host_cache(offload: float, cut: Cut) -> Figure:
    """vLLM's `--kv-offloading-size` in GiB, in whole thousandths below: of one engine core, whose ranks share it; a data-parallel
    rank is a core.

    Source: vLLM 0.32, `config/cache.py` ("the total buffer size summed across all TP ranks") and `v1/kv_offload/cpu/spec.py`,
    which divides by the ranks of its own core.
    """
    return derive(
        "engine.kv_offloading_size",
        "count",
        "floor(1000 * offload / dp / gib) / 1000",
        source="vLLM 0.32, v1/kv_offload/cpu/spec.py: the size is of one engine core, over its tp and pp ranks",
        offload=Figure("offload", offload, "bytes"),
        dp=cut.dp,
        gib=GIB,
    )


def running_requests(sequences: int, groups: int) -> Figure:
    """SGLang's `--max-running-requests`: of all attention groups together, which share it evenly; `sequences` is of one.

    Source: SGLang 0.5.23, `kv_cache_configurator.py`: `max_running_requests // attn_dp_size`.
    """
    return derive(
        "engine.max_running_requests",
        "requests",
        "sequences * groups",
        source="SGLang 0.5.23, kv_cache_configurator.py: divided by the attention groups",
        sequences=sequences,
        groups=groups,
    )


def step_tokens(tokens: int, groups: int) -> Figure:
    """SGLang's `--chunked-prefill-size`: of all attention groups together, likewise; `tokens` is of one.

    Source: SGLang 0.5.23, `arg_groups/parallel_hook.py`: `chunked_prefill_size // attn_dp_size`.
    """
    return derive(
        "engine.chunked_prefill_size",
        "tokens",
        "tokens * groups",
        source="SGLang 0.5.23, arg_groups/parallel_hook.py: divided by the attention groups",
        tokens=tokens,
        groups=groups,
    )
