"""The services of a Compose file: every engine process and router of the plan, each under the profile of its host.

A container runs the same start script as a host would, from the folder mounted at /kcluster; what is here is what Docker must
give it: cards, shared memory, the host's network, rights, and time to stop.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from kcluster.planner.types import Plan, ServePlan
from kcluster.targets.containers import (
    HUB_CACHE,
    amd,
    engine_image,
    local_model,
    rdma,
    shared_memory_of,
    shared_memory_reason,
)
from kcluster.targets.engines import health_path
from kcluster.targets.hosts.folders import (
    compose_profile,
    compose_service,
    engine_processes,
    front_runtime,
    host_folders,
    host_fronts,
    server_url,
    stack_name,
    start_seconds,
)
from kcluster.targets.layout import Process, segment, shutdown_seconds
from kcluster.targets.routing import FLOORS, Front
from kcluster.targets.yaml import Noted, Yaml
from kcluster.units import human

MOUNTED: Final = "/kcluster"
"""Where the whole folder lies in a container."""
SETTINGS: Final = "/etc/kcluster"
"""Where a host has its keys, as with systemd."""
STOP_MARGIN_SECONDS: Final = 60
HEALTH_SECONDS: Final = 10
CACHE: Final = "models"

IMAGES: Final = {"nginx": ("nginx", "1.30"), "haproxy": ("haproxy", "2.6")}
"""Images of routers, and the version where the spec names none."""


def literal(text: str) -> str:
    """A text in which Compose replaces no variable."""
    return text.replace("$", "$$")


def project(plan: Plan) -> str:
    """The name of the Compose project: small letters, digits, `-` and `_`."""
    return f"kcluster-{''.join(c if c.isalnum() or c in '-_' else '-' for c in stack_name(plan).lower())}"


def in_compose(plan: Plan) -> tuple[Process, ...]:
    """The engine processes that Compose runs."""
    return tuple(
        process
        for process in engine_processes(plan)
        if process.serve.serve.runtime.value == "compose" and writable(process.serve) is None
    )


def writable(serve_plan: ServePlan) -> str | None:
    """What stands against containers for a serve, as a clause; None where nothing does."""
    if serve_plan.distribution == "ray":
        return "an engine and its Ray share sockets, memory and processes of one host, which containers keep apart"
    if serve_plan.serve.engine.name.value != "vllm" and serve_plan.serve.engine.image is None:
        return "the image of its engine is not known"
    return None


def settings_file(name: str) -> str:
    """Where a host has the keys of a serve's engines, or of the router whose files are called so."""
    return f"{SETTINGS}/{name}.env"


def volumes(plan: Plan) -> tuple[str, ...]:
    """The named volumes: the cache of models that are fetched."""
    return (CACHE,) if any(local_model(process.serve) is None for process in in_compose(plan)) else ()


def engines(plan: Plan) -> Iterator[tuple[str, Yaml]]:
    """Every engine process by the name of its service."""
    for process in in_compose(plan):
        yield compose_service(process.folder, process.stem), _engine(plan, process)


def _engine(plan: Plan, process: Process) -> dict[str, Yaml]:
    serve_plan = process.serve
    cards = len(process.gpus)
    key = serve_plan.serve.engine.api_key
    settings: dict[str, Yaml] = {
        "path": settings_file(segment(serve_plan.name)),
        "required": key is not None,
    }
    found: dict[str, Yaml] = {
        **_common(process.folder),
        "image": literal(engine_image(serve_plan)),
        "entrypoint": ["bash", literal(f"{MOUNTED}/{process.path}.sh")],
        "env_file": Noted([settings], _settings_reason(key.value.variable if key else None)),
        "volumes": list(_volumes(serve_plan)),
        **_cards(process),
        "shm_size": Noted(math.ceil(shared_memory_of(cards).value), shared_memory_reason(cards)),
        "ulimits": Noted(
            {"memlock": -1, "nofile": 1048576, "stack": 67108864, "core": 0},
            "pinned memory of the cards and of RDMA; sockets of all ranks; no dumps with weights and prompts in",
        ),
        "init": Noted(True, "reaps what the engine's processes leave behind"),
        "stop_grace_period": Noted(
            f"{shutdown_seconds(serve_plan) + STOP_MARGIN_SECONDS}s", "longer than the engine gives running answers"
        ),
        "healthcheck": _health(plan, process),
    }
    if local_model(serve_plan) is None:
        # A script's own export of it, where the spec says one, comes later and holds.
        found["environment"] = {"HF_HOME": Noted(HUB_CACHE, "on the volume, so that it is fetched once")}
    if rdma(serve_plan):
        found["cap_add"] = Noted(["IPC_LOCK"], "RDMA pins memory")
    return found


def _common(folder: str) -> dict[str, Yaml]:
    """What every service has; it runs on the host whose files are in the folder."""
    return {
        "profiles": [compose_profile(folder)],
        "network_mode": Noted(
            "host", "addresses and ports are the host's: those of the plan, and those that NCCL picks"
        ),
        "restart": Noted("unless-stopped", "Docker waits longer after every failure"),
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "logging": Noted(
            {"driver": "json-file", "options": {"max-size": "100m", "max-file": "5"}}, "the disk is not filled"
        ),
    }


def _settings_reason(variable: str | None) -> str:
    return (
        f"{variable}=…, mode 0600, of root; not in this file"
        if variable
        else "HF_TOKEN and the like, where there are any"
    )


def _volumes(serve_plan: ServePlan) -> Iterator[Yaml]:
    yield {"type": "bind", "source": "..", "target": MOUNTED, "read_only": True}
    folder = local_model(serve_plan)
    if folder is None:
        yield {"type": "volume", "source": CACHE, "target": HUB_CACHE}
    else:
        yield {
            "type": "bind",
            "source": literal(folder),
            "target": literal(folder),
            "read_only": True,
            "bind": {"create_host_path": False},
        }


def _cards(process: Process) -> dict[str, Yaml]:
    serve_plan = process.serve
    devices: list[Yaml] = ["/dev/infiniband:/dev/infiniband"] if rdma(serve_plan) else []
    if amd(serve_plan):
        groups: Yaml = Noted(["video", "render"], "who may open the cards")
        return {"devices": ["/dev/kfd:/dev/kfd", "/dev/dri:/dev/dri", *devices], "group_add": groups}
    ids: list[Yaml] = [str(gpu) for gpu in process.gpus]
    reserved: dict[str, Yaml] = {"driver": "nvidia", "device_ids": ids, "capabilities": ["gpu"]}
    cards: Yaml = {"resources": {"reservations": {"devices": [reserved]}}}
    why = "the host's cards; inside, they are numbered from 0"
    found: dict[str, Yaml] = {"deploy": Noted(cards, why)}
    if devices:
        found["devices"] = devices
    return found


def _health(plan: Plan, process: Process) -> Yaml:
    if not process.answers:
        return Noted({"disable": True}, "it only computes: nothing answers here")
    url = server_url(plan, process) + health_path(process.serve.serve.engine.name.value)
    seconds, figure = start_seconds(process.serve)
    return {
        "test": ["CMD", "curl", "--disable", "--noproxy", "*", "-gfsS", "-o", "/dev/null", literal(url)],
        "interval": f"{HEALTH_SECONDS}s",
        "timeout": f"{HEALTH_SECONDS}s",
        "retries": 3,
        "start_period": Noted(
            f"{seconds}s", f"reading the weights, compiling and capturing graphs take up to {human(figure.value, 's')}"
        ),
    }


def routers(plan: Plan) -> Iterator[tuple[str, Yaml]]:
    """Every router by the name of its service."""
    folders = host_folders(plan)
    for front in host_fronts(plan):
        if front_runtime(front) == "compose":
            yield f"router-{front.file_stem}", _router(front, folders[front.host])


_SIGNALS: Final = {"nginx": "SIGQUIT", "haproxy": "SIGUSR1"}
"""The signal that lets running answers finish, where the usual one does not."""


def _router(front: Front, folder: str) -> dict[str, Yaml]:
    stem = front.file_stem
    run = f"/run/kcluster-{stem}"
    keys = [key.variable for key in front.keys]
    found: dict[str, Yaml] = {
        **_common(folder),
        **_image(front),
        "entrypoint": ["bash", literal(f"{MOUNTED}/router/{stem}.sh"), "start"],
        "environment": {"KCLUSTER_RUN_DIR": run},
        "user": "0:0",
        "read_only": True,
        "tmpfs": [f"{run}:mode=0755", "/tmp"],  # noqa: S108 - inside the container
        "volumes": list(_router_volumes(front)),
        "stop_grace_period": Noted(f"{front.timeout + STOP_MARGIN_SECONDS}s", "longer than the longest answer"),
        "ulimits": {"nofile": 1048576, "core": 0},
    }
    if keys:
        settings: dict[str, Yaml] = {"path": settings_file(stem), "required": True}
        found["env_file"] = Noted([settings], _settings_reason(" and ".join(keys)))
    rights: list[Yaml] = [] if front.kind == "haproxy" else ["CHOWN", "SETGID", "SETUID"]
    if front.listen < 1024:
        rights.append("NET_BIND_SERVICE")
    if rights:
        found["cap_add"] = Noted(rights, "a port below 1024, or workers of another user")
    if front.kind in _SIGNALS:
        found["stop_signal"] = Noted(_SIGNALS[front.kind], "running answers finish first")
    return found


def _router_volumes(front: Front) -> Iterator[Yaml]:
    yield {"type": "bind", "source": "..", "target": MOUNTED, "read_only": True}
    for file in (front.tls.certificate.value, front.tls.key.value) if front.tls else ():
        yield {
            "type": "bind",
            "source": literal(file),
            "target": literal(file),
            "read_only": True,
            "bind": {"create_host_path": False},
        }


def router_image(front: Front) -> str:
    """The image of a router."""
    return str(_image(front)["image"])


def _image(front: Front) -> dict[str, Yaml]:
    version = ".".join(str(part) for part in front.version or ())
    if front.kind in IMAGES:
        name, usual = IMAGES[front.kind]
        return {"image": f"{name}:{version or usual}"}
    return {
        "build": Noted(
            {"context": ".", "dockerfile": dockerfile_name(front)},
            "the package beside the NGINX that clients reach; it has no image of its own",
        ),
        "image": f"kcluster-vllm-router:{router_version(front)}",
    }


def router_version(front: Front) -> str:
    """The release of the vLLM Router."""
    return ".".join(str(part) for part in front.version or FLOORS["vllm-router"])


def dockerfile_name(front: Front) -> str:
    """The Dockerfile of a vLLM Router, beside the Compose file."""
    return f"{front.file_stem}.Dockerfile"


def dockerfiles(plan: Plan) -> Iterator[tuple[str, str]]:
    """The Dockerfiles of routers that have no image, by their names."""
    for front in host_fronts(plan):
        if front_runtime(front) == "compose" and front.kind == "vllm-router":
            yield (
                dockerfile_name(front),
                f"FROM {':'.join(IMAGES['nginx'])}\n"
                "RUN apt-get update \\\n"
                "  && apt-get install -y --no-install-recommends curl python3-venv \\\n"
                "  && rm -rf /var/lib/apt/lists/* \\\n"
                "  && python3 -m venv /opt/router \\\n"
                f"  && /opt/router/bin/pip install --no-cache-dir vllm-router=={router_version(front)}\n"
                "ENV PATH=/opt/router/bin:$PATH\n",
            )
