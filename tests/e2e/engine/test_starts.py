"""Real starts on exactly the planned KV bytes: the capacity that the engine prints is the planned one, and where kcluster says
that no request fits, the engine refuses, naming the longest that would."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

import kcluster
from kcluster.planner.remedies import longest_length
from tests.e2e.engine.asking import engine_program
from tests.e2e.engine.serving import PATIENCE, TINY, start_script, tiny_spec, write_compiled, write_model
from tests.support.processes import end, free_pair, wait_for

pytestmark = pytest.mark.e2e

SIZE = re.compile(r"KV cache size: ([\d,]+) tokens, Maximum concurrency for ([\d,]+) tokens per request: ([\d.]+)x")

MIXTURE: dict[str, Any] = {
    **{key: value for key, value in TINY.items() if key != "head_dim"}, "model_type": "mixtral", "architectures": ["MixtralForCausalLM"],
    "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None, "num_key_value_heads": 1,
}  # fmt: skip
"""A mixture of experts with one KV head."""

SLIDING: dict[str, Any] = {
    **TINY, "model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], "sliding_window": 256, "num_hidden_layers": 6,
    "layer_types": ["sliding_attention"] * 5 + ["full_attention"], "query_pre_attn_scalar": 32, "hidden_activation": "gelu_pytorch_tanh",
    "tie_word_embeddings": True, "attention_bias": False,
}  # fmt: skip
"""Five sliding layers to a full one."""


def run(folder: Path, config: dict[str, Any], kv_bytes: int, length: str) -> tuple[subprocess.Popen[bytes], Path, Any]:
    """One engine by its compiled script, with its log and its plan; started also where the plan says that it will not."""
    engine_program()
    port = free_pair()
    model = write_model(folder / "model", config)
    spec = tiny_spec(model, port, kv_bytes=kv_bytes, length=length, replicas=1)
    plan = kcluster.plan(spec, path="tiny.kcluster", folder=folder)
    if any(finding.severity == "error" for finding in kcluster.check(spec, path="tiny.kcluster", folder=folder)):
        # What is compiled for a cache that holds the request, with the bytes that do not.
        write_compiled(tiny_spec(model, port, length=length, replicas=1), folder)
        script = folder / "out/nodes/127.0.0.1/serve-chat.sh"
        text = script.read_text()
        assert text.count(f" {64 * 2**20}\n") == 1
        script.write_text(text.replace(f" {64 * 2**20}\n", f" {kv_bytes}\n"))
    else:
        write_compiled(spec, folder)
    (script,) = folder.glob("out/nodes/127.0.0.1/serve-*.sh")
    log = folder / "engine.log"
    return start_script(script, log), log, plan.serves[0]


@pytest.mark.parametrize(
    ("config", "kv_bytes", "length"),
    [(TINY, 40 * 2**20, "2K"), (MIXTURE, 6 * 2**20, "1K"), (SLIDING, 24 * 2**20, "2K")],
    ids=["grouped", "mixture", "sliding"],
)
def test_the_capacity_that_is_printed_is_the_planned_one(
    tmp_path: Path, config: dict[str, Any], kv_bytes: int, length: str
) -> None:
    process, log, serve = run(tmp_path, config, kv_bytes, length)
    try:
        wait_for(
            lambda: SIZE.search(log.read_text()) is not None or process.poll() is not None,
            "it prints its cache",
            PATIENCE,
        )
    finally:
        end(process)
    found = SIZE.search(log.read_text())
    assert found is not None, log.read_text()[-3000:]
    memory = serve.chosen.memory
    assert memory.starts == "yes"
    tokens, at, concurrency = (group.replace(",", "") for group in found.groups())
    assert int(at) == serve.chosen.limits.max_model_len
    assert (int(tokens), concurrency) == (int(memory.kv_tokens.value), f"{memory.max_concurrency.value:.2f}")


def test_where_no_request_fits_the_engine_refuses(tmp_path: Path) -> None:
    process, log, serve = run(tmp_path, TINY, 2**20, "1K")
    try:
        wait_for(lambda: process.poll() is not None, "the engine gives up", PATIENCE)
    finally:
        end(process)
    text = log.read_text()
    assert process.returncode != 0
    found = re.search(r"the estimated maximum model length is (\d+)", text)
    assert found is not None, text[-3000:]
    assert serve.chosen.memory.starts == "no"
    assert longest_length(serve) == int(found[1])
