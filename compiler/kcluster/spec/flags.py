"""Flags of vLLM that the language has attributes for: one table for findings, imported commands and what a log is held against."""

from __future__ import annotations

from typing import Final

PARALLEL: Final = {
    "--tensor-parallel-size": "tp",
    "--pipeline-parallel-size": "pp",
    "--data-parallel-size": "dp",
    "--decode-context-parallel-size": "dcp",
}
"""Numbers of the cut."""
ENGINE: Final = {
    "--gpu-memory-utilization": "gpu_memory_utilization",
    "--max-model-len": "max_model_len",
    "--max-num-seqs": "max_num_seqs",
    "--max-num-batched-tokens": "max_num_batched_tokens",
    "--kv-cache-dtype": "kv_cache",
    "--dtype": "dtype",
    "--host": "host",
    "--port": "port",
    "--distributed-executor-backend": "executor",
}
"""Settings of the engine that take a value as it stands."""
SWITCHES: Final = {
    "--enable-prefix-caching": "prefix_caching",
    "--enable-chunked-prefill": "chunked_prefill",
}
ATTRIBUTE_OF_FLAG: Final = {
    **PARALLEL,
    "--enable-expert-parallel": "ep",
    "--enable-eplb": "eplb",
    **ENGINE,
    **SWITCHES,
    "--kv-offloading-size": "kv_offload",
    "--api-key": "api_key",
    "--revision": "revision",
    "--quantization": "weights",
}
BLOCK_OF_ATTRIBUTE: Final = {
    **dict.fromkeys((*PARALLEL.values(), "ep", "eplb"), "parallel"),
    "revision": "model",
    "weights": "model",
}
"""The block of an attribute above; of the others it is `engine`."""
PLACEMENT: Final = (
    "--nnodes",
    "--node-rank",
    "--master-addr",
    "--master-port",
    "--headless",
    "--data-parallel-size-local",
    "--data-parallel-start-rank",
    "--data-parallel-rank",
    "--data-parallel-address",
    "--data-parallel-rpc-port",
    "--data-parallel-backend",
)
"""Flags that say where a rank sits, which the plan decides and every node's script has its own of."""


def attribute_meant(name: str) -> str | None:
    """The attribute that a flag's name means where it is written as one: `tensor_parallel_size`, `tensor_parallel`."""
    flag = "--" + name.replace("_", "-")
    found = (ATTRIBUTE_OF_FLAG.get(one) for one in (flag, f"{flag}-size", f"--enable-{flag[2:]}"))
    return next((one for one in found if one is not None and one != name), None)
