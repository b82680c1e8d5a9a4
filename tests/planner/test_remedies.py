"""What would mend a plan."""

from __future__ import annotations

import math

import pytest

from kcluster.physics.weights import stage_layers
from kcluster.planner import least, remedies
from kcluster.planner.least import least_hardware, most_nodes
from kcluster.planner.types import ServePlan
from tests.planner.planner_cases import LLAMA_8B, LLAMA_70B, planned


def serve(
    hardware: str, sla: str, parallel: str = "", engine: str = "", weights: str = "fp8", model: str = LLAMA_70B
) -> ServePlan:
    text = f"""
    model m {{ id = "{model}", weights = {weights} }}
    hardware h {{ {hardware} }}
    sla s {{ {sla} }}
    serve x {{
      parallel {{ {parallel} }}
      engine vllm {{ {engine} }}
    }}
    """
    return planned(text).serves[0]


CHAT = "concurrency = 32, context = 8K, prompt = 2K, completion = 500"
LONG = "concurrency = 1, context = 128K, prompt = 2K, completion = 500"


def test_the_longest_length_is_the_last_that_starts() -> None:
    plan = serve("gpus = 4 * rtx-4090", LONG, "tp = 4")
    assert "KC202" in {violation.code for violation in plan.chosen.violations}
    length = remedies.longest_length(plan)
    assert length is not None and 8192 < length < 131_072
    exact = serve("gpus = 4 * rtx-4090", LONG, "tp = 4", f"max_model_len = {length}")
    over = serve("gpus = 4 * rtx-4090", LONG, "tp = 4", f"max_model_len = {length + 16}")  # one block more
    assert exact.chosen.memory and over.chosen.memory
    # Of the pool's blocks the engine keeps one back: the last length that starts leaves one free.
    assert dict(exact.chosen.memory.max_concurrency.inputs)["blocks"].value == math.ceil(length / 16) + 1
    assert "KC202" in {violation.code for violation in over.chosen.violations}
    assert "KC202" not in {violation.code for violation in exact.chosen.violations}


def test_no_length_where_the_weights_leave_no_room() -> None:
    assert remedies.longest_length(serve("gpus = 2 * rtx-4090", LONG, "tp = 2")) is None


def test_sequences_are_counted_over_all_replicas() -> None:
    one = serve("gpus = 4 * h100-sxm", CHAT, "tp = 4")
    two = serve("nodes = 2, gpus = 4 * h100-sxm, network = ethernet(25GbE)", CHAT, "tp = 4, replicas = 2")
    first, second = remedies.sequences_that_fit(one, 8192), remedies.sequences_that_fit(two, 8192)
    assert first is not None and second is not None
    assert second.value == 2 * first.value or abs(second.value / first.value - 2) < 0.02


def test_fp8_kv_holds_twice() -> None:
    plan = serve("gpus = 4 * rtx-5090", CHAT, "tp = 4")
    other = remedies.with_fp8_kv(plan)
    assert other is not None and other.memory and plan.chosen.memory
    assert other.cut == plan.chosen.cut
    ratio = other.memory.max_concurrency.value / plan.chosen.memory.max_concurrency.value
    assert 1.9 < ratio < 2.1
    already = serve("gpus = 4 * rtx-5090", CHAT, "tp = 4", "kv_cache = fp8")
    assert remedies.with_fp8_kv(already) is None


def test_the_smallest_engine_that_starts() -> None:
    """70 GB of weights: two cards of 32 GB hold them not, four do."""
    plan = serve(
        "gpus = 4 * rtx-5090", "concurrency = 1, context = 2K, prompt = 1K, completion = 200", "tp = 1, pp = 1"
    )
    assert plan.chosen.fits == "no"
    smallest = remedies.smallest_fit(plan)
    assert smallest is not None and smallest.fits != "no"
    assert smallest.cut.engine_gpus in (3, 4)


def test_a_smaller_format_that_starts() -> None:
    plan = serve("gpus = 1 * h100-sxm", "concurrency = 1, context = 2K, prompt = 1K, completion = 200", weights="bf16")
    found = remedies.smaller_format(plan)
    assert found is not None
    fmt, candidate = found
    assert fmt.bytes_per_parameter < 2 and candidate.fits != "no"


def test_cuts_that_hold_the_load() -> None:
    """Four engines of two cards do not hold 48 requests of 16K; wider ones, whose weights are there fewer times, do."""
    plan = serve(
        "gpus = 8 * rtx-pro-6000", "concurrency = 100, context = 16K, prompt = 4K, completion = 500", "tp = 1, pp = 1"
    )
    assert "KC203" in {violation.code for violation in plan.chosen.violations}
    found = remedies.holding(plan)
    assert found
    for candidate in found:
        assert not {"KC201", "KC202", "KC203", "KC204"} & {violation.code for violation in candidate.violations}


def test_the_sequences_of_a_queue() -> None:
    plan = serve("gpus = 4 * rtx-5090", CHAT, "tp = 4", "max_num_seqs = 256")
    limit = remedies.sequence_limit(plan)
    assert limit is not None and limit < 256
    held = remedies.sequences_that_fit(plan, 2048 + 500)
    assert held is not None and limit <= held.value


def test_the_plan_that_meets_the_bounds_where_pins_do_not() -> None:
    sla = CHAT + ", tokens_per_second >= 30"
    plan = serve("gpus = 8 * h100-sxm", sla, "tp = 1, pp = 8")
    assert plan.chosen.meets_sla == "no"
    best = remedies.nearest_meeting(plan)
    assert best is not None and best.meets_sla != "no"
    assert best.cut.tp > 1
    out_of_reach = serve("gpus = 8 * h100-sxm", CHAT + ", tokens_per_second >= 5000")
    assert remedies.nearest_meeting(out_of_reach) is None
    assert remedies.best_here(out_of_reach).cut == out_of_reach.chosen.cut


def test_the_least_hardware_that_meets_the_bounds() -> None:
    sla = "concurrency = 64, context = 4K, prompt = 1K, completion = 300, throughput >= 1500"
    plan = serve("gpus = 1 * rtx-4090", sla, weights="bf16", model=LLAMA_8B)
    assert plan.chosen.verdicts[0].met != "yes"
    least = least_hardware(plan)
    assert least is not None and least.gpus > 1
    fewer = serve(f"nodes = {least.nodes - 1 or 1}, gpus = 1 * rtx-4090", sla, weights="bf16", model=LLAMA_8B)
    codes = {violation.code for violation in fewer.chosen.violations}
    assert not remedies.does(fewer.chosen) or "KC204" in codes
    impossible = serve("gpus = 1 * rtx-4090", sla + ", tokens_per_second >= 1000", weights="bf16", model=LLAMA_8B)
    assert least_hardware(impossible) is None


@pytest.mark.parametrize("bounds", ["", ", ttft <= 2s", ", tokens_per_second >= 30", ", throughput >= 4000"])
@pytest.mark.parametrize(
    "hardware", ["gpus = 1 * l4", "gpus = 4 * rtx-5090", "nodes = 2, gpus = 4 * l40s, network = ethernet(25GbE)"]
)
def test_the_plan_on_present_hardware_is_not_looked_for_again(
    hardware: str, bounds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = serve(hardware, "concurrency = 32, context = 8K, prompt = 2K, completion = 500" + bounds, weights="bf16")
    short = least_hardware(plan)
    monkeypatch.setattr(least, "_hopeless", lambda *case: None)
    assert short == least_hardware(plan)


def test_the_least_hardware_is_a_fuller_node_before_more_nodes() -> None:
    """57 GiB of weights on cards of 31: three nodes of one card each would be fewest cards, and one node of four is what one buys."""
    sla = "concurrency = 4, context = 8K, prompt = 1K, completion = 300"
    plan = serve("gpus = 1 * rtx-5090", sla, weights="bf16", model="Qwen/Qwen3-30B-A3B")
    assert plan.chosen.fits == "no"
    least = least_hardware(plan)
    assert least is not None
    assert (least.nodes, least.gpus_per_node) == (1, 4)


def test_stages_of_unequal_cards_get_their_share_of_layers() -> None:
    """A card of 96 GB beside one of 32: the engine deals 40 layers to each, and the small card decides."""
    plan = serve(
        "network = ethernet(25GbE), node a { gpus = 1 * rtx-pro-6000 }, node b { gpus = 1 * rtx-5090 }",
        "concurrency = 2, context = 4K, prompt = 1K, completion = 300",
        "tp = 1, pp = 2",
        weights="awq-int4",
    )
    even = stage_layers(80, plan.chosen.cut)
    assert even == (40, 40)
    better = remedies.better_layers(plan)
    assert better is not None and sum(better.layers) == 80
    assert better.layers[0] > better.layers[1]
    assert better.candidate.memory and plan.chosen.memory
    assert better.candidate.memory.kv_tokens.value > plan.chosen.memory.kv_tokens.value


def test_a_cut_pinned_larger_than_needed() -> None:
    plan = serve("gpus = 8 * h100-sxm", CHAT, "tp = 8, pp = 1", weights="bf16", model=LLAMA_8B)
    smaller = remedies.smaller_cut(plan)
    assert smaller is None or smaller.cut.engine_gpus < 8
    pipelined = serve("gpus = 8 * h100-sxm", CHAT, "tp = 1, pp = 8", weights="bf16", model=LLAMA_8B)
    found = remedies.smaller_cut(pipelined)
    assert found is not None and found.cut.pp == 1


def test_another_version_with_the_same_flags() -> None:
    plan = serve("gpus = 4 * rtx-5090", CHAT, "tp = 4", 'version = "0.11"')
    newer = remedies.on_version(plan, (0, 33))
    assert newer.memory and plan.chosen.memory
    assert newer.limits == plan.chosen.limits
    # graphs are inside the budget from 0.21 on
    assert newer.memory.cuda_graph.value > plan.chosen.memory.cuda_graph.value == 0


def test_hardware_is_looked_for_within_limits() -> None:
    assert most_nodes(1) == 32
    assert most_nodes(4) == 64
    assert most_nodes(100) == 100


def test_remedies_with_the_same_pins_share_one_search(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = serve("gpus = 4 * rtx-5090", LONG, "tp = 4")
    searched = []
    search = remedies.search

    def counting(judge: remedies.Judge) -> object:
        searched.append(judge.case.pins)
        return search(judge)

    monkeypatch.setattr(remedies, "search", counting)
    for remedy in (remedies.holding, remedies.best_here, remedies.smallest_fit, remedies.smaller_cut, remedies.holding):
        remedy(plan)
    assert len(searched) == len(set(searched)) == 1
    again = serve("gpus = 4 * rtx-5090", LONG, "tp = 4")
    remedies.best_here(again)
    assert len(searched) == 2, "another plan, though an equal one, is another inquiry"


def test_the_least_hardware_of_unequal_cards() -> None:
    """A node of two kinds of card: more of the like are looked for, and what is found serves."""
    sla = "concurrency = 64, context = 4K, prompt = 1K, completion = 300, tokens_per_second >= 25"
    plan = serve("gpus = [1 * rtx-pro-6000, 1 * rtx-3090]", sla, weights="bf16", model=LLAMA_8B)
    least = least_hardware(plan)
    assert least is not None and remedies.does(least.candidate)
