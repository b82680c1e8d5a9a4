"""What the judge finds against a candidate."""

from __future__ import annotations

from attrs import evolve

from kcluster.physics.cut import Cut, Load
from kcluster.planner.judge import Judge
from kcluster.planner.types import Candidate, Violation
from kcluster.units import GIB
from tests.planner.planner_cases import (
    LLAMA_8B,
    LLAMA_70B,
    LLAMA_405B,
    bound,
    case,
    cluster,
    ethernet,
    infiniband,
)

LOAD = Load(concurrency=8, context=8192, prompt=2048, completion=512)


def found(candidate: Candidate, code: str) -> Violation | None:
    return next((violation for violation in candidate.violations if violation.code == code), None)


def judged(known: object, cut: Cut, kv: str = "bf16") -> Candidate:
    return Judge(known).candidate(cut, kv)  # type: ignore[arg-type]


def test_weights_that_do_not_fit_say_what_is_missing() -> None:
    """70.6e9 fp8 parameters on two cards of 24 GB: above 32 GiB a card where 20 are usable."""
    candidate = judged(case(LLAMA_70B, "fp8", cluster(1, 2, "rtx-4090"), LOAD), Cut(tp=2))
    violation = found(candidate, "KC201")
    assert violation is not None and violation.fatal
    assert candidate.memory is not None
    memory = candidate.memory
    engine = memory.activation.value + memory.non_torch.value + memory.cuda_graph.value
    assert abs(violation.figures[0].value - (memory.weights.value + engine - memory.usable.value)) < 1
    assert candidate.performance is None and candidate.fits == "no"


def test_one_request_that_does_not_fit() -> None:
    """70B bf16 KV is 320 KiB a token: 131,072 tokens are 40 GiB, 10 GiB a card at tp 4, and 4 are left on a 4090 for them."""
    known = case(LLAMA_70B, "fp8", cluster(1, 4, "rtx-4090"), Load(1, 131_072, 2048, 512))
    candidate = judged(known, Cut(tp=4))
    violation = found(candidate, "KC202")
    assert violation is not None
    assert violation.figures[0].value == 131_072 * 320 * 1024 / 4
    assert "131,072 tokens" in violation.because


def test_the_peak_and_the_typical_load() -> None:
    """Held requests are those of every replica: the same load that one engine cannot hold, four hold."""
    load = Load(concurrency=40, context=32768, prompt=4096, completion=1024)
    one = judged(case(LLAMA_8B, "bf16", cluster(1, 4, "rtx-4090"), load), Cut(replicas=1))
    four = judged(case(LLAMA_8B, "bf16", cluster(1, 4, "rtx-4090"), load), Cut(replicas=4))
    held_one, held_four = found(one, "KC203"), found(four, "KC203")
    assert held_one is not None and held_four is not None
    assert abs(held_four.figures[0].value / held_one.figures[0].value - 4) < 0.2
    assert found(one, "KC204") is not None


def test_written_sequences_against_the_load_and_the_kv() -> None:
    few = judged(case(LLAMA_8B, "bf16", cluster(1, 1, "h100"), LOAD, max_num_seqs=4), Cut())
    assert "max_num_seqs 4 where 8" in found(few, "KC207").because  # type: ignore[union-attr]
    many = judged(case(LLAMA_70B, "fp8", cluster(1, 4, "rtx-5090"), LOAD, max_num_seqs=256), Cut(tp=4))
    assert found(many, "KC207") is not None
    enough = judged(case(LLAMA_8B, "bf16", cluster(1, 1, "h100"), LOAD, max_num_seqs=16), Cut())
    assert found(enough, "KC207") is None
    chosen = judged(case(LLAMA_70B, "fp8", cluster(1, 4, "rtx-5090"), Load(500, 8192, 2048, 512)), Cut(tp=4))
    assert found(chosen, "KC207") is None  # the planner's own limit is never the author's mistake


def test_a_utilization_that_is_refused_or_wastes() -> None:
    held = evolve(cluster(1, 1, "h100"), reserved=10.0 * GIB)
    refused = judged(case(LLAMA_8B, "bf16", held, LOAD, utilization=0.95), Cut())
    assert found(refused, "KC205").fatal  # type: ignore[union-attr]
    wasteful = judged(case(LLAMA_8B, "bf16", cluster(1, 1, "h100"), LOAD, utilization=0.5), Cut())
    violation = found(wasteful, "KC205")
    assert violation is not None and not violation.fatal
    shared = evolve(case(LLAMA_8B, "bf16", cluster(1, 1, "h100"), LOAD, utilization=0.5), neighbours=0.45)
    assert found(judged(shared, Cut()), "KC205") is None  # another serve has the rest
    assert found(judged(case(LLAMA_8B, "bf16", held, LOAD), Cut()), "KC205") is None  # the default makes room


def test_idle_and_missing_cards() -> None:
    idle = found(judged(case(LLAMA_8B, "bf16", cluster(1, 4, "h100"), LOAD), Cut(replicas=3)), "KC303")
    assert idle is not None and not idle.fatal and idle.because == "1 of 4 cards is idle"
    missing = judged(case(LLAMA_8B, "bf16", cluster(1, 4, "h100"), LOAD), Cut(tp=4, replicas=2))
    assert found(missing, "KC303").fatal  # type: ignore[union-attr]
    assert missing.memory is not None and missing.performance is None
    split = judged(case(LLAMA_8B, "bf16", cluster(2, 3, "h100", ethernet(10)), LOAD), Cut(tp=2, replicas=3))
    assert "2 of 3 replicas" in found(split, "KC303").because  # type: ignore[union-attr]


def test_tensor_parallel_across_nodes_is_an_error_without_rdma() -> None:
    wire = judged(case(LLAMA_70B, "fp8", cluster(2, 4, "rtx-pro-6000", ethernet(25)), LOAD), Cut(tp=8))
    violation = found(wire, "KC401")
    assert violation is not None and violation.error and not violation.fatal
    here, inside = violation.figures
    assert here.value > 3 * inside.value
    assert wire.communication is not None
    assert here.value == wire.communication.allreduce_seconds_per_step.value
    rdma = judged(case(LLAMA_70B, "fp8", cluster(2, 8, "h100", infiniband(400, 8)), LOAD), Cut(tp=16))
    assert found(rdma, "KC401") is not None and not found(rdma, "KC401").error  # type: ignore[union-attr]


def test_tensor_parallel_that_the_bus_does_not_pay_for() -> None:
    """Eight 5090 without peer-to-peer talk more than a third of a token's time; eight H100 on NVLink do not."""
    load = Load(32, 8192, 2048, 512)
    slow = judged(case(LLAMA_70B, "fp8", cluster(1, 8, "rtx-5090"), load), Cut(tp=8))
    violation = found(slow, "KC402")
    assert violation is not None and slow.performance is not None
    share = slow.performance.step.allreduce.value / slow.performance.step.total.value
    assert violation.figures[0].value == share > 0.35
    assert found(judged(case(LLAMA_70B, "fp8", cluster(1, 8, "h100"), load), Cut(tp=8)), "KC402") is None


def test_a_pipeline_over_a_slow_wire() -> None:
    """Prompts over 1 Gb/s: 16 KiB a token of 8,192 wide states are about as slow as computing them on eight H100."""
    load = Load(16, 8192, 4096, 256)
    slow = judged(case(LLAMA_70B, "fp8", cluster(2, 8, "h100", ethernet(1)), load), Cut(tp=8, pp=2))
    assert found(slow, "KC403") is not None
    fast = judged(case(LLAMA_70B, "fp8", cluster(2, 8, "h100", infiniband(400, 8)), load), Cut(tp=8, pp=2))
    assert found(fast, "KC403") is None


def test_surviving_a_loss() -> None:
    boxes = cluster(2, 4, "h100", ethernet(100))
    replica = case(LLAMA_70B, "fp8", boxes, LOAD, survive="replica")
    host = case(LLAMA_70B, "fp8", boxes, LOAD, survive="host")
    assert found(judged(replica, Cut(tp=4, pp=2)), "KC505").error  # type: ignore[union-attr]
    assert found(judged(replica, Cut(tp=4, replicas=2)), "KC505") is None
    assert found(judged(host, Cut(tp=4, replicas=2)), "KC505") is None
    packed = judged(host, Cut(tp=2, replicas=2))  # both fit on the first host
    assert "node0" in found(packed, "KC505").because  # type: ignore[union-attr]


def test_a_plan_that_survives_is_preferred() -> None:
    from kcluster.planner.search import search

    boxes = cluster(2, 8, "h100", infiniband(400, 8))
    bounds = (bound("throughput", ">=", 1),)
    known = case(LLAMA_405B, "fp8", boxes, LOAD, survive="host", bounds=bounds)
    chosen = search(Judge(known)).candidates[0]
    assert chosen.cut.replicas == 2 and found(chosen, "KC505") is None


def test_more_stages_than_layers_is_a_finding() -> None:
    candidate = judged(case(LLAMA_8B, "bf16", cluster(1, 2, "h100"), LOAD), Cut(pp=10**9))
    assert {violation.code for violation in candidate.violations} >= {"KC303", "KC304"}
    assert candidate.memory is None


def test_a_multiprocessing_executor_wants_equal_nodes() -> None:
    from kcluster.physics.hardware import Cluster

    three, two = cluster(1, 3, "l4").nodes[0], cluster(1, 2, "l4").nodes[0]
    machines = Cluster((three, two))
    native = case(LLAMA_70B, "fp8", machines, Load(1, 2048, 1024, 256), executor="mp")
    ray = case(LLAMA_70B, "fp8", machines, Load(1, 2048, 1024, 256), executor="ray")
    assert judged(native, Cut(pp=5)).fits == "no"
    assert judged(ray, Cut(pp=5)).fits == "yes"


def test_a_hybrid_with_more_sequences_than_states() -> None:
    """Every sequence wants a block of recurrent state: 1,024 are refused on a card whose pool has fewer, and the planner's own
    limit stays within what the pool has."""
    load = Load(1024, 4096, 1024, 256)
    written = case("Qwen/Qwen3.5-27B", "fp8", cluster(1, 1, "l40s"), load, max_num_seqs=1024)
    candidate = judged(written, Cut())
    violation = found(candidate, "KC207")
    assert violation is not None and violation.fatal and candidate.fits == "no"
    assert "recurrent state" in violation.because
    own = judged(case("Qwen/Qwen3.5-27B", "fp8", cluster(1, 1, "l40s"), load), Cut())
    assert own.limits.max_num_seqs <= violation.figures[0].value
    assert found(own, "KC207") is None and own.fits != "no"


def test_a_given_cache_that_does_not_fit_is_refused() -> None:
    known = case(LLAMA_8B, "bf16", cluster(1, 1, "l4"), LOAD, kv_cache_memory_bytes=20 * GIB)
    candidate = judged(known, Cut())
    assert candidate.fits == "no"
    assert found(candidate, "KC205").fatal  # type: ignore[union-attr]
