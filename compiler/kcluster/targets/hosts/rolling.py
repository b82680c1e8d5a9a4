"""The rolling restart: one replica at a time out of its router, idle, stopped, started, held to a completion, and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.planner.types import Plan, ServePlan
from kcluster.spec.types import Secret
from kcluster.targets.engines import health_path
from kcluster.targets.header import comment_header
from kcluster.targets.hosts.folders import (
    compose_profile,
    engine_processes,
    front_runtime,
    host_folders,
    host_fronts,
    installed_folder,
    server_url,
    unit_of,
)
from kcluster.targets.hosts.ready import ready_path
from kcluster.targets.hosts.rolling_steps import LIBRARY, MAIN
from kcluster.targets.layout import Process, shutdown_seconds
from kcluster.targets.monitoring.metrics import metrics_of
from kcluster.targets.routing import Backend, Front, Route
from kcluster.targets.shell import SHEBANG, STRICT, indented, one_line, quote, required
from kcluster.targets.types import Artifact
from kcluster.values import frozen

SCRIPT: Final = "rolling-restart.sh"
DRAINED_BY: Final = ("nginx", "haproxy", "vllm-router")
"""Routers whose script takes a replica out and back."""


@frozen
class Turn:
    """One replica with what a restart of it touches: its processes and its HTTP servers; `number` counts the routes."""

    front: Front
    route: Route
    replica: int
    processes: tuple[Process, ...]
    servers: tuple[Backend, ...]
    number: int

    @property
    def name(self) -> str:
        return f"{self.route.serve.name}-{self.replica}"

    @property
    def runtime(self) -> str:
        return self.route.serve.serve.runtime.value


def turns(plan: Plan) -> tuple[Turn, ...]:
    """Every replica that can be restarted while others of its serve take the requests."""
    processes = engine_processes(plan)
    found = []
    routes = [(front, route) for front in host_fronts(plan) for route in front.routes]
    for number, (front, route) in enumerate(routes):
        if front.kind in DRAINED_BY:
            own = tuple(process for process in processes if process.serve is route.serve)
            replicas = sorted({process.replica for process in own})
            if len(replicas) < 2:
                continue
            found += [
                Turn(
                    front,
                    route,
                    replica,
                    tuple(p for p in own if p.replica == replica),
                    tuple(b for b in route.backends if b.replica == replica),
                    number,
                )
                for replica in replicas
            ]
    return tuple(found)


def rolling_restart(plan: Plan) -> tuple[Artifact, ...]:
    """`rolling-restart.sh` where a serve has two replicas or more behind a router that can take one out."""
    found = turns(plan)
    if not found:
        return ()
    return (Artifact(SCRIPT, "".join(_script(plan, found)), executable=True),)


def _script(plan: Plan, found: tuple[Turn, ...]) -> Iterator[str]:
    keys = _keys(found)
    users = _users(found)
    yield SHEBANG
    yield comment_header(plan, "Restarts replicas one at a time, without losing a request")
    yield f"# usage: {SCRIPT} [NAME ...]   of {one_line(' '.join(turn.name for turn in found))}; all of them where none is named\n"
    yield "# It stops at the first step that fails, and says in which state it leaves the router and what to do.\n"
    yield "#\n"
    yield "# KCLUSTER_DIR   where this folder lies on the hosts\n"
    yield "# KCLUSTER_SSH   the command that runs a script on another host, called with the host and `bash -s`\n"
    yield "# KCLUSTER_HOOK  a program that stops and starts engines itself, called with stop or start, the host and the name of the\n"
    yield "#                start script; `stop` returns when the engine is gone\n"
    yield STRICT
    yield "\n"
    yield from (required(key.variable, "the key that clients send, for the completion of each replica") for key in keys)
    installed = any(turn.runtime == "systemd" for turn in found)
    lies = quote(installed_folder(plan)) if installed else '"$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"'
    yield f"folder=${{KCLUSTER_DIR:-{lies}}}\n"
    yield 'read -ra ssh <<<"${KCLUSTER_SSH:-ssh -o BatchMode=yes}"\n'
    if any(turn.runtime == "shell" for turn in found):
        yield ': "${KCLUSTER_HOOK:?set KCLUSTER_HOOK to the program that stops and starts the engine scripts (see above)}"\n'
    yield "declare -A users=(\n"
    yield from (f"  [{subscript(host)}]={quote(user)}\n" for host, user in users.items())
    yield ")\n"
    yield "declare -A profiles=(\n"
    yield from (f"  [{subscript(host)}]={quote(profile)}\n" for host, profile in _profiles(plan, found).items())
    yield ")\n\n"
    yield LIBRARY
    for route_number, route in {turn.number: turn.route for turn in found}.items():
        yield f"servers_{route_number}=({' '.join(quote(server.endpoint) for server in route.backends)}) # {one_line(route.serve.name)}\n\n"
    for number, turn in enumerate(found):
        yield from _turn(plan, number, turn)
    yield "declare -A turns=(\n"
    yield from (f"  [{subscript(turn.name)}]=turn_{number}\n" for number, turn in enumerate(found))
    yield ")\n"
    yield f"order=({' '.join(quote(turn.name) for turn in found)})\n"
    yield MAIN


def subscript(text: str) -> str:
    """A text as the subscript of an associative array, which formatters take for arithmetic where it is not quoted."""
    word = quote(text)
    return word if word.startswith("'") else f"'{word}'"


def _keys(found: tuple[Turn, ...]) -> tuple[Secret, ...]:
    written = (turn.route.serve.serve.engine.api_key for turn in found)
    return tuple(dict.fromkeys(key.value for key in written if key))


def _users(found: tuple[Turn, ...]) -> dict[str, str]:
    """The user of every host, where the hardware names one."""
    users: dict[str, str] = {}
    for turn in found:
        user = turn.route.serve.serve.hardware.user
        if user:
            for host in (*(process.host for process in turn.processes), turn.front.host):
                users.setdefault(host, user.value)
    return users


def _profiles(plan: Plan, found: tuple[Turn, ...]) -> dict[str, str]:
    """The Compose profile of every host; with another host's, Compose asks for that one's keys."""
    hosts = {
        host
        for turn in found
        if turn.runtime == "compose"
        for host in (*(process.host for process in turn.processes), turn.front.host)
    }
    return {host: compose_profile(folder) for host, folder in host_folders(plan).items() if host in hosts}


def _turn(plan: Plan, number: int, turn: Turn) -> Iterator[str]:
    front, serve = turn.front, turn.route.serve
    hosts = ", ".join(dict.fromkeys(process.host for process in turn.processes))
    yield f"turn_{number}() {{ # {one_line(serve.name)}, replica {turn.replica} on {one_line(hosts)}\n"
    yield indented("".join(_steps(plan, turn, front, serve)))
    yield "}\n\n"


def _steps(plan: Plan, turn: Turn, front: Front, serve: ServePlan) -> Iterator[str]:
    answering = [process for process in turn.processes if process.answers]
    router = f"{quote(front.host)} {front.file_stem} {front_runtime(front)}"
    own = quote(" ".join(server.endpoint for server in turn.servers))
    health, metrics = health_path(serve.serve.engine.name.value), metrics_of(serve)
    yield f'others_healthy {quote(front.host)} {health} {own} "${{servers_{turn.number}[@]}}"\n'
    for server in turn.servers:
        yield f"drain {router} {quote(server.name if front.kind == 'haproxy' else server.endpoint)}\n"
    for process in answering if metrics.running and metrics.waiting else ():
        seconds = max(front.timeout, shutdown_seconds(serve))
        url = quote(server_url(plan, process) + metrics.path)
        yield f"idle {quote(process.host)} {url} {seconds} {metrics.running} {metrics.waiting}\n"
    if metrics.running is None:
        yield f"sleep {shutdown_seconds(serve)} # the engine does not say what it runs: as long as its longest answer\n"
    for action in ("stop", "start"):
        for process in turn.processes:
            yield f"{action} {quote(process.host)} {turn.runtime} {quote(process.stem)} {quote(unit_of(process))}\n"
    key = serve.serve.engine.api_key
    for process in answering:
        given = f' {quote(key.value.variable)}="${key.value.variable}"' if key else ""
        unit = quote(unit_of(process))
        yield f"ready {quote(process.host)} {turn.runtime} {unit} {quote(ready_path(process))}{given}\n"
    yield f"restore {router}\n"
