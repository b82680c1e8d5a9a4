"""The environment of one engine process, or of the Ray node that its workers live in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.planner.types import ServePlan
from kcluster.targets.engines import KEEP_ALIVE_SECONDS
from kcluster.targets.layout import Process
from kcluster.values import frozen

READY_SINCE: Final = (0, 12)
"""vLLM 0.11.0 does not know `VLLM_ENGINE_READY_TIMEOUT_S` yet (envs.py)."""


@frozen
class Variable:
    """One variable with the reason of its value. With `secret`, its value is that of another variable of the host, known
    here by name only; with `resolve`, the value is a host's name whose address is looked up at start."""

    name: str
    value: str
    why: str = ""
    secret: bool = False
    resolve: bool = False


def engine_env(process: Process) -> tuple[tuple[str, str], ...]:
    """Every variable whose value the plan decides, in order; secrets are not among them."""
    return tuple((item.name, item.value) for item in variables(process) if not item.secret)


def variables(process: Process) -> tuple[Variable, ...]:
    """The environment of a process. What the spec's `env` says takes the place of what is decided here."""
    ray = process.serve.distribution == "ray"
    own = [
        *(() if ray else cards(process.serve, process.gpus)),
        *_network(process.serve, process.host, process.nodes),
        *_own(process),
    ]
    return _overlaid(process.serve, own)


def node_variables(serve_plan: ServePlan, host: str, gpus: tuple[int, ...], nodes: int) -> tuple[Variable, ...]:
    """What a Ray node must have before it starts, since the engine's workers inherit it."""
    own = [*cards(serve_plan, gpus), *_network(serve_plan, host, nodes)]
    return _overlaid(serve_plan, own)


def _overlaid(serve_plan: ServePlan, own: list[Variable]) -> tuple[Variable, ...]:
    found = {item.name: item for item in own}
    for key, value in serve_plan.serve.engine.env:
        found[key.value] = Variable(key.value, value.value, "as the spec says")
    return tuple(found.values())


def cards(serve_plan: ServePlan, gpus: tuple[int, ...]) -> Iterator[Variable]:
    """Which cards a process sees, in rank order. A container is given its cards alone, numbered from 0 (AMD's excepted: it
    sees all of them)."""
    listed = ",".join(str(gpu) for gpu in gpus)
    vendor = serve_plan.serve.cluster.nodes[0].cards[0].vendor.lower() if serve_plan.serve.cluster.gpus else ""
    if vendor == "amd":
        yield Variable("HIP_VISIBLE_DEVICES", listed, "the cards of this process, in rank order")
        return
    if serve_plan.serve.runtime.value == "compose":
        # Docker hands the cards over in the order of their numbers.
        listed = ",".join(str(sorted(gpus).index(gpu)) for gpu in gpus)
    yield Variable("CUDA_DEVICE_ORDER", "PCI_BUS_ID", "cards are numbered as nvidia-smi numbers them")
    yield Variable("CUDA_VISIBLE_DEVICES", listed, "the cards of this process, in rank order")


def _network(serve_plan: ServePlan, host: str, nodes: int) -> Iterator[Variable]:
    if nodes < 2:
        return
    yield Variable(
        "VLLM_HOST_IP", host, "the address by which the other nodes reach this one", resolve=not is_address(host)
    )
    interface = serve_plan.serve.hardware.interface
    if interface:
        yield Variable(
            "NCCL_SOCKET_IFNAME", f"={interface.value}", "exactly this interface (= keeps it from matching others)"
        )
        yield Variable("GLOO_SOCKET_IFNAME", interface.value, "the same for gloo, which takes one name")
    network = serve_plan.serve.cluster.nodes[0].network
    if network is not None and not network.rdma:
        yield Variable("NCCL_IB_DISABLE", "1", "plain Ethernet: NCCL does not look for RDMA")


def _own(process: Process) -> Iterator[Variable]:
    layers = process.serve.chosen.cut.layers
    if layers is not None and process.serve.chosen.cut.pp > 1:
        yield Variable("VLLM_PP_LAYER_PARTITION", ",".join(str(count) for count in layers), "layers of each stage")
    if not process.answers:
        return
    if spanning(process.serve):
        yield Variable("VLLM_RAY_DP_PACK_STRATEGY", "span", "Ray places each rank on several nodes")
    yield Variable(
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE",
        str(KEEP_ALIVE_SECONDS),
        "seconds; longer than the router keeps idle connections",
    )
    if process.serve.serve.engine.version.value >= READY_SINCE:
        yield patience(process.serve)
    key = process.serve.serve.engine.api_key
    if key:
        yield Variable("VLLM_API_KEY", key.value.variable, "the engine reads the key from here", secret=True)


def spanning(serve_plan: ServePlan) -> bool:
    """Whether Ray places data-parallel ranks that one node does not hold."""
    engine = serve_plan.chosen.placement[0]
    wide = any(len({place.node for stage in rank for place in stage}) > 1 for rank in engine.ranks)
    return serve_plan.distribution == "ray" and serve_plan.chosen.cut.dp > 1 and wide


def patience(serve_plan: ServePlan) -> Variable:
    """How long vLLM's server waits for its engine cores: as long as the scripts and units around it do."""
    from kcluster.targets.hosts.folders import start_seconds

    seconds, _ = start_seconds(serve_plan)
    return Variable("VLLM_ENGINE_READY_TIMEOUT_S", str(seconds), "seconds to load; by itself it gives up after 600")


def is_address(host: str) -> bool:
    """Whether a host is written as an IP address rather than a name."""
    from ipaddress import ip_address

    try:
        ip_address(host)
    except ValueError:
        return False
    return True
