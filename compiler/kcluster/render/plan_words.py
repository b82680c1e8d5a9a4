"""How a plan's parts read: cuts, cards, tokens, verdicts. Shared by everything that shows a plan to a person."""

from __future__ import annotations

from typing import Final

from kcluster.physics.cut import ENGINE_NAMES, Cut
from kcluster.physics.topology import bus_words, network_words
from kcluster.planner.types import Candidate, ServePlan
from kcluster.units import Figure, Unit, human

UNITS: Final[dict[str, Unit]] = {
    "tokens_per_second": "tokens/s",
    "ttft": "s",
    "itl": "s",
    "answer": "s",
    "throughput": "tokens/s",
}


def counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def shape(cut: Cut) -> str:
    """One engine's cut: `tp 4 × pp 2`, with what else it has."""
    parts = [f"{name} {size}" for name, size in (("tp", cut.tp), ("pp", cut.pp), ("dp", cut.dp)) if size > 1]
    text = " × ".join(parts) or "tp 1"
    if cut.ep_size > 1:
        text += f", experts over {cut.ep_size}"
    if cut.dcp > 1:
        text += f", dcp {cut.dcp}"
    return text


def cut_words(candidate: Candidate) -> str:
    """`2 replicas of tp 4`, with the KV format where it is not 16 bits."""
    words = f"{counted(candidate.cut.replicas, 'replica', 'replicas')} of {shape(candidate.cut)}"
    if candidate.limits.kv_format not in ("bf16", "fp16"):
        words += f", {candidate.limits.kv_format} KV"
    return words


def tokens(number: int) -> str:
    """A token count as engines write it: 8,192 is 8K; what is no multiple of 1,024 stays whole."""
    return f"{number // 1024:,}K" if number >= 1024 and number % 1024 == 0 else f"{number:,}"


def card_name(name: str) -> str:
    """A card's name without the brand in front."""
    return name.removeprefix("NVIDIA ").removeprefix("GeForce ")


def cards_words(serve: ServePlan) -> str:
    """`4 × RTX 5090 (PCIe 5 x16, host-staged)`, and the network where there are several nodes."""
    nodes = serve.serve.cluster.nodes
    counts: dict[str, int] = {}
    for node in nodes:
        for card in node.cards:
            counts[card_name(card.name)] = counts.get(card_name(card.name), 0) + 1
    per_node = {(len(node.cards), node.cards[0].name if node.cards else "") for node in nodes}
    if len(nodes) > 1 and len(counts) == 1 and len(per_node) == 1:
        name = next(iter(counts))
        text = f"{len(nodes)} × {len(nodes[0].cards)} × {name}"
    else:
        text = " + ".join(f"{count} × {name}" for name, count in counts.items())
    links = [bus_words(nodes[0].bus, nodes[0].bus.shared_lanes)] if nodes and len(nodes[0].cards) > 1 else []
    if len(nodes) > 1 and nodes[0].network is not None:
        links.append(network_words(nodes[0].network))
    return f"{text} ({'; '.join(links)})" if links else text


def model_words(serve: ServePlan) -> str:
    """The model's id without its owner, and its weight format."""
    model = serve.serve.model
    return f"{model.id.value.rpartition('/')[2]} {model.weights.value.name}"


def engine_words(serve: ServePlan) -> str:
    engine = serve.serve.engine
    return f"{ENGINE_NAMES[engine.name.value]} {'.'.join(str(part) for part in engine.version.value)}"


def ranged(figure: Figure) -> str:
    """`29 tok/s (22–38)`; without a range where the figure is exact."""
    value = human(figure.value, figure.unit)
    low, high = figure.range()
    if low == high:
        return value
    first, last = human(low, figure.unit), human(high, figure.unit)
    unit = value.rpartition(" ")[2]
    if first.rpartition(" ")[2] == unit == last.rpartition(" ")[2]:
        first, last = first.rpartition(" ")[0], last.rpartition(" ")[0]
    return f"{value} ({first}–{last})"


def gib(figure: Figure) -> str:
    return f"{figure.value / 2**30:.1f}"
