"""The hosts of a plan, their folders, and how long an engine on them may take to start."""

from __future__ import annotations

import math
from typing import Final

from kcluster.planner.types import Plan, ServePlan
from kcluster.targets.header import spec_name
from kcluster.targets.layout import Process, node_folders, processes, segment
from kcluster.targets.ray import DEADLINE_SECONDS
from kcluster.targets.routing import EVERY_INTERFACE, LOOPBACK, Front, fronts, listening
from kcluster.units import Figure, given

INSTALLED: Final = "/opt/kcluster"
"""Below it the installed folders lie, one for every spec."""


def on_hosts(serve_plan: ServePlan) -> bool:
    """Whether a serve's processes run on the hosts themselves and not in Kubernetes."""
    return serve_plan.serve.runtime.value != "kubernetes"


def host_fronts(plan: Plan) -> tuple[Front, ...]:
    """The routers that run on a host."""
    return tuple(front for front in fronts(plan) if front.kind != "llm-d" and on_hosts(front.routes[0].serve))


def host_folders(plan: Plan) -> dict[str, str]:
    """`nodes/<host>` of every host that something runs on: those of the engines, then those of routers alone."""
    folders = dict(node_folders(plan))
    for front in host_fronts(plan):
        if front.host not in folders:
            name = f"nodes/{segment(front.host)}"
            while name in folders.values():
                name += "-x"
            folders[front.host] = name
    return folders


def stack_name(plan: Plan) -> str:
    """What this spec's things are called on a host where those of other specs may be too."""
    return segment(spec_name(plan).removesuffix(".kcluster"))[:64]


def installed_folder(plan: Plan) -> str:
    """Where the folder lies on a host after it was installed."""
    return f"{INSTALLED}/{stack_name(plan)}"


def engine_processes(plan: Plan) -> tuple[Process, ...]:
    """The engine processes for which there is a start script."""
    return tuple(process for process in processes(plan) if on_hosts(process.serve))


def unit_of(process: Process) -> str:
    """What supervises a process: its systemd unit, its Compose service, or the name of its start script."""
    runtime = process.serve.serve.runtime.value
    if runtime == "systemd":
        return systemd_unit(process.stem)
    return compose_service(process.folder, process.stem) if runtime == "compose" else process.stem


def systemd_unit(stem: str) -> str:
    """The unit of a start script; a host has one `nodes/<host>` folder, in which names are distinct."""
    return f"kcluster-{stem}.service"


def compose_service(folder: str, stem: str) -> str:
    """The service of a start script: all hosts are in one file, so that it carries its host's name."""
    return f"{folder.rpartition('/')[2]}-{stem}"


def compose_profile(folder: str) -> str:
    """The Compose profile of a host, whose files are in the folder; Compose wants two characters at least."""
    name = folder.rpartition("/")[2]
    return name if len(name) > 1 and name[0].isalnum() else f"host-{name}"


def front_runtime(front: Front) -> str:
    """What runs a router: the runtime of the serves behind it."""
    runtimes = {route.serve.serve.runtime.value for route in front.routes}
    return next((name for name in ("systemd", "compose") if name in runtimes), "shell")


def server_url(plan: Plan, process: Process) -> str:
    """Where a process answers, as its own host reaches it."""
    bind = listening(plan, process.serve, process.host)
    host = LOOPBACK if bind in EVERY_INTERFACE else bind
    return f"http://{f'[{host}]' if ':' in host else host}:{process.port}"


def start_seconds(serve_plan: ServePlan) -> tuple[int, Figure]:
    """Whole minutes, in seconds, after which an engine that does not answer is taken for stuck, and the figure behind it; an
    engine over Ray may wait for its cards first."""
    from kcluster.physics.startup import start_limit
    from kcluster.physics.weights import weight_bytes

    model = serve_plan.serve.model
    if model.exact_weight_bytes is not None:
        checkpoint = given("checkpoint", model.exact_weight_bytes.value, "bytes", "its index")
    else:
        checkpoint = weight_bytes(model.architecture.value, model.weights.value)
    storage = serve_plan.serve.hardware.storage
    limit = start_limit(checkpoint, storage.value if storage and storage.value > 0 else None)
    cards = DEADLINE_SECONDS if serve_plan.distribution == "ray" else 0
    return math.ceil((limit.value + cards) / 60) * 60, limit
