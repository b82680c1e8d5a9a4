"""What every container of an engine is: its image, its cards' vendor, its shared memory, and where its weights come from."""

from __future__ import annotations

from typing import Final

from kcluster.planner.types import ServePlan
from kcluster.targets.layout import model_location
from kcluster.units import Figure

HUB_CACHE: Final = "/var/cache/huggingface"
"""Where a container keeps what it fetches: `HF_HOME` says so, so that it holds for any image and any user in it."""


def engine_image(serve_plan: ServePlan) -> str:
    """The image of the engine, pinned: the one that the spec names, else the engine's own of the planned version."""
    serve = serve_plan.serve
    written = serve.engine.image
    if serve.runtime.value == "kubernetes" and serve.kubernetes is not None and serve.kubernetes.image is not None:
        written = serve.kubernetes.image
    if written is not None:
        return written.value
    number = ".".join(str(part) for part in (*serve.engine.version.value, 0, 0)[:3])
    return f"vllm/vllm-openai{'-rocm' if amd(serve_plan) else ''}:v{number}"


def amd(serve_plan: ServePlan) -> bool:
    """Whether the cards are AMD's."""
    return any(card.vendor.lower() == "amd" for node in serve_plan.serve.cluster.nodes for card in node.cards)


def rdma(serve_plan: ServePlan) -> bool:
    """Whether the nodes of one engine reach each other by RDMA."""
    spans = any(len(engine.nodes) > 1 for engine in serve_plan.chosen.placement)
    return spans and any(node.network and node.network.rdma for node in serve_plan.serve.cluster.nodes)


def shared_memory_of(ranks: int) -> Figure:
    """Bytes of shared memory for so many cards of one engine in one container."""
    from kcluster.physics.startup import shared_memory

    return shared_memory(ranks)


def shared_memory_reason(ranks: int) -> str:
    """Why it is that much."""
    cards = "1 card" if ranks == 1 else f"{ranks} cards"
    return f"the engine's message queues and NCCL's buffers for {cards}; a container has 64 MB unless told otherwise"


def local_model(serve_plan: ServePlan) -> str | None:
    """The folder above the model where it lies on disk (the hardware's `model_path`, or the model itself); None where the
    engine fetches it by name."""
    location = model_location(serve_plan)
    if not location.startswith("/"):
        return None
    folder = serve_plan.serve.hardware.model_path
    return folder.value if folder and location.startswith(folder.value.rstrip("/") + "/") else location
