"""The pods of an engine: their command, environment, probes, cards, volumes and rights."""

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
from kcluster.targets.kubernetes.names import expanded, labels
from kcluster.targets.layout import Process, balance, model_location, processes_of, shutdown_seconds
from kcluster.targets.vllm.arguments import Argument, arguments
from kcluster.targets.vllm.environment import variables
from kcluster.targets.vllm.files import plain
from kcluster.targets.yaml import Noted, Yaml
from kcluster.units import MIB, human
from kcluster.values import frozen

PRE_STOP_SECONDS: Final = 15
"""The endpoint is gone everywhere before the engine is told to stop."""
STOP_MARGIN_SECONDS: Final = 30
PROBE_SECONDS: Final = 10
EVERY_ADDRESS: Final = "0.0.0.0"  # noqa: S104 - those of the pod: the kubelet, the picker and the gateway come from outside
RDMA_RESOURCE: Final = "rdma/ib"
"""As llm-d's guides call it; what the cluster's device plugin offers may have another name."""

_INDEX: Final = "LWS_WORKER_INDEX"
_LEADER: Final = "$(LWS_LEADER_ADDRESS)"
_LEFT_TO_THE_CLUSTER: Final = frozenset(
    {"CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "VLLM_HOST_IP", "NCCL_SOCKET_IFNAME"}
    | {"GLOO_SOCKET_IFNAME"}
)
"""Variables of a host's scripts: here the device plugin gives the cards, and a pod has one interface of its own."""


@frozen
class Shape:
    """How one replica lies over pods: `nodes` pods with `gpus` cards each. `processes` are those of the first replica."""

    nodes: int
    gpus: int
    processes: tuple[Process, ...]


def shape_of(plan: Plan, serve_plan: ServePlan) -> Shape | str:
    """The shape that all replicas share; a clause that says what stands against one where they do not."""
    if serve_plan.distribution == "ray":
        return "Ray spans its nodes, and pods are written for the engine's own way over nodes (vLLM 0.32 and later)"
    if serve_plan.chosen.cut.dp > 1 and balance(serve_plan) == "external":
        return "`balance = external` gives each rank a server of its own, and a pod has one"
    counts = set()
    for engine in serve_plan.chosen.placement:
        counts.add(tuple(sum(place.node == node for place in engine.places) for node in engine.nodes))
    if len(counts) != 1 or len(set(next(iter(counts)))) != 1:
        return "its pods would not have the same number of cards, and all are made from one template"
    (cards,) = counts
    first = tuple(process for process in processes_of(plan, serve_plan) if process.replica == 0)
    return Shape(len(cards), cards[0], first)


def pod(plan: Plan, serve_plan: ServePlan, name: str, process: Process, shape: Shape) -> dict[str, Yaml]:
    """The template of the pods that a process is one of."""
    role = "server" if process.answers else "worker"
    cards = "amd.com/gpu" if amd(serve_plan) else "nvidia.com/gpu"
    selector = serve_plan.serve.kubernetes.node_selector if serve_plan.serve.kubernetes else ()
    spec: dict[str, Yaml] = {
        "automountServiceAccountToken": Noted(False, "the engine asks the cluster for nothing"),
        "enableServiceLinks": Noted(False, "a service called vllm would set VLLM_PORT, which the engine reads"),
        "terminationGracePeriodSeconds": Noted(
            PRE_STOP_SECONDS + shutdown_seconds(serve_plan) + STOP_MARGIN_SECONDS,
            f"{PRE_STOP_SECONDS} s before the stop, {shutdown_seconds(serve_plan)} s for running answers, and a margin",
        ),
    }
    if selector:
        spec["nodeSelector"] = {key.value: value.value for key, value in selector}
    spec["tolerations"] = [{"key": cards, "operator": "Exists", "effect": "NoSchedule"}]
    if shape.nodes == 1 and serve_plan.chosen.cut.replicas > 1:
        spec["topologySpreadConstraints"] = Noted(_spread(name), "replicas on different nodes where there is room")
    spec["securityContext"] = {"seccompProfile": {"type": "RuntimeDefault"}}
    spec["containers"] = [_container(plan, serve_plan, name, process, shape, cards)]
    spec["volumes"] = list(_volumes(serve_plan, shape.gpus))
    return {"metadata": {"labels": {**labels(name, "engine"), "kcluster/role": role}}, "spec": spec}


def _spread(name: str) -> list[Yaml]:
    return [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels(name, "engine")},
        }
    ]


def _container(
    plan: Plan, serve_plan: ServePlan, name: str, process: Process, shape: Shape, cards: str
) -> dict[str, Yaml]:
    limits: dict[str, Yaml] = {
        cards: Noted(shape.gpus, _cards_reason(serve_plan, shape)),
    }
    if rdma(serve_plan):
        limits[RDMA_RESOURCE] = Noted(
            1, "the adapters, as the cluster's RDMA device plugin offers them: its name for them may be another"
        )
    found: dict[str, Yaml] = {
        "name": "engine",
        "image": engine_image(serve_plan),
        **_command(plan, serve_plan, process, shape),
        "env": list(_environment(serve_plan, name, process)),
        "resources": {"limits": limits},
    }
    if process.answers:
        found["ports"] = [{"name": "http", "containerPort": port_of(serve_plan)}]
        found.update(_probes(serve_plan))
    found["lifecycle"] = {
        "preStop": Noted(
            {"exec": {"command": ["sleep", str(PRE_STOP_SECONDS)]}},
            "whoever routes here learns that it ends before it takes no more requests",
        )
    }
    found["securityContext"] = _rights(serve_plan)
    found["volumeMounts"] = list(_mounts(serve_plan))
    return found


def _cards_reason(serve_plan: ServePlan, shape: Shape) -> str:
    cut = serve_plan.chosen.cut
    parts = [f"{key} {size}" for key, size in (("tp", cut.tp), ("pp", cut.pp), ("dp", cut.dp)) if size > 1] or ["tp 1"]
    over = f" over {shape.nodes} pods" if shape.nodes > 1 else ""
    return f"{' × '.join(parts)}{over}"


def port_of(serve_plan: ServePlan) -> int:
    """The port of every server of a serve: each pod has an address of its own."""
    return serve_plan.ports[0].http


def _command(plan: Plan, serve_plan: ServePlan, process: Process, shape: Shape) -> dict[str, Yaml]:
    given = arguments(plan, process)
    words: list[Yaml] = [expanded(_model(given))]
    start_rank = 0
    for argument in given:
        if argument.flag == "--model":
            continue
        if argument.flag == "--data-parallel-start-rank" and process.node_rank:
            start_rank = len(process.ranks)
            continue
        words += _words(_placed(argument, serve_plan, process, shape))
    if not start_rank:
        return {"command": ["vllm", "serve"], "args": words}
    line = f'exec vllm serve "$@" --data-parallel-start-rank=$(({_INDEX} * {start_rank}))'
    command: list[Yaml] = ["/bin/bash", "-c", expanded(line), "vllm"]
    return {
        "command": Noted(command, f"each pod has {start_rank} ranks: its first one follows from its place"),
        "args": words,
    }


def _model(given: tuple[Argument, ...]) -> str:
    model = next(plain(argument.value) for argument in given if argument.flag == "--model")
    return f"./{model}" if model.startswith("-") else model


def _placed(argument: Argument, serve_plan: ServePlan, process: Process, shape: Shape) -> Argument | str:
    """A flag of a host's process as that of a pod; a text is written as it is, for the kubelet to expand."""
    flag = argument.flag
    if flag == "--host":
        return Argument(flag, EVERY_ADDRESS, "the addresses of the pod; the network policy says who reaches them")
    if flag == "--port":
        return Argument(flag, port_of(serve_plan))
    if shape.nodes > 1 and flag == "--node-rank":
        return f"{flag}=$({_INDEX})"
    if shape.nodes > 1 and flag == "--master-addr":
        return f"{flag}={_LEADER}"
    if shape.nodes > 1 and flag == "--data-parallel-address":
        return f"{flag}={'$(POD_IP)' if process.node_rank == 0 else _LEADER}"
    return argument


def _words(given: Argument | str) -> Iterator[Yaml]:
    if isinstance(given, str):
        yield given
    elif given.value is True:
        yield Noted(expanded(given.flag), given.why)
    elif isinstance(given.value, tuple):
        yield Noted(expanded(given.flag), given.why)
        yield from (expanded(plain(item)) for item in given.value)
    else:
        yield Noted(expanded(f"{given.flag}={plain(given.value)}"), given.why)


def _environment(serve_plan: ServePlan, name: str, process: Process) -> Iterator[Yaml]:
    yield {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    written = {key.value for key, _ in serve_plan.serve.engine.env}
    found = [item for item in variables(process) if item.name not in _LEFT_TO_THE_CLUSTER or item.name in written]
    if process.nodes > 1 and "VLLM_HOST_IP" not in written:
        yield Noted(
            {"name": "VLLM_HOST_IP", "value": "$(POD_IP)"}, "the address by which the other pods reach this one"
        )
    for item in found:
        if item.secret:
            secret: Yaml = {"secretKeyRef": {"name": secret_name(name), "key": item.value}}
            yield Noted({"name": item.name, "valueFrom": secret}, item.why)
        else:
            yield Noted({"name": item.name, "value": expanded(item.value)}, item.why)
    if local_model(serve_plan) is None:
        if "HF_HOME" not in written:
            yield Noted({"name": "HF_HOME", "value": HUB_CACHE}, "on the volume of the models, and kept there")
        token: Yaml = {"secretKeyRef": {"name": secret_name(name), "key": "HF_TOKEN", "optional": True}}
        yield Noted({"name": "HF_TOKEN", "valueFrom": token}, "for models that are given to members only")


def secret_name(name: str) -> str:
    """The secret of a serve's objects, which is made by hand."""
    return f"{name}-keys"


def _probes(serve_plan: ServePlan) -> Iterator[tuple[str, Yaml]]:
    from kcluster.targets.hosts.folders import start_seconds

    seconds, figure = start_seconds(serve_plan)
    get: Yaml = {"path": "/health", "port": "http"}
    yield (
        "startupProbe",
        Noted(
            {
                "httpGet": get,
                "periodSeconds": PROBE_SECONDS,
                "timeoutSeconds": 5,
                "failureThreshold": math.ceil(seconds / PROBE_SECONDS),
            },
            f"reading the weights, compiling and capturing graphs take up to {human(figure.value, 's')}",
        ),
    )
    yield (
        "readinessProbe",
        {"httpGet": get, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
    )
    yield (
        "livenessProbe",
        Noted(
            {"httpGet": get, "periodSeconds": PROBE_SECONDS, "timeoutSeconds": 10, "failureThreshold": 6},
            "an engine that is busy with long prompts answers late, and is not dead",
        ),
    )


def _rights(serve_plan: ServePlan) -> Yaml:
    capabilities: dict[str, Yaml] = {"drop": ["ALL"]}
    if rdma(serve_plan):
        capabilities["add"] = Noted(["IPC_LOCK"], "RDMA pins memory")
    return {"allowPrivilegeEscalation": False, "capabilities": capabilities}


def _mounts(serve_plan: ServePlan) -> Iterator[Yaml]:
    yield {"name": "shm", "mountPath": "/dev/shm"}  # noqa: S108 - where the engine looks for it
    folder = local_model(serve_plan)
    if folder is not None:
        yield {"name": "models", "mountPath": folder, "readOnly": True}
    else:
        yield {"name": "models", "mountPath": HUB_CACHE}


def _volumes(serve_plan: ServePlan, gpus: int) -> Iterator[Yaml]:
    size = f"{math.ceil(shared_memory_of(gpus).value / MIB)}Mi"
    yield {
        "name": "shm",
        "emptyDir": {"medium": "Memory", "sizeLimit": Noted(size, shared_memory_reason(gpus))},
    }
    block = serve_plan.serve.kubernetes
    location = model_location(serve_plan)
    if block is not None and block.claim is not None:
        claim: dict[str, Yaml] = {"claimName": block.claim.value}
        if location.startswith("/"):
            claim["readOnly"] = True
        yield {"name": "models", "persistentVolumeClaim": claim}
    else:
        yield {"name": "models", "emptyDir": Noted({}, "no claim: every pod fetches the weights anew at its start")}
