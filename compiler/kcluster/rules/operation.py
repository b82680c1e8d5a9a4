"""What running the cluster needs: ports, hosts, somebody who watches, shared memory (KC704–KC707)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.diagnostics import Diagnostic
from kcluster.planner.types import Plan, ServePlan
from kcluster.rules.finding import Mark, Place, finding, gpus_of, head_of, place_of, written
from kcluster.rules.registry import rule
from kcluster.rules.words import count, counted, listed
from kcluster.spec.types import HardwareSpec, Spec, Value

LAST_PORT: Final = 65535


@rule("KC704", stage="plan")
def port_clash(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    No two listeners of one machine have one port, no two nodes one address (errors), and ports below 1024 are pointed out (note).

    Why
    The second listener of a port does not start. Replica n of a serve takes `port + n`, which reaches into another serve's ports sooner than one
    thinks; and a port below 1024 needs a right that the unit must grant.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 2 * l40s }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      parallel { replicas = 2 }
      engine vllm {
        port    = 8000
        api_key = env("VLLM_API_KEY")
      }
      router nginx { listen = 8001 }   #! KC704
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 2 * l40s }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      parallel { replicas = 2 }
      engine vllm {
        port    = 8000
        api_key = env("VLLM_API_KEY")
      }
      router nginx { listen = 8080 }
    }
    ```

    Fix
    Move one of the two; the message names both.

    Source
    bind(2): EADDRINUSE for a port that is taken, EACCES below 1024 without CAP_NET_BIND_SERVICE.
    """
    yield from _double_hosts(plan)
    taken: dict[tuple[str, int], tuple[str, Place]] = {}
    told: set[tuple[str, str]] = set()
    for host, port, who, at in _listeners(plan):
        if port > LAST_PORT:
            yield finding(
                "KC704",
                f"{who} would listen on port {count(port)}, and the last is {count(LAST_PORT)}",
                at,
                help=("a lower `port`: replica n of a node takes `port + n`",),
            )
            continue
        earlier = taken.setdefault((host, port), (who, at))
        if earlier != (who, at) and (earlier[0], who) not in told:
            told.add((earlier[0], who))
            yield finding(
                "KC704",
                f"{who} and {earlier[0]} both want port {port} of `{host}`",
                at,
                marks=(Mark(earlier[1], f"{earlier[0]} takes it"),),
                help=_apart(who, earlier[0]),
            )
    for port_value in _written_ports(plan):
        if port_value.value < 1024:
            yield finding(
                "KC704",
                f"port {port_value.value} is privileged: its listener needs root or `CAP_NET_BIND_SERVICE`",
                place_of(port_value),
                severity="note",
            )


def _apart(who: str, other: str) -> tuple[str, ...]:
    if who.startswith("the router") and other.startswith("the router"):
        return (
            "another `listen`, or one `router nginx NAME { … }` at the top of the file and a `route NAME` in each serve",
        )
    if any(one.startswith(("the router", *_WATCHERS)) for one in (who, other)):
        return ("another port for one of them",)
    return ("leave `port` out, and each takes the next free one",)


_WATCHERS: Final = ("Prometheus", "Grafana")


def _listeners(plan: Plan) -> Iterator[tuple[str, int, str, Place]]:
    """Everything that listens on a host: (host, port, who, where the spec says so)."""
    from kcluster.targets.routing import fronts

    for serve in plan.serves:
        if serve.serve.runtime.value != "kubernetes":
            yield from _of_engines(plan, serve)
    for front in fronts(plan):
        if front.kind == "llm-d":
            continue
        at = head_of(front.routes[0].serve.serve)
        if front.spec is not None:
            listen = front.spec.listen
            at = place_of(listen) if listen is not None and listen.written else head_of(front.spec)
        called = f"the router `{front.file_stem}`"
        yield front.host, front.listen, called, at
        for port, what in ((front.inner_port, "behind its NGINX"), (front.metrics_port, "for its metrics")):
            if port:
                yield front.host, port, f"{called} {what}", at
    told = set()
    for serve in plan.serves:
        monitor = serve.serve.monitor
        for name, value in zip(_WATCHERS, (monitor.prometheus, monitor.grafana), strict=True):
            if value is None or not value.written or (name, value.value) in told:
                continue
            told.add((name, value.value))
            host, _, port_text = value.value.rpartition(":")
            if port_text.isdecimal() and "/" not in host:
                yield host, int(port_text), name, place_of(value)


def _of_engines(plan: Plan, serve: ServePlan) -> Iterator[tuple[str, int, str, Place]]:
    from kcluster.targets.layout import processes_of

    at = written(serve.serve, "port") or head_of(serve.serve)
    several = len(serve.ports) > 1
    for replica, (placement, ports) in enumerate(zip(serve.chosen.placement, serve.ports, strict=False)):
        host = serve.hosts[placement.nodes[0]]
        called = f"replica {replica} of `{serve.name}`" if several else f"`{serve.name}`"
        yield host, ports.http, called, at
        for port, what in ((ports.master, "its torch store"), (ports.dp_rpc, "its ranks")):
            if port:
                yield host, port, f"{called} for {what}", at
    if serve.chosen.cut.dp > 1:
        for process in processes_of(plan, serve):
            if process.answers and (process.host, process.port) != _first(serve, process.replica):
                called = f"rank {process.ranks[0]} of replica {process.replica} of `{serve.name}`"
                yield process.host, process.port, called, at
    if serve.distribution == "ray":
        yield from _of_ray(plan, serve, at)


def _first(serve: ServePlan, replica: int) -> tuple[str, int]:
    """Where the first server of a replica listens."""
    return serve.hosts[serve.chosen.placement[replica].nodes[0]], serve.ports[replica].http


def _of_ray(plan: Plan, serve: ServePlan, at: Place) -> Iterator[tuple[str, int, str, Place]]:
    from kcluster.targets.ray import fixed_ports, ray_clusters

    for cluster in ray_clusters(plan):
        if cluster.head.serve is serve:
            for node in cluster.nodes:
                called = f"the Ray of replica {node.replica} of `{serve.name}`"
                for name, port in fixed_ports(node):
                    # The engine's own record of the port of Ray's head.
                    if not (name == "gcs" and port == serve.ports[node.replica].master):
                        yield node.host, port, called, at


def _written_ports(plan: Plan) -> Iterator[Value[int]]:
    seen: set[int] = set()
    routers = [serve.serve.router for serve in plan.serves if serve.serve.router is not None]
    values = [serve.serve.engine.port for serve in plan.serves] + [
        router.listen for router in (*routers, *plan.spec.routers)
    ]
    for value in values:
        if value is not None and value.written and id(value) not in seen:
            seen.add(id(value))
            yield value


def _double_hosts(plan: Plan) -> Iterator[Diagnostic]:
    """Nodes of one address, each given by itself; one that stands twice in a list of hosts is KC104's."""
    for hardware in plan.spec.hardware:
        seen: dict[str, Place] = {}
        for node in hardware.nodes:
            host = node.host
            if not host.written:
                continue
            first = seen.setdefault(host.value, place_of(host))
            if first != place_of(host):
                yield finding(
                    "KC704",
                    f"`{host.value}` stands for more than one node",
                    place_of(host),
                    marks=(Mark(first, "for this one already"),),
                )


@rule("KC705", stage="plan")
def hosts_missing(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    A serve over several nodes, or a router over replicas on several, has an address for each of them, and `hosts` has as many as `nodes` says.

    Why
    Scripts, router and scrape configuration name every node by its address. With placeholders they would be accepted and reach nothing.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-405B-Instruct" }
    hardware rack {   #! KC705
      nodes   = 2
      gpus    = 8 * h100-sxm
      network = 8 * infiniband(ndr)
    }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-405B-Instruct" }
    hardware rack { nodes = 2, gpus = 8 * h100-sxm, network = 8 * infiniband(ndr), hosts = ["10.0.0.21", "10.0.0.22"] }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    serve big {
      model = llama, hardware = rack, sla = team
      engine vllm { api_key = env("VLLM_API_KEY") }
    }
    ```

    Fix
    `hosts = ["10.0.0.21", "10.0.0.22"]`, the addresses on the network that `network` describes.

    Source
    vLLM needs `--master-addr` and a `VLLM_HOST_IP` of each node, Ray the head's address (vLLM issues 8908, 13052 and 13909 show what happens without).
    """
    miscounted = set()
    for hardware in plan.spec.hardware:
        hosts = hardware.hosts_given
        if hosts is not None and len(hosts.value) != len(hardware.nodes):
            miscounted.add(hardware.name)
            yield finding(
                "KC705",
                f"`hosts` has {counted(len(hosts.value), 'address', 'addresses')} for {counted(len(hardware.nodes), 'node')}",
                place_of(hosts),
                marks=(Mark(head_of(hardware), f"{counted(len(hardware.nodes), 'node')}"),),
                help=("one address for each node, in their order",),
            )
    for serve in plan.serves:
        hardware = serve.serve.hardware
        if hardware.name in miscounted or serve.serve.runtime.value == "kubernetes":
            continue  # pods get their addresses from the cluster
        used = sorted({node for engine in serve.chosen.placement for node in engine.nodes})
        placeless = [serve.hosts[node] for node in used if not _addressed(hardware, serve.hosts[node])]
        if len(used) > 1 and placeless:
            yield finding(
                "KC705",
                f"`{serve.name}` runs on {counted(len(used), 'node')}, and {_lacking(placeless)}",
                head_of(hardware),
                marks=(Mark(gpus_of(hardware), f"{counted(len(hardware.nodes), 'node')}"),),
                help=('`hosts = ["10.0.0.21", "10.0.0.22", …]`, one for each node',),
            )


def _lacking(hosts: list[str]) -> str:
    named = [f"`{host}`" for host in hosts]
    shown = named if len(named) <= 3 else [*named[:2], f"{len(named) - 2} more"]
    return f"{listed(shown)} ha{'s' if len(hosts) == 1 else 've'} no address"


def _addressed(hardware: HardwareSpec, host: str) -> bool:
    return any(node.host.value == host and node.host.written for node in hardware.nodes)


@rule("KC706", stage="spec")
def not_monitored(spec: Spec) -> Iterator[Diagnostic]:
    """
    What it checks
    A serve is watched: `monitor` is not switched off.

    Why
    A cluster that runs out of KV does not fail, it preempts: requests are computed again and everything is slow. Only the engine's metrics tell
    this from a busy day.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    serve chat {   #! KC706
      model = llama, hardware = box, sla = team
      monitor = off
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    ```

    Fix
    Leave `monitor` at its default: scrape configuration, alerts from the SLA and a dashboard are written beside the scripts.

    Source
    vLLM's metrics `vllm:kv_cache_usage_perc`, `vllm:num_preemptions_total` and `vllm:num_requests_waiting`.
    """
    for serve in spec.serves:
        if not serve.monitor.enabled:
            at = Place(serve.source, serve.monitor.block, True) if serve.monitor.block is not None else head_of(serve)
            yield finding(
                "KC706",
                f"nothing watches the KV usage and preemptions of `{serve.name}`",
                at,
                help=("leave `monitor` on",),
            )


_CONTAINERS: Final = ("compose", "kubernetes")


_PROCESSES: Final = {
    "--tensor-parallel-size": "tp",
    "-tp": "tp",
    "--pipeline-parallel-size": "pp",
    "-pp": "pp",
    "--data-parallel-size": "dp",
    "-dp": "dp",
}


@rule("KC707", stage="plan")
def shared_memory(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    Under a container runtime, the processes of one engine are those that the plan counts: no raw flag raises tensor, pipeline or data parallel past the
    attributes that the container's shared memory is sized by.

    Why
    The processes of an engine pass tensors and messages through `/dev/shm`, which a container limits to 64 MB unless told otherwise. The compiled
    files give it what the plan's ranks need; a group that only a raw flag knows of gets nothing, and dies with a bus error at its first batch.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 2 * l40s }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      runtime = compose
      parallel { tp = 1, replicas = 1 }
      engine vllm {
        api_key = env("VLLM_API_KEY")
        args { "--tensor-parallel-size" = 2 }   #! KC707 KC802
      }
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 2 * l40s }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      runtime = compose
      parallel { tp = 2 }
      engine vllm { api_key = env("VLLM_API_KEY") }
    }
    ```

    Fix
    Write the cut in `parallel`, so that everything that follows from it follows.

    Source
    Docker's `--shm-size` is 64 MB unless set; vLLM's documentation asks for `--ipc=host` or a larger one with tensor parallel.
    """
    for serve in plan.serves:
        if serve.serve.runtime.value not in _CONTAINERS:
            continue
        cut = serve.chosen.cut
        for name, value in serve.serve.engine.args:
            subject = _PROCESSES.get(name.value.replace("_", "-"))
            size = value.value
            if subject is None or not isinstance(size, int) or isinstance(size, bool):
                continue
            planned = getattr(cut, subject)
            if size > planned:
                yield finding(
                    "KC707",
                    f"`{name.value}` makes {subject} {size}, and the container's shared memory is sized for {subject} {planned}",
                    place_of(value) if value.written else place_of(name),
                    marks=(Mark(place_of(serve.serve.runtime), "a container limits /dev/shm"),),
                    help=(f"`parallel {{ {subject} = {size} }}`",),
                )
