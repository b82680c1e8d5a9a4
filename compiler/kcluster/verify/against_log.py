"""A start-up log against the plan: what was started, whether it came up, and its memory."""

from __future__ import annotations

from typing import Final

from kcluster.verify.checks import GIB_SLACK, Check, Report, explained, figure, said
from kcluster.verify.logs import Refusal, Started
from kcluster.verify.planned import Planned
from kcluster.verify.settings import settings


def against_log(plan: Planned, log: Started, source: str) -> Report:
    """Everything that a log says, beside the plan; the engine's refusal where it did not start."""
    checks = explained((*settings(plan, log), *_memory(plan, log)))
    refusal = ""
    if log.refusal is not None:
        refusal = log.refusal.message
        checks = (*checks, _refused(plan, log.refusal, checks))
    return Report(plan.name, "log", source, checks, refusal)


CARD_SLACK: Final = 0.02
"""How much of a card two drivers, or ECC, may differ by."""


def _memory(plan: Planned, log: Started) -> tuple[Check, ...]:
    memory = plan.memory
    if not memory:
        return ()
    ranges = memory["range"]
    hybrid = memory["kv_fixed_bytes_per_sequence"] > 0
    tokens = figure(
        "memory.kv_cache_tokens",
        memory["kv_cache_tokens"],
        ranges["kv_cache_tokens"],
        log.tokens,
        "tokens",
        slack=_block(plan),
    )
    if hybrid and tokens.verdict == "differs":
        # The token line of a model with a state counts layers that hold none of it.
        note = "a model with a fixed state: the engine's token line is no capacity, its concurrency is"
        tokens = Check(
            tokens.name, tokens.planned, tokens.real, "not judged", tokens.unit, tokens.low, tokens.high, (note,)
        )
    concurrency = figure(
        "memory.max_concurrency", memory["max_concurrency"], ranges["max_concurrency"], log.concurrency, "requests",
        slack=0.005 + _block(plan) / max(1, plan.limits["max_model_len"]),
    )  # fmt: skip
    card = memory["gpu_memory_gib"]
    near = (card * (1 - CARD_SLACK), card * (1 + CARD_SLACK))
    cards = (figure("memory.gpu_memory_gib", card, near, log.cards, "GiB", attribute="gpus"),) if log.cards else ()
    return (
        *cards,
        figure("memory.weights_gib", memory["weights_gib"], ranges["weights_gib"], log.weights, "GiB", GIB_SLACK),
        figure("memory.kv_cache_gib", memory["kv_cache_gib"], ranges["kv_cache_gib"], log.available, "GiB", GIB_SLACK),
        tokens,
        concurrency,
        *_parts(plan, log),
    )


def _block(plan: Planned) -> float:
    """Tokens of one block: the pool is a whole number of them."""
    written = plan.args.get("--block-size", 16)
    return float(written) if isinstance(written, (int, float)) else 16.0


def _parts(plan: Planned, log: Started) -> tuple[Check, ...]:
    """The parts of the overhead that some versions name, beside those of the plan, which has no range for each."""
    parts = (
        ("memory.activation_gib", log.activation),
        ("memory.non_torch_gib", log.non_torch),
        # Where an estimate is set aside, that is what the budget has; else what the graphs took on top of it.
        ("memory.cuda_graph_gib", log.graphs_estimate or log.graphs),
    )
    return tuple(
        Check(name, plan.memory[name.partition(".")[2]], max(real), "not judged", "GiB") for name, real in parts if real
    )


_MEANING: Final = {
    "kv-too-small": "the KV cache does not hold one request of `max_model_len`",
    "no-kv": "weights and overhead leave nothing for the KV cache",
    "memory-taken": "less of the card is free than `gpu_memory_utilization` asks for: something else is on it",
    "out-of-memory": "the card's memory ran out",
    "length": "`max_model_len` is longer than the model's own limit",
    "heads": "`tp` does not divide the attention heads",
    "cards": "the engine sees fewer cards than the plan gives it",
    "capability": "the card is too old for the checkpoint's format",
    "batch": "without chunked prefill a prompt is one step, and a step is shorter than the longest one",
    "error": "",
}
_FROM: Final = {
    "kv-too-small": "max_model_len",
    "no-kv": "gpu_memory_utilization",
    "memory-taken": "gpu_memory_utilization",
    "out-of-memory": "gpu_memory_utilization",
    "length": "max_model_len",
    "heads": "tp",
    "cards": "gpus",
    "capability": "gpus",
    "batch": "max_num_batched_tokens",
}


def _refused(plan: Planned, refusal: Refusal, checks: tuple[Check, ...]) -> Check:
    """The refusal as the last check, with what differs before it as its cause."""
    why = [_MEANING[refusal.kind]] if _MEANING[refusal.kind] else []
    if refusal.needed is not None and refusal.available is not None:
        why.append(f"it needs {refusal.needed:g} GiB and has {refusal.available:g}")
    if refusal.longest:
        why.append(f"{refusal.longest:,.0f} tokens would fit")
    causes = [check for check in checks if check.verdict == "differs"]
    why += [f"`{one.name}` is {said(one.real)} and was planned as {said(one.planned)}" for one in causes]
    if not causes and plan.memory:
        kv = plan.memory["kv_cache_gib"]
        why.append(f"nothing that was started differs from the plan, which has {kv:g} GiB for KV")
    return Check("start", "up", "refused", "differs", why=tuple(why), attribute=_FROM.get(refusal.kind, ""))
