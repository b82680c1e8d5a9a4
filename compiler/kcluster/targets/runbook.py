"""`README.md` of the folder: what to do, in order, for somebody who did not write the spec."""

from __future__ import annotations

import json
from collections.abc import Iterator

from kcluster.physics.results import Memory, Performance
from kcluster.planner.types import Plan, ServePlan
from kcluster.targets.engines import ENGINE_NAMES
from kcluster.targets.header import header_lines, spec_name
from kcluster.targets.hosts.firewall import firewalls
from kcluster.targets.hosts.ready import ready_path
from kcluster.targets.layout import (
    Process,
    model_location,
    node_folders,
    processes_of,
    served_names,
    shutdown_seconds,
)
from kcluster.targets.ports import OpenPort, open_ports
from kcluster.targets.ray import RAY_VERSION, RayCluster, ray_clusters
from kcluster.targets.routing import Front, Route, backends, front_of, fronts
from kcluster.targets.shell import one_line, quote
from kcluster.targets.types import Artifact, target
from kcluster.targets.vllm.arguments import listening_address
from kcluster.units import Figure, Unit, human
from kcluster.values import evolve


@target("runbook")
def emit(plan: Plan) -> tuple[Artifact, ...]:
    """`README.md`."""
    return (Artifact("README.md", "".join(_pages(plan))),)


def code(text: str) -> str:
    """A text as a code span that Markdown shows as it is, also in a table."""
    shown = one_line(text).replace("|", "\\|")
    fence = "`"
    while fence in shown:
        fence += "`"
    pad = " " if shown.startswith("`") or shown.endswith("`") or not shown else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def _block(command: str, indent: str = "") -> str:
    """A command to copy. It is one line that does not start with a fence, so that nothing in it ends the block."""
    return f"\n{indent}```sh\n{indent}{one_line(command)}\n{indent}```\n"


def _step(number: int, text: str, command: str) -> str:
    return f"\n{number}. {text}:\n{_block(command, '    ')}"


def _pages(plan: Plan) -> Iterator[str]:
    first, second = header_lines(plan, f"Runbook of {spec_name(plan)}")
    yield f"<!-- {_comment(first)} -->\n<!-- {_comment(second)} -->\n"
    yield f"# Running {code(spec_name(plan))}\n\n"
    yield from _overview(plan)
    yield from _expectations(plan)
    yield from _ports(plan)
    yield from _start(plan)
    yield from _check(plan)
    yield from _stop(plan)
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
        engine = serve_plan.serve.engine
        version = ".".join(str(part) for part in engine.version.value if any(engine.version.value))
        called = " ".join(part for part in (ENGINE_NAMES[engine.name.value], version) if part)
        yield f"- {code(serve_plan.name)}: {called} on the PATH of whoever starts the scripts"
        location = model_location(serve_plan)
        if location.startswith("/"):
            yield f", and the model at {code(location)} on every host"
        else:
            revision = serve_plan.serve.model.revision
            at = f" at revision {code(revision.value)}" if revision else ""
            yield f", and {code(location)}{at} in its cache (or a way to fetch it)"
        key = engine.api_key
        yield f"; the key that clients send in the variable {code(key.value.variable)}.\n" if key else ".\n"
    rays = ray_clusters(plan)
    if rays:
        yield (
            f"- Ray {RAY_VERSION} beside the engine (`pip install 'ray=={RAY_VERSION}'`: vLLM no longer brings it), and the "
            "same token on every host in a file of mode 0600, named by `RAY_AUTH_TOKEN_PATH`.\n"
        )
    if any(len(engine.nodes) > 1 for serve in plan.serves for engine in serve.chosen.placement):
        yield "- The same engine version, model files and clock on all hosts of one engine.\n"
    yield "- The cards free: `nvidia-smi` shows no other process on them.\n"
    for front in fronts(plan):
        yield f"- {front.kind} on {code(front.host)}"
        yield f", with {code(front.tls.certificate.value)} and {code(front.tls.key.value)}.\n" if front.tls else ".\n"


def _ports(plan: Plan) -> Iterator[str]:
    yield "\n## Ports to open\n\n| host | port | for | from |\n|---|---|---|---|\n"
    for port in _joined(open_ports(plan)):
        yield f"| {code(port.host)} | {port.text} | {port.what} of {code(port.serve)} | {_from(port)} |\n"
    lists = [artifact.path for artifact in firewalls(plan)]
    if lists:
        yield f"\nThe same for nftables, to load on its host as root: {', '.join(code(f'nft -f {path}') for path in lists)}.\n"
    if any(len(engine.nodes) > 1 for serve in plan.serves for engine in serve.chosen.placement):
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


def _start(plan: Plan) -> Iterator[str]:
    yield "\n## Start\n\nCopy this folder to every host, then in this order. Each command stays in the foreground.\n"
    step = 0
    folders = node_folders(plan)
    for serve_plan in plan.serves:
        if serve_plan.serve.runtime.value == "kubernetes":
            continue
        for cluster in ray_clusters(plan):
            if cluster.head.serve is serve_plan:
                for node in cluster.nodes:
                    step += 1
                    yield _step(step, f"On {code(node.host)}, the Ray of {code(serve_plan.name)}", f"./{node.path}.sh")
        started = list(processes_of(plan, serve_plan))
        for process in started:
            step += 1
            yield _step(
                step, f"On {code(process.host)}, {_role(process)}", f"./{folders[process.host]}/{process.stem}.sh"
            )
        for process in started:
            if process.answers:
                step += 1
                yield _step(
                    step,
                    f"On {code(process.host)}, wait until it answers a completion (loading the weights takes minutes)",
                    f"./{ready_path(process)}",
                )
    for front in fronts(plan):
        step += 1
        yield _step(step, f"On {code(front.host)}, the router", _router_command(front))


def _role(process: Process) -> str:
    name = code(process.serve.name)
    replica = f" replica {process.replica}" if process.serve.chosen.cut.replicas > 1 else ""
    if process.nodes > 1 and process.serve.distribution != "ray":
        part = "the first node" if process.node_rank == 0 else f"node {process.node_rank}"
        return f"{name}{replica}, {part} of {process.nodes} (they wait for each other)"
    return f"{name}{replica}"


def _router_command(front: Front) -> str:
    return {
        "nginx": f"bash router/{front.file_stem}.sh start",
        "vllm-router": f"bash router/{front.file_stem}.sh",
        "haproxy": f"bash router/{front.file_stem}.sh start",
        "llm-d": "kubectl apply -k kubernetes",
    }[front.kind]


def _check(plan: Plan) -> Iterator[str]:
    yield "\n## Check\n\n`/health` says only that the server is up; a completion says that every stage computes.\n"
    for serve_plan in plan.serves:
        yield f"\n### {code(serve_plan.name)}\n\nA completion"
        yield " through its router:\n" if front_of(plan, serve_plan) else ":\n"
        yield _block(_completion(plan, serve_plan))
        memory, performance = serve_plan.chosen.memory, serve_plan.chosen.performance
        if memory or performance:
            yield "What to expect:\n\n| figure | expected | range | where to read it |\n|---|---|---|---|\n"
            yield from _expected(memory, performance)
        for process in processes_of(plan, serve_plan):
            if process.answers:
                yield f"\nHow full the KV cache is, and whether requests wait or were preempted, on {code(process.host)}:\n"
                pattern = "^vllm:(kv_cache_usage_perc|num_requests_(running|waiting)|num_preemptions_total)[{]"
                yield _block(f"curl -fs {quote(_process_url(plan, process) + '/metrics')} | grep -E {quote(pattern)}")
                break


def _expected(memory: Memory | None, performance: Performance | None) -> Iterator[str]:
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
            ("time to first token", performance.ttft, "s", "vllm:time_to_first_token_seconds"),
            ("time between tokens", performance.itl, "s", "vllm:inter_token_latency_seconds"),
            ("output of all requests", performance.throughput, "tokens/s", "vllm:generation_tokens_total"),
        ]
    for name, figure, unit, where in rows:
        low, high = figure.range()
        span = f"{human(low, unit)} to {human(high, unit)}" if low != high else ""
        yield f"| {name} | {human(figure.value, unit)} | {span} | {code(where)} |\n"


def _completion(plan: Plan, serve_plan: ServePlan) -> str:
    body = json.dumps({"model": served_names(serve_plan)[-1], "prompt": "The sky is", "max_tokens": 8})
    headers = "-H 'Content-Type: application/json'"
    front = front_of(plan, serve_plan)
    route = _route_of(front, serve_plan)
    key = serve_plan.serve.engine.api_key or (front.spec.api_key if front and front.spec else None)
    if key:
        headers += f' -H "Authorization: Bearer ${{{key.value.variable}}}"'
    if route and route.header:
        headers += f" -H {quote(f'{route.header[0]}: {route.header[1]}')}"
    return f"curl -fsS {quote(_base_url(plan, serve_plan) + '/completions')} {headers} -d {quote(body)}"


def _route_of(front: Front | None, serve_plan: ServePlan) -> Route | None:
    return next((r for r in front.routes if r.serve is serve_plan), None) if front else None


def _base_url(plan: Plan, serve_plan: ServePlan) -> str:
    """What clients call, up to `/v1`."""
    front = front_of(plan, serve_plan)
    if front is None:
        return f"http://{backends(plan, serve_plan)[0].endpoint}/v1"
    route = _route_of(front, serve_plan)
    path = route.path.rstrip("/") if route and route.path else ""
    return f"{'https' if front.tls else 'http'}://{_bracketed(front.host)}:{front.listen}{path}/v1"


def _process_url(plan: Plan, process: Process) -> str:
    bind, _ = listening_address(plan, process)
    host = process.host if bind in ("0.0.0.0", "::") else bind  # noqa: S104 - recognised, never chosen
    return f"http://{_bracketed(host)}:{process.port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _stop(plan: Plan) -> Iterator[str]:
    yield "\n## Stop, drain, roll back\n\n"
    for front in fronts(plan):
        if front.kind != "llm-d":
            first = next(b for route in front.routes for b in route.backends)
            what, example = ("HOST:PORT", first.endpoint) if front.kind != "haproxy" else ("NAME", first.name)
            yield (
                f"- Take one replica out: `bash router/{front.file_stem}.sh drain {what}` (for instance {code(example)}), wait until its "
                "`vllm:num_requests_running` is 0, stop it, start it again, and after `/health` answers: "
                f"`bash router/{front.file_stem}.sh restore`. One replica at a time.\n"
            )
    for serve_plan in plan.serves:
        seconds = shutdown_seconds(serve_plan)
        yield (
            f"- Stop {code(serve_plan.name)}: end its start script's process (SIGTERM, Ctrl-C). It takes no new request and has "
            f"{seconds} s for running answers; whatever supervises it must wait longer than that.\n"
        )
    if ray_clusters(plan):
        yield "- Stop the engine before its Ray. End the Ray scripts themselves; `ray stop` would end every Ray of the host.\n"
    yield (
        "- Roll back: keep the folder of the last good compile (in git, say). Stop, start from that folder. "
        "`kcluster compile --check` says whether a folder is what its spec says.\n"
    )


def _trouble(plan: Plan) -> Iterator[str]:
    yield "\n## When it does not start\n\n| what the log says | what to do |\n|---|---|\n"
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
    if any(len(engine.nodes) > 1 for serve in plan.serves for engine in serve.chosen.placement):
        rows.append(
            ("nothing for minutes", "the nodes do not reach each other: ports above, `NCCL_DEBUG=INFO`, the interface")
        )
    rays = ray_clusters(plan)
    if rays:
        rows.append(("Ray has fewer cards than needed", "the worker script is not running there, or its token differs"))
    for says, do in rows:
        yield f"| {says} | {do} |\n"
    yield from _ray_status(rays)


def _ray_status(rays: tuple[RayCluster, ...]) -> Iterator[str]:
    for cluster in rays:
        yield f"\nWhat the Ray of {code(cluster.head.serve.name)} replica {cluster.head.replica} has ({cluster.gpus} cards when whole):\n"
        yield _block(f"RAY_AUTH_MODE=token ray status --address {quote(cluster.address)}")
