"""What running the cluster needs: doors, secrets, ports, hosts and somebody who watches (KC7xx)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from kcluster.diagnostics import Diagnostic
from kcluster.planner.types import Plan
from kcluster.rules.finding import Mark, Place, finding, gpus_of, head_of, place_of, written
from kcluster.rules.registry import rule
from kcluster.rules.words import count, counted, listed, quoted
from kcluster.spec.types import ArgumentValue, HardwareSpec, ServeSpec, Spec, Value

if TYPE_CHECKING:
    from kcluster.targets.routing import Backend, Front


def _loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _wildcard(host: str) -> bool:
    return host in ("0.0.0.0", "::", "")  # noqa: S104 - recognised, never chosen


def _public(host: str) -> bool:
    """Whether an address is one of the public internet; names are not known to be."""
    from ipaddress import ip_address

    try:
        return ip_address(host.strip("[]")).is_global
    except ValueError:
        return False


@rule("KC701", stage="plan")
def open_listener(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    An engine that listens beyond its own machine asks for a key, and a router asks for a key or speaks TLS.

    Why
    Whoever reaches the port may use the cards, read what others' prompts left in the prefix cache's timing, and with some routes of the engine
    pause it or change its weights. A listener without a key is open to the whole network that it is on.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm { host = "0.0.0.0" }   #! KC701
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm {
        host    = "0.0.0.0"
        api_key = env("VLLM_API_KEY")
      }
    }
    ```

    Fix
    `api_key = env("NAME")` in the engine, which the router passes through; `tls { certificate = …, key = … }` in a router that others reach. Or
    listen on 127.0.0.1 behind a router on the same machine.

    Source
    vLLM listens on all interfaces when no host is given, and its `--api-key` guards `/v1` only (vLLM issue 18892 and pull request 29922), which is
    why the compiled routers pass nothing else.
    """
    from kcluster.targets.routing import backends, fronts

    told: set[str] = set()
    for front in fronts(plan):
        keyed = front.api_key is not None or all(route.serve.serve.engine.api_key is not None for route in front.routes)
        if not keyed and front.tls is None and not _loopback(front.host):
            told.update(route.serve.name for route in front.routes)
            yield _open_router(front)
    for serve in plan.serves:
        spec = serve.serve
        if spec.engine.api_key is not None or (spec.name in told and spec.engine.host is None):
            continue
        open_ones = [backend for backend in backends(plan, serve) if not _loopback(backend.bind)]
        if open_ones and not _raw_key(spec):
            yield _open_engine(spec, open_ones[0])


def _raw_key(serve: ServeSpec) -> bool:
    """Whether the key is given past the attribute: as a flag, or as the variable that the engine reads."""
    return any(name.value == "--api-key" for name, _ in serve.engine.args) or any(
        name.value == "VLLM_API_KEY" for name, _ in serve.engine.env
    )


def _open_router(front: Front) -> Diagnostic:
    route = front.routes[0]
    at = head_of(route.serve.serve)
    if front.spec is not None:
        at = (
            place_of(front.spec.listen)
            if front.spec.listen is not None and front.spec.listen.written
            else head_of(front.spec)
        )
    return finding(
        "KC701",
        f"the router listens on port {front.listen} without a key and without TLS",
        at,
        help=('`api_key = env("VLLM_API_KEY")` in the engine, or `tls { … }` in the router',),
    )


def _open_engine(serve: ServeSpec, backend: Backend) -> Diagnostic:
    at = written(serve, "host", "hosts") or head_of(serve)
    where = "all interfaces" if _wildcard(backend.bind) else f"`{backend.bind}`"
    return finding(
        "KC701",
        f"the engine of `{serve.name}` listens on {where}, port {backend.port}, without a key",
        at,
        help=('`api_key = env("VLLM_API_KEY")` in the engine',),
    )


@rule("KC702", stage="plan")
def open_port(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    The ports that the nodes use among themselves (Ray's, the engine's torch store, NCCL and ZMQ sockets) and those of the metrics are on addresses of
    the cluster's own network, not of the public internet.

    Why
    These ports have no key worth the name: who reaches Ray's may run any program on every node, and who reaches the engine's sockets may
    send it pickled objects.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-405B-Instruct" }
    hardware rack {
      nodes   = 2
      gpus    = 8 * h100-sxm
      network = 8 * infiniband(ndr)
      hosts   = ["8.8.4.4", "8.8.8.8"]   #! KC702
    }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    serve big {
      model = llama, hardware = rack, sla = team
      engine vllm { api_key = env("VLLM_API_KEY") }
    }
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
    Give the nodes' addresses on a private network in `hosts`, and let only the router have a public one.

    Source
    Ray's GCS listens on all interfaces at port 6379, and its token is not encrypted on the wire (Ray 2.60, security documentation); vLLM's security guide
    says that node-to-node traffic is unauthenticated.
    """
    for serve in plan.serves:
        spec = serve.serve
        public = [host for host in serve.hosts if _public(host)]
        if public and serve.distribution != "single":
            what = {"ray": "Ray's ports", "nnodes": "the engine's own ports", "dp": "the ports between ranks"}[
                serve.distribution
            ]
            yield finding(
                "KC702",
                f"{what} are on {quoted(public, 'and')}, which the whole internet reaches",
                written(spec, "hosts") or gpus_of(spec.hardware),
                help=("give `hosts` on a private network",),
            )
        for name, value in (("Prometheus", spec.monitor.prometheus), ("Grafana", spec.monitor.grafana)):
            host = _host_part(value.value) if value is not None and value.written else ""
            if value is not None and host and (_wildcard(host) or _public(host)):
                yield finding(
                    "KC702",
                    f"{name} listens on `{host}`, beyond the cluster's own network",
                    place_of(value),
                    help=('`"127.0.0.1:9090"`, or an address of the private network',),
                )


def _host_part(address: str) -> str:
    """The host of `host:port`, `[v6]:port` or an http address of one."""
    rest = address.partition("://")[2] or address
    if rest.startswith("["):
        return rest[1:].partition("]")[0]
    return rest.partition("/")[0].rpartition(":")[0] or rest.partition("/")[0]


_SECRET_WORDS: Final = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "CREDENTIALS", "APIKEY")
_KEY_BEFORE: Final = (
    "API",
    "ACCESS",
    "SECRET",
    "PRIVATE",
    "AUTH",
    "ENCRYPTION",
    "SIGNING",
    "LICENSE",
    "ADMIN",
    "MASTER",
)
_SECRET_VALUE: Final = re.compile(
    r"""\b(?:
        sk-[A-Za-z0-9_-]{16,} | hf_[A-Za-z0-9]{16,} | gh[pousr]_[A-Za-z0-9]{20,} | github_pat_[A-Za-z0-9_]{20,}
      | glpat-[A-Za-z0-9_-]{16,} | AKIA[0-9A-Z]{16} | xox[abprs]-[A-Za-z0-9-]{10,} | nvapi-[A-Za-z0-9_-]{16,}
      | eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+
    )
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----
    | ://[^/\s:@]+:[^/\s:@]+@""",
    re.VERBOSE,
)
_OPAQUE: Final = re.compile(r"(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])(?=[^0-9]*[0-9])[A-Za-z0-9+_-]{40,}={0,2}")
"""Forty and more letters of base64 with all three kinds: longer than names, and no commit id, which has no capitals."""


def secret_reason(name: str, value: str) -> str:
    """Why a value looks like a secret, empty where it does not. `name` is the flag or variable that it is given to."""
    if _SECRET_VALUE.search(value):
        return "has the form of a key"
    words = [word for word in re.split(r"[^A-Z0-9]+", name.upper()) if word]
    last = words[-1] if words else ""
    named = last in _SECRET_WORDS or (last == "KEY" and (len(words) == 1 or words[-2] in _KEY_BEFORE))
    stands = bool(value) and not value.startswith(("/", "$", "<", "env:", "file:")) and not value.isdigit()
    if named and stands and value.lower() not in ("true", "false", "on", "off", "none", "auto"):
        return "is named like a secret"
    return "is as long and random as a key" if _OPAQUE.fullmatch(value) else ""


@rule("KC703", stage="spec")
def secret_in_spec(spec: Spec) -> Iterator[Diagnostic]:
    """
    What it checks
    No value of `args` or `env` is a key, token or password: by its form (`sk-…`, `hf_…`, a private key, a password in a URL), by the name of the
    flag or variable that it is given to, or by being as long and random as one.

    Why
    A spec goes into git, into compiled files and into process lists, where everyone who may look at one of them reads it. A key that was committed
    once has to be replaced, not deleted.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm {
        env { HF_TOKEN = "hf_placeholderForThePage" }   #! KC703
      }
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm {
        api_key = env("VLLM_API_KEY")
        env { HF_HOME = "/models/hf" }
      }
    }
    ```

    Fix
    `api_key = env("NAME")` names the variable that will hold it; other secrets belong into the environment of the host (a file of mode 0600 that the
    unit reads), never into the spec.

    Source
    CWE-798, use of hard-coded credentials; CWE-214 for arguments that the process list shows.
    """
    for serve in spec.serves:
        engine = serve.engine
        given: list[tuple[Value[str], Value[str] | Value[ArgumentValue]]] = [*engine.env, *engine.args]
        for name, value in given:
            texts = value.value if isinstance(value.value, tuple) else (value.value,)
            reasons = [
                reason for text in texts if isinstance(text, str) and (reason := secret_reason(name.value, text))
            ]
            if reasons:
                yield finding(
                    "KC703",
                    f"the value of `{name.value}` {reasons[0]}, and a spec is no place for one",
                    place_of(value) if value.written else place_of(name),
                    help=('`api_key = env("NAME")`, or set the variable in the environment of the host',),
                )


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
            )
    for port_value in _written_ports(plan):
        if port_value.value < 1024:
            yield finding(
                "KC704",
                f"port {port_value.value} is privileged: its listener needs root or `CAP_NET_BIND_SERVICE`",
                place_of(port_value),
                severity="note",
            )


def _listeners(plan: Plan) -> Iterator[tuple[str, int, str, Place]]:
    """Everything that listens: (host, port, who, where the spec says so)."""
    from kcluster.targets.routing import fronts

    for serve in plan.serves:
        at = written(serve.serve, "port") or head_of(serve.serve)
        for replica, (placement, ports) in enumerate(zip(serve.chosen.placement, serve.ports, strict=False)):
            host = serve.hosts[placement.nodes[0]]
            called = f"replica {replica} of `{serve.name}`" if len(serve.ports) > 1 else f"`{serve.name}`"
            yield host, ports.http, called, at
            for port, what in ((ports.master, "its torch store"), (ports.dp_rpc, "its ranks")):
                if port:
                    yield host, port, f"{called} for {what}", at
    for front in fronts(plan):
        at = head_of(front.routes[0].serve.serve)
        if front.spec is not None:
            listen = front.spec.listen
            at = place_of(listen) if listen is not None and listen.written else head_of(front.spec)
        yield front.host, front.listen, f"the router `{front.file_stem}`", at


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
        if hardware.name in miscounted:
            continue
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
