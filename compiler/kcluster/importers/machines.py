"""The machines that launches run on, as far as they or the caller say."""

from __future__ import annotations

import re
from typing import Final

from kcluster.catalog.gpus import find_gpu
from kcluster.importers.simulators import NODE
from kcluster.importers.words import Launch, count_of
from kcluster.importers.writing import Line, Writer, quote
from kcluster.physics.hardware import Card
from kcluster.values import frozen

_WORD: Final = re.compile(r"[a-z_][a-z0-9_.-]*")


@frozen
class Hardware:
    """What a command cannot say: cards as the language writes them (`4 * rtx-5090`, or a name alone), bus, network, nodes, their
    addresses, the port of a router in front (0 for none), and the card itself where the project's catalog has it."""

    gpus: str = ""
    bus: str = ""
    network: str = ""
    nodes: int = 0
    hosts: tuple[str, ...] = ()
    listen: int = 0
    card: Card | None = None

    @property
    def name(self) -> str:
        """The card's name alone."""
        return self.gpus.rpartition("*")[2].strip().strip('"')


def card_of(hardware: Hardware) -> Card | None:
    """The card: the project's of that name, else the built-in one; None where neither has it."""
    found = find_gpu(hardware.name) if hardware.card is None and hardware.name else None
    return found.card if found is not None else hardware.card


def degree(launch: Launch, flag: str) -> int:
    """A degree of parallelism, 1 where it is not given or not known."""
    setting = launch.setting(flag)
    return (count_of(setting.text) if setting is not None else None) or 1


def world(launch: Launch) -> int:
    """Cards that a launch needs: tp × pp × dp."""
    return (
        degree(launch, "--tensor-parallel-size")
        * degree(launch, "--pipeline-parallel-size")
        * degree(launch, "--data-parallel-size")
    )


def write_hardware(writer: Writer, launches: tuple[Launch, ...], hardware: Hardware) -> None:
    """The machines that launches need, with what the caller knows of them; several servers of one text share one machine."""
    nodes = hardware.nodes or len(hardware.hosts) or max(max(degree(one, "--nnodes") for one in launches), 1)
    total = max(max(one.cards if one.gpus else 0, world(one) * one.replicas if one.gpus else 0) for one in launches)
    if total > NODE and not hardware.nodes and not hardware.gpus:
        nodes = max(nodes, -(-total // NODE))
    seen = max(max((max(one.indices, default=-1) + 1 if len(launches) > 1 else one.cards) for one in launches), 0)
    needed = sum(max(one.cards, world(one) * one.replicas) for one in launches)
    count = -(-seen // nodes) if total else seen
    count = count or -(-needed // nodes)
    lines = [Line("nodes", str(nodes))] if nodes > 1 else []
    gpus = hardware.gpus or _card(launches)
    if not gpus:
        writer.comments([f'the command does not say which cards: give them with --gpus "{count} * NAME"'])
    else:
        lines.append(Line("gpus", gpus if "*" in gpus or not _WORD.fullmatch(gpus) else f"{count} * {gpus}"))
    lines += [Line("bus", hardware.bus)] if hardware.bus else []
    lines += [Line("network", hardware.network)] if hardware.network else []
    lines += [Line("hosts", f"[{', '.join(map(quote, hardware.hosts))}]")] if hardware.hosts else []
    writer.block(("hardware", "machine"), "hardware machine", lines)


def _card(launches: tuple[Launch, ...]) -> str:
    """The card that a description names, as the catalog writes it where it knows it."""
    named = next((one.gpus for one in launches if one.gpus), "")
    found = find_gpu(named.replace("_", "-")) if named else None
    return found.id if found is not None else re.sub(r"[^a-z0-9.-]+", "-", named.lower()).strip("-")
