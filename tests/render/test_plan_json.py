"""The plan's public JSON: the fixed keys, the schema, the values behind them."""

from __future__ import annotations

import json
from hashlib import sha256
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

from kcluster.diagnostics import Diagnostic, Edit, Fix
from kcluster.planner.types import Plan
from kcluster.render.json_ import render
from kcluster.render.plan_json import plan_object
from kcluster.source import Span
from kcluster.targets.types import Artifact
from kcluster.units import GIB
from tests.planner.planner_cases import DEEPSEEK_V3, LLAMA_70B, planned

SPEC = f"""
model m {{ id = "{LLAMA_70B}", weights = fp8 }}
hardware h {{ nodes = 2, gpus = 4 * rtx-pro-6000, network = ethernet(25GbE), hosts = ["10.0.0.1", "10.0.0.2"] }}
sla s {{ concurrency = 32, context = 8K, prompt = 2K, completion = 500, throughput >= 400, ttft <= 100s }}
serve x {{ parallel {{ tp = 2, pp = 2 }} }}
"""


def schema(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((files("kcluster") / "schemas" / f"{name}.schema.json").read_text("utf-8"))
    return loaded


def valid(instance: object, name: str) -> None:
    loaded = schema(name)
    jsonschema.Draft202012Validator.check_schema(loaded)
    jsonschema.Draft202012Validator(loaded).validate(instance)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return planned(SPEC)


@pytest.fixture(scope="module")
def made(plan: Plan) -> dict[str, Any]:
    finding = Diagnostic(
        "KC203",
        "too few",
        plan.spec.source,
        Span(1, 6),
        "warning",
        fixes=(Fix("less", (Edit(Span(1, 2), "x"),), "unsafe"),),
        suppressed="for now",
    )
    artifact = Artifact("nodes/10.0.0.1/serve-x.sh", "#!/bin/sh\n", executable=True)
    return plan_object(
        plan,
        (finding,),
        (artifact,),
        lambda serve: ({"--tensor-parallel-size": 2, "--enable-prefix-caching": True}, {"VLLM_HOST_IP": "10.0.0.1"}),
        router=lambda serve: {"kind": "nginx", "host": "10.0.0.1", "listen": 8080},
    )


def test_the_schema_holds(made: dict[str, Any]) -> None:
    valid(made, "plan")
    assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_the_fixed_keys(made: dict[str, Any]) -> None:
    assert list(made) == ["schema", "kcluster_version", "spec", "diagnostics", "cluster", "serves"]
    assert made["schema"] == "kcluster.plan/1"
    assert made["spec"] == {"path": "test.kcluster", "sha256": sha256(SPEC.encode()).hexdigest()}
    assert made["cluster"] == {"nodes": 2, "gpus": 8, "idle": 0}
    (serve,) = made["serves"]
    assert list(serve) == [
        "name",
        "fits",
        "meets_sla",
        "parallel",
        "placement",
        "limits",
        "memory",
        "communication",
        "performance",
        "engine",
        "router",
        "ports",
        "sla",
        "alternatives",
        "artifacts",
        "diagnostics",
    ]
    assert serve["parallel"] == {"replicas": 2, "tp": 2, "pp": 2, "dp": 1, "ep": 1, "dcp": 1}


def test_values_are_those_of_the_plan(plan: Plan, made: dict[str, Any]) -> None:
    chosen, serve = plan.serves[0].chosen, made["serves"][0]
    assert chosen.memory and chosen.performance and chosen.communication
    memory = serve["memory"]
    assert memory["weights_gib"] == pytest.approx(chosen.memory.weights.value / GIB, abs=1e-4)
    left = memory["usable_gib"] - sum(
        memory[key] for key in ("weights_gib", "activation_gib", "cuda_graph_gib", "non_torch_gib")
    )
    assert memory["kv_cache_gib"] == pytest.approx(left, abs=1e-3)
    low, high = memory["range"]["kv_cache_gib"]
    assert low <= memory["kv_cache_gib"] <= high
    assert [stage["stage"] for stage in memory["stages"]] == [0, 1]
    assert sum(stage["layers"] for stage in memory["stages"]) == 80
    # two all-reduces a layer of batch × hidden × 2 bytes
    batch = chosen.performance.batch.value
    assert serve["communication"]["allreduce_bytes_per_step"] == pytest.approx(2 * 80 * batch * 8192 * 2)
    itl = serve["performance"]["itl_s"]
    assert itl["low"] <= itl["value"] <= itl["high"]
    assert serve["performance"]["tokens_per_second_per_request"]["value"] == pytest.approx(1 / itl["value"])


def test_placement_names_hosts_and_real_cards(made: dict[str, Any]) -> None:
    assert made["serves"][0]["placement"] == [
        {"replica": 0, "stage": 0, "host": "10.0.0.1", "gpus": [0, 1]},
        {"replica": 0, "stage": 1, "host": "10.0.0.1", "gpus": [2, 3]},
        {"replica": 1, "stage": 0, "host": "10.0.0.2", "gpus": [0, 1]},
        {"replica": 1, "stage": 1, "host": "10.0.0.2", "gpus": [2, 3]},
    ]
    assert made["serves"][0]["ports"] == [
        {"replica": 0, "host": "10.0.0.1", "http": 8000},
        {"replica": 1, "host": "10.0.0.2", "http": 8000},
    ]


def test_the_sla_and_what_else_was_there(plan: Plan, made: dict[str, Any]) -> None:
    serve = made["serves"][0]
    assert [(row["bound"], row["operator"], row["target"]) for row in serve["sla"]] == [
        ("throughput", ">=", 400),
        ("ttft", "<=", 100),
    ]
    assert [row["rank"] for row in serve["alternatives"]] == list(range(1, len(plan.serves[0].alternatives) + 1))
    assert all(row["because"] for row in serve["alternatives"])


def test_engine_router_artifacts_and_findings(made: dict[str, Any]) -> None:
    serve = made["serves"][0]
    assert serve["engine"] == {
        "name": "vllm",
        "version": "0.33",
        "args": {"--tensor-parallel-size": 2, "--enable-prefix-caching": True},
        "env": {"VLLM_HOST_IP": "10.0.0.1"},
    }
    assert serve["router"]["kind"] == "nginx"
    assert serve["artifacts"] == [{"path": "nodes/10.0.0.1/serve-x.sh", "sha256": sha256(b"#!/bin/sh\n").hexdigest()}]
    assert made["diagnostics"][0]["suppressed"] == "for now"
    assert serve["diagnostics"] == made["diagnostics"]  # it lies in the model of this serve


@pytest.mark.parametrize(
    "parallel, memory",
    [
        ("tp = 3", True),  # 64 heads do not divide by 3
        ("tp = 8, pp = 8", True),  # 64 cards of 8
        ("pp = 1000", False),  # more stages than layers: no memory means anything
        ("tp = 1, pp = 1, replicas = 1000", True),
    ],
)
def test_what_does_not_fit_is_an_object_all_the_same(parallel: str, memory: bool) -> None:
    made = plan_object(planned(SPEC.replace("tp = 2, pp = 2", parallel)), ())
    valid(made, "plan")
    serve = made["serves"][0]
    assert serve["fits"] == "no" and serve["meets_sla"] == "no"
    assert (serve["memory"] is not None) == memory


def test_experts_and_idle_cards() -> None:
    text = f"""
    model m {{ id = "{DEEPSEEK_V3}", weights = fp8-block }}
    hardware h {{ gpus = 8 * h200 }}
    sla s {{ concurrency = 8, context = 8K, prompt = 2K, completion = 500 }}
    serve x {{ parallel {{ tp = 2, dp = 4, ep = on }} }}
    """
    made = plan_object(planned(text), ())
    valid(made, "plan")
    assert made["serves"][0]["parallel"]["ep"] == 8
    assert made["serves"][0]["placement"] == [
        {"replica": 0, "stage": 0, "host": "node0", "gpus": [0, 1, 2, 3, 4, 5, 6, 7]}
    ]
    small = planned(text.replace(DEEPSEEK_V3, "Qwen/Qwen3-30B-A3B").replace("dp = 4", "dp = 2, pp = 1, replicas = 1"))
    assert plan_object(small, ())["cluster"] == {"nodes": 1, "gpus": 8, "idle": 4}


def test_findings_have_a_schema_too(plan: Plan) -> None:
    finding = Diagnostic("KC203", "too few", plan.spec.source, Span(1, 6), "warning", help=("more", "less"))
    valid(json.loads(render((finding,), color=False, width=100)), "lint")
    with pytest.raises(jsonschema.ValidationError):
        valid([{"code": "KC203"}], "lint")
