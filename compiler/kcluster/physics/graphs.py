"""What CUDA graphs take of a card: which sizes an engine captures, and the bytes of each.

The engine's own estimate (vLLM, profile_cudagraph_memory) captures the two largest graphs of each kind: the first stands for the
memory that all share, the second for what every further one adds. The same formula gives what capture really takes.
"""

from __future__ import annotations

from functools import lru_cache

from kcluster.physics.architecture import Architecture
from kcluster.physics.cut import EngineVersion, Limits
from kcluster.physics.kv import since
from kcluster.physics.memory_terms import (
    MemoryConstants,
    added,
    scaled,
    widest_layer,
)
from kcluster.physics.runner import ALWAYS_SINCE, second_runner
from kcluster.units import Figure, derive

IN_BUDGET_SINCE = (0, 21)
"""From vLLM 0.21 an estimate of what CUDA graphs will take is subtracted before the KV cache is sized; 0.20 logs it only. The
second model runner estimated 0 until 0.29 (vLLM issue 49224, pull 53306)."""
ESTIMATED_BY_BOTH_SINCE = ALWAYS_SINCE

WARMED_UP_SINCE = (0, 26)
"""From here the first runner warms the first whole graph up over max_num_batched_tokens, and the estimate counts what recurrent layers
take for that (vLLM issue 50780)."""

WHOLE_SINCE = (0, 11)
"""Before, only the pieces between attention layers were captured."""

MOST_TOKENS = 512
"""The largest batch that is captured unless told otherwise (vLLM, config/compilation.py)."""


def in_budget(arch: Architecture, engine: EngineVersion) -> bool:
    """Whether the engine subtracts an estimate of its graphs before it sizes the KV cache."""
    if not since(engine, IN_BUDGET_SINCE):
        return False
    return since(engine, ESTIMATED_BY_BOTH_SINCE) or not second_runner(arch, engine)


@lru_cache(maxsize=256)
def captured(most: int) -> int:
    """How many sizes of batches up to `most` tokens are captured: 1, 2, 4, each 8 up to 256 and each 16 up to 512."""
    sizes = (1, 2, 4, *range(8, 257, 8), *range(272, MOST_TOKENS + 1, 16))
    return sum(size <= most for size in sizes)


def graphs(
    arch: Architecture, layers: int, tp: int, limits: Limits, engine: EngineVersion, constants: MemoryConstants
) -> Figure:
    """Bytes of the CUDA graphs of `layers` layers of a stage on each of `tp` ranks, 0 in eager mode."""
    if limits.eager:
        return derive("memory.cuda_graph", "bytes", "0", source="eager mode captures no graphs")
    rows = limits.max_num_seqs * (1 + limits.speculative_tokens)
    largest = max(1, min(MOST_TOKENS, 2 * rows, limits.max_num_batched_tokens))
    parts = {
        "first": scaled("memory.cuda_graph.first", "constant * tokens", constants.graph_first, tokens=largest),
        "pieces": scaled(
            "memory.cuda_graph.pieces",
            "constant * layers * (sizes - 1)",
            constants.graph_layer if arch.moe is None else constants.graph_experts,
            layers=layers,
            sizes=captured(largest),
        ),
    }
    if since(engine, WHOLE_SINCE):
        parts["whole"] = scaled(
            "memory.cuda_graph.whole",
            "constant * (sizes - 1)",
            constants.graph_full,
            sizes=captured(max(1, min(rows, MOST_TOKENS))),
        )
    warmed_up = since(engine, WARMED_UP_SINCE) and not second_runner(arch, engine)
    if arch.recurrent and warmed_up and not limits.speculative_tokens:
        parts["warm_up"] = scaled(
            "memory.cuda_graph.warm_up",
            "2 * constant * tokens * channels / tp",
            constants.graph_recurrent,
            tokens=limits.max_num_batched_tokens,
            channels=widest_layer(arch)[3],
            tp=tp,
        )
    return added("memory.cuda_graph", parts)
