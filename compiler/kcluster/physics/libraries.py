"""What libraries hold of a card beside torch's own memory: contexts and workspaces, and the buffers of collectives."""

from __future__ import annotations

import math

from kcluster.physics.cut import Cut, EngineVersion
from kcluster.physics.hardware import Card
from kcluster.physics.kv import since
from kcluster.physics.memory_terms import (
    LIBRARIES_GREW_SINCE,
    MULTICAST_GREW_SINCE,
    MemoryConstants,
    added,
    scaled,
)
from kcluster.units import Figure


def non_torch(cut: Cut, card: Card, engine: EngineVersion, constants: MemoryConstants) -> Figure:
    """Bytes on each GPU: the base at tp 1, and the buffers of collectives by tp, link and version."""
    parts = {"base": scaled("memory.non_torch.base", "constant", _base(card, engine, constants))}
    if cut.tp > 1:
        parts.update(_communicators(cut.tp, card, engine, constants))
    return added("memory.non_torch", parts)


def _base(card: Card, engine: EngineVersion, constants: MemoryConstants) -> Figure:
    if card.vendor == "amd":
        return constants.base_rocm
    return constants.base_cuda_grown if since(engine, LIBRARIES_GREW_SINCE) else constants.base_cuda


def multicast(card: Card) -> bool:
    """Whether collectives are added up in the switch: Hopper and later on NVSwitch (NCCL's NVLS, symmetric memory)."""
    return (
        card.gpu_link == "nvlink"
        and card.gpu_link_switched
        and card.compute_capability is not None
        and (9, 0) <= card.compute_capability < (12, 0)
    )


def _communicators(tp: int, card: Card, engine: EngineVersion, constants: MemoryConstants) -> dict[str, Figure]:
    doublings = math.log2(tp)
    if card.vendor == "amd" or not multicast(card):
        constant = constants.communicator_rocm if card.vendor == "amd" else constants.communicator_plain
        return {"communicators": scaled("memory.communicators", "constant * doublings", constant, doublings=doublings)}
    grown = since(engine, MULTICAST_GREW_SINCE)
    pair = constants.communicator_multicast_grown if grown else constants.communicator_multicast
    parts = {"communicators": scaled("memory.communicators", "constant", pair)}
    if tp > 2:
        parts["more"] = scaled(
            "memory.communicators.more",
            "constant * (doublings - 1)",
            constants.communicator_step,
            doublings=doublings,
        )
    return parts
