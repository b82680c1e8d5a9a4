"""The units of a plan: engines, Ray nodes and routers, each with what orders, restarts, limits and confines it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.planner.types import Plan, ServePlan
from kcluster.targets.header import comment_header
from kcluster.targets.hosts.folders import (
    engine_processes,
    front_runtime,
    host_folders,
    host_fronts,
    installed_folder,
    start_seconds,
    systemd_unit,
)
from kcluster.targets.hosts.ready import COMPLETION_SECONDS, ready_path
from kcluster.targets.layout import Process, model_location, segment, shutdown_seconds
from kcluster.targets.ray import DEADLINE_SECONDS, RayNode, ray_cluster_of, ray_clusters
from kcluster.targets.routing import Front
from kcluster.targets.systemd.hardening import amd, engine_hardening, router_hardening
from kcluster.targets.systemd.pause import LONGEST_SECONDS
from kcluster.targets.systemd.quoting import item, line, word
from kcluster.targets.vllm.files import describe
from kcluster.units import human
from kcluster.values import frozen

SETTINGS: Final = "/etc/kcluster"
RAY_TOKEN: Final = f"{SETTINGS}/ray.token"
HOST_FILE: Final = f"{SETTINGS}/host.env"
DEFAULT_USER: Final = "kcluster"
RESTARTS: Final = 6
RESTART_SECONDS: Final = 5
STOP_MARGIN_SECONDS: Final = 60


@frozen
class Unit:
    """One unit file: where it lies, whom it runs as, and the file and variables of its secrets (empty without)."""

    name: str
    folder: str
    host: str
    text: str
    user: str
    settings: str = ""
    variables: tuple[str, ...] = ()
    token: bool = False
    programs: tuple[str, ...] = ()
    """What must be on its PATH."""
    reads: tuple[str, ...] = ()
    """Files that its user must be able to read."""

    @property
    def path(self) -> str:
        return f"{self.folder}/systemd/{self.name}"


def units(plan: Plan) -> tuple[Unit, ...]:
    """Every unit, in the order in which they are started."""
    rays = (
        _ray(plan, node)
        for cluster in ray_clusters(plan)
        if cluster.head.serve.serve.runtime.value == "systemd"
        for node in cluster.nodes
    )
    engines = (_engine(plan, p) for p in engine_processes(plan) if p.serve.serve.runtime.value == "systemd")
    routers = (_router(plan, front) for front in host_fronts(plan) if front_runtime(front) == "systemd")
    return (*rays, *engines, *routers)


def user_of(serve_plan: ServePlan) -> str:
    """Whom a serve's units run as."""
    written = serve_plan.serve.hardware.user
    return written.value if written else DEFAULT_USER


def _engine(plan: Plan, process: Process) -> Unit:
    serve_plan = process.serve
    key = serve_plan.serve.engine.api_key
    name = systemd_unit(process.stem)
    settings = f"{SETTINGS}/{segment(serve_plan.name)}.env"
    ray = serve_plan.distribution == "ray"
    after = _ray_unit(plan, process) if ray else ""
    text = "".join(
        (
            comment_header(plan, f"Installed by {process.folder}/install.sh, which says what it needs"),
            *_head(plan, describe(process), _mounts(plan, serve_plan), after, interval=_start_limit(serve_plan)),
            "\n[Service]\nType=exec\n",
            *_place(plan, user_of(serve_plan)),
            f"EnvironmentFile={'' if key else '-'}{settings}\n",
            f"Environment=RAY_AUTH_TOKEN_PATH={RAY_TOKEN}\n" if ray else "",
            *_engine_commands(plan, process, name),
            *_stopping(
                shutdown_seconds(serve_plan) + STOP_MARGIN_SECONDS, "longer than the engine gives running answers"
            ),
            "# Always: an engine whose core died ends with status 0.\nRestart=always\n",
            f"RestartSec={RESTART_SECONDS}\nSuccessExitStatus=143\n",
            *_limits(),
            *engine_hardening(serve_plan),
            "\n[Install]\nWantedBy=multi-user.target\n",
        )
    )
    variables = (key.value.variable,) if key else ()
    return Unit(
        name, process.folder, process.host, text, user_of(serve_plan), settings, variables, ray, ("vllm", "curl")
    )


def _engine_commands(plan: Plan, process: Process, name: str) -> Iterator[str]:
    folder = installed_folder(plan)
    yield f"ExecStartPre={item(f'{folder}/{process.folder}/systemd/pause.sh')} {name}\n"
    yield from _modules(process.serve)
    yield f"ExecStart={item(f'{folder}/{process.path}.sh')}\n"
    seconds, figure = start_seconds(process.serve)
    if process.answers:
        yield "# It is started when it has answered a completion, not when its process runs.\n"
        yield f"ExecStartPost={item(f'{folder}/{ready_path(process)}')}\n"
    yield f"# Reading the weights, compiling and capturing graphs take up to {human(figure.value, 's')}; then the completion.\n"
    yield f"TimeoutStartSec={_start_timeout(seconds)}\n"


def _modules(serve_plan: ServePlan) -> Iterator[str]:
    if not amd(serve_plan):
        yield "# Makes the device file of unified memory, which nothing does at boot and an engine without privileges cannot.\n"
        yield "ExecStartPre=-+/usr/bin/nvidia-modprobe -u -c=0\n"


def _start_timeout(seconds: int) -> int:
    return seconds + COMPLETION_SECONDS + LONGEST_SECONDS


def _start_limit(serve_plan: ServePlan) -> int:
    """Seconds in which all the starts that are allowed have room, each as late as its time-out lets it fail."""
    seconds, _ = start_seconds(serve_plan)
    return RESTARTS * (_start_timeout(seconds) + RESTART_SECONDS + LONGEST_SECONDS)


def _head(plan: Plan, what: str, mounts: str, after: str = "", *, interval: int = 0) -> Iterator[str]:
    """The `[Unit]` part; `interval` in seconds is that of the start limit, 0 for none."""
    also = f" {after}" if after else ""
    yield f"\n[Unit]\nDescription={line(what)}\n"
    yield f"Documentation=file:{installed_folder(plan)}/README.md\n"
    yield f"Wants=network-online.target{also}\nAfter=network-online.target{also}\n"
    yield f"RequiresMountsFor={mounts}\n"
    if interval:
        yield "After=nvidia-persistenced.service\n"
        yield f"# {RESTARTS} starts that fail one after the other, and it stays down: a restart does not mend it.\n"
        yield f"StartLimitBurst={RESTARTS}\nStartLimitIntervalSec={interval}\n"
    else:
        yield "# A start costs nothing: it is tried for ever.\nStartLimitIntervalSec=0\n"


def _mounts(plan: Plan, serve_plan: ServePlan) -> str:
    location = model_location(serve_plan)
    return installed_folder(plan) + (f" {item(location)}" if location.startswith("/") else "")


def _place(plan: Plan, user: str) -> Iterator[str]:
    yield f"User={user}\nWorkingDirectory={installed_folder(plan)}\n"
    yield "# PATH to the engine's environment, HF_HOME and the like: what this host has and the spec does not say.\n"
    yield f"EnvironmentFile=-{HOST_FILE}\n"


def _stopping(seconds: int, why: str, signal: str = "") -> Iterator[str]:
    yield "# The signal goes to the first process, which ends the others itself; what is left then is killed.\nKillMode=mixed\n"
    if signal:
        yield f"KillSignal={signal}\n"
    yield f"# {why}\nTimeoutStopSec={seconds}\n"


def _limits() -> Iterator[str]:
    yield "# Pinned memory of the cards and of RDMA; sockets and shared memory of all ranks; no dumps with weights and prompts in.\n"
    yield "LimitMEMLOCK=infinity\nLimitNOFILE=1048576\nLimitCORE=0\nTasksMax=65536\n"


def _ray_unit(plan: Plan, process: Process) -> str:
    """The Ray on the host of an engine's process."""
    nodes = ray_cluster_of(plan, process).nodes
    return systemd_unit(next(n for n in nodes if n.host == process.host).path.rpartition("/")[2])


def _ray(plan: Plan, node: RayNode) -> Unit:
    folder, _, stem = node.path.rpartition("/")
    what = f"Ray {'head' if node.head else 'worker'} of serve {node.serve.name}, replica {node.replica}, on {node.host}"
    timeout = DEADLINE_SECONDS + LONGEST_SECONDS
    text = "".join(
        (
            comment_header(plan, f"Installed by {folder}/install.sh, which says what it needs"),
            *_head(plan, what, _mounts(plan, node.serve), interval=RESTARTS * (timeout + RESTART_SECONDS)),
            "\n[Service]\nType=exec\n",
            *_place(plan, user_of(node.serve)),
            f"Environment=RAY_AUTH_TOKEN_PATH={RAY_TOKEN}\n",
            f"ExecStartPre={item(f'{installed_folder(plan)}/{folder}/systemd/pause.sh')} {systemd_unit(stem)}\n",
            *_modules(node.serve),
            f"ExecStart={item(f'{installed_folder(plan)}/{node.path}.sh')}\n",
            f"TimeoutStartSec={timeout}\n",
            *_stopping(STOP_MARGIN_SECONDS, "Ray's own processes end within seconds"),
            f"Restart=always\nRestartSec={RESTART_SECONDS}\nSuccessExitStatus=143\n",
            *_limits(),
            *engine_hardening(node.serve),
            "\n[Install]\nWantedBy=multi-user.target\n",
        )
    )
    return Unit(systemd_unit(stem), folder, node.host, text, user_of(node.serve), token=True, programs=("ray",))


_GRACEFUL: Final = {"nginx": "SIGQUIT", "haproxy": "SIGUSR1", "vllm-router": ""}
"""The signal that lets running answers finish; empty where the usual one does."""


_PROGRAMS: Final = {"nginx": ("nginx",), "haproxy": ("haproxy",), "vllm-router": ("vllm-router", "nginx", "curl")}


def _router(plan: Plan, front: Front) -> Unit:
    folder = host_folders(plan)[front.host]
    stem = front.file_stem
    keys = tuple(key.variable for key in front.keys)
    settings = f"{SETTINGS}/{stem}.env"
    user = user_of(front.routes[0].serve)
    script = f"{installed_folder(plan)}/router/{stem}.sh"
    serves = " ".join(route.serve.name for route in front.routes)
    text = "".join(
        (
            comment_header(plan, f"Installed by {folder}/install.sh, which says what it needs"),
            *_head(plan, f"{front.kind} in front of {serves}, on {front.host}", installed_folder(plan)),
            "\n[Service]\nType=exec\n",
            *_place(plan, user),
            f"EnvironmentFile={'' if keys else '-'}{settings}\n",
            f"RuntimeDirectory=kcluster-{stem}\nRuntimeDirectoryMode=0700\n",
            f"Environment=KCLUSTER_RUN_DIR=/run/kcluster-{stem}\n",
            *_router_command(front, script),
            *_stopping(
                front.timeout + STOP_MARGIN_SECONDS, "longer than the longest answer", _GRACEFUL.get(front.kind, "")
            ),
            f"Restart=always\nRestartSec={RESTART_SECONDS}\nSuccessExitStatus=143\n",
            "LimitNOFILE=1048576\nLimitCORE=0\n",
            *router_hardening(front.listen),
            "\n[Install]\nWantedBy=multi-user.target\n",
        )
    )
    return Unit(
        systemd_unit(stem),
        folder,
        front.host,
        text,
        user,
        settings,
        keys,
        programs=_PROGRAMS[front.kind],
        reads=(front.tls.certificate.value, front.tls.key.value) if front.tls else (),
    )


def _router_command(front: Front, script: str) -> Iterator[str]:
    if front.kind == "haproxy":
        yield f"ExecStart={item(script)} start\n"
    else:
        # NGINX opens /dev/stdout, which fails for the journal's socket and works for a pipe.
        yield "# NGINX cannot open the journal's socket as a file; a pipe it can.\n"
        yield f"""ExecStart=/bin/bash -c "exec \\"$$0\\" start > >(exec cat)" {word(script)}\n"""
    if front.kind != "vllm-router":
        yield f"ExecReload={item(script)} reload\n"
