"""Which cards an engine sits on.

A tensor-parallel group stays inside one node, and there inside an NVLink pair or a socket where the bus has them; an engine
stays inside one node where it fits, else its stages and ranks are dealt over as few nodes as can carry equal shares (the
engine's own multi-node wants that; Ray does not). A group that no node can hold is spread in equal parts. Stronger cards
are taken first, equal ones in the order of the spec, so that the same cluster gives the same placement everywhere.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from functools import cached_property
from typing import Final

from kcluster.physics.hardware import Card, Cluster, EnginePlacement, Node, Place
from kcluster.values import frozen

Group = tuple[tuple[int, int], ...]
"""(node, gpu) of a tensor-parallel group in rank order."""


@frozen
class Placed:
    """Engines on a cluster, those on the strongest cards first. `kinds` are the indices of engines that differ in the hardware
    under them, each kind once. `even`: every node of an engine carries the same number of its ranks."""

    engines: tuple[EnginePlacement, ...]
    kinds: tuple[int, ...]
    even: bool


class Topology:
    """A cluster prepared for placing: nodes by strength, nodes that are alike, and what was placed before."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._even = _is_even(cluster)
        self._placed: dict[tuple[int, int, int], Placed] = {}

    @cached_property
    def _places(self) -> tuple[tuple[Place, ...], ...]:
        return tuple(
            tuple(Place(node, gpu) for gpu in range(len(machine.cards)))
            for node, machine in enumerate(self.cluster.nodes)
        )

    @cached_property
    def _kind_of_node(self) -> tuple[int, ...]:
        return _kinds_of_nodes(self.cluster.nodes)

    @cached_property
    def _order(self) -> list[int]:
        nodes = self.cluster.nodes
        return sorted(range(len(nodes)), key=lambda index: (*_node_strength(nodes[index]), index))

    @cached_property
    def _mixed(self) -> bool:
        return not self._even and len({card.id for node in self.cluster.nodes for card in node.cards}) > 1

    def place(self, tp: int, pp: int, dp: int) -> Placed:
        """As many engines of this shape as the cluster holds; none where it holds none."""
        key = (tp, pp, dp)
        found = self._placed.get(key)
        if found is None:
            found = self._placed[key] = self._placed_evenly(key) if self._even else self._place(tp, pp, dp)
        return found

    def _placed_evenly(self, shape: tuple[int, int, int]) -> Placed:
        """The same among equal cards of equal nodes, where it is a matter of numbers alone."""
        nodes = self.cluster.nodes
        key = (len(nodes), len(nodes[0].cards), *shape)
        found = _evenly.get(key)
        if found is None:
            found = _evenly.keep(key, self._place(*shape), self.cluster.gpus)
        return found

    def steps(self, placed: Placed) -> tuple[int, ...]:
        """Numbers of engines after which the cards get weaker, and all of them."""
        if not self._mixed:
            return (len(placed.engines),)
        strengths = [self._strength(engine) for engine in placed.engines]
        changes = [number for number in range(1, len(strengths)) if strengths[number] != strengths[number - 1]]
        return (*changes, len(strengths))

    def _strength(self, engine: EnginePlacement) -> tuple[float, float]:
        nodes = self.cluster.nodes
        return max(_card_strength(nodes[place.node].cards[place.gpu]) for place in engine.places)

    def _place(self, tp: int, pp: int, dp: int) -> Placed:
        if tp * pp * dp > self.cluster.gpus:
            return Placed((), (), True)
        inside = self._inside_nodes(tp, pp * dp)
        if inside:
            return self._as_placed(inside, pp, True)
        spanning, even = self._over_nodes(tp, pp * dp)
        return self._as_placed(spanning, pp, even)

    def _inside_nodes(self, tp: int, groups: int) -> list[tuple[Hashable, list[Group]]]:
        patterns: dict[int, list[tuple[Hashable, list[tuple[int, ...]]]]] = {}
        engines: list[tuple[Hashable, list[Group]]] = []
        for index in self._order:
            node, kind = self.cluster.nodes[index], self._kind_of_node[index]
            if kind not in patterns:
                patterns[kind] = [(self._pattern(node, kind, engine), engine) for engine in _pack(node, tp, groups)]
            for signature, engine in patterns[kind]:
                engines.append((signature, [tuple((index, gpu) for gpu in group) for group in engine]))
        return engines

    def _over_nodes(self, tp: int, groups: int) -> tuple[list[tuple[Hashable, list[Group]]], bool]:
        free = {index: list(range(len(self.cluster.nodes[index].cards))) for index in self._order}
        engines: list[tuple[Hashable, list[Group]]] = []
        all_even = True
        while True:
            shares = self._equal_shares(free, tp, groups)
            even = shares is not None
            if shares is None:
                shares = self._greedy_shares(free, tp, groups)
            if shares is not None:
                engine = [self._take(index, free[index], tp) for index, count in shares for _ in range(count)]
            else:
                spread = self._spread(free, tp, groups)
                if spread is None:
                    return engines, all_even
                engine, even = spread
            if not even and engines and all_even:
                return engines, all_even
            all_even = all_even and even
            engines.append((self._signature(engine), engine))

    def _equal_shares(self, free: dict[int, list[int]], tp: int, groups: int) -> list[tuple[int, int]] | None:
        """The fewest nodes that take the same number of whole groups each."""
        for count in range(2, min(groups, len(free)) + 1):
            if groups % count:
                continue
            share = groups // count
            able = [index for index in self._order if len(free[index]) >= share * tp]
            if len(able) >= count:
                return [(index, share) for index in able[:count]]
        return None

    def _greedy_shares(self, free: dict[int, list[int]], tp: int, groups: int) -> list[tuple[int, int]] | None:
        """Whole groups on unequal nodes, the emptiest first."""
        shares = []
        for index in sorted(self._order, key=lambda index: -len(free[index])):
            take = min(groups, len(free[index]) // tp)
            if take:
                shares.append((index, take))
                groups -= take
        return None if groups else shares

    def _spread(self, free: dict[int, list[int]], tp: int, groups: int) -> tuple[list[Group], bool] | None:
        """Groups that reach over nodes, in equal parts where that goes."""
        if sum(len(gpus) for gpus in free.values()) < tp * groups:
            return None
        even = True
        engine: list[Group] = []
        for _ in range(groups):
            parts = self._equal_parts(free, tp)
            if parts is None:
                even = False
                parts, left = [], tp
                for index in sorted(self._order, key=lambda index: -len(free[index])):
                    if left and free[index]:
                        parts.append((index, min(left, len(free[index]))))
                        left -= parts[-1][1]
            engine.append(tuple(place for index, count in parts for place in self._take(index, free[index], count)))
        return engine, even

    def _equal_parts(self, free: dict[int, list[int]], tp: int) -> list[tuple[int, int]] | None:
        for count in range(2, min(tp, len(free)) + 1):
            if tp % count == 0:
                able = [index for index in self._order if len(free[index]) >= tp // count]
                if len(able) >= count:
                    return [(index, tp // count) for index in able[:count]]
        return None

    def _take(self, index: int, free: list[int], count: int) -> Group:
        taken = _pick(self.cluster.nodes[index], free, count)
        for gpu in taken:
            free.remove(gpu)
        return tuple((index, gpu) for gpu in taken)

    def _pattern(self, node: Node, kind: int, engine: Sequence[tuple[int, ...]]) -> Hashable:
        return (kind, tuple(_look(node, group) for group in engine))

    def _signature(self, engine: Sequence[Group]) -> Hashable:
        names: dict[int, int] = {}
        return tuple(
            tuple(
                (
                    names.setdefault(index, len(names)),
                    self._kind_of_node[index],
                    self.cluster.nodes[index].cards[gpu].id,
                )
                for index, gpu in group
            )
            for group in engine
        )

    def _as_placed(self, engines: Sequence[tuple[Hashable, list[Group]]], pp: int, even: bool) -> Placed:
        if self._mixed:
            engines = sorted(engines, key=lambda engine: self._weakest(engine[1]))
        placements = []
        kinds: dict[Hashable, int] = {}
        for number, (signature, groups) in enumerate(engines):
            kinds.setdefault(signature, number)
            ranks = [tuple(self._places[node][gpu] for node, gpu in group) for group in groups]
            placements.append(
                EnginePlacement(tuple(tuple(ranks[start : start + pp]) for start in range(0, len(ranks), pp)))
            )
        return Placed(tuple(placements), tuple(kinds.values()), even)

    def _weakest(self, groups: Sequence[Group]) -> tuple[float, float]:
        return max(_card_strength(self.cluster.nodes[node].cards[gpu]) for group in groups for node, gpu in group)


class _Kept(dict[tuple[int, int, int, int, int], Placed]):
    """Placements by numbers alone: nodes, cards of each, tp, pp, dp."""

    MOST: Final = 50_000
    """Cards of all that are kept: 110 to 430 bytes each, as measured on 32 nodes of 8."""
    cards = 0

    def keep(self, key: tuple[int, int, int, int, int], placed: Placed, cards: int) -> Placed:
        if self.cards > self.MOST:
            self.clear()
            self.cards = 0
        self.cards += cards
        self[key] = placed
        return placed


_evenly: Final = _Kept()


def _is_even(cluster: Cluster) -> bool:
    """Whether all nodes and cards are the same, as those of one line of a spec are, and no bus joins some cards more than others."""
    if not cluster.nodes or not cluster.nodes[0].cards:
        return False
    first = cluster.nodes[0]
    card, bus, cards = first.cards[0], first.bus, len(first.cards)
    if bus.groups or bus.pairs or any(other is not card for other in first.cards):
        return False
    return all(
        node.bus is bus
        and node.network is first.network
        and (node.cards is first.cards or (len(node.cards) == cards and all(other is card for other in node.cards)))
        for node in cluster.nodes
    )


def first_engine(cluster: Cluster, tp: int, pp: int, dp: int) -> EnginePlacement | None:
    """The first engine of this shape on equal nodes, as `Topology.place` has it, without placing the others; None where it finds
    no place."""
    size, groups = len(cluster.nodes[0].cards), pp * dp
    needed = len(cluster.nodes)
    if tp * groups <= size:
        needed = 1
    elif tp <= size:
        shares = (count for count in range(2, groups + 1) if groups % count == 0 and groups // count * tp <= size)
        needed = min(needed, next(shares, needed))
    placed = Topology(Cluster(cluster.nodes[:needed], cluster.reserved)).place(tp, pp, dp)
    return placed.engines[0] if placed.engines else None


def stage_cards(cluster: Cluster, engine: EnginePlacement) -> tuple[Card, ...]:
    """The smallest card of each pipeline stage, over all of the engine's data-parallel ranks."""
    stages = len(engine.ranks[0])
    return tuple(
        min(
            (cluster.nodes[place.node].cards[place.gpu] for ranks in engine.ranks for place in ranks[stage]),
            key=lambda card: (card.memory.value, card.bandwidth.value, card.id),
        )
        for stage in range(stages)
    )


def smallest_card(cluster: Cluster) -> Card:
    """The card with the least memory of the whole cluster."""
    return min((card for node in cluster.nodes for card in node.cards), key=lambda card: (card.memory.value, card.id))


def group_spans_nodes(engine: EnginePlacement) -> bool:
    """Whether a tensor-parallel group reaches over nodes."""
    return any(group[0].node != place.node for ranks in engine.ranks for group in ranks for place in group)


def _kinds_of_nodes(nodes: Sequence[Node]) -> tuple[int, ...]:
    """For each node the first one that is like it in everything but its address."""
    seen: dict[Hashable, int] = {}
    kinds = []
    for index, node in enumerate(nodes):
        facts = (tuple(card.id for card in node.cards), node.bus, node.network)
        kinds.append(seen.setdefault(facts, index))
    return tuple(kinds)


def _node_strength(node: Node) -> tuple[float, float]:
    """Sorts the nodes with the larger and faster weakest card first."""
    if not node.cards:
        return (0.0, 0.0)
    return (-min(card.memory.value for card in node.cards), -min(card.bandwidth.value for card in node.cards))


def _look(node: Node, group: tuple[int, ...]) -> Hashable:
    """What matters of a group's cards: their kinds and which of them share a socket or a bridge."""
    return tuple((node.cards[gpu].id, _block(node.bus.groups, gpu), _block(node.bus.pairs, gpu)) for gpu in group)


def _block(blocks: Sequence[tuple[int, ...]], gpu: int) -> bool | int:
    """The size of the block that holds the card, 0 for none: blocks of one size are alike."""
    return next((len(block) for block in blocks if gpu in block), 0)


def _pack(node: Node, tp: int, groups: int) -> Iterator[list[tuple[int, ...]]]:
    """Engines of `groups` tensor-parallel groups that fit into one node."""
    free = list(range(len(node.cards)))
    while len(free) >= tp * groups:
        engine = []
        for _ in range(groups):
            taken = _pick(node, free, tp)
            free = [gpu for gpu in free if gpu not in taken]
            engine.append(taken)
        yield engine


def _pick(node: Node, free: Sequence[int], count: int) -> tuple[int, ...]:
    """Cards for one group: of one bridge or socket where one has enough (the one with the fewest to spare), of one kind
    where one has enough, the strongest first."""
    for blocks in (node.bus.pairs, node.bus.groups):
        fitting = []
        for block in blocks:
            inside = [gpu for gpu in free if gpu in block]
            if len(inside) >= count:
                fitting.append((len(inside), inside[0], inside))
        if fitting:
            return _alike(node, min(fitting)[2], count)
    return _alike(node, free, count)


def _alike(node: Node, gpus: Sequence[int], count: int) -> tuple[int, ...]:
    kinds: dict[str, list[int]] = {}
    for gpu in gpus:
        kinds.setdefault(node.cards[gpu].id, []).append(gpu)
    if len(kinds) == 1:
        return tuple(gpus[:count])
    strongest = sorted(kinds.values(), key=lambda members: (*_card_strength(node.cards[members[0]]), members[0]))
    for members in strongest:
        if len(members) >= count:
            return tuple(members[:count])
    return tuple([gpu for members in strongest for gpu in members][:count])


def _card_strength(card: Card) -> tuple[float, float]:
    return (-card.memory.value, -card.bandwidth.value)
