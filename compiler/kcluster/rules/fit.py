"""Whether it fits: weights, one request, the load, and the stages of a pipeline (KC201–KC204, KC208)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kcluster.diagnostics import Diagnostic, Fix
from kcluster.planner.types import Plan, ServePlan, Violation
from kcluster.rules import ways
from kcluster.rules.broken import (
    budget_mark,
    context_mark,
    cut_marks,
    needed_text,
    offloaded,
    reported,
    utilization_mark,
    weights_mark,
)
from kcluster.rules.finding import Mark, blame, finding, flagged, gpus_of, rewrite, written
from kcluster.rules.registry import rule
from kcluster.rules.words import count, listed, quoted, ranged, shown
from kcluster.values import evolve


@rule("KC201", stage="plan")
def weights_do_not_fit(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    The weights of one replica, cut as they are over its cards, fit beside what the engine itself takes of the fullest card. The message says how much is
    missing there.

    Why
    An engine whose weights do not fit dies while it loads, after minutes, with an out-of-memory error that names no cause. The sum of all cards'
    memory is no answer: embeddings, norms and KV heads beyond their number are held by every rank, stages are uneven, and a driver reports less
    than the box says.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-70B-Instruct" }
    hardware box { gpus = 2 * rtx-4090 }   #! KC201
    sla team { concurrency = 2, context = 4K, prompt = 1K, completion = 500 }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-70B-Instruct" }
    hardware box { gpus = 4 * h100 }
    sla team { concurrency = 2, context = 4K, prompt = 1K, completion = 500 }
    ```

    Fix
    More cards to a replica (tp inside a node, pp across nodes), a smaller weight format, or fewer replicas. The message lists the smallest of
    each that fits.

    Source
    Parameters follow from `config.json` to the unit (`kcluster inspect model`), bytes from the format; start-up logs confirm both within a per cent.
    Seen in vLLM issues 23278, 27508 and 33155.
    """
    yield from reported(
        plan,
        "KC201",
        "warning",
        at=lambda serve, violation: blame(serve.serve, *_too_large(serve), violation.subject),
        marks=lambda serve, _: (budget_mark(serve), weights_mark(serve), utilization_mark(serve), *cut_marks(serve)),
        help=_fitting_cuts,
        unsure=offloaded,
        figure="memory.weights_gib",
    )


def _fitting_cuts(serve: ServePlan, violation: Violation) -> Iterable[str]:
    from kcluster.planner.remedies import fewer_sequences

    limits = _too_large(serve)
    if not limits:
        return ways.fitting_cuts(serve)
    fewer = fewer_sequences(serve)
    return (f"fits: `max_num_seqs = {fewer}`" if fewer else f"fits: leave {quoted(limits, 'and')} out",)


def _too_large(serve: ServePlan) -> tuple[str, ...]:
    """The limits of the engine that were written and without which the weights fit."""
    from kcluster.planner.remedies import without_limits

    names = [
        name
        for name in ("max_num_seqs", "max_num_batched_tokens")
        if written(serve.serve, name) or flagged(serve.serve, name)
    ]
    return tuple(names) if names and without_limits(serve) is not None else ()


@rule("KC202", stage="plan")
def context_does_not_fit(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    What weights and engine leave of the tightest card holds the KV cache of at least one request of `max_model_len`.

    Why
    The engine refuses to start otherwise, after it has loaded the weights. The length is often the model's whole default, inherited because nobody
    wrote one: 131,072 tokens of Llama 3.1 70B are 40 GiB of KV.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
    hardware box { gpus = 1 * rtx-4090 }
    sla team { concurrency = 1, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm {
        max_model_len = 128K   #! KC202
        kv_cache      = bf16
      }
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
    hardware box { gpus = 1 * rtx-4090 }
    sla team { concurrency = 1, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm { max_model_len = 8K }
    }
    ```

    Fix
    The longest `max_model_len` that the message names, an fp8 KV cache, or more cards to a replica.

    Source
    vLLM 0.33, `v1/core/kv_cache_planning.py`: refused where `max_model_len` needs more than the pool less its null block. Seen in kaito issue 2132 and
    spark-vllm-docker issue 396.
    """
    yield from reported(
        plan,
        "KC202",
        "warning",
        at=lambda serve, _: blame(serve.serve, "max_model_len", "context"),
        message=_one_request,
        label=lambda serve, _: needed_text(serve),
        marks=lambda serve, _: (budget_mark(serve), utilization_mark(serve), weights_mark(serve), *cut_marks(serve)),
        help=_fitting_lengths,
        fixes=_shorter,
        unsure=offloaded,
        figure="memory.kv_cache_gib",
    )


def _one_request(serve: ServePlan, violation: Violation) -> str:
    memory = serve.chosen.memory
    length = count(serve.chosen.limits.max_model_len)
    verb = "cannot" if violation.fatal else "may not"
    if memory is None or memory.max_concurrency.value >= 1:
        return f"{violation.because} with {length} tokens"
    return (
        f"the KV cache {verb} hold one request of {length} tokens: {shown(memory.kv_for_one)} a card are needed and "
        f"{ranged(memory.kv_cache)} are left"
    )


def _shorter(serve: ServePlan, violation: Violation) -> tuple[Fix, ...]:
    """The longest length that fits in place of every line that asks for more, where they stand in one file."""
    length = ways.longest(serve)
    first, *others = ways.lengths(serve) or (None,)
    fixes = rewrite(first, length) if length else ()
    if not fixes or first is None or any(other.origin.source is not first.origin.source for other in others):
        return ()
    edits = tuple(edit for value in (first, *others) for edit in rewrite(value, length)[0].edits)
    return tuple(evolve(one, edits=edits) for one in fixes)


def _fitting_lengths(serve: ServePlan, violation: Violation) -> Iterable[str]:
    return ways.fitting_lengths(serve)


@rule("KC203", stage="plan")
def peak_does_not_fit(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    The KV cache of all replicas together holds `concurrency` requests of the SLA's longest `context` at once.

    Why
    What does not fit is preempted: the engine drops a request's KV and computes it again later. Nothing fails, everything is slow, and it happens on the
    day when all users come with long contexts.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 32   #! KC203
      context     = 64K
      prompt      = 1K
      completion  = 500
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 8, context = 8K, prompt = 1K, completion = 500 }
    ```

    Fix
    An fp8 KV cache holds twice as many, more cards to a replica or more replicas hold more, and a lower `max_num_seqs` lets requests wait in
    the queue instead of being preempted. Where the longest requests never come together, suppress it with that reason.

    Source
    vLLM's log prints `Maximum concurrency for N tokens per request` at start; `vllm:num_preemptions_total` counts what this finding foretells.
    """
    yield from reported(
        plan,
        "KC203",
        "warning",
        label=_fitting,
        marks=lambda serve, _: (budget_mark(serve), context_mark(serve), *cut_marks(serve)),
        notes=token_note,
        help=_more_room,
        figure="memory.max_concurrency",
    )


def token_note(serve: ServePlan, violation: Violation) -> Iterable[str]:
    memory = serve.chosen.memory
    if memory is not None:
        yield (
            f"one engine core holds {count(memory.kv_tokens.value)} tokens: {shown(memory.kv_cache)} of KV a card at "
            f"{shown(memory.kv_bytes_per_token)} a token"
        )


def _fitting(serve: ServePlan, violation: Violation) -> str:
    if not violation.figures:
        return ""
    held = violation.figures[0]
    low, high = held.range()
    return f"{held.value:,.1f} ({low:,.1f}–{high:,.1f}) fit"


def _more_room(serve: ServePlan, violation: Violation) -> Iterable[str]:
    return ways.more_room(serve, violation.code)


@rule("KC204", stage="plan")
def typical_load_does_not_fit(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    The KV cache of all replicas together holds `concurrency` requests of typical length (`prompt` + `completion`) at once.

    Why
    Where even typical requests do not fit together, the cluster queues or preempts on an ordinary day: the concurrency that the SLA names is
    not one that this hardware serves.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 200   #! KC203 KC204
      context     = 8K
      prompt      = 4K
      completion  = 500
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 16, context = 8K, prompt = 4K, completion = 500 }
    ```

    Fix
    As for KC203; and where neither is possible, the concurrency that the message names.

    Source
    Little's law: requests in flight = arrivals a second × seconds that each stays. Those that the KV cache does not hold wait.
    """
    yield from reported(
        plan,
        "KC204",
        "warning",
        label=_fitting,
        marks=lambda serve, _: (budget_mark(serve), *_lengths(serve), *cut_marks(serve)),
        notes=token_note,
        help=_more_room,
        figure="memory.max_concurrency",
    )


def _lengths(serve: ServePlan) -> Iterator[Mark]:
    for name in ("prompt", "completion"):
        place = written(serve.serve, name)
        if place is not None:
            yield Mark(place, f"{count(getattr(serve.load, name))} tokens")


@rule("KC208", stage="plan")
def unbalanced_stages(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    The stages of a pipeline leave about the same room for KV a layer: none is held back by the embedding or the head, by a partition by hand, or by a
    smaller card, where another partition does better.

    Why
    Every stage holds the same blocks of KV, so that the tightest one decides for all. What the others have left over is memory that nothing uses.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
    hardware box { gpus = 2 * l4 }
    sla team { concurrency = 2, context = 4K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      parallel {
        tp     = 1
        pp     = 2
        layers = [25, 7]   #! KC208
      }
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
    hardware box { gpus = 2 * l4 }
    sla team { concurrency = 2, context = 4K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      parallel {
        tp     = 1
        pp     = 2
        layers = [16, 16]
      }
    }
    ```

    Fix
    The partition that the message names, by `layers = […]`; equal cards in all stages; or leave `layers` out, and the engine deals them out.

    Source
    vLLM 0.33, `v1/core/kv_cache_planning.py`: the number of blocks is the least of all workers; `distributed/utils.py` deals the layers out. Seen in vLLM issue
    34076 (unequal cards).
    """
    for serve in plan.serves:
        memory = serve.chosen.memory
        if (
            memory is None
            or len(memory.stages) < 2
            or any(stage.layers < 1 or stage.kv_cache.value <= 0 for stage in memory.stages)
        ):
            continue
        rooms = [(stage.kv_cache.value / stage.layers, stage) for stage in memory.stages]
        tight = min(rooms, key=lambda room: (room[0], room[1].stage))
        wide = max(rooms, key=lambda room: (room[0], -room[1].stage))
        better = tuple(ways.partitions(serve)) if tight[0] < UNBALANCED * wide[0] else ()
        if better or (tight[0] < UNBALANCED * wide[0] and _kinds_mark(serve) is not None):
            yield finding(
                "KC208",
                f"stage {tight[1].stage} has {shown(tight[1].kv_cache)} for the KV of {count(tight[1].layers)} layers, and stage "
                f"{wide[1].stage} {shown(wide[1].kv_cache)} for {count(wide[1].layers)}: the tightest decides for all",
                blame(serve.serve, "layers", "pp"),
                marks=(_kinds_mark(serve),),
                notes=(
                    f"stage {stage.stage}: {count(stage.layers)} layers, {shown(stage.weights)} of weights, {shown(stage.kv_cache)} for KV"
                    for stage in memory.stages[:8]
                ),
                help=better,
                figure="memory.kv_cache_gib",
            )


def _kinds_mark(serve: ServePlan) -> Mark | None:
    """On the cards, where they differ."""
    kinds = sorted({card.id for node in serve.serve.cluster.nodes for card in node.cards})
    return Mark(gpus_of(serve.serve.hardware), f"the smaller of {listed(kinds)} decides") if len(kinds) > 1 else None


UNBALANCED = 0.75
"""The tightest stage's room a layer over the widest one's, below which stages are out of balance."""
