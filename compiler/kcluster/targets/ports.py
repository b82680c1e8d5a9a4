"""Which ports the files use, on which host, and who must reach them: for the firewall, `plan --format json` and the runbook."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from kcluster.planner.types import Plan
from kcluster.targets.layout import Process, processes
from kcluster.targets.ray import fixed_ports, ray_clusters
from kcluster.targets.routing import LOOPBACK, fronts
from kcluster.targets.vllm.arguments import MASTER_PORT, listening_address
from kcluster.values import frozen

From = Literal["clients", "router", "nodes", "node"]


@frozen
class OpenPort:
    """`last` is `first` but for a range. `reached_from`: clients, the serve's router, the nodes of one engine, or only the
    node itself (bound to loopback)."""

    host: str
    first: int
    last: int
    what: str
    serve: str
    reached_from: From

    @property
    def text(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


def open_ports(plan: Plan) -> tuple[OpenPort, ...]:
    """Every fixed port of the plan on its hosts: routers, then by serve the engines, then Ray. Pods have addresses of their
    own, and none here."""
    return (*_routers(plan), *_engines(plan), *_rays(plan))


def _routers(plan: Plan) -> Iterator[OpenPort]:
    for front in fronts(plan):
        if front.kind == "llm-d":
            continue
        serves = " ".join(route.serve.name for route in front.routes)
        yield OpenPort(front.host, front.listen, front.listen, front.kind, serves, "clients")
        for port, what in ((front.inner_port, "behind its NGINX"), (front.metrics_port, "metrics")):
            if port:
                yield OpenPort(front.host, port, port, f"{front.kind} {what}", serves, "node")


def _engines(plan: Plan) -> Iterator[OpenPort]:
    routed = {id(route.serve) for front in fronts(plan) for route in front.routes}
    for process in processes(plan):
        if process.serve.serve.runtime.value == "kubernetes":
            continue
        ports = process.serve.ports[process.replica]
        if process.answers:
            bind, _ = listening_address(plan, process)
            reach: From = "node" if bind == LOOPBACK else "router" if id(process.serve) in routed else "clients"
            yield _one(process, process.port, "engine", reach)
        if process.node_rank == 0 and process.nodes > 1:
            if process.serve.distribution == "nnodes":
                yield _one(process, ports.master or MASTER_PORT, "nodes of one engine meet", "nodes")
            if process.serve.distribution in ("dp", "nnodes") and process.ranks[:1] == (0,) and ports.dp_rpc:
                yield _one(process, ports.dp_rpc, "ranks of one engine meet", "nodes")


def _one(process: Process, port: int, what: str, reach: From) -> OpenPort:
    return OpenPort(process.host, port, port, what, process.serve.name, reach)


def _rays(plan: Plan) -> Iterator[OpenPort]:
    for cluster in ray_clusters(plan):
        if cluster.head.serve.serve.runtime.value == "kubernetes":
            continue
        for node in cluster.nodes:
            for name, port in fixed_ports(node):
                reach: From = "node" if name == "dashboard" else "nodes"
                yield OpenPort(node.host, port, port, f"Ray {name}", node.serve.name, reach)
            first, last = node.worker_ports
            yield OpenPort(node.host, first, last, "Ray workers", node.serve.name, "nodes")
