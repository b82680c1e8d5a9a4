"""`README.md` of the folder: what to do, in order, for somebody who did not write the spec."""

from __future__ import annotations

import json
from collections.abc import Iterator

from kcluster.physics.cut import ENGINE_NAMES
from kcluster.physics.results import Memory, Performance
from kcluster.planner.types import Plan, ServePlan
from kcluster.targets.compose import FILE as COMPOSE_FILE
from kcluster.targets.compose.services import in_compose, router_image
from kcluster.targets.containers import engine_image
from kcluster.targets.header import header_lines, spec_name
from kcluster.targets.hosts.firewall import firewalls
from kcluster.targets.hosts.folders import compose_profile, front_runtime, host_fronts, on_hosts, unit_of
from kcluster.targets.kubernetes.names import namespace_of, object_names
from kcluster.targets.kubernetes.network import gateway_name
from kcluster.targets.kubernetes.pods import port_of
from kcluster.targets.layout import Process, model_location, processes_of, served_names
from kcluster.targets.markdown import block, code
from kcluster.targets.monitoring.metrics import metrics_of
from kcluster.targets.ports import OpenPort, open_ports
from kcluster.targets.ray import RAY_VERSION, RayCluster, ray_clusters
from kcluster.targets.routing import FLOORS, Front, Route, backends, front_of
from kcluster.targets.runbook_steps import cluster_needs, log_of, pod_check, start
from kcluster.targets.runbook_stop import stop
from kcluster.targets.shell import quote
from kcluster.targets.systemd.units import units
from kcluster.targets.types import Artifact, target
from kcluster.targets.vllm.arguments import listening_address
from kcluster.units import Figure, Unit, human
from kcluster.values import evolve


@target("runbook")
def emit(plan: Plan) -> tuple[Artifact, ...]:
    """`README.md`."""
    return (Artifact("README.md", "".join(_pages(plan))),)


def _pages(plan: Plan) -> Iterator[str]:
    first, second = header_lines(plan, f"Runbook of {spec_name(plan)}")
    yield f"<!-- {_comment(first)} -->\n<!-- {_comment(second)} -->\n"
    yield f"# Running {code(spec_name(plan))}\n\n"
    yield from _overview(plan)
    yield from _expectations(plan)
    yield from _ports(plan)
    yield from start(plan)
    yield from _check(plan)
    yield from stop(plan)
    yield from _trouble(plan)


def _comment(text: str) -> str:
    """Inside an HTML comment nothing may look like its end."""
    return text.replace("--", "- -").replace(">", "")


def _overview(plan: Plan) -> Iterator[str]:
    yield "| serve | model | cut | hosts | clients call |\n|---|---|---|---|---|\n"
    for serve_plan in plan.serves:
        cut = serve_plan.chosen.cut
        parts = [f"tp {cut.tp}"] + [f"{name} {size}" for name, size in (("pp", cut.pp), ("dp", cut.dp)) if size > 1]
        if cut.ep:
            parts.append(f"ep {cut.ep_size}")
        shape = " × ".join(parts)
        copies = f"{cut.replicas} replicas of {shape}" if cut.replicas > 1 else shape
        used = dict.fromkeys(serve_plan.hosts[node] for engine in serve_plan.chosen.placement for node in engine.nodes)
        hosts = ", ".join(code(host) for host in used)
        yield (
            f"| {code(serve_plan.name)} | {code(served_names(serve_plan)[-1])} | {copies} | {hosts} "
            f"| {code(_base_url(plan, serve_plan))} |\n"
        )
    yield "\nEvery figure behind this is in `plan.toml`.\n"


def _expectations(plan: Plan) -> Iterator[str]:
    yield "\n## What the hosts must have\n\n"
    for serve_plan in plan.serves:
        yield from _needs(plan, serve_plan)
    rays = [cluster for cluster in ray_clusters(plan) if on_hosts(cluster.head.serve)]
    if rays:
        yield (
            f"- Ray {RAY_VERSION} beside the engine (`pip install 'ray=={RAY_VERSION}'`: vLLM no longer brings it), and the "
            "same token on every host in a file of mode 0600, named by `RAY_AUTH_TOKEN_PATH`.\n"
        )
    here = [serve for serve in plan.serves if on_hosts(serve)]
    if any(len(engine.nodes) > 1 for serve in here for engine in serve.chosen.placement):
        yield "- The same engine version, model files and clock on all hosts of one engine.\n"
    if here:
        yield "- The cards free: `nvidia-smi` shows no other process on them.\n"
    for front in host_fronts(plan):
        yield _router(front)
    yield from cluster_needs(plan)


def _router(front: Front) -> str:
    contained = front_runtime(front) == "compose"
    what = f"in {code(router_image(front))}" if contained else f"{'.'.join(map(str, FLOORS[front.kind]))} or newer"
    files = f", with {code(front.tls.certificate.value)} and {code(front.tls.key.value)}" if front.tls else ""
    key = f"; the key that clients send in the variable {code(front.api_key.variable)}" if front.api_key else ""
    return f"- {front.kind} {what} on {code(front.host)}{files}{key}.\n"


def _needs(plan: Plan, serve_plan: ServePlan) -> Iterator[str]:
    engine = serve_plan.serve.engine
    runtime = serve_plan.serve.runtime.value
    version = ".".join(str(part) for part in engine.version.value if any(engine.version.value))
    called = " ".join(part for part in (ENGINE_NAMES[engine.name.value], version) if part)
    contained = runtime in ("compose", "kubernetes") and (engine.name.value == "vllm" or engine.image is not None)
    where = f"in {code(engine_image(serve_plan))}" if contained else "on the PATH of whoever starts it"
    yield f"- {code(serve_plan.name)}: {called} {where}"
    location = model_location(serve_plan)
    if location.startswith("/"):
        yield f", and the model at {code(location)} {'in its volume' if runtime == 'kubernetes' else 'on every host'}"
    else:
        revision = serve_plan.serve.model.revision
        at = f" at revision {code(revision.value)}" if revision else ""
        yield f", and {code(location)}{at} in its cache (or a way to fetch it)"
    key, front = engine.api_key, front_of(plan, serve_plan)
    whose = "its router's key for it" if front is not None and front.api_key else "the key that clients send"
    yield f"; {whose} in the variable {code(key.value.variable)}.\n" if key else ".\n"


def _ports(plan: Plan) -> Iterator[str]:
    found = open_ports(plan)
    if not found:
        return
    yield "\n## Ports to open\n\n| host | port | for | from |\n|---|---|---|---|\n"
    for port in _joined(found):
        yield f"| {code(port.host)} | {port.text} | {port.what} of {code(port.serve)} | {_from(port)} |\n"
    lists = [artifact.path for artifact in firewalls(plan)]
    if lists:
        yield f"\nThe same for nftables, to load on its host as root: {', '.join(code(f'nft -f {path}') for path in lists)}.\n"
    here = [serve for serve in plan.serves if on_hosts(serve)]
    if any(len(engine.nodes) > 1 for serve in here for engine in serve.chosen.placement):
        yield (
            "\nEngines that span hosts also use ports that the system picks (NCCL, gloo): allow all TCP between the hosts of one "
            "engine, and nothing from elsewhere.\n"
        )


def _joined(ports: tuple[OpenPort, ...]) -> Iterator[OpenPort]:
    """The same ports with neighbouring ones of Ray as one row."""
    before: OpenPort | None = None
    for port in ports:
        ray = port.what.startswith("Ray")
        if before and ray and port.first == before.last + 1 and _alike(before, port):
            before = evolve(before, last=port.last, what="Ray")
            continue
        if before:
            yield before
        before = port
    if before:
        yield before


def _alike(one: OpenPort, other: OpenPort) -> bool:
    return (one.host, one.serve, one.reached_from) == (other.host, other.serve, other.reached_from)


def _from(port: OpenPort) -> str:
    return {
        "clients": "clients",
        "router": "the router's host",
        "nodes": "the other hosts of the engine",
        "node": "nowhere: it listens on loopback",
    }[port.reached_from]


def _check(plan: Plan) -> Iterator[str]:
    yield "\n## Check\n\n`/health` says only that the server is up; a completion says that every stage computes.\n"
    for serve_plan in plan.serves:
        yield f"\n### {code(serve_plan.name)}\n"
        if serve_plan.name in object_names(plan):
            yield f"\nIts port on this machine, for what follows:\n{block(pod_check(plan, serve_plan))}"
        yield "\nA completion"
        front = front_of(plan, serve_plan) if on_hosts(serve_plan) else None
        yield " through its router" if front else ""
        yield (
            f" (where the certificate is for a name, that name in place of {code(front.host)})"
            if front and front.tls
            else ""
        )
        yield f":\n{block(_completion(plan, serve_plan))}"
        memory, performance = serve_plan.chosen.memory, serve_plan.chosen.performance
        if memory or performance:
            yield "What to expect:\n\n| figure | expected | range | where to read it |\n|---|---|---|---|\n"
            yield from _expected(serve_plan, memory, performance)
        yield from _watch(plan, serve_plan)


def _watch(plan: Plan, serve_plan: ServePlan) -> Iterator[str]:
    """Commands that read an engine's metrics and hold it against the plan."""
    process = next(process for process in processes_of(plan, serve_plan) if process.answers)
    metrics = metrics_of(serve_plan)
    url = quote(_process_url(plan, process) + metrics.path)
    where = f"on {code(process.host)}" if on_hosts(serve_plan) else "of one of its pods"
    names = [metrics.kv_usage, metrics.running, metrics.waiting, metrics.preemptions]
    if any(names):
        yield f"\nHow full the KV cache is, and whether requests wait or were preempted, {where}:\n"
        pattern = f"^({'|'.join(name for name in names if name)})[{{ ]"
        yield block(f"curl -fs {url} | grep -E {quote(pattern)}")
    name = quote(serve_plan.name)
    by = "by its log and by its metrics" if serve_plan.serve.engine.name.value == "vllm" else "by its metrics"
    yield f"\nWhether it is what was planned, and if not, what of the spec explains it (in this folder, with kcluster; {by}):\n"
    if serve_plan.serve.engine.name.value == "vllm":
        log = log_of(plan, process)
        yield block(
            f"{log} | kcluster verify --serve={name} --log=-" if log else f"kcluster verify --serve={name} --log=FILE"
        )
    yield block(f"curl -fs {url} | kcluster verify --serve={name} --metrics=-")


def _expected(serve_plan: ServePlan, memory: Memory | None, performance: Performance | None) -> Iterator[str]:
    metrics = metrics_of(serve_plan)
    rows: list[tuple[str, Figure, Unit, str]] = []
    if memory:
        rows += [
            ("weights on a card", memory.weights, "bytes", "log: Model loading took"),
            ("KV cache on a card", memory.kv_cache, "bytes", "log: Available KV cache memory"),
            ("KV cache of one engine", memory.kv_tokens, "tokens", "log: GPU KV cache size"),
            ("longest requests at once", memory.max_concurrency, "requests", "log: Maximum concurrency"),
        ]
    if performance:
        rows += [
            ("time to first token", performance.ttft, "s", metrics.ttft.name),
            ("time between tokens", performance.itl, "s", metrics.itl.name),
            ("output of all requests", performance.throughput, "tokens/s", metrics.output_tokens or ""),
        ]
    for name, figure, unit, where in rows:
        low, high = figure.range()
        span = f"{human(low, unit)} to {human(high, unit)}" if low != high else ""
        # Lines of the log are vLLM's.
        read = code(where) if serve_plan.serve.engine.name.value == "vllm" or not where.startswith("log:") else ""
        yield f"| {name} | {human(figure.value, unit)} | {span} | {read} |\n"


def _completion(plan: Plan, serve_plan: ServePlan) -> str:
    body = json.dumps({"model": served_names(serve_plan)[-1], "prompt": "The sky is", "max_tokens": 8})
    headers = "-H 'Content-Type: application/json'"
    front = front_of(plan, serve_plan)
    route = _route_of(front, serve_plan)
    engine_key = serve_plan.serve.engine.api_key
    key = (front.api_key if front else None) or (engine_key.value if engine_key else None)
    if key:
        headers += f' -H "Authorization: Bearer ${{{key.variable}}}"'
    if route and route.header and on_hosts(serve_plan):
        headers += f" -H {quote(f'{route.header[0]}: {route.header[1]}')}"
    base = _base_url(plan, serve_plan) if on_hosts(serve_plan) else f"{_forwarded(serve_plan)}/v1"
    return f"curl -fsS {quote(base + '/completions')} {headers} -d {quote(body)}"


def _forwarded(serve_plan: ServePlan) -> str:
    """Where a serve in Kubernetes answers on this machine, while its port is brought here."""
    return f"http://127.0.0.1:{port_of(serve_plan)}"


def _route_of(front: Front | None, serve_plan: ServePlan) -> Route | None:
    return next((r for r in front.routes if r.serve is serve_plan), None) if front else None


def _base_url(plan: Plan, serve_plan: ServePlan) -> str:
    """What clients call, up to `/v1`."""
    front = front_of(plan, serve_plan)
    route = _route_of(front, serve_plan)
    path = route.path.rstrip("/") if route and route.path else ""
    if serve_plan.name in object_names(plan):
        if front is not None:
            return f"{path}/v1 at the Gateway {gateway_name(front)}"
        name, space = object_names(plan)[serve_plan.name], namespace_of(serve_plan)
        return f"http://{name}.{space}:{port_of(serve_plan)}/v1"
    if front is None:
        return f"http://{backends(plan, serve_plan)[0].endpoint}/v1"
    return f"{'https' if front.tls else 'http'}://{_bracketed(front.host)}:{front.listen}{path}/v1"


def _process_url(plan: Plan, process: Process) -> str:
    if not on_hosts(process.serve):
        return _forwarded(process.serve)
    bind, _ = listening_address(plan, process)
    host = process.host if bind in ("0.0.0.0", "::") else bind  # noqa: S104 - recognised, never chosen
    return f"http://{_bracketed(host)}:{process.port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _trouble(plan: Plan) -> Iterator[str]:
    yield "\n## When it does not start\n\n"
    yield from _logs(plan)
    yield "\n| what the log says | what to do |\n|---|---|\n"
    rows = [
        (
            "free memory is less than desired",
            "something else is on the card: `nvidia-smi`; the plan counts on an empty one",
        ),
        (
            "no available memory for the cache blocks",
            "compare the log with the table above, and run `kcluster verify --log`",
        ),
        ("address already in use", "an earlier start still runs on that port: `ss -ltnp`"),
    ]
    if units(plan):
        rows.append(
            (
                "Start request repeated too quickly",
                "six starts failed: mend what the earlier log says, then `systemctl reset-failed UNIT` and start it",
            )
        )
    if any(len(engine.nodes) > 1 for serve in plan.serves for engine in serve.chosen.placement):
        rows.append(
            ("nothing for minutes", "the nodes do not reach each other: ports above, `NCCL_DEBUG=INFO`, the interface")
        )
    if any(not on_hosts(serve) for serve in plan.serves):
        rows.append(
            (
                "nothing: the pod stays Pending",
                "`kubectl describe pod`: cards, node selector or volume claim that no node has",
            )
        )
    rays = tuple(cluster for cluster in ray_clusters(plan) if on_hosts(cluster.head.serve))
    if rays:
        rows.append(("Ray has fewer cards than needed", "the worker script is not running there, or its token differs"))
    for says, do in rows:
        yield f"| {says} | {do} |\n"
    yield from _ray_status(rays)


def _logs(plan: Plan) -> Iterator[str]:
    """How to see the log of everything that runs, a line for each way in which it runs."""
    found = units(plan)
    if found:
        yield f"- {code(f'journalctl -e -u {found[0].name}')}, and so for every unit of {code('systemctl list-units kcluster-*')}\n"
    contained = in_compose(plan)
    if contained:
        command = f"docker compose -f {COMPOSE_FILE} --profile {compose_profile(contained[0].folder)}"
        yield f"- {code(f'{command} ps -a')}, and {code(f'{command} logs --tail=200 {unit_of(contained[0])}')}\n"
    for space in dict.fromkeys(namespace_of(serve) for serve in plan.serves if serve.name in object_names(plan)):
        yield f"- {code(f'kubectl -n {space} get pods,events')}, and {code(f'kubectl -n {space} logs POD')} ({code('--previous')} of the last one that ended)\n"
    if any(serve.serve.runtime.value == "shell" for serve in plan.serves):
        yield "- A start script's log is what it prints: send it to a file, or to whatever supervises it.\n"


def _ray_status(rays: tuple[RayCluster, ...]) -> Iterator[str]:
    for cluster in rays:
        yield f"\nWhat the Ray of {code(cluster.head.serve.name)} replica {cluster.head.replica} has ({cluster.gpus} cards when whole):\n"
        yield block(f"RAY_AUTH_MODE=token ray status --address {quote(cluster.address)}")
