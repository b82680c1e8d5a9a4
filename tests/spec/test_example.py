"""The whole spec of LANGUAGE.md, value by value, with where each came from."""

from __future__ import annotations

from typing import Any

import pytest

from kcluster.spec.types import Secret, Value
from tests.spec.resolving import EXAMPLE, SHORT, Resolved, resolved


@pytest.fixture(scope="module")
def example() -> Resolved:
    return resolved(EXAMPLE)


def test_no_findings(example: Resolved) -> None:
    assert example.found == (), example.report()


def written(example: Resolved, value: Value[Any] | None, text: str, attribute: str) -> None:
    """The value was written as `text` in the attribute `attribute`."""
    assert value is not None
    assert value.written
    assert example.source.slice(value.origin.span) == text
    assert value.attribute is not None
    assert example.source.slice(value.attribute) == attribute


def test_model(example: Resolved) -> None:
    model = example.serve.model
    assert model.name == "llama-70b"
    assert model.id.value == "meta-llama/Llama-3.3-70B-Instruct"
    assert model.checkpoint.value == "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic"
    assert model.weights.value.name == "fp8"
    written(example, model.weights, "fp8", "weights    = fp8")
    assert model.revision is None
    assert model.draft is None
    assert model.exact_weight_bytes is None
    architecture = model.architecture
    assert architecture.origin.kind == "catalog"
    assert example.source.slice(architecture.origin.span) == '"meta-llama/Llama-3.3-70B-Instruct"'
    assert architecture.origin.note, "the row's source is said"
    assert len(architecture.value.layers) == 80
    assert architecture.value.hidden == 8192
    assert example.source.slice(model.head) == "model llama-70b"
    assert example.source.slice(model.block).endswith("}")


def test_hardware(example: Resolved) -> None:
    hardware = example.serve.hardware
    (node,) = hardware.nodes
    assert len(node.cards) == hardware.gpus == 4
    assert {card.value.id for card in node.cards} == {"rtx-5090"}
    assert example.source.slice(node.cards[0].origin.span) == "rtx-5090"
    assert node.cards[0].origin.kind == "catalog"
    assert node.gpus.value == "4 * rtx-5090"
    written(example, node.gpus, "4 * rtx-5090", "gpus  = 4 * rtx-5090")
    assert node.bus.value.kind == "pcie"
    assert (node.bus.value.generation, node.bus.value.lanes, node.bus.value.peer_to_peer) == (5, 16, False)
    written(example, node.bus, "pcie(5, x16, p2p = off)", "bus   = pcie(5, x16, p2p = off)")
    assert node.host.value == "10.0.0.11"
    assert hardware.hosts_given is not None and hardware.hosts_given.value == ("10.0.0.11",)
    assert hardware.network is None and hardware.reserved is None


def test_sla(example: Resolved) -> None:
    sla = example.serve.sla
    assert sla is not None
    assert (sla.concurrency.value, sla.prompt.value, sla.completion.value) == (12, 2048, 500)
    assert sla.context.value == 8192, "8K is 8 × 1,024"
    written(example, sla.context, "8K", "context     = 8K")
    assert [(bound.name, bound.operator, bound.value.value) for bound in sla.bounds] == [
        ("tokens_per_second", ">=", 20.0),
        ("ttft", "<=", 3.0),
        ("answer", "<=", 30.0),
        ("throughput", ">=", 200.0),
    ]
    assert sla.prefix_share.value == 0.0 and not sla.prefix_share.written
    assert sla.percentile.value == "p50"
    assert sla.percentile.origin.kind == "default"
    assert example.source.slice(sla.percentile.origin.span) == "sla agents"


def test_serve(example: Resolved) -> None:
    serve = example.serve
    assert serve.name == "chat" and not serve.implied
    parallel = serve.parallel
    assert parallel.tp is not None and parallel.tp.value == 4
    written(example, parallel.tp, "4", "tp = 4")
    assert parallel.pp is not None and parallel.pp.value == 1
    assert parallel.replicas is None, "auto"
    engine = serve.engine
    assert engine.name.value == "vllm" and engine.name.written
    assert engine.version.value == (0, 33)
    assert engine.gpu_memory_utilization is not None and engine.gpu_memory_utilization.value == 0.92
    assert engine.max_num_seqs is not None and engine.max_num_seqs.value == 16
    assert engine.prefix_caching is not None and engine.prefix_caching.value is True
    assert engine.port is not None and engine.port.value == 8000
    assert engine.api_key is not None and engine.api_key.value == Secret("VLLM_API_KEY")
    assert engine.max_model_len is None and engine.executor is None
    assert serve.router is not None and not serve.router_off
    assert serve.router.kind.value == "nginx"
    assert serve.router.listen is not None and serve.router.listen.value == 8080
    assert serve.route is None and serve.kubernetes is None
    assert serve.monitor.enabled
    assert serve.runtime.value == "shell" and not serve.runtime.written


def test_cluster(example: Resolved) -> None:
    serve = example.serve
    assert serve.cluster.gpus == 4
    assert serve.gpu_ids == ((0, 1, 2, 3),)
    assert not serve.cards_pinned
    assert serve.cluster.nodes[0].host == "10.0.0.11"
    assert serve.cluster.reserved == 0.0


def test_defaults_of_the_shortest_spec() -> None:
    short = resolved(SHORT)
    assert short.found == (), short.report()
    serve = short.serve
    assert serve.implied and serve.name == "llama"
    assert short.source.slice(serve.head) == "model llama"
    assert serve.engine.name.value == "vllm" and not serve.engine.name.written
    assert serve.engine.version.value >= (0, 33)
    assert serve.engine.version.origin.kind == "default" and "newest" in serve.engine.version.origin.note
    assert serve.router is None and not serve.router_off
    assert serve.monitor.enabled
    assert serve.hardware.nodes[0].host.value == "node0"
    assert not serve.hardware.nodes[0].host.written
    assert serve.hardware.hosts_given is None
    bus = serve.hardware.nodes[0].bus
    assert bus.value.kind == "pcie" and bus.origin.kind == "catalog"
    assert serve.model.checkpoint.value == serve.model.id.value
    assert not serve.model.checkpoint.written
    assert serve.model.weights.value.name == "bf16", "the model's own dtype"
    assert serve.model.weights.origin.kind == "default"


def test_silent_load_stays_inside_the_context() -> None:
    text = SHORT.replace("concurrency = 8, context = 8K, prompt = 2K, completion = 500", "{load}")
    for load in (
        "",
        "context = 100",
        "prompt = 30K",
        "completion = 9000",
        "prompt = 3, completion = 4",
        "context = 8K, prompt = 8K",
    ):
        sla = resolved(text.replace("{load}", load)).serve.sla
        assert sla is not None
        values = [sla.context.value, sla.prompt.value, sla.completion.value]
        assert all(value >= 1 for value in values)
        if load != "context = 8K, prompt = 8K":
            assert values[1] + values[2] <= values[0], load
        for value in (sla.concurrency, sla.context, sla.prompt, sla.completion):
            assert value.written or "SLA does not say" in value.origin.note
