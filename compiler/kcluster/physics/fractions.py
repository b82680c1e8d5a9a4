"""Memory fractions of engines other than vLLM, from the same budget: each engine means another share by its number.

vLLM takes a share of the card's whole memory for everything. SGLang means weights and KV by its number, of what is free before the
weights are loaded; TensorRT-LLM the KV alone, of what is free after them. Copied across, a number is wrong; so each is computed from
the plan's own KV.
"""

from __future__ import annotations

from kcluster.physics.cut import Cut
from kcluster.physics.results import Memory
from kcluster.units import Figure, derive


def static_fraction(memory: Memory) -> Figure:
    """SGLang's `--mem-fraction-static`: weights and KV as a share of what is free before loading, in whole thousandths below.

    Source: SGLang 0.5.23, `arg_groups/memory_hook.py` ("(model weights + KV cache pool) / GPU memory capacity") and
    `kv_cache_configurator.py`, which subtracts from the memory that was free before loading.
    """
    return derive(
        "engine.mem_fraction_static",
        "ratio",
        "floor(1000 * (weights + kv) / (total - other)) / 1000",
        source="SGLang 0.5.23, memory_hook.py: weights and KV pool over the memory free before loading",
        weights=memory.weights,
        kv=memory.kv_cache,
        total=memory.total,
        other=memory.non_torch,
    )


def free_fraction(memory: Memory) -> Figure:
    """TensorRT-LLM's `free_gpu_memory_fraction`: the KV as a share of what weights and buffers leave, in whole thousandths below.

    Source: TensorRT-LLM, `commands/serve.py` ("free GPU memory fraction reserved for KV cache, after allocating model weights
    and buffers").
    """
    return derive(
        "engine.free_gpu_memory_fraction",
        "ratio",
        "floor(1000 * kv / (total - weights - activation - other)) / 1000",
        source="TensorRT-LLM, commands/serve.py: KV over what is free after weights and buffers",
        kv=memory.kv_cache,
        total=memory.total,
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


def running_requests(sequences: int, cut: Cut) -> Figure:
    """SGLang's `--max-running-requests`: of all attention groups together, which share it evenly; `sequences` is of one.

    Source: SGLang 0.5.23, `kv_cache_configurator.py`: `max_running_requests // attn_dp_size`.
    """
    return derive(
        "engine.max_running_requests",
        "requests",
        "sequences * dp",
        source="SGLang 0.5.23, kv_cache_configurator.py: divided by the attention groups",
        sequences=sequences,
        dp=cut.dp,
    )
