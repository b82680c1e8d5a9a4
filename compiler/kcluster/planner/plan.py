"""From a spec to its plan: search each serve, then say how its engines are spread and which ports they take."""

from __future__ import annotations

from typing import Final, Literal

from kcluster.physics.hardware import EnginePlacement
from kcluster.planner.answers import searched
from kcluster.planner.case import Case, case_of, default_utilization, engine_of
from kcluster.planner.judge import Judge
from kcluster.planner.placement import Topology
from kcluster.planner.ranking import reason
from kcluster.planner.search import search
from kcluster.planner.types import Alternative, Candidate, EnginePorts, Plan, ServePlan
from kcluster.spec.types import ServeSpec, Spec

Distribution = Literal["single", "nnodes", "ray", "dp"]

HTTP_PORT: Final = 8000
MASTER_PORT: Final = 29501
"""vLLM's own default for the store of a multi-node engine; the next replica on the node takes the next."""
DP_RPC_PORT: Final = 29550
"""vLLM's own default for the handshake of data-parallel ranks over nodes."""
NATIVE_NODES_SINCE: Final = (0, 12)
"""The first vLLM whose multiprocessing executor spans nodes (`--nnodes`)."""

Taken = dict[str, set[int]]
"""Ports in use by host."""


def plan(spec: Spec) -> Plan:
    """Plan every serve of a spec, in file order. Raises for nothing that a spec can hold."""
    taken: Taken = {}
    serves = []
    for serve in spec.serves:
        case = case_of(serve, _neighbours(spec, serve))
        serves.append(plan_serve(serve, case, taken))
    return Plan(spec, tuple(serves))


def plan_serve(serve: ServeSpec, case: Case, taken: Taken | None = None) -> ServePlan:
    """Plan one serve; `taken` are ports that serves before it use and is added to."""
    judge = Judge(case)
    found = searched(case, lambda: search(judge))
    chosen = found.candidates[0]
    alternatives = tuple(Alternative(candidate, *reason(case, chosen, candidate)) for candidate in found.candidates[1:])
    hosts = tuple(node.host for node in serve.cluster.nodes)
    distribution = distribution_of(case, chosen, judge.topology)
    return ServePlan(
        serve=serve,
        load=case.load,
        chosen=chosen,
        alternatives=alternatives,
        considered=found.considered,
        distribution=distribution,
        ports=_ports(serve, chosen, distribution, {} if taken is None else taken),
        hosts=hosts,
    )


def distribution_of(case: Case, candidate: Candidate, topology: Topology) -> Distribution:
    """How one engine spans what it spans. Ray where it is asked for, where the engine is too old to span nodes itself, or where
    its ranks are not the same number on every node."""
    engines = candidate.placement
    if case.pins.executor == "ray":
        return "ray"
    if not any(len(engine.nodes) > 1 for engine in engines):
        return "single"
    if case.engine.name != "vllm":
        return "nnodes"
    if candidate.cut.dp > 1 and all(_ranks_inside_nodes(engine) for engine in engines):
        return "dp"
    cut = candidate.cut
    even = topology.place(cut.tp, cut.pp, cut.dp).even
    return "nnodes" if even and case.engine.at_least(*NATIVE_NODES_SINCE) else "ray"


def _ranks_inside_nodes(engine: EnginePlacement) -> bool:
    """Whether each data-parallel rank sits inside one node."""
    return all(len({place.node for stage in rank for place in stage}) == 1 for rank in engine.ranks)


def _ports(serve: ServeSpec, chosen: Candidate, distribution: Distribution, taken: Taken) -> tuple[EnginePorts, ...]:
    """Ports of each replica on its first node: the written port and those after it as they are, else the first free ones."""
    written = serve.engine.port.value if serve.engine.port is not None else None
    count_on: dict[str, int] = {}
    ports = []
    for engine in chosen.placement:
        host = serve.cluster.nodes[engine.nodes[0]].host
        used = taken.setdefault(host, set())
        number = count_on.get(host, 0)
        count_on[host] = number + 1
        http = written + number if written is not None else _free(HTTP_PORT, used)
        used.add(http)
        master = rpc = 0
        if distribution == "nnodes":
            master = _free(MASTER_PORT, used)
            used.add(master)
        if distribution == "dp" or (distribution == "nnodes" and chosen.cut.dp > 1):
            rpc = _free(DP_RPC_PORT, used)
            used.add(rpc)
        ports.append(EnginePorts(http, master, rpc))
    return tuple(ports)


def _free(first: int, used: set[int]) -> int:
    while first in used:
        first += 1
    return first


def _neighbours(spec: Spec, serve: ServeSpec) -> float:
    """The share of a card that other serves of the spec take of this one's cards."""
    mine = _cards(serve)
    share = 0.0
    for other in spec.serves:
        if other is not serve and other.hardware.name == serve.hardware.name and mine & _cards(other):
            written = other.engine.gpu_memory_utilization
            share += written.value if written is not None else default_utilization(engine_of(other))
    return share


def _cards(serve: ServeSpec) -> set[tuple[str, int]]:
    return {(node.host, gpu) for node, gpus in zip(serve.cluster.nodes, serve.gpu_ids, strict=False) for gpu in gpus}
