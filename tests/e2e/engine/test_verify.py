"""`kcluster verify` on real engines that the compiled scripts started: what was planned is what came up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kcluster.cli.main import run
from tests.e2e.engine.serving import Replicas

pytestmark = pytest.mark.e2e


def verified(engines: Replicas, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, dict[str, Any]]:
    """The checks by name."""
    run(["verify", str(engines.folder / "out"), *words, "--format", "json"])
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)["checks"]}


@pytest.mark.parametrize("replica", [0, 1])
def test_the_log_is_as_planned(engines: Replicas, replica: int, capsys: pytest.CaptureFixture[str]) -> None:
    rows = verified(engines, capsys, "--log", str(engines.log(replica)))
    assert [name for name, row in rows.items() if row["verdict"] == "differs"] == []
    for name in ("engine.version", "model", "--max-model-len", "memory.kv_cache_tokens", "memory.max_concurrency"):
        assert rows[name]["verdict"] == "as planned", rows[name]


@pytest.mark.parametrize("replica", [0, 1])
def test_the_cache_of_its_metrics_is_as_planned(
    engines: Replicas, replica: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine without a GPU is no card of the spec: its latencies are not held to the prediction here."""
    rows = verified(engines, capsys, "--metrics", f"http://127.0.0.1:{engines.port + replica}/metrics")
    for name in (
        "model",
        "--gpu-memory-utilization",
        "--kv-cache-memory-bytes",
        "memory.kv_cache_tokens",
        "memory.max_concurrency",
    ):
        assert rows[name]["verdict"] == "as planned", rows[name]
    assert {"preemptions", "kv_usage", "waiting", "sla.ttft", "sla.itl"} <= rows.keys()
