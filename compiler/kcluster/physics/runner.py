"""Which of vLLM's two model runners runs a model unless told otherwise: they differ in the memory of their sampler, in whether graphs
are in the budget, and in the batches that they overlap. Source: release notes of 0.25 and 0.29, vLLM pulls 44443 and 53183,
`config/vllm.py`.
"""

from __future__ import annotations

from typing import Final

from kcluster.physics.architecture import Architecture
from kcluster.physics.cut import EngineVersion
from kcluster.physics.kv_layers import since

DENSE_SINCE = (0, 25)
EXPERTS_SINCE = (0, 26)
ALWAYS_SINCE = (0, 29)

EXPERTS: Final = frozenset(
    {"DeepseekV2ForCausalLM", "DeepseekV4ForCausalLM", "GraniteMoeForCausalLM", "Qwen2MoeForCausalLM"}
)
"""Mixtures of experts that the second runner was taken for before it was for all."""


def second_runner(arch: Architecture, engine: EngineVersion) -> bool:
    """Whether the engine runs the model by its second model runner unless told otherwise."""
    if since(engine, ALWAYS_SINCE):
        return True
    if arch.class_name in EXPERTS:
        return since(engine, EXPERTS_SINCE)
    return since(engine, DENSE_SINCE) and arch.moe is None and not arch.recurrent
