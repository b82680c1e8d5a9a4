"""The least hardware on which a serve would do what is asked of it: the dearest question of all, since it asks for a plan on one
amount of hardware after another.

What makes it affordable is that only cuts matter that meet every bound. A sieve leaves out, before memory and times are worked
out, those whose weights are more than a card or whose time alone on its cards is over a bound; both hold on any number of nodes.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Final

from kcluster.physics.cut import Cut, KvFormat, Limits, Load
from kcluster.physics.engine import Engine
from kcluster.physics.hardware import Cluster, EnginePlacement, Node
from kcluster.physics.steps import prompt_time, step_seconds
from kcluster.planner.answers import remembered
from kcluster.planner.case import Case, case_of, released
from kcluster.planner.fitting import Fit, fewest_cards, is_heavy
from kcluster.planner.judge import FitKey, Judge, expected_met
from kcluster.planner.limits import first_limits
from kcluster.planner.placement import first_engine
from kcluster.planner.ranking import does, is_warned, order
from kcluster.planner.search import fewest, judged
from kcluster.planner.space import kv_formats
from kcluster.planner.types import Candidate, ServePlan, SlaVerdict, Violation
from kcluster.spec.types import Bound
from kcluster.values import define, evolve, field, frozen

MOST_SCALE: Final = 32
"""Least hardware is looked for up to this many times the nodes that there are, and up to `MOST_NODES` of them."""
MOST_NODES: Final = 64
MOST_CARDS: Final = 8
"""Cards that a node is thought to hold at most."""
DOUBT: Final = 1.02
"""A time alone counts as over a bound from here on: the time of a step may fall by a hair as its batch grows, where the
engine takes another all-reduce."""


@frozen
class Hardware:
    """An amount of hardware of the kind that the spec has, and the plan on it."""

    nodes: int
    gpus_per_node: int
    candidate: Candidate

    @property
    def gpus(self) -> int:
        return self.nodes * self.gpus_per_node


@remembered
def least_hardware(serve: ServePlan) -> Hardware | None:
    """The fewest cards of the first node's kind, in whole nodes or as a smaller or fuller node, on which a plan meets every bound
    and holds the typical load; None where even many times the nodes do not. A fuller node comes before more nodes: a network
    and machines around them cost more than a card."""
    own = case_of(serve.serve)
    case = released(own)
    if not case.cluster.nodes or not case.cluster.nodes[0].cards:
        return None
    amounts = _Amounts(case, _hopeless(serve, own, case))
    present, cards = len(case.cluster.nodes), len(case.cluster.nodes[0].cards)
    # What comes first is tried first, the smaller searches before the larger: what is found ends the rest.
    sizes = sorted({cards, *(size for size in (1, 2, 4, MOST_CARDS) if size <= MOST_CARDS)})
    one = next((size for size in sizes if amounts.serving(1, size) is not None), None)
    within = amounts.fewest(2, present, cards) if present > 1 and not (one is not None and one <= 2 * cards) else None
    if within is not None and (one is None or within * cards < one):
        return amounts.hardware(within, cards)
    if one is not None:
        return amounts.hardware(1, one)
    least = amounts.fewest(present + 1, most_nodes(present), cards)
    return amounts.hardware(least, cards) if least is not None else None


class _Amounts:
    """Amounts of the hardware of a case, each asked about once."""

    def __init__(self, case: Case, hopeless: tuple[int, int] | None) -> None:
        self.case = case
        self._hopeless = hopeless
        self._known = Known()
        self._sieves: dict[tuple[int, int], Sieve] = {}

    def sieve(self, nodes: int, cards: int) -> Sieve:
        if (nodes, cards) not in self._sieves:
            cluster = _cluster(self.case, nodes, cards)
            self._sieves[nodes, cards] = Sieve(evolve(self.case, cluster=cluster), self._known)
        return self._sieves[nodes, cards]

    def serving(self, nodes: int, cards: int) -> Cut | None:
        return None if (nodes, cards) == self._hopeless else self.sieve(nodes, cards).serving()

    def fewest(self, low: int, high: int, cards: int) -> int | None:
        """The fewest nodes in [low, high] that serve: a cut that serves on many is followed down to the fewest on which it does, then
        one is looked for that serves on still fewer."""
        least = None
        while high >= low:
            cut = self.serving(high, cards)
            if cut is None:
                break
            follow = fewest(low, high, lambda nodes, cut=cut: self.sieve(nodes, cards).serves(cut))  # type: ignore[misc]
            least = high if follow is None else follow  # on unequal cards some do and all of them do not
            high = least - 1
        while least is not None and self.sieve(least, cards).choice is None:
            least += 1  # a plan of so few nodes stops before it comes to that cut
        return least

    def hardware(self, nodes: int, cards: int) -> Hardware:
        choice = self.sieve(nodes, cards).choice
        assert choice is not None
        return Hardware(nodes, cards, choice)


def _hopeless(serve: ServePlan, own: Case, case: Case) -> tuple[int, int] | None:
    """Nodes and cards of each that there are, where the plan on them has judged every cut that would be judged again and none does."""
    first, *others = case.cluster.nodes
    alike = all((node.cards, node.bus, node.network) == (first.cards, first.bus, first.network) for node in others)
    if own.pins != case.pins or not alike:
        return None
    candidates = (serve.chosen, *(other.candidate for other in serve.alternatives))
    kv_format = kv_formats(case)[0]
    if any(one.limits.kv_format == kv_format and does(one) for one in candidates):
        return None
    return len(case.cluster.nodes), len(first.cards)


def most_nodes(present: int) -> int:
    """Up to how many nodes least hardware is looked for where there are so many."""
    return max(present, min(present * MOST_SCALE, MOST_NODES))


def _cluster(case: Case, nodes: int, cards: int) -> Cluster:
    """So many nodes of so many cards of the first node's first kind; of its own number of cards they are like it in everything."""
    node = case.cluster.nodes[0]
    whole = cards == len(node.cards)
    bus = node.bus if whole else evolve(node.bus, groups=(), pairs=())
    held = node.cards if whole else (node.cards[0],) * cards
    like = tuple(Node(f"node{index}", held, bus, node.network) for index in range(nodes))
    return Cluster(like, case.cluster.reserved)


EngineKey = tuple[Cut, int, int]


@define
class Known:
    """What is known of one engine whatever the amount of hardware: why its cut is barred and its memory; and by the cards of a node
    its times alone, and on how many nodes it did not serve."""

    barred: dict[Cut, Candidate | None] = field(factory=dict)
    fits: dict[FitKey, Fit] = field(factory=dict)
    engines: dict[EngineKey, Engine] = field(factory=dict)
    slow: dict[EngineKey, bool] = field(factory=dict)
    late: dict[tuple[Cut, int, int, int], tuple[bool, bool]] = field(factory=dict)
    failed: dict[tuple[Cut, int], int] = field(factory=dict)


class Sieve(Judge):
    """A judge of one amount of hardware, equal nodes of one kind of card, that bars what cannot serve."""

    def __init__(self, case: Case, known: Known) -> None:
        super().__init__(case, known.fits)
        self._known = known
        node = case.cluster.nodes[0]
        self._nodes = len(case.cluster.nodes)
        self._size = len(node.cards)
        self._largest = max(node.cards, key=lambda card: card.memory.value)
        self._rdma = node.network is not None and node.network.rdma
        self._fewest = fewest_cards(case, self._largest)
        joined_alike = not node.bus.groups and not node.bus.pairs and len({card.id for card in node.cards}) == 1
        self._like = 0 if joined_alike else self._size
        self._first_placed: dict[tuple[int, int, int], EnginePlacement | None] = {}

    def serving(self) -> Cut | None:
        """The cut of one engine that meets every bound and holds the typical load on this hardware; None where none does."""
        if self.case.cluster.gpus < self._fewest:
            return None
        doing = []
        for candidate in judged(self, kv_formats(self.case)[0]):
            if does(candidate):
                if not is_warned(candidate):
                    return evolve(candidate.cut, replicas=1)  # what a plan prefers to it is as good
                doing.append(candidate)
            elif candidate.memory is not None:
                self._fails(evolve(candidate.cut, replicas=1))
        first = _first(self.case, doing)
        return evolve(first.cut, replicas=1) if first is not None else None

    def serves(self, cut: Cut) -> bool:
        """Whether this cut of one engine, as often as it finds place, does."""
        held = self.capacity(cut)
        if not held:
            return False
        found = self.candidate(evolve(cut, replicas=held), kv_formats(self.case)[0])
        if does(found) and not _is_short(found):
            return True
        self._fails(cut)
        return False

    def _fails(self, cut: Cut) -> None:
        self._known.failed[cut, self._size] = max(self._nodes, self._known.failed.get((cut, self._size), 0))

    @cached_property
    def choice(self) -> Candidate | None:
        """The plan on this hardware; None where it does not serve."""
        return _first(self.case, [one for one in judged(self, kv_formats(self.case)[0]) if does(one)])

    def barred(self, cut: Cut, kv_format: KvFormat) -> Candidate | None:
        if cut.engine_gpus < self._fewest:
            return _HEAVY
        known = self._known.barred
        if cut not in known:
            limits = first_limits(self.case, cut, kv_format, self._largest)
            known[cut] = (
                _HEAVY if is_heavy(self.case, cut, limits, (self._largest,)) else super().barred(cut, kv_format)
            )
        if known[cut] is not None:
            return known[cut]
        # With the most replicas that there could be, limits are those of the fewest requests, and the chunk of a prompt the smallest.
        most = max(1, self._nodes * self._size // cut.engine_gpus)
        limits = first_limits(self.case, evolve(cut, replicas=most), kv_format, self._largest)
        if cut.tp > self._size and not self._rdma:
            return _SPREAD
        if self._is_slow(cut, limits):
            return _SLOW
        return _SLOW if self._late(cut, limits)[1] else None

    def asks_times(self, cut: Cut, fit: Fit, found: list[Violation]) -> bool:
        if any(one.fatal or one.error or one.code in ("KC201", "KC202") for one in found):
            return False
        shape = evolve(cut, replicas=1)
        failed = self._known.failed.get((shape, self._size), 0) >= self._nodes
        late = failed or self._late(shape, fit.limits)[0]
        if late:
            found.append(Violation("KC502", "time", "", False, error=True))
        return not late

    def _is_slow(self, cut: Cut, limits: Limits) -> bool:
        """Whether a request alone waits too long for each token: what else is in flight makes no step shorter."""
        key = self._key(cut)
        if key is None:
            return False
        if key not in self._known.slow:
            engine = self._engine(key, limits)
            token = step_seconds(engine, 1.0)[0] / engine.tokens_per_step
            self._known.slow[key] = any(_over(bound, token, self.case.load) for bound in self.case.bounds)
        return self._known.slow[key]

    def _late(self, cut: Cut, limits: Limits) -> tuple[bool, bool]:
        """Whether a prompt alone takes longer than a first token may, and whether it would with any number of stages: the first of
        its chunks goes through all of them."""
        most = min((bound.value.value for bound in self.case.bounds if bound.name == "ttft"), default=math.inf) * DOUBT
        key = self._key(cut)
        if key is None or most == math.inf:
            return False, False
        known = (*key, limits.max_num_batched_tokens)
        if known not in self._known.late:
            whole = prompt_time(evolve(self._engine(key, limits), limits=limits))
            through = next(figure.value for name, figure in whole.inputs if name == "through")
            self._known.late[known] = whole.value > most, through > most
        return self._known.late[known]

    def asks_links(self, verdicts: tuple[SlaVerdict, ...]) -> bool:
        return all(expected_met(verdict) for verdict in verdicts)

    def built(self, cut: Cut, index: int, engine: EnginePlacement, limits: Limits) -> Engine:
        key = self._key(evolve(cut, replicas=1))
        if key is None or index:
            return super().built(cut, index, engine, limits)
        return evolve(self._engine(key, limits), limits=limits)

    def _key(self, cut: Cut) -> EngineKey | None:
        """All that an engine's time alone depends on: its shape, the cards of a node (within one that joins all of them alike, no
        matter how many), and over how many nodes it is spread; None without a place."""
        if cut.engine_gpus <= self._size:
            return (cut, self._like, 1)
        engine = self._engine_placed(cut)
        return (cut, self._size, len(engine.nodes)) if engine is not None else None

    def _engine_placed(self, cut: Cut) -> EnginePlacement | None:
        key = (cut.tp, cut.pp, cut.dp)
        if key not in self._first_placed:
            self._first_placed[key] = first_engine(self.case.cluster, *key)
        return self._first_placed[key]

    def _engine(self, key: EngineKey, limits: Limits) -> Engine:
        if key not in self._known.engines:
            placed = self._engine_placed(key[0])
            assert placed is not None
            self._known.engines[key] = super().built(key[0], 0, placed, limits)
        return self._known.engines[key]


def _first(case: Case, doing: list[Candidate]) -> Candidate | None:
    """What a plan prefers of candidates that meet every bound, if it holds the typical load."""
    first = order(case, doing)[0] if doing else None
    return None if first is None or _is_short(first) else first


def _is_short(candidate: Candidate) -> bool:
    return any(found.code == "KC204" for found in candidate.violations)


def _over(bound: Bound, token: float, load: Load) -> bool:
    """Whether a bound is missed where each token takes at least so long (seconds)."""
    most = {
        "itl": bound.value.value / token,
        "answer": bound.value.value / (max(1, load.completion) * token),
        "tokens_per_second": 1 / (token * bound.value.value),
        "throughput": load.concurrency / (token * bound.value.value),
    }
    return most.get(bound.name, math.inf) * DOUBT < 1


def _refused(code: str, subject: str) -> Candidate:
    """A candidate that stands for all that are barred for a reason."""
    limits = Limits(1, 1, 1, "bf16", 0.0)
    return Candidate(Cut(), limits, (), None, None, None, (Violation(code, subject, "", True),), (), 0)


_HEAVY: Final = _refused("KC201", "pp")
_SPREAD: Final = _refused("KC401", "tp")
_SLOW: Final = _refused("KC501", "time")
