"""The search against brute force, its cost on large clusters, and that it is the same every time."""

from __future__ import annotations

import pytest
from attrs import evolve

from kcluster.physics.cut import Cut, Load
from kcluster.physics.hardware import Cluster, Node
from kcluster.planner.case import Case
from kcluster.planner.judge import Judge
from kcluster.planner.least import Known, Sieve
from kcluster.planner.ranking import does, order
from kcluster.planner.search import fewest, search
from kcluster.planner.types import Candidate
from tests.planner.planner_cases import (
    DEEPSEEK_V3,
    LLAMA_8B,
    LLAMA_70B,
    QWEN_30B,
    bound,
    card,
    case,
    cluster,
    ethernet,
    infiniband,
)

LIGHT = Load(concurrency=4, context=4096, prompt=1024, completion=256)
BUSY = Load(concurrency=48, context=8192, prompt=2048, completion=512)
HEAVY = Load(concurrency=200, context=32768, prompt=8192, completion=1024)


def brute_force(judge: Judge) -> Candidate:
    """Every tp, pp, dp, ep, dcp, replicas and KV format that the cards allow, judged one by one."""
    known = judge.case
    total, layers = known.cluster.gpus, len(known.architecture.layers)
    moe = known.architecture.moe is not None
    found = []
    for kv_format in (known.dtype, "fp8"):
        for tp in range(1, total + 1):
            for pp in range(1, min(layers, total // tp) + 1):
                for dp in range(1, total // (tp * pp) + 1 if moe else 2):
                    for ep in (False, True) if moe and tp * dp > 1 else (False,):
                        if dp > 1 and not ep:
                            continue
                        for dcp in range(1, tp + 1):
                            shape = Cut(tp=tp, pp=pp, dp=dp, ep=ep, dcp=dcp)
                            if judge.barred(shape, kv_format):
                                continue
                            for replicas in range(1, judge.capacity(shape) + 1):
                                found.append(judge.candidate(evolve(shape, replicas=replicas), kv_format))
    return order(known, found)[0]


def unequal() -> Cluster:
    large, small = cluster(1, 4, "rtx-pro-6000"), cluster(1, 2, "rtx-5090")
    network = ethernet(25)
    nodes = (*large.nodes, *small.nodes)
    return Cluster(tuple(Node(f"node{i}", node.cards, node.bus, network) for i, node in enumerate(nodes)))


CASES = {
    "8B on four cards": lambda: case(LLAMA_8B, "bf16", cluster(1, 4, "rtx-4090"), BUSY),
    "8B on two cards, overloaded": lambda: case(LLAMA_8B, "bf16", cluster(1, 2, "rtx-4090"), HEAVY),
    "70B AWQ on six L4": lambda: case(LLAMA_70B, "awq-int4", cluster(1, 6, "l4"), LIGHT),
    "70B fp8 on four 5090 with bounds": lambda: case(
        LLAMA_70B,
        "fp8",
        cluster(1, 4, "rtx-5090"),
        BUSY,
        bounds=(bound("tokens_per_second", ">=", 15), bound("ttft", "<=", 3)),
    ),
    "70B fp8 on two nodes of two": lambda: case(LLAMA_70B, "fp8", cluster(2, 2, "rtx-pro-6000", ethernet(25)), BUSY),
    "70B fp8 on unequal nodes": lambda: case(LLAMA_70B, "fp8", unequal(), LIGHT),
    "a mixture of experts on four H100": lambda: case(
        QWEN_30B, "bf16", cluster(1, 4, "h100"), BUSY, bounds=(bound("itl", "<=", 0.02),)
    ),
    "a mixture of experts that does not fit": lambda: case(QWEN_30B, "bf16", cluster(1, 2, "l4"), LIGHT),
    "latent attention, short of KV": lambda: case(DEEPSEEK_V3, "fp8-block", cluster(1, 8, "h200"), HEAVY),
}


@pytest.mark.parametrize("name", CASES)
def test_the_search_chooses_what_brute_force_chooses(name: str) -> None:
    judge = Judge(CASES[name]())
    chosen = search(judge).candidates[0]
    best = brute_force(judge)
    assert (chosen.cut, chosen.limits) == (best.cut, best.limits)
    sieved = Sieve(CASES[name](), Known()).choice
    serves = does(chosen) and "KC204" not in {found.code for found in chosen.violations}
    assert sieved == (chosen if serves else None), "by what bars early what cannot serve"


def test_the_same_answer_every_time() -> None:
    first = search(Judge(CASES["a mixture of experts on four H100"]())).candidates
    again = search(Judge(CASES["a mixture of experts on four H100"]())).candidates
    assert [(one.cut, one.limits, one.placement) for one in first] == [
        (one.cut, one.limits, one.placement) for one in again
    ]


@pytest.mark.parametrize("model, weights", [(LLAMA_70B, "fp8"), (DEEPSEEK_V3, "fp8-block")])
@pytest.mark.parametrize("concurrency, context", [(64, 8192), (5000, 32768), (100_000, 131_072)])
def test_64_nodes_of_8_with_every_cut_open_cost_few_evaluations(
    model: str, weights: str, concurrency: int, context: int
) -> None:
    load = Load(concurrency, context, context // 4, 1024)
    large = case(
        model,
        weights,
        cluster(64, 8, "h100", infiniband(400, 8)),
        load,
        bounds=(bound("ttft", "<=", 2), bound("tokens_per_second", ">=", 30)),
    )
    judge = Judge(large)
    found = search(judge)
    assert judge.measured <= 120
    assert len(found.candidates) <= 200
    assert found.candidates[0].cut.gpus <= 512


def test_a_large_cluster_chooses_like_a_small_one_where_both_could() -> None:
    """Steps do not change the kind of answer: twice the nodes and twice the load give twice the replicas."""
    load = Load(concurrency=64, context=8192, prompt=2048, completion=512)
    small = search(Judge(case(LLAMA_70B, "fp8", cluster(2, 8, "h100", infiniband(400, 8)), load))).candidates[0]
    twice = evolve(load, concurrency=256)
    large = search(Judge(case(LLAMA_70B, "fp8", cluster(8, 8, "h100", infiniband(400, 8)), twice))).candidates[0]
    assert evolve(large.cut, replicas=1) == evolve(small.cut, replicas=1)
    assert large.cut.replicas == 4 * small.cut.replicas


def test_pinned_numbers_stand_however_bad() -> None:
    known = case(LLAMA_70B, "fp8", cluster(1, 8, "h100"), LIGHT, tp=3, pp=2, replicas=5)
    chosen = search(Judge(known)).candidates[0]
    assert (chosen.cut.tp, chosen.cut.pp, chosen.cut.replicas) == (3, 2, 5)
    codes = {found.code for found in chosen.violations}
    assert {"KC301", "KC303"} <= codes  # 64 heads by 3; 30 cards of 8
    assert chosen.fits == "no"
    assert chosen.memory is not None  # its figures are there all the same


def test_fewer_replicas_that_would_do_are_told() -> None:
    bounds = (bound("tokens_per_second", ">=", 10),)
    known = case(LLAMA_8B, "bf16", cluster(1, 8, "h100"), LIGHT, bounds=bounds, tp=1, pp=1)
    found = search(Judge(known)).candidates
    assert found[0].cut.replicas == 8
    (fewer,) = (one for one in found[1:] if one.limits.kv_format == "bf16")
    assert fewer.cut.replicas == 1
    assert fewer.idle == 7
    assert [violation.code for violation in fewer.violations] == ["KC303"]


def test_a_card_that_is_faster_in_everything_is_used_first() -> None:
    known: Case = case(LLAMA_8B, "fp8", unequal(), LIGHT, replicas=1, tp=1, pp=1)
    chosen = search(Judge(known)).candidates[0]
    place = chosen.placement[0].places[0]
    assert known.cluster.nodes[place.node].cards[place.gpu] == card("rtx-pro-6000")


def test_fewest_is_the_smallest_that_is_enough() -> None:
    assert fewest(1, 100, lambda number: number >= 37) == 37
    assert fewest(1, 100, lambda number: number >= 1) == 1
    assert fewest(1, 10, lambda number: False) is None
