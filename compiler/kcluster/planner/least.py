"""The least hardware on which a serve would do what is asked of it: the dearest question of all, since it asks for a plan on one
amount of hardware after another.

What makes it affordable is that only cuts matter that meet every bound. A sieve leaves out, before memory and times are worked
out, those whose weights are more than a card or whose time alone on its cards is over a bound; both hold on any number of nodes.
"""

from __future__ import annotations

import math
from typing import Final

from kcluster.physics.cut import Cut, KvFormat, Limits, Load
from kcluster.physics.engine import Engine, build_engine
from kcluster.physics.hardware import Cluster, Node
from kcluster.physics.memory import weights_exceed
from kcluster.physics.steps import prompt_time, step_seconds
from kcluster.planner.answers import remembered
from kcluster.planner.case import Case, case_of, released
from kcluster.planner.fitting import Fit
from kcluster.planner.judge import Judge
from kcluster.planner.limits import first_limits
from kcluster.planner.ranking import does, is_warned, order
from kcluster.planner.search import fewest, judged
from kcluster.planner.space import kv_formats
from kcluster.planner.types import Candidate, ServePlan, Violation
from kcluster.spec.types import Bound
from kcluster.values import evolve, frozen

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
    case = released(case_of(serve.serve))
    if not case.cluster.nodes or not case.cluster.nodes[0].cards:
        return None
    first = case.cluster.nodes[0]
    present, cards = len(case.cluster.nodes), len(first.cards)
    sieves: dict[tuple[int, int], Sieve] = {}

    def sieve(nodes: int, size: int) -> Sieve:
        if (nodes, size) not in sieves:
            alike = next((other for (_, its), other in sieves.items() if its == size), None)
            sieves[nodes, size] = Sieve(evolve(case, cluster=_cluster(case, first, nodes, size)), alike)
        return sieves[nodes, size]

    def enough(nodes: int) -> bool:
        return sieve(nodes, cards).serves()

    def found(nodes: int, size: int) -> Hardware:
        choice = sieve(nodes, size).choice()
        assert choice is not None
        return Hardware(nodes, size, choice)

    # What comes first is tried first, the smaller searches before the larger: what is found ends the rest.
    sizes = sorted({cards, *(size for size in (1, 2, 4, MOST_CARDS) if size <= MOST_CARDS)})
    one = next((size for size in sizes if sieve(1, size).serves()), None)
    within = fewest(2, present, enough) if present > 1 and not (one is not None and one <= 2 * cards) else None
    if within is not None and (one is None or within * cards < one):
        return found(within, cards)
    if one is not None:
        return found(1, one)
    least = fewest(present + 1, most_nodes(present), enough) if most_nodes(present) > present else None
    return found(least, cards) if least is not None else None


def most_nodes(present: int) -> int:
    """Up to how many nodes least hardware is looked for where there are so many."""
    return max(present, min(present * MOST_SCALE, MOST_NODES))


def _cluster(case: Case, node: Node, nodes: int, cards: int) -> Cluster:
    """So many nodes of so many cards of a node's first kind; of its own number of cards they are like it in everything."""
    whole = cards == len(node.cards)
    bus = node.bus if whole else evolve(node.bus, groups=(), pairs=())
    held = node.cards if whole else (node.cards[0],) * cards
    like = tuple(Node(f"node{index}", held, bus, node.network) for index in range(nodes))
    return Cluster(like, case.cluster.reserved)


class Sieve(Judge):
    """A judge of one amount of hardware that bars what cannot serve. `alike`: one of another number of such nodes, whose times alone are
    the same."""

    def __init__(self, case: Case, alike: Sieve | None = None) -> None:
        super().__init__(case)
        self._engines: dict[tuple[Cut, int], Engine] = {} if alike is None else alike._engines
        self._slow: dict[tuple[Cut, int], bool] = {} if alike is None else alike._slow
        self._late: dict[tuple[Cut, int, int], bool] = {} if alike is None else alike._late
        self._largest = max(
            (card for node in case.cluster.nodes for card in node.cards), key=lambda one: one.memory.value
        )

    def serves(self) -> bool:
        """Whether the plan on this hardware meets every bound and holds the typical load."""
        doing = []
        for candidate in judged(self, kv_formats(self.case)[0]):
            if does(candidate):
                if not is_warned(candidate):
                    return True  # what a plan prefers to it is as good
                doing.append(candidate)
        return _first(self.case, doing) is not None

    def choice(self) -> Candidate | None:
        """The plan on this hardware; None where it does not serve."""
        return _first(self.case, [one for one in judged(self, kv_formats(self.case)[0]) if does(one)])

    def barred(self, cut: Cut, kv_format: KvFormat) -> Candidate | None:
        known = super().barred(cut, kv_format)
        if known is not None:
            return known
        limits = first_limits(self.case, cut, kv_format, self._largest)
        if self._is_heavy(cut, limits):
            return _refused(cut, limits, "KC201", "pp")
        return _refused(cut, limits, "KC501", "dcp") if self._is_slow(cut, limits) else None

    def asks_times(self, cut: Cut, fit: Fit, found: list[Violation]) -> bool:
        if any(one.fatal or one.error or one.code in ("KC201", "KC202") for one in found):
            return False
        late = self._is_late(cut, fit.limits)
        if late:
            found.append(Violation("KC502", "pp", "", False, error=True))
        return not late

    def _is_heavy(self, cut: Cut, limits: Limits) -> bool:
        """Whether its weights alone are more than the engine's share of a card."""
        case = self.case
        return weights_exceed(
            case.architecture,
            case.weights,
            cut,
            limits,
            self._largest,
            case.memory_constants,
            exact_weight_bytes=case.exact_weight_bytes,
            draft_bytes=case.draft_bytes / cut.tp,
        )

    def _is_slow(self, cut: Cut, limits: Limits) -> bool:
        """Whether a request alone waits too long for each token: what else is in flight makes no step shorter."""
        key = self._key(cut)
        if key is None:
            return False
        if key not in self._slow:
            engine = self._engine(key, limits)
            token = step_seconds(engine, 1.0)[0] / engine.tokens_per_step
            self._slow[key] = any(_over(bound, token, self.case.load) for bound in self.case.bounds)
        return self._slow[key]

    def _is_late(self, cut: Cut, limits: Limits) -> bool:
        """Whether a prompt alone takes longer than a first token may."""
        most = min((bound.value.value for bound in self.case.bounds if bound.name == "ttft"), default=math.inf)
        key = self._key(evolve(cut, replicas=1))
        if key is None or most == math.inf:
            return False
        known = (*key, limits.max_num_batched_tokens)
        if known not in self._late:
            engine = evolve(self._engine(key, limits), limits=limits)
            self._late[known] = prompt_time(engine).value > most * DOUBT
        return self._late[known]

    def _key(self, cut: Cut) -> tuple[Cut, int] | None:
        """The shape of an engine and the nodes that it spans, which is all that its time alone depends on; None without a place."""
        engines = self._placed(cut).engines
        return (cut, len(engines[0].nodes)) if engines else None

    def _engine(self, key: tuple[Cut, int], limits: Limits) -> Engine:
        if key not in self._engines:
            case, cut = self.case, key[0]
            self._engines[key] = build_engine(
                case.architecture,
                case.weights,
                cut,
                limits,
                self._placed(cut).engines[0],
                case.cluster,
                case.load,
                case.engine,
                case.time_constants,
            )
        return self._engines[key]


def _first(case: Case, doing: list[Candidate]) -> Candidate | None:
    """What a plan prefers of candidates that meet every bound, if it holds the typical load."""
    first = order(case, doing)[0] if doing else None
    return None if first is None or any(found.code == "KC204" for found in first.violations) else first


def _over(bound: Bound, token: float, load: Load) -> bool:
    """Whether a bound is missed where each token takes at least so long (seconds)."""
    most = {
        "itl": bound.value.value / token,
        "answer": bound.value.value / (max(1, load.completion) * token),
        "tokens_per_second": 1 / (token * bound.value.value),
        "throughput": load.concurrency / (token * bound.value.value),
    }
    return most.get(bound.name, math.inf) * DOUBT < 1


def _refused(cut: Cut, limits: Limits, code: str, subject: str) -> Candidate:
    return Candidate(cut, limits, (), None, None, None, (Violation(code, subject, "", True),), (), 0)
