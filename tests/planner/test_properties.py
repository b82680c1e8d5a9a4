"""What must hold for every case: better hardware is never worse, more memory never holds less."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from kcluster.physics.cut import Cut, Load
from kcluster.physics.hardware import Card, Cluster
from kcluster.planner.case import Case
from kcluster.planner.judge import Judge
from kcluster.planner.search import search
from kcluster.units import GIB, Figure
from tests.planner.planner_cases import LLAMA_8B, LLAMA_70B, QWEN_30B, case, cluster, ethernet

MODELS = ((LLAMA_8B, "bf16"), (LLAMA_70B, "fp8"), (LLAMA_70B, "awq-int4"), (QWEN_30B, "bf16"))
LOADS = st.builds(
    lambda concurrency, prompt, completion: Load(concurrency, prompt + completion, prompt, completion),
    st.integers(1, 64),
    st.integers(64, 8192),
    st.integers(16, 1024),
)
CUTS = st.sampled_from([Cut(), Cut(tp=2), Cut(tp=4), Cut(pp=2), Cut(tp=2, pp=2), Cut(replicas=2, tp=2)])


def times(figure: Figure, factor: float) -> Figure:
    low, high = figure.range()
    return Figure(figure.name, figure.value * factor, figure.unit, low=low * factor, high=high * factor)


def with_cards(machines: Cluster, **changes: object) -> Cluster:
    """The same machines with other cards."""

    def changed(card: Card) -> Card:
        return evolve(card, **changes)  # type: ignore[arg-type]

    nodes = tuple(evolve(node, cards=tuple(changed(card) for card in node.cards)) for node in machines.nodes)
    return Cluster(nodes, machines.reserved)


def faster(machines: Cluster, factor: float) -> Cluster:
    """Memory, tensor cores and bus all faster by a factor."""
    card = machines.nodes[0].cards[0]
    quick = with_cards(
        machines,
        bandwidth=times(card.bandwidth, factor),
        flops=tuple((name, times(rate, factor)) for name, rate in card.flops),
    )
    nodes = tuple(
        evolve(node, bus=evolve(node.bus, bandwidth=times(node.bus.bandwidth, factor))) for node in quick.nodes
    )
    return Cluster(nodes, machines.reserved)


@settings(max_examples=40, deadline=None)
@given(model=st.sampled_from(MODELS), load=LOADS, cut=CUTS, factor=st.floats(1.05, 4.0))
def test_strictly_better_hardware_is_never_slower(model: tuple[str, str], load: Load, cut: Cut, factor: float) -> None:
    machines = cluster(1, 4, "rtx-pro-6000")
    slow = Judge(case(*model, machines, load)).candidate(cut, "bf16").performance
    quick = Judge(case(*model, faster(machines, factor), load)).candidate(cut, "bf16").performance
    if slow is None or quick is None:
        assert (slow is None) == (quick is None)
        return
    slack = 1 + 2e-2  # the fixed point of batch and step is found to a hundredth
    assert quick.itl.value <= slow.itl.value * slack
    assert quick.ttft.value <= slow.ttft.value * slack
    assert quick.throughput.value >= slow.throughput.value / slack


@settings(max_examples=40, deadline=None)
@given(model=st.sampled_from(MODELS), load=LOADS, cut=CUTS, more=st.integers(1, 64))
def test_more_memory_never_holds_fewer_tokens(model: tuple[str, str], load: Load, cut: Cut, more: int) -> None:
    machines = cluster(1, 4, "rtx-5090")
    card = machines.nodes[0].cards[0]
    larger = with_cards(machines, memory=Figure("memory", card.memory.value + more * GIB, "bytes"))
    less = Judge(case(*model, machines, load, max_num_seqs=16)).candidate(cut, "bf16").memory
    greater = Judge(case(*model, larger, load, max_num_seqs=16)).candidate(cut, "bf16").memory
    assert less is not None and greater is not None
    # a card of 70 GiB and more is started with larger batches, whose activations are the engine's own choice
    if card.memory.value + more * GIB < 70 * GIB:
        assert greater.kv_tokens.value >= less.kv_tokens.value


@settings(max_examples=20, deadline=None)
@given(load=LOADS, rate=st.sampled_from([1, 10, 25, 100]))
def test_a_faster_wire_never_makes_the_best_plan_slower(load: Load, rate: int) -> None:
    def best(gigabits: float) -> tuple[int, float]:
        known = case(LLAMA_70B, "fp8", cluster(2, 2, "rtx-5090", ethernet(gigabits)), load)
        chosen = search(Judge(known)).candidates[0]
        assert chosen.performance is not None
        return chosen.cut.gpus, chosen.performance.throughput.value

    assert best(rate * 4)[1] >= best(rate)[1] * 0.75  # within what counts as the same cost


@settings(max_examples=30, deadline=None)
@given(model=st.sampled_from(MODELS), load=LOADS)
def test_the_chosen_plan_is_no_worse_than_any_alternative(model: tuple[str, str], load: Load) -> None:
    """It starts where anything starts, and misses no more bounds."""
    known: Case = case(*model, cluster(1, 4, "rtx-4090"), load)
    found = search(Judge(known)).candidates
    if any(one.fits == "yes" for one in found):
        assert found[0].fits != "no"
    assert len({(one.cut, one.limits.kv_format) for one in found}) == len(found)
    for one in found:
        places = [place for engine in one.placement for place in engine.places]
        assert len(places) == len(set(places))  # no card twice
        if one.placement and one.fits != "no":
            assert len(places) == one.cut.gpus == 4 - one.idle
