"""Cases built by hand from catalog rows, without a spec."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from kcluster.catalog.constants import memory_constants, time_constants
from kcluster.catalog.formats import WEIGHT_FORMATS
from kcluster.catalog.gpus import find_gpu
from kcluster.catalog.links import default_bus, make_bus, make_network
from kcluster.catalog.models import find_model
from kcluster.physics.cut import EngineVersion, Load
from kcluster.physics.hardware import Card, Cluster, Network, Node
from kcluster.planner.case import Case, Pins
from kcluster.planner.plan import plan
from kcluster.planner.types import Plan
from kcluster.source import Source, Span
from kcluster.spec.resolve import resolve
from kcluster.spec.types import Bound, Origin, Value
from kcluster.syntax.parser import parse

SOURCE = Source("hand.kcluster", "")
SPAN = Span(0, 0)
BUILT = Origin("spec", SOURCE, SPAN)

LLAMA_70B = "meta-llama/Llama-3.3-70B-Instruct"
LLAMA_405B = "meta-llama/Llama-3.1-405B-Instruct"
LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"
QWEN_235B = "Qwen/Qwen3-235B-A22B"
DEEPSEEK_V3 = "deepseek-ai/DeepSeek-V3"
QWEN_30B = "Qwen/Qwen3-30B-A3B"
GPT_OSS_120B = "openai/gpt-oss-120b"


def card(name: str) -> Card:
    match = find_gpu(name)
    assert match is not None, name
    return match.card


def cluster(nodes: int, gpus: int, name: str, network: Network | None = None, **bus: Any) -> Cluster:
    """`nodes` equal machines of `gpus` cards; `bus` are arguments of `make_bus` where the card's own will not do."""
    cards = (card(name),) * gpus
    made = make_bus(bus.pop("kind"), bus.pop("generation"), bus.pop("lanes"), cards=cards, **bus) if bus else None
    joined = made or default_bus(cards[0], cards)
    return Cluster(tuple(Node(f"node{index}", cards, joined, network) for index in range(nodes)))


def ethernet(gigabits: float) -> Network:
    network = make_network("ethernet", gigabits * 1e9 / 8)
    assert network is not None
    return network


def roce(gigabits: float, count: int = 1) -> Network:
    network = make_network("roce", gigabits * 1e9 / 8, count)
    assert network is not None
    return network


def infiniband(gigabits: float, count: int = 1) -> Network:
    network = make_network("infiniband", gigabits * 1e9 / 8, count)
    assert network is not None
    return network


def bound(name: str, operator: str, value: float) -> Bound:
    return Bound(name, operator, Value(value, BUILT))  # type: ignore[arg-type]


def case(
    model: str,
    weights: str,
    machines: Cluster,
    load: Load,
    *,
    bounds: tuple[Bound, ...] = (),
    version: tuple[int, ...] = (0, 33),
    survive: Any = None,
    **pins: Any,
) -> Case:
    match = find_model(model)
    assert match is not None, model
    dtype = "fp16" if match.architecture.dtype == "float16" else "bf16"
    return Case(
        architecture=match.architecture,
        weights=WEIGHT_FORMATS[weights],
        cluster=machines,
        load=load,
        engine=EngineVersion("vllm", version),
        pins=Pins(**pins),
        bounds=bounds,
        survive=survive,
        dtype=dtype,
        default_utilization=0.92 if version >= (0, 32) else 0.9,
        exact_weight_bytes=None,
        draft_bytes=0.0,
        speculative_tokens=0,
        speculative_acceptance=0.0,
        memory_constants=memory_constants(),
        time_constants=time_constants(),
    )


def open_case(known: Case) -> Case:
    """The same case with nothing pinned."""
    return evolve(known, pins=Pins())


def planned(text: str) -> Plan:
    """The plan of a spec's text; the text must resolve."""
    file, syntax = parse(Source("test.kcluster", text))
    spec, findings = resolve(file, folder=None)
    assert spec is not None, [finding.message for finding in (*syntax, *findings)]
    return plan(spec)
