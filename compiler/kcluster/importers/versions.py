"""What is known of versions that have no flag table, and of a command that does not say its version."""

from __future__ import annotations

from typing import Final

from kcluster.importers.defaults import version_of
from kcluster.importers.words import Launch

JSON_LIMITS_SINCE: Final = (0, 10)
"""Before, `--limit-mm-per-prompt` took `image=4,video=0` (vLLM pull request 16780 made it JSON, and kept the old form for a while)."""

BEFORE_TABLES: Final = frozenset(
    {
        "--enable-reasoning", "--num-scheduler-steps", "--use-v2-block-manager", "--multi-step-stream-outputs",
        "--speculative-model", "--num-speculative-tokens", "--speculative-draft-tensor-parallel-size",
        "--speculative-max-model-len", "--ngram-prompt-lookup-max", "--ngram-prompt-lookup-min",
        "--spec-decoding-acceptance-method", "--worker-use-ray", "--engine-use-ray", "--max-context-len-to-capture",
        "--max-seq-len-to-capture", "--preemption-mode", "--device", "--scheduler-delay-factor", "--prompt-adapters",
        "--enable-prompt-adapter", "--max-prompt-adapters", "--quantization-param-path", "--tokenizer-pool-size",
        "--tokenizer-pool-type", "--qlora-adapter-name-or-path", "--long-lora-scaling-factors", "--full-cuda-graph",
        "--override-neuron-config",
    }
)  # fmt: skip
"""Flags that versions before the oldest table had, and that none with a table has."""


def old_version(launch: Launch, version: str) -> bool:
    """Whether a launch is for a version older than every flag table."""
    from kcluster.catalog.engines import engine_versions

    asked = version_of(launch, version)
    return asked is not None and asked[:2] < engine_versions("vllm")[0]
