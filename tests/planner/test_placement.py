"""Which cards an engine gets."""

from __future__ import annotations

import pytest
from attrs import evolve

from kcluster.physics.hardware import Cluster, EnginePlacement, Node
from kcluster.planner.placement import Topology, group_spans_nodes, stage_cards
from tests.planner.planner_cases import cluster, ethernet


def shown(engine: EnginePlacement) -> list[list[list[str]]]:
    """`node.gpu` by data-parallel rank and stage."""
    return [[[f"{place.node}.{place.gpu}" for place in group] for group in rank] for rank in engine.ranks]


def test_replicas_fill_one_node_after_the_other() -> None:
    placed = Topology(cluster(2, 4, "l4")).place(2, 1, 1)
    assert [shown(engine) for engine in placed.engines] == [
        [[["0.0", "0.1"]]],
        [[["0.2", "0.3"]]],
        [[["1.0", "1.1"]]],
        [[["1.2", "1.3"]]],
    ]
    assert placed.kinds == (0,)


def test_groups_stay_in_a_socket() -> None:
    """tp 3 on two sockets of four: 0–2 and 4–6, never across; the cards left over (3 and 7) make no third group."""
    machines = cluster(1, 8, "l4", kind="pcie", generation=4, lanes=16, groups=((0, 1, 2, 3), (4, 5, 6, 7)))
    placed = Topology(machines).place(3, 1, 1)
    assert [shown(engine)[0][0] for engine in placed.engines] == [["0.0", "0.1", "0.2"], ["0.4", "0.5", "0.6"]]


def test_a_pair_stays_on_its_bridge() -> None:
    machines = cluster(1, 4, "rtx-3090", kind="nvlink-bridge", generation=3, lanes=16, pairs=((0, 2), (1, 3)))
    placed = Topology(machines).place(2, 1, 1)
    assert [shown(engine)[0][0] for engine in placed.engines] == [["0.0", "0.2"], ["0.1", "0.3"]]


def test_stages_go_over_as_few_nodes_as_carry_equal_shares() -> None:
    """Six groups of two on nodes of four: 3 nodes × 2 groups; the fourth node stays free."""
    placed = Topology(cluster(4, 4, "l4", ethernet(10))).place(2, 6, 1)
    assert [shown(engine) for engine in placed.engines] == [
        [[["0.0", "0.1"], ["0.2", "0.3"], ["1.0", "1.1"], ["1.2", "1.3"], ["2.0", "2.1"], ["2.2", "2.3"]]]
    ]
    assert placed.even


def test_unequal_nodes_make_an_uneven_engine() -> None:
    """Five stages on nodes of three and two: no equal shares, so the larger node takes three (only Ray starts that)."""
    three, two = cluster(1, 3, "l4").nodes[0], cluster(1, 2, "l4").nodes[0]
    placed = Topology(Cluster((two, three))).place(1, 5, 1)
    assert [shown(engine) for engine in placed.engines] == [[[["1.0"], ["1.1"], ["1.2"], ["0.0"], ["0.1"]]]]
    assert not placed.even


def test_a_group_larger_than_a_node_is_split_in_equal_parts() -> None:
    placed = Topology(cluster(2, 4, "l4", ethernet(10))).place(8, 1, 1)
    (engine,) = placed.engines
    assert group_spans_nodes(engine)
    assert shown(engine) == [[["0.0", "0.1", "0.2", "0.3", "1.0", "1.1", "1.2", "1.3"]]]


def test_data_parallel_ranks_fill_nodes_in_order() -> None:
    placed = Topology(cluster(2, 4, "h100", ethernet(100))).place(2, 1, 4)
    assert shown(placed.engines[0]) == [[["0.0", "0.1"]], [["0.2", "0.3"]], [["1.0", "1.1"]], [["1.2", "1.3"]]]


def test_the_stronger_cards_first_and_like_with_like() -> None:
    small, large = cluster(1, 2, "rtx-4090").nodes[0], cluster(1, 2, "rtx-5090").nodes[0]
    mixed = Node("node0", (small.cards[0], large.cards[0], small.cards[1], large.cards[1]), small.bus, None)
    topology = Topology(Cluster((mixed,)))
    placed = topology.place(2, 1, 1)
    assert [shown(engine)[0][0] for engine in placed.engines] == [["0.1", "0.3"], ["0.0", "0.2"]]
    assert placed.kinds == (0, 1)
    assert topology.steps(placed) == (1, 2)


def test_the_smallest_card_of_each_stage() -> None:
    small, large = cluster(1, 1, "rtx-4090").nodes[0], cluster(1, 1, "rtx-5090").nodes[0]
    machines = Cluster((large, small))
    (engine,) = Topology(machines).place(1, 2, 1).engines
    assert [item.id for item in stage_cards(machines, engine)] == ["rtx-5090", "rtx-4090"]


def test_no_place_for_what_is_larger_than_everything() -> None:
    topology = Topology(cluster(2, 2, "l4"))
    assert topology.place(5, 1, 1).engines == ()
    assert topology.place(1, 10**9, 10**9).engines == ()


def test_nodes_that_differ_in_their_address_only_are_alike() -> None:
    machines = cluster(3, 2, "l4")
    renamed = Cluster(tuple(evolve(node, host=f"10.0.0.{i}") for i, node in enumerate(machines.nodes)))
    assert Topology(renamed).place(2, 1, 1).kinds == (0,)


@pytest.mark.parametrize("nodes, cards", [(1, 1), (1, 4), (3, 2), (4, 8)])
def test_equal_nodes_are_placed_as_one_by_one(nodes: int, cards: int) -> None:
    """What is kept of equal cards on equal nodes, whatever they are, against a cluster of which nobody sees that they are equal."""
    machines = cluster(nodes, cards, "l4")
    apart = Cluster(tuple(evolve(node, cards=tuple(evolve(card) for card in node.cards)) for node in machines.nodes))
    for shape in [(1, 1, 1), (2, 1, 1), (2, 2, 1), (3, 1, 1), (1, 3, 1), (4, 1, 2), (8, 2, 1), (16, 1, 1)]:
        assert Topology(machines).place(*shape) == Topology(apart).place(*shape), shape
        assert Topology(cluster(nodes, cards, "h100")).place(*shape) == Topology(machines).place(*shape), shape
