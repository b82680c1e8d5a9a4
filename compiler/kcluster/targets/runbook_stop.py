"""Draining, restarting, stopping and going back in the runbook: one part for each way in which the plan runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.planner.types import Plan, ServePlan
from kcluster.targets.compose import FILE as COMPOSE_FILE
from kcluster.targets.engines import health_path
from kcluster.targets.haproxy import SLOW_START_SECONDS
from kcluster.targets.hosts.folders import (
    compose_profile,
    front_runtime,
    host_folders,
    host_fronts,
    installed_folder,
    on_hosts,
    unit_of,
)
from kcluster.targets.hosts.rolling import SCRIPT as ROLLING_SCRIPT
from kcluster.targets.hosts.rolling import Turn, turns
from kcluster.targets.kubernetes.names import namespace_of, object_names
from kcluster.targets.kubernetes.pods import Shape, shape_of
from kcluster.targets.layout import processes_of, shutdown_seconds
from kcluster.targets.markdown import code
from kcluster.targets.monitoring.metrics import metrics_of
from kcluster.targets.ray import ray_clusters
from kcluster.targets.routing import RETURN_SECONDS, Front
from kcluster.targets.shell import quote


def stop(plan: Plan) -> Iterator[str]:
    """The part on draining, restarting, stopping and going back."""
    yield "\n## Stop, drain, roll back\n\n"
    yield from _rolling(plan)
    for front in host_fronts(plan):
        own = [turn for turn in turns(plan) if turn.front.file_stem == front.file_stem]
        if own:
            yield _drain(plan, front, own)
            yield _death(front, own)
    for serve_plan in plan.serves:
        yield _stop_of(plan, serve_plan)
        yield _together(plan, serve_plan)
    if any(cluster.head.serve.serve.runtime.value == "shell" for cluster in ray_clusters(plan)):
        yield "- Stop the engine before its Ray. End the Ray scripts themselves; `ray stop` would end every Ray of the host.\n"
    yield _back(plan)


def _rolling(plan: Plan) -> Iterator[str]:
    found = turns(plan)
    if found:
        first = found[0]
        hook = (
            f" Set {code('KCLUSTER_HOOK')} to the program that stops and starts your start scripts."
            if any(turn.runtime == "shell" for turn in found)
            else ""
        )
        keys = dict.fromkeys(key.value.variable for t in found if (key := t.route.serve.serve.engine.api_key))
        needs = f" It needs {', '.join(code(key) for key in keys)} in its environment." if keys else ""
        yield (
            f"- Restart replicas one at a time, for a new version or new settings: `./{ROLLING_SCRIPT}`, or one with its name, "
            f"for instance {code(f'./{ROLLING_SCRIPT} {first.name}')}. Each is taken out of its router, waited for until nothing "
            f"runs, restarted, held to a completion and given back; no request is lost.{hook}{needs} It stops at the first step "
            "that fails and says in which state it leaves the router.\n"
        )


def _idle(serve: ServePlan) -> str:
    """When a drained replica has nothing left to answer."""
    running = metrics_of(serve).running
    return f"its {code(running)} is 0" if running else f"its answers had {shutdown_seconds(serve)} s to end"


def _drain(plan: Plan, front: Front, own: list[Turn]) -> str:
    script = _router_script(plan, front)
    servers = own[0].servers
    what, example = ("HOST:PORT", servers[0].endpoint) if front.kind != "haproxy" else ("NAME", servers[0].name)
    each = f", and so with each of its {len(servers)} servers" if len(servers) > 1 else ""
    until = " or ".join(dict.fromkeys(_idle(turn.route.serve) for turn in own))
    health = health_path(own[0].route.serve.serve.engine.name.value)
    return (
        f"- Take one replica out: {code(f'{script} drain {what}')} (for instance {code(example)}{each}), wait until "
        f"{until}, stop it, start it again, and after {code(health)} answers: {code(f'{script} restore')}. "
        "One replica at a time.\n"
    )


_FINDS: Final = {
    "nginx": "NGINX sees that connections are refused, and tries it again every few seconds",
    "haproxy": "HAProxy sees that a connection is refused or that HEALTH does not answer, and goes on asking",
    "vllm-router": "the router sees that requests fail or that HEALTH does not answer, and goes on asking",
}
"""How a router finds out that a replica died, and that it is back."""


def _death(front: Front, own: list[Turn]) -> str:
    health = code(health_path(own[0].route.serve.serve.engine.name.value))
    whole = f", its whole share {SLOW_START_SECONDS} s later" if front.kind == "haproxy" else ""
    lost = "twice what it was answering" if front.kind == "vllm-router" else "what it was answering"
    return (
        f"- A replica dies: {_FINDS[front.kind].replace('HEALTH', health)}. Lost is at most {lost}: no request is sent to two replicas. Started again, it "
        f"has requests at most {RETURN_SECONDS[front.kind]} s after it answers {health}{whole}.\n"
    )


def _router_script(plan: Plan, front: Front) -> str:
    stem = front.file_stem
    runtime = front_runtime(front)
    if runtime == "systemd":
        return f"KCLUSTER_RUN_DIR=/run/kcluster-{stem} bash {installed_folder(plan)}/router/{stem}.sh"
    if runtime == "compose":
        profile = compose_profile(host_folders(plan)[front.host])
        return (
            f"docker compose -f {COMPOSE_FILE} --profile {profile} exec router-{stem} bash /kcluster/router/{stem}.sh"
        )
    return f"bash router/{stem}.sh"


def _stop_of(plan: Plan, serve_plan: ServePlan) -> str:
    seconds = shutdown_seconds(serve_plan)
    name = code(serve_plan.name)
    runtime = serve_plan.serve.runtime.value
    answers = f"It takes no new request and has {seconds} s for running answers"
    if runtime == "systemd":
        found = dict.fromkeys(unit_of(process) for process in processes_of(plan, serve_plan))
        listed = " ".join(quote(unit) for unit in found)
        return f"- Stop {name}: {code(f'systemctl stop {listed}')} on its hosts. {answers}; the units wait longer than that.\n"
    if runtime == "compose":
        return f"- Stop {name}: {', '.join(_compose_stops(plan, serve_plan))}. {answers}; Compose waits longer than that.\n"
    if runtime == "kubernetes":
        return _stop_of_pods(plan, serve_plan, seconds)
    return (
        f"- Stop {name}: end its start script's process (SIGTERM, Ctrl-C). {answers}; whatever supervises it must wait longer "
        "than that.\n"
    )


def _together(plan: Plan, serve_plan: ServePlan) -> str:
    """What to do where a process of an engine over several hosts has ended: its nodes meet only at their start."""
    nodes = {process.replica: process.nodes for process in processes_of(plan, serve_plan)}
    if not on_hosts(serve_plan) or max(nodes.values()) == 1 or serve_plan.distribution == "ray":
        return ""
    name, which = code(serve_plan.name), "the replica" if len(nodes) > 1 else "the engine"
    if serve_plan.distribution == "nnodes" and serve_plan.serve.engine.name.value == "vllm":
        return (
            f"- A node of {name} has ended: its nodes meet only at their start. Restart that on the first host of {which}; the "
            "others end half a minute after it, and are started anew by what supervises them.\n"
        )
    return f"- A process of {name} has ended: its nodes meet only at their start. Restart all of {which}, on all its hosts.\n"


def _compose_stops(plan: Plan, serve_plan: ServePlan) -> Iterator[str]:
    """The command of every host: with another host's profile, Compose asks for that one's keys."""
    found: dict[str, list[str]] = {}
    for process in processes_of(plan, serve_plan):
        found.setdefault(process.folder, []).append(unit_of(process))
    for folder, names in found.items():
        command = f"docker compose -f {COMPOSE_FILE} --profile {compose_profile(folder)} stop {' '.join(names)}"
        yield code(command)


def _stop_of_pods(plan: Plan, serve_plan: ServePlan, seconds: int) -> str:
    own = object_names(plan)
    shape = shape_of(plan, serve_plan) if serve_plan.name in own else ""
    if not isinstance(shape, Shape):
        return ""
    name, space = own[serve_plan.name], namespace_of(serve_plan)
    kind = "deployment" if shape.nodes == 1 else "leaderworkerset"
    again = (
        f"kubectl -n {space} rollout restart deployment/{name}"
        if shape.nodes == 1
        else f"kubectl -n {space} delete pod -l app.kubernetes.io/name={name},leaderworkerset.sigs.k8s.io/group-index=0"
    )
    how = "one pod at a time" if shape.nodes == 1 else "one group, then the next index"
    return (
        f"- Restart {code(serve_plan.name)}: {code(again)} ({how}; a pod leaves its endpoints first and has {seconds} s for "
        f"running answers). Stop it: {code(f'kubectl -n {space} scale {kind}/{name} --replicas=0')}.\n"
    )


def _back(plan: Plan) -> str:
    runtimes = {serve.serve.runtime.value for serve in plan.serves}
    ways = [
        way
        for runtime, way in (
            ("shell", "stop, start from that folder"),
            ("systemd", "`bash nodes/HOST/install.sh` of that folder and `systemctl restart` (what was installed before is beside it, as `.old`)"),
            ("compose", "`docker compose … up -d` from that folder"),
            ("kubernetes", "`kubectl apply -k kubernetes` from that folder"),
        )
        if runtime in runtimes
    ]  # fmt: skip
    return (
        f"- Roll back: keep the folder of the last good compile (in git, say); {'; '.join(ways)}. "
        "`kcluster compile --check` says whether a folder is what its spec says.\n"
    )
