"""Whether the cards of a node can be joined by the bus that was written."""

from __future__ import annotations

from typing import Final

from kcluster.diagnostics import Fix
from kcluster.physics.hardware import Card
from kcluster.spec.findings import Findings, replace
from kcluster.spec.hardware_values import BusWritten
from kcluster.spec.types import Value

_NAMES: Final = {"nvlink": "NVLink", "nvlink-bridge": "NVLink", "xgmi": "xGMI"}


def joinable(written: Value[BusWritten], cards: tuple[Value[Card], ...], findings: Findings) -> bool:
    """Report a link that a card of the catalog does not have (KC107), or has in another generation. Of a card that the spec
    describes itself nothing is known."""
    bus = written.value
    name = _NAMES.get(bus.kind)
    for card in dict.fromkeys(value.value for value in cards if value.origin.kind == "catalog"):
        own, generation = card.gpu_link, card.gpu_link_generation
        if name is None or not (own or not generation):
            continue
        help_: tuple[str, ...] = ()
        fixes: tuple[Fix, ...] = ()
        if own is None or _NAMES.get(own) != name:
            message = f"{card.name} has no {name}"
            help_ = ("leave `bus` out, and the card decides",)
        elif bus.kind == "nvlink" and own == "nvlink-bridge":
            message = f"{card.name} has no NVLink between all cards of a node: bridges join two and two"
            help_ = (f"`nvlink-bridge({generation}, pairs = [[0, 1]])`",)
        elif bus.arguments["generation"] != generation:
            message = f"{card.name} has {name} {generation}, not {bus.arguments['generation']}"
            at = next((node for node in bus.node.arguments[:1]), None)
            fixes = (replace(f"write `{generation}`", at.span, str(generation), "unsafe"),) if at is not None else ()
        else:
            continue
        findings.add("KC107", message, written.origin.source, bus.node.span, help=help_, fixes=fixes)
        return False
    return True


def trained(generation: int, lanes: int, cards: tuple[Value[Card], ...]) -> tuple[int, int]:
    """Generation and lanes that a PCIe slot comes to: a link trains to what both of its ends have. Of a card that the spec describes
    itself only the slot is known."""
    known = [card.value for card in cards if card.origin.kind == "catalog"]
    return (
        min([generation, *(card.pcie_generation for card in known)]),
        min([lanes, *(card.pcie_lanes for card in known)]),
    )
