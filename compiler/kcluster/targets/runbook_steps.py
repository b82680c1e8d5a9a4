"""Starting in the runbook: one part for each way in which the plan runs, and none for others."""

from __future__ import annotations

from collections.abc import Iterator

from kcluster.planner.types import Plan, ServePlan
from kcluster.targets.compose import FILE as COMPOSE_FILE
from kcluster.targets.compose.services import in_compose, settings_file
from kcluster.targets.hosts.folders import (
    compose_profile,
    front_runtime,
    host_folders,
    host_fronts,
    installed_folder,
    start_seconds,
    unit_of,
)
from kcluster.targets.hosts.ready import ready_path
from kcluster.targets.kubernetes.names import namespace_of, object_names, pods_of
from kcluster.targets.kubernetes.network import gateway_name
from kcluster.targets.kubernetes.pods import RDMA_RESOURCE, Shape, port_of, secret_name, shape_of
from kcluster.targets.layout import Process, processes_of, segment
from kcluster.targets.markdown import code, step
from kcluster.targets.ray import ray_clusters
from kcluster.targets.routing import Front, front_of
from kcluster.targets.shell import quote
from kcluster.targets.systemd.units import Unit, units


def start(plan: Plan) -> Iterator[str]:
    """The part on starting."""
    yield "\n## Start\n"
    number = 0
    for part in (_shell_start, _systemd_start, _compose_start, _kubernetes_start):
        for line in part(plan):
            if isinstance(line, str):
                yield line
            else:
                number += 1
                yield step(number, *line)


def _of_runtime(plan: Plan, runtime: str) -> tuple[ServePlan, ...]:
    return tuple(serve for serve in plan.serves if serve.serve.runtime.value == runtime)


def _shell_start(plan: Plan) -> Iterator[str | tuple[str, str]]:
    serves = _of_runtime(plan, "shell")
    own_fronts = [front for front in host_fronts(plan) if front_runtime(front) == "shell"]
    if not serves and not own_fronts:
        return
    yield "\nCopy this folder to every host, then in this order. Each command stays in the foreground.\n"
    for serve_plan in serves:
        for cluster in ray_clusters(plan):
            if cluster.head.serve is serve_plan:
                for node in cluster.nodes:
                    yield f"On {code(node.host)}, the Ray of {code(serve_plan.name)}", f"./{node.path}.sh"
        started = processes_of(plan, serve_plan)
        for process in started:
            yield f"On {code(process.host)}, {role(process)}", f"./{process.path}.sh"
        yield from _ready(started)
    for front in own_fronts:
        command = "" if front.kind == "vllm-router" else " start"
        yield f"On {code(front.host)}, the router", f"bash router/{front.file_stem}.sh{command}"


def _ready(started: tuple[Process, ...]) -> Iterator[tuple[str, str]]:
    for process in started:
        if process.answers:
            key = process.serve.serve.engine.api_key
            needs = f"; it needs {code(key.value.variable)} in its environment" if key else ""
            yield (
                f"On {code(process.host)}, wait until it answers a completion (loading the weights takes minutes{needs})",
                f"./{ready_path(process)}",
            )


def role(process: Process) -> str:
    """What a process is of its serve."""
    name = code(process.serve.name)
    replica = f" replica {process.replica}" if process.serve.chosen.cut.replicas > 1 else ""
    if process.nodes > 1 and process.serve.distribution != "ray":
        part = "the first node" if process.node_rank == 0 else f"node {process.node_rank}"
        own = f", rank {process.ranks[0]}" if len(process.ranks) == 1 and process.serve.chosen.cut.dp > 1 else ""
        return f"{name}{replica}, {part} of {process.nodes}{own} (they wait for each other)"
    return f"{name}{replica}"


def _by_host(found: tuple[Unit, ...]) -> dict[str, list[Unit]]:
    hosts: dict[str, list[Unit]] = {}
    for unit in found:
        hosts.setdefault(unit.host, []).append(unit)
    return hosts


def _systemd_start(plan: Plan) -> Iterator[str | tuple[str, str]]:
    found = units(plan)
    if not found:
        return
    yield (
        f"\nsystemd: copy this folder to every host. `install.sh` puts it at {code(installed_folder(plan))}, says what the host "
        "lacks (keys, programs, shared memory) and starts nothing; then the units start, on all hosts before one is waited for. "
        "They start at boot by themselves, and again after a failure, later each time.\n"
    )
    hosts = _by_host(found)
    for host, own in hosts.items():
        yield f"On {code(host)}, as root", f"bash {own[0].folder}/install.sh"
    for host, own in hosts.items():
        names = " ".join(quote(unit.name) for unit in own)
        yield f"On {code(host)}, as root, begin", f"systemctl start --no-block {names}"
    for host, own in hosts.items():
        names = " ".join(quote(unit.name) for unit in own)
        yield (
            f"On {code(host)}, wait until each runs (an engine has then answered a completion)",
            f"systemctl start {names}",
        )


def _compose_start(plan: Plan) -> Iterator[str | tuple[str, str]]:
    found = in_compose(plan)
    fronts = [front for front in host_fronts(plan) if front_runtime(front) == "compose"]
    if not found and not fronts:
        return
    yield (
        "\nCompose (2.24 or later, with the cards' container toolkit): copy this folder to every host, to the same path (or name it "
        f"in {code('KCLUSTER_DIR')} for restarts). Containers run as root without root's right to read "
        "what is others': models, certificates and their keys are root's, or readable by all.\n"
    )
    yield from _compose_keys(plan)
    folders = host_folders(plan)
    for host in dict.fromkeys([process.host for process in found] + [front.host for front in fronts]):
        yield f"On {code(host)}", f"docker compose -f {COMPOSE_FILE} --profile {compose_profile(folders[host])} up -d"
    yield from _ready(found)


def _compose_keys(plan: Plan) -> Iterator[str]:
    """The files of keys, with what is in them and where they are."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for process in in_compose(plan):
        key = process.serve.serve.engine.api_key
        if key is not None:
            file = settings_file(segment(process.serve.name))
            found.setdefault((file, (key.value.variable,)), []).append(process.host)
    for front in host_fronts(plan):
        if front_runtime(front) == "compose" and front.keys:
            variables = tuple(key.variable for key in front.keys)
            found.setdefault((settings_file(front.file_stem), variables), []).append(front.host)
    if found:
        yield f"\nFiles of root, mode 0600, with a line {code('NAME=VALUE')} for each key:\n\n"
    for (file, variables), hosts in found.items():
        on = ", ".join(code(host) for host in dict.fromkeys(hosts))
        yield f"- {code(file)} on {on}: {', '.join(code(variable) for variable in variables)}\n"


def _kubernetes_start(plan: Plan) -> Iterator[str | tuple[str, str]]:
    names = object_names(plan)
    serves = in_pods(plan)
    if not serves:
        return
    yield "\nKubernetes, from any machine with `kubectl`:\n"
    for serve_plan, _ in serves:
        key = serve_plan.serve.engine.api_key
        if key is not None:
            name, space = names[serve_plan.name], namespace_of(serve_plan)
            yield (
                f"Make the secret of {code(serve_plan.name)} from a file of mode 0600 with a line {code(f'{key.value.variable}=VALUE')}",
                f"kubectl -n {space} create secret generic {secret_name(name)} --from-env-file=keys.env",
            )
    yield "Apply", "kubectl apply -k kubernetes"
    for serve_plan, shape in serves:
        seconds, _ = start_seconds(serve_plan)
        name, space = names[serve_plan.name], namespace_of(serve_plan)
        wait = (
            f"kubectl -n {space} rollout status deployment/{name} --timeout={seconds}s"
            if shape.nodes == 1
            else f"kubectl -n {space} wait leaderworkerset/{name} --for=condition=Available --timeout={seconds}s"
        )
        yield f"Wait for {code(serve_plan.name)}: every pod reads the weights", wait
    if any(serve.serve.monitor.enabled for serve, _ in serves):
        yield "Where a Prometheus operator runs", "kubectl apply -k kubernetes/monitoring"


def in_pods(plan: Plan) -> list[tuple[ServePlan, Shape]]:
    found = []
    for serve_plan in pods_of(plan):
        shape = shape_of(plan, serve_plan)
        if isinstance(shape, Shape):
            found.append((serve_plan, shape))
    return found


def cluster_needs(plan: Plan) -> Iterator[str]:
    """What a Kubernetes cluster must have, a line each."""
    serves = in_pods(plan)
    if not serves:
        return
    spaces = dict.fromkeys(namespace_of(serve) for serve, _ in serves)
    yield f"- Kubernetes with the cards' device plugin, and the namespace {', '.join(code(space) for space in spaces)}.\n"
    if any(shape.nodes > 1 for _, shape in serves):
        yield "- The LeaderWorkerSet controller (leaderworkerset.x-k8s.io/v1), for engines that span pods.\n"
    claims = [s.serve.kubernetes.claim.value for s, _ in serves if s.serve.kubernetes and s.serve.kubernetes.claim]
    for claim in dict.fromkeys(claims):
        yield f"- The volume claim {code(claim)} with the models, which pods on several nodes can mount at once.\n"
    fronts = _gateways(plan)
    for gateway in dict.fromkeys(gateway_name(front) for front in fronts):
        yield (
            f"- The Gateway API, its inference extension (InferencePool v1), llm-d's resources, and a Gateway {code(gateway)} whose "
            "controller knows InferencePools (Istio, agentgateway, GKE). TLS and the clients' port are the Gateway's.\n"
        )
    if any(len(engine.nodes) > 1 for serve, _ in serves for engine in serve.chosen.placement):
        yield (
            f"- Where the nodes have RDMA: a device plugin that offers it to pods. The files ask for {code(RDMA_RESOURCE)}; "
            "see what yours calls it.\n"
        )


def log_of(plan: Plan, process: Process) -> str | None:
    """The command that gives an engine's log; None for a start script, whose log is wherever it was sent."""
    runtime = process.serve.serve.runtime.value
    if runtime == "systemd":
        return f"journalctl -o cat _SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID {quote(unit_of(process))})"
    if runtime == "compose":
        command = f"docker compose -f {COMPOSE_FILE} --profile {compose_profile(process.folder)} logs --no-log-prefix"
        return f"{command} {unit_of(process)}"
    if runtime == "kubernetes":
        name = object_names(plan)[process.serve.name]
        return f"kubectl -n {namespace_of(process.serve)} logs {f'deployment/{name}' if process.nodes == 1 else f'pod/{name}-0'}"
    return None


def _gateways(plan: Plan) -> list[Front]:
    found = (front_of(plan, serve) for serve, _ in in_pods(plan))
    return [front for front in found if front is not None and front.kind == "llm-d"]


def pod_check(plan: Plan, serve_plan: ServePlan) -> str:
    """The command that brings a serve's port in Kubernetes to this machine."""
    name, port = object_names(plan)[serve_plan.name], port_of(serve_plan)
    return f"kubectl -n {namespace_of(serve_plan)} port-forward service/{name} {port}:{port}"
