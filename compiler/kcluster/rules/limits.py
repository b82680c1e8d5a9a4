"""What the engine is started with: share of the card, length, sequences, step size, drafter (KC205–KC207, KC209, KC210)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from kcluster.diagnostics import Diagnostic, Fix
from kcluster.physics.capacity import most_states
from kcluster.planner.case import engine_of
from kcluster.planner.types import Plan, ServePlan, Violation
from kcluster.rules import ways
from kcluster.rules.broken import (
    broken,
    budget_mark,
    context_mark,
    reported,
)
from kcluster.rules.finding import Mark, blame, finding, flagged, head_of, place_of, rewrite, written
from kcluster.rules.fit import token_note
from kcluster.rules.registry import rule
from kcluster.rules.words import count, shown
from kcluster.spec.types import Spec
from kcluster.units import Figure


@rule("KC205", stage="plan")
def memory_utilization(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    `gpu_memory_utilization` leaves room for what others hold on the card (`reserved`, a display, another engine), and does not leave much of the card
    unused.

    Why
    The share is of the card's total memory, not of what is free. The engine refuses to start where less is free than it asks for; and memory that
    it does not ask for holds no KV.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
    hardware box { gpus = 1 * l40s, reserved = 8GiB }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm { gpu_memory_utilization = 0.92 }   #! KC205
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
    hardware box { gpus = 1 * l40s, reserved = 8GiB }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm { gpu_memory_utilization = 0.8 }
    }
    ```

    Fix
    Leave it out: the compiler takes the engine's default, less what `reserved` holds. Where it is written, the message says what is free.

    Source
    vLLM 0.33, `v1/worker/utils.py`: refused where free < total × utilization. Seen in vLLM issue 20305.
    """
    yield from reported(
        plan,
        "KC205",
        "warning",
        marks=lambda serve, _: (_reserved_mark(serve), budget_mark(serve)),
        help=_utilization_that_fits,
        figure="memory.usable_gib",
    )


def _reserved_mark(serve: ServePlan) -> Mark | None:
    place = written(serve.serve, "reserved")
    return Mark(place, "held by others on each card") if place is not None else None


def _utilization_that_fits(serve: ServePlan, violation: Violation) -> Iterable[str]:
    if violation.fatal:
        yield "leave `gpu_memory_utilization` out, and it follows from `reserved`"
    else:
        yield "leave `gpu_memory_utilization` out, or say what else is on the card with `reserved`"


@rule("KC206", stage="plan")
def model_length(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    `max_model_len` is no longer than the positions that the model was trained for, and no shorter than the SLA's longest context.

    Why
    Beyond its positions a model answers nonsense, and the engine refuses the length; below the SLA's context, the longest requests are refused by
    the engine with an error that the client sees.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 2, context = 16K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm { max_model_len = 8K }   #! KC206
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 2, context = 16K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm { max_model_len = 16K }
    }
    ```

    Fix
    Leave `max_model_len` out (it follows from the SLA), or set it to the SLA's `context`. A model whose positions were stretched (YaRN) says so in its
    `config.json`.

    Source
    `max_position_embeddings` of `config.json`; vLLM 0.33, `config/model.py`: a longer one is refused unless `VLLM_ALLOW_LONG_MAX_MODEL_LEN=1`.
    """
    beyond = set()
    for serve, violation in broken(plan, "KC206"):
        if not _long_allowed(serve):
            beyond.add(serve.name)
            yield finding(
                "KC206",
                violation.because,
                blame(serve.serve, "max_model_len", "context"),
                severity="error",
                marks=(_positions_mark(serve),),
                help=_positions_help(serve),
                fixes=_positions_fix(serve),
            )
    for serve in plan.serves:
        limits, load = serve.chosen.limits, serve.load
        length, flag = serve.serve.engine.max_model_len, None
        if length is None and serve.name not in beyond:
            flag = flagged(serve.serve, "max_model_len")
        if serve.serve.sla is not None and flag is not None and limits.max_model_len < load.context:
            yield finding(
                "KC206",
                f"requests may have {count(limits.max_model_len)} tokens by this flag, and the SLA's have up to {count(load.context)}",
                flag,
                severity="error",
                marks=(_context_asked(serve),),
                help=(_length_asked(serve),),
            )
        elif (
            serve.serve.sla is not None
            and length is None
            and serve.name not in beyond
            and limits.max_model_len < load.context
        ):
            yield finding(
                "KC206",
                f"the SLA's requests are up to {count(load.context)} tokens, and the model takes {count(limits.max_model_len)}",
                blame(serve.serve, "context"),
                severity="error",
                marks=(_positions_mark(serve),),
                help=("a shorter `context`, or a model with more positions",),
            )
        if (
            serve.serve.sla is not None
            and length is not None
            and length.value < load.context
            and serve.name not in beyond
            and limits.max_model_len < load.context
        ):
            yield finding(
                "KC206",
                f"`max_model_len` is {count(length.value)}, and the SLA's requests are up to {count(load.context)} tokens",
                place_of(length),
                severity="error",
                marks=(_context_asked(serve),),
                help=(_length_asked(serve),),
                fixes=rewrite(length, str(load.context)) if load.context <= _most(serve) else (),
            )


def _most(serve: ServePlan) -> int:
    """The longest length that the model and its KV cache take, where they take less than the SLA's requests; else that of these."""
    from kcluster.planner.remedies import longest_length

    positions = serve.serve.model.architecture.value.max_positions or serve.load.context
    return min(serve.load.context, positions, longest_length(serve) or positions)


def _length_asked(serve: ServePlan) -> str:
    most = _most(serve)
    if most == serve.load.context:
        return f"`max_model_len = {most}`, or a shorter `context`"
    positions = serve.serve.model.architecture.value.max_positions
    which = "are the model's positions" if most == positions else "the KV cache holds"
    return f"`max_model_len = {most}` and `context = {most}`, which {which}, or shorter ones"


def _long_allowed(serve: ServePlan) -> bool:
    return any(
        name.value == "VLLM_ALLOW_LONG_MAX_MODEL_LEN" and value.value.lower() in ("1", "true")
        for name, value in serve.serve.engine.env
    )


def _positions_mark(serve: ServePlan) -> Mark | None:
    place = written(serve.serve, "id", "checkpoint")
    positions = serve.serve.model.architecture.value.max_positions
    return Mark(place, f"{count(positions)} positions") if place and positions else None


def _positions_help(serve: ServePlan) -> Iterable[str]:
    positions = serve.serve.model.architecture.value.max_positions
    if positions:
        sla = serve.serve.sla
        both = f" and `context = {positions}`" if sla is not None and sla.context.value > positions else ""
        yield f"`max_model_len = {positions}`{both} at most; a stretched model (YaRN) says so in its own `config.json`"


def _positions_fix(serve: ServePlan) -> tuple[Fix, ...]:
    positions = serve.serve.model.architecture.value.max_positions
    return rewrite(serve.serve.engine.max_model_len, str(positions)) if positions else ()


def _context_asked(serve: ServePlan) -> Mark | None:
    place = written(serve.serve, "context")
    return Mark(place, "the longest request") if place else None


@rule("KC207", stage="plan")
def sequence_limit(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    A written `max_num_seqs` is at least the requests that come to one engine at a time, and not far above what its KV cache holds; on hybrid models, not
    above the state blocks that there are (refused).

    Why
    Below the concurrency, requests queue while the cards have room. Far above what the KV cache holds, the engine admits requests that it then
    preempts, and warms up a sampler of `max_num_seqs` × vocabulary whose memory is missing for KV.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 16, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm { max_num_seqs = 4 }   #! KC207
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 16, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm { max_num_seqs = 16 }
    }
    ```

    Fix
    Leave it out: the compiler takes the SLA's concurrency, at most what the KV cache holds of typical requests.

    Source
    vLLM admits up to `--max-num-seqs` requests per data-parallel rank; its sampler's warm-up takes 16–17 bytes for each of `max_num_seqs` × vocabulary since
    0.17 and 39 before, by start-up logs.
    """
    yield from reported(
        plan,
        "KC207",
        "warning",
        skip=lambda serve: _states(serve) is not None,
        message=lambda _, violation: violation.because.replace("max_num_seqs", "`max_num_seqs`", 1),
        marks=lambda serve, _: (_concurrency_mark(serve), budget_mark(serve), context_mark(serve)),
        notes=token_note,
        help=lambda serve, _: ways.sequences(serve),
        fixes=_fewer,
        figure="memory.max_concurrency",
    )

    for serve in plan.serves:
        states = _states(serve)
        if states is None:
            continue
        most = states.range()[1]
        limit = count(serve.chosen.limits.max_num_seqs)
        yield finding(
            "KC207",
            f"`max_num_seqs` {limit} {'is' if serve.chosen.limits.max_num_seqs > most else 'may be'} refused: the KV cache holds the "
            f"recurrent state of {count(math.floor(states.value))} sequences",
            blame(serve.serve, "max_num_seqs", "concurrency"),
            severity="error" if serve.chosen.limits.max_num_seqs > most else "warning",
            marks=(budget_mark(serve), _concurrency_mark(serve)),
            help=ways.sequences(serve),
            figure="memory.kv_fixed_bytes_per_sequence",
        )


def _states(serve: ServePlan) -> Figure | None:
    """The most sequences with which a hybrid starts, where it is started with more; None elsewhere."""
    memory = serve.chosen.memory
    if memory is None or memory.kv_cache.value <= 0:
        return None
    most = most_states(memory, serve.chosen.limits, engine_of(serve.serve))
    return most if most is not None and serve.chosen.limits.max_num_seqs > most.value else None


def _fewer(serve: ServePlan, violation: Violation) -> tuple[Fix, ...]:
    limit = ways.better_limit(serve)
    return rewrite(serve.serve.engine.max_num_seqs, str(limit)) if limit is not None else ()


def _concurrency_mark(serve: ServePlan) -> Mark | None:
    place = written(serve.serve, "concurrency")
    cut = serve.chosen.cut
    engines = f", over {count(cut.replicas * cut.dp)} engines" if cut.replicas * cut.dp > 1 else ""
    return Mark(place, f"{count(serve.load.concurrency)} requests in flight{engines}") if place is not None else None


@rule("KC209", stage="plan")
def batched_tokens(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    `max_num_batched_tokens` is at least `max_num_seqs`, at least `max_model_len` without chunked prefill, and at least one image or video where the model takes
    it whole (else the engine refuses); and it is not so large that the activations of a step take the memory that KV needs.

    Why
    A larger step prefills faster, up to the point where it is arithmetic that bounds it; its activations are reserved at the start whether or not
    such a step ever comes.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 16, context = 4K, prompt = 1K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm {
        max_num_seqs           = 16
        max_num_batched_tokens = 8   #! KC209
      }
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 16, context = 4K, prompt = 1K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm {
        max_num_seqs           = 16
        max_num_batched_tokens = 2048
      }
    }
    ```

    Fix
    Leave it out: the engine's default for the card is a good one. 2,048 to 8,192 keep activations small and prefill fast.

    Source
    vLLM 0.33, `config/scheduler.py` (`verify_max_model_len`). KV that collapsed after raising it: vLLM issues 28228 and 53961. Items that are taken whole:
    vLLM pull requests 16447 and 43051.
    """
    yield from reported(
        plan,
        "KC209",
        "warning",
        at=lambda serve, _: blame(serve.serve, "max_num_batched_tokens", "max_num_seqs", "chunked_prefill"),
        marks=lambda serve, _: _scheduler_marks(serve),
        help=lambda *_: ("leave `max_num_batched_tokens` out",),
    )
    for serve in plan.serves:
        value = serve.serve.engine.max_num_batched_tokens
        memory = serve.chosen.memory
        if value is None or memory is None or any(found.code == "KC209" for found in serve.chosen.violations):
            continue
        if 0 < memory.kv_cache.value < memory.activation.value / ACTIVATIONS_AGAINST_KV:
            yield finding(
                "KC209",
                f"steps of {count(value.value)} tokens reserve {shown(memory.activation)} for activations, and "
                f"{shown(memory.kv_cache)} are left for KV",
                place_of(value),
                severity="warning",
                marks=(budget_mark(serve),),
                help=("leave `max_num_batched_tokens` out, or take 2,048 to 8,192",),
                figure="memory.activation_gib",
            )


ACTIVATIONS_AGAINST_KV = 0.5
"""Activations over KV, from which on a written step size eats what it should serve."""


def _scheduler_marks(serve: ServePlan) -> Iterator[Mark]:
    for name in ("max_num_seqs", "max_model_len", "chunked_prefill"):
        place = written(serve.serve, name)
        if place is not None:
            value = getattr(serve.chosen.limits, name)
            yield Mark(place, f"{name} {'on' if value is True else 'off' if value is False else count(value)}")


_OWN_WEIGHTS = ("mtp", "ngram", "suffix")


@rule("KC210", stage="spec")
def drafter_not_budgeted(spec: Spec) -> Iterator[Diagnostic]:
    """
    What it checks
    A drafter that a raw flag gives the engine is also in the spec, so that its weights and its KV are in the memory budget.

    Why
    A drafter of its own has weights, KV layers and CUDA graphs on every card, about 1 GiB and more. A budget without it ends in an engine that
    does not start, or in less KV than the plan says.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 2, context = 4K, prompt = 1K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm {
        args { "--speculative-config" = "{\\"model\\": \\"meta-llama/Llama-3.2-1B\\", \\"num_speculative_tokens\\": 3}" }   #! KC210
      }
    }
    ```

    ```kcluster good
    model llama {
      id      = "meta-llama/Llama-3.1-8B-Instruct"
      weights = bf16
      draft {
        method = draft
        id     = "meta-llama/Llama-3.2-1B"
        tokens = 3
      }
    }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 2, context = 4K, prompt = 1K, completion = 500 }
    ```

    Fix
    A `draft { … }` block in the model; the flag follows from it.

    Source
    vLLM 0.33, `config/speculative.py`; start-up logs with a drafter of its own show about 1 GiB more a GPU.
    """
    for serve in spec.serves:
        if serve.model.draft is not None:
            continue
        for name, value in serve.engine.args:
            if _flag(name.value) in ("--speculative-config", "-sc", "--spec-model", "--spec-config") and _has_weights(
                value.value
            ):
                yield finding(
                    "KC210",
                    f"`{name.value}` loads a drafter that the memory budget does not know",
                    place_of(value) if value.written else place_of(name),
                    marks=(Mark(head_of(serve.model), "the budget has this model alone"),),
                    help=("`draft { method = …, id = …, tokens = … }` in the model",),
                )


def _flag(text: str) -> str:
    return text.partition(".")[0].replace("_", "-")


def _has_weights(value: object) -> bool:
    """Whether a speculative configuration names weights of its own; unreadable ones are another rule's business."""
    if not isinstance(value, str):
        return False
    if not value.lstrip().startswith("{"):
        return bool(value.strip())
    import json

    try:
        read = json.loads(value)
    except ValueError:
        return False
    return isinstance(read, dict) and isinstance(read.get("model"), str) and read.get("method") not in _OWN_WEIGHTS
