"""Plans built by hand, small enough to read: what the targets are given without a planner in the way."""

from __future__ import annotations

from typing import Any

from kcluster.physics.architecture import Architecture, DenseFfn, GroupedAttention, Layer
from kcluster.physics.cut import Cut, Limits, Load
from kcluster.physics.formats import WeightFormat
from kcluster.physics.hardware import Bus, Card, Cluster, EnginePlacement, Network, Node, Place
from kcluster.physics.results import Memory, Performance, StageMemory, StepTime
from kcluster.planner.types import Candidate, EnginePorts, Plan, ServePlan
from kcluster.source import Source, Span
from kcluster.spec.types import (
    EngineSpec,
    HardwareSpec,
    ModelSpec,
    MonitorSpec,
    NodeSpec,
    Origin,
    ParallelSpec,
    RouterSpec,
    ServeSpec,
    Spec,
    Value,
)
from kcluster.units import GB, GIB, Figure, given

SOURCE = Source("specs/hand.kcluster", "# built by hand\n")
HERE = Span(0, 1)


def written(value: Any) -> Value[Any]:
    """A value as if the author had written it."""
    return Value(value, Origin("spec", SOURCE, HERE))


def default(value: Any) -> Value[Any]:
    return Value(value, Origin("default", SOURCE, HERE))


def figure(value: float, unit: Any = "bytes") -> Figure:
    return given("by hand", value, unit, "by hand")


CARD = Card(
    id="rtx-5090",
    name="RTX 5090",
    vendor="NVIDIA",
    memory=figure(31.4 * GIB),
    bandwidth=figure(1792 * GB, "bytes/s"),
    flops=(("bf16", figure(209e12, "flop/s")),),
    compute_capability=(12, 0),
    form="pcie",
    pcie_generation=5,
    pcie_lanes=16,
    gpu_link=None,
    gpu_link_generation=0,
    gpu_link_bandwidth=None,
    gpu_link_switched=False,
    peer_to_peer=False,
    consumer=True,
)
BUS = Bus("pcie", 5, 16, False, figure(28 * GB, "bytes/s"))
ETHERNET = Network("ethernet", 12.5e9, figure(11 * GB, "bytes/s"), figure(30e-6, "s"))
ROCE = Network("roce", 12.5e9, figure(11 * GB, "bytes/s"), figure(5e-6, "s"))
LAYER = Layer((GroupedAttention(64, 8, 128, 128),), DenseFfn(28672), 16384)
LLAMA = Architecture("llama", "LlamaForCausalLM", 8192, 128256, (LAYER,) * 80, False, 131072)
FP8 = WeightFormat("fp8", 1.0, arithmetic="fp8")


TP4 = Cut(tp=4)


def memory(stages: int) -> Memory:
    return Memory(
        total=figure(31.4 * GIB),
        usable=figure(28.9 * GIB),
        weights=figure(16.9 * GIB),
        activation=figure(1.2 * GIB),
        non_torch=figure(0.6 * GIB),
        cuda_graph=figure(0.8 * GIB),
        kv_cache=figure(9.4 * GIB),
        kv_bytes_per_token=figure(80 * 1024, "bytes/token"),
        kv_fixed_bytes_per_sequence=figure(0),
        kv_tokens=figure(123_000, "tokens"),
        max_concurrency=figure(15.0, "requests"),
        kv_for_one=figure(0.6 * GIB),
        stages=tuple(StageMemory(s, 80 // stages, figure(16.9 * GIB), figure(9.4 * GIB)) for s in range(stages)),
        weights_fit="yes",
        starts="yes",
    )


def performance() -> Performance:
    zero = figure(0, "s")
    return Performance(
        ttft=figure(0.9, "s").between(0.5, 1.6),
        itl=figure(0.034, "s").between(0.026, 0.045),
        tokens_per_second=figure(29, "tokens/s").between(22, 38),
        throughput=figure(330, "tokens/s").between(240, 430),
        answer=figure(18, "s").between(14, 24),
        batch=figure(12, "requests"),
        step=StepTime(zero, zero, zero, zero, zero, zero, zero, zero, figure(0.034, "s")),
        prefill=figure(0.8, "s"),
        bound_by="all-reduce",
    )


def placement(cut: Cut, nodes: list[int], gpus: list[int]) -> EnginePlacement:
    """One engine whose ranks take the (node, gpu) pairs in order."""
    places = [Place(node, gpu) for node in nodes for gpu in gpus]
    rows = [tuple(places[start : start + cut.tp]) for start in range(0, cut.engine_gpus, cut.tp)]
    return EnginePlacement(tuple(tuple(rows[start : start + cut.pp]) for start in range(0, len(rows), cut.pp)))


def serve_plan(
    name: str = "chat",
    *,
    cut: Cut = TP4,
    hosts: tuple[str, ...] = ("10.0.0.11",),
    gpus: int = 4,
    engines: tuple[EnginePlacement, ...] | None = None,
    distribution: Any = "single",
    ports: tuple[EnginePorts, ...] | None = None,
    network: Network | None = None,
    limits: dict[str, Any] | None = None,
    engine: dict[str, Any] | None = None,
    parallel: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    hardware: dict[str, Any] | None = None,
    serve: dict[str, Any] | None = None,
    version: tuple[int, ...] = (0, 33),
) -> ServePlan:
    """A serve of Llama 3.3 70B in FP8; what is given by name replaces what the types hold."""
    nodes = tuple(Node(host, (CARD,) * gpus, BUS, network) for host in hosts)
    node_specs = tuple(
        NodeSpec(written(host), (written(CARD),) * gpus, written(f"{gpus} * rtx-5090"), default(BUS)) for host in hosts
    )
    if engines is None:
        per_engine = max(1, cut.engine_gpus // gpus)
        engines = tuple(
            placement(cut, list(range(r * per_engine, (r + 1) * per_engine)), list(range(min(gpus, cut.engine_gpus))))
            for r in range(cut.replicas)
        )
    model_fields: dict[str, Any] = {
        "name": "llama-70b",
        "id": written("meta-llama/Llama-3.3-70B-Instruct"),
        "checkpoint": written("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic"),
        "revision": None,
        "weights": written(FP8),
        "architecture": default(LLAMA),
        "draft": None,
        "exact_weight_bytes": None,
        "quantization": None,
        **(model or {}),
    }
    hardware_fields: dict[str, Any] = {
        "name": "box",
        "nodes": node_specs,
        "network": written(network) if network else None,
        "hosts_given": written(hosts),
        "interface": None,
        "user": None,
        "model_path": None,
        "storage": None,
        "reserved": None,
        **(hardware or {}),
    }
    serve_fields: dict[str, Any] = {
        "router": None,
        "router_off": False,
        "route": None,
        "runtime": default("shell"),
        **(serve or {}),
    }
    limit_fields: dict[str, Any] = {
        "max_model_len": 8192,
        "max_num_seqs": 16,
        "max_num_batched_tokens": 2048,
        "kv_format": "bf16",
        "utilization": 0.92,
        **(limits or {}),
    }
    spec = ServeSpec(
        name=name,
        implied=False,
        model=ModelSpec(**model_fields, block=HERE, head=HERE, source=SOURCE),
        hardware=HardwareSpec(**hardware_fields, block=HERE, head=HERE, source=SOURCE),
        sla=None,
        parallel=ParallelSpec(**(parallel or {})),
        engine=EngineSpec(default("vllm"), written(version), **(engine or {})),
        monitor=MonitorSpec(True, None, None),
        kubernetes=None,
        cluster=Cluster(nodes),
        gpu_ids=tuple(tuple(range(gpus)) for _ in hosts),
        cards_pinned=False,
        block=HERE,
        head=HERE,
        source=SOURCE,
        **serve_fields,
    )
    chosen = Candidate(cut, Limits(**limit_fields), engines, memory(cut.pp), None, performance(), (), (), 0)
    return ServePlan(
        serve=spec,
        load=Load(12, 8192, 2048, 500),
        chosen=chosen,
        alternatives=(),
        considered=1,
        distribution=distribution,
        ports=ports or tuple(EnginePorts(8000 + n) for n in range(len(engines))),
        hosts=hosts,
    )


def plan(*serves: ServePlan, routers: tuple[RouterSpec, ...] = (), text: str = SOURCE.text) -> Plan:
    source = Source(SOURCE.path, text)
    spec = Spec(
        source=source,
        models=tuple(s.serve.model for s in serves),
        hardware=tuple(s.serve.hardware for s in serves),
        slas=(),
        serves=tuple(s.serve for s in serves),
        routers=routers,
        suppressions=(),
        sources=(source,),
    )
    return Plan(spec, serves)


def one_box() -> Plan:
    """tp 4 on one node, no router."""
    return plan(serve_plan(engine={"api_key": None}))


def two_replicas() -> Plan:
    """Two replicas of tp 4 on two nodes behind NGINX."""
    return plan(serve_plan(cut=Cut(tp=4, replicas=2), hosts=("10.0.0.11", "10.0.0.12"), network=ETHERNET))


def two_nodes(version: tuple[int, ...] = (0, 33)) -> Plan:
    """tp 4 × pp 2 over two nodes by the engine's own multi-node."""
    return plan(
        serve_plan(
            cut=Cut(tp=4, pp=2),
            hosts=("10.0.0.11", "10.0.0.12"),
            distribution="nnodes",
            ports=(EnginePorts(8000, master=29501),),
            network=ROCE,
            hardware={"interface": written("ens1f0")},
            version=version,
        )
    )


def over_ray(hosts: tuple[str, ...] = ("10.0.0.11", "10.0.0.12"), version: tuple[int, ...] = (0, 33)) -> Plan:
    """tp 4 × pp 2 over two nodes by Ray."""
    return plan(
        serve_plan(
            cut=Cut(tp=4, pp=2),
            hosts=hosts,
            distribution="ray",
            network=ETHERNET,
            hardware={"interface": written("eth0")},
            engine={"executor": written("ray")},
            version=version,
        )
    )


def expert_parallel(balance: str | None = None, version: tuple[int, ...] = (0, 33)) -> Plan:
    """dp 8 with expert parallel over two nodes of four cards."""
    return plan(
        serve_plan(
            cut=Cut(dp=8, ep=True),
            hosts=("10.0.0.11", "10.0.0.12"),
            distribution="dp",
            ports=(EnginePorts(8000, dp_rpc=29550),),
            network=ROCE,
            parallel={"balance": written(balance)} if balance else None,
            version=version,
        )
    )
