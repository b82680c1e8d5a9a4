"""Cards by name: `gpu` blocks of the spec first, then the project's catalog, then the built-in one."""

from __future__ import annotations

from typing import Final, Literal, cast

from kcluster.catalog.gpus import find_gpu
from kcluster.diagnostics.wording import listed, shown, suggestions
from kcluster.physics.hardware import BusKind, Card
from kcluster.source import Source
from kcluster.spec.findings import Findings, replace
from kcluster.spec.hardware_values import BusWritten, CardsWritten
from kcluster.spec.own_catalog import OwnCatalog
from kcluster.spec.reader import Fields
from kcluster.spec.types import Origin, Value
from kcluster.units import Figure, given
from kcluster.values import define, field

MAX_NODES_IN_ALL: Final = 16384
"""Nodes of all hardware of a spec together: each becomes a value of its own."""

_DEFAULT_GENERATION: Final = 4
_DEFAULT_LANES: Final = 16


@define(eq=False)
class CardShelf:
    """The spec's own cards, and which of them were asked for. `broken`: names of `gpu` blocks that could not be built; `catalog`:
    the project's."""

    catalog: OwnCatalog
    own: dict[str, tuple[Card, Fields]] = field(factory=dict)
    broken: set[str] = field(factory=set)
    used: set[str] = field(factory=set)
    nodes: int = 0
    """Nodes that were built so far."""

    def take_nodes(self, count: int) -> bool:
        """Count further nodes; False where that would be too many for one spec."""
        if self.nodes + count > MAX_NODES_IN_ALL:
            return False
        self.nodes += count
        return True

    def find(self, cards: CardsWritten, source: Source, findings: Findings) -> Value[Card] | None:
        """The card of a name; None after a finding (KC107), or without one where its `gpu` block has findings of its own."""
        span = cards.node.span
        if cards.name in self.own or cards.name in self.broken:
            self.used.add(cards.name)
            if cards.name in self.broken:
                return None
            card, fields = self.own[cards.name]
            note = f"the `gpu` block `{cards.name}` of {fields.source.path}"
            return Value(card, Origin("spec", source, span, note))
        of_project = self.catalog.card(cards.name)
        if of_project is not None:
            return Value(of_project, Origin("catalog", source, span, self.catalog.note("gpus")))
        match = find_gpu(cards.name)
        if match is not None:
            note = f"{match.note}; {match.source}" if match.note else match.source
            return Value(match.card, Origin("catalog", source, span, note))
        if self.catalog.explains("gpus", cards.name):
            return None
        from kcluster.catalog.gpus import nearest_gpus

        near: tuple[str, ...] = ()
        if not findings.many:
            near = tuple(dict.fromkeys((*suggestions(cards.name, tuple(self.own)), *nearest_gpus(cards.name))))[:3]
        help_ = [f"did you mean {listed(near)}?"] if near else []
        help_.append("a `gpu` block, or a row of `catalog/gpus.toml`, describes a card that the catalog lacks")
        message = f"the catalog has no GPU `{shown(cards.name)}`"
        # Another card: names differ by a digit.
        fixes = (replace(f"write `{near[0]}`", span, near[0], "unsafe"),) if len(near) == 1 else ()
        findings.add("KC107", message, source, span, help=tuple(help_), fixes=fixes)
        return None


def build_card(fields: Fields) -> Card | None:
    """The card of a `gpu` block; None where something that it needs is missing or wrong (which the reader reported)."""
    if any(fields.get(row.name) is None for row in fields.schema.attributes if row.required):
        return None
    source = f"{fields.source.path}, `gpu {fields.name}`"
    capability = fields.value("compute_capability")
    bus: BusWritten | None = fields.value("bus")
    kind = cast("BusKind", bus.kind) if bus is not None else "pcie"
    arguments = bus.arguments if bus is not None else {}
    forms: dict[BusKind, Literal["pcie", "sxm", "oam"]] = {"nvlink": "sxm", "xgmi": "oam"}
    own_link = kind != "pcie"
    rates = [(name, fields.value(name)) for name in ("bf16", "fp8", "fp4")]
    flops = tuple((name, _figure(f"card.flops.{name}", rate, source)) for name, rate in rates if rate is not None)
    return Card(
        id=fields.name,
        name=fields.name,
        vendor="nvidia" if capability is not None else "amd" if kind == "xgmi" else "unknown",
        memory=given("card.memory", fields.value("memory"), "bytes", source),
        bandwidth=given("card.bandwidth", fields.value("bandwidth"), "bytes/s", source),
        flops=flops,
        compute_capability=capability,
        form=forms.get(kind, "pcie"),
        pcie_generation=arguments.get("generation", _DEFAULT_GENERATION) if not own_link else 5,
        pcie_lanes=arguments.get("lanes", _DEFAULT_LANES),
        gpu_link=kind if own_link else None,
        gpu_link_generation=arguments.get("generation", 0) if own_link else 0,
        gpu_link_bandwidth=None,
        gpu_link_switched=kind in ("nvlink", "xgmi"),
        peer_to_peer=arguments.get("p2p", own_link),
        consumer=False,
        notes=f"described by the `gpu` block of {fields.source.path}",
    )


def _figure(name: str, value: float, source: str) -> Figure:
    return given(name, value, "flop/s", source)
