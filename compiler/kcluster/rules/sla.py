"""What the SLA asks against what is predicted (KC501–KC505, KC508)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.diagnostics import Diagnostic, Severity
from kcluster.planner.types import Plan, ServePlan, SlaVerdict
from kcluster.rules import ways
from kcluster.rules.broken import reported
from kcluster.rules.finding import Mark, finding, gpus_of, place_of, written
from kcluster.rules.registry import rule
from kcluster.rules.words import count, counted, ranged, shown
from kcluster.spec.types import Bound, BoundName
from kcluster.units import human

_FIGURE: Final[dict[BoundName, str]] = {
    "tokens_per_second": "performance.tokens_per_second_per_request",
    "ttft": "performance.ttft_s",
    "itl": "performance.itl_s",
    "answer": "performance.answer_s",
    "throughput": "performance.output_tokens_per_second",
}


_SUBJECT: Final[dict[BoundName, tuple[str, str, str, str]]] = {
    "tokens_per_second": ("each request", "gets", "get", "is"),
    "ttft": ("the first token", "takes", "take", "is"),
    "itl": ("the next token", "takes", "take", "is"),
    "answer": ("a whole answer", "takes", "take", "is"),
    "throughput": ("all requests together", "get", "get", "are"),
}
"""Subject, verb, its infinitive and the auxiliary of each bound's sentence."""


def missed_at(verdict: SlaVerdict) -> Severity | None:
    """How badly a bound is missed: error at the optimistic end of the prediction, warning at its expected value, note at the
    pessimistic end; None where it holds everywhere."""
    low, high = verdict.predicted.range()
    target = verdict.bound.value.value
    if verdict.bound.operator == ">=":
        best, expected, worst = high < target, verdict.predicted.value < target, low < target
    else:
        best, expected, worst = low > target, verdict.predicted.value > target, high > target
    return "error" if best else "warning" if expected else "note" if worst else None


def _asked(bound: Bound) -> str:
    unit = "s" if bound.name in ("ttft", "itl", "answer") else "tokens/s"
    return f"{'at least' if bound.operator == '>=' else 'at most'} {human(bound.value.value, unit)}"  # type: ignore[arg-type]


def _message(verdict: SlaVerdict, severity: Severity, concurrency: int) -> str:
    low, high = verdict.predicted.range()
    above = verdict.bound.operator == ">="
    subject, verb, infinitive, auxiliary = _SUBJECT[verdict.bound.name]
    if severity == "error":
        value, reads = (high if above else low), f"{subject} {verb} at best"
    elif severity == "warning":
        value, reads = verdict.predicted.value, f"{subject} {auxiliary} expected to {infinitive}"
    else:
        value, reads = (low if above else high), f"{subject} may {infinitive}{' only' if above else ''}"
    text = human(value, verdict.predicted.unit)
    return f"{reads} {text} at {count(concurrency)} in flight, and the SLA asks for {_asked(verdict.bound)}"


def _judged(plan: Plan, code: str, *names: BoundName) -> Iterator[Diagnostic]:
    for serve in plan.serves:
        if serve.chosen.fits == "no":
            continue  # what does not start has no speed: the finding that says why it does not comes first
        for verdict in serve.chosen.verdicts:
            severity = missed_at(verdict) if verdict.bound.name in names else None
            if severity is not None:
                yield _missed(serve, code, verdict, severity)


def _missed(serve: ServePlan, code: str, verdict: SlaVerdict, severity: Severity) -> Diagnostic:
    performance = serve.chosen.performance
    sla = serve.serve.sla
    marks: list[Mark | None] = [Mark(gpus_of(serve.serve.hardware), ways.shape(serve.chosen.cut))]
    if sla is not None:
        marks.append(
            Mark(place_of(sla.concurrency), f"{counted(serve.load.concurrency, 'request')} in flight")
            if sla.concurrency.written
            else None
        )
    notes = []
    if performance is not None:
        parts = sorted(performance.step.parts, key=lambda part: -part[1].value)
        shares = " · ".join(
            f"{name} {shown(figure)}" for name, figure in parts if figure.value > 0.02 * performance.step.total.value
        )
        notes.append(
            f"a token at a batch of {count(performance.batch.value)} takes {shown(performance.step.total)}: {shares}"
        )
        notes.append(f"bound by {performance.bound_by}")
    return finding(
        code,
        _message(verdict, severity, serve.load.concurrency),
        place_of(verdict.bound.value),
        severity=severity,
        label=f"expected {ranged(verdict.predicted)}",
        marks=marks,
        notes=notes,
        help=() if severity == "note" else ways.to_meet(serve, hardware_too=severity == "error"),
        figure=_FIGURE[verdict.bound.name],
    )


@rule("KC501", stage="plan")
def speed_out_of_reach(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    Each request gets the tokens per second that the SLA asks for, at `concurrency` requests in flight. An error where even the optimistic end of
    the prediction misses the bound, a warning where its expected value does, a note where only the pessimistic end does.

    Why
    Speed of one request and throughput of all are two figures, and published recipes often state them as if both held at once: 600 tokens a
    second for 32 requests are 19 for each. A token takes at least the time to read the weights that a card holds; cutting them over more cards
    adds two all-reduces a layer.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 4
      context     = 4K
      prompt      = 1K
      completion  = 500
      tokens_per_second >= 300   #! KC501
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 4
      context     = 4K
      prompt      = 1K
      completion  = 500
      tokens_per_second >= 10
    }
    ```

    Fix
    Take the plan that the message names, ask for less, admit fewer requests at once, or use cards with more bandwidth. `kcluster plan` prints where
    the time of a token goes.

    Source
    A card reads at most its memory bandwidth (`kcluster inspect gpu`): 16 GB of weights at 864 GB/s are 19 ms a token, 54 tokens a second, before
    anything else. The shares of a step and the measured points behind its constants are in `benchmarks/`.
    """
    yield from _judged(plan, "KC501", "tokens_per_second")


@rule("KC502", stage="plan")
def latency_out_of_reach(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    The time to the first token (`ttft`) and between tokens (`itl`) stay within the SLA's bounds, at `concurrency` requests in flight. An error, a
    warning or a note by the end of the prediction's range that misses.

    Why
    The first token waits for the queue and for the prefill of its prompt, whose arithmetic grows with its length; tokens after it wait for each
    other's prefills, which are mixed into decode steps.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 4
      context     = 8K
      prompt      = 4K
      completion  = 500
      ttft       <= 20ms   #! KC502
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 4
      context     = 8K
      prompt      = 4K
      completion  = 500
      ttft       <= 20s
    }
    ```

    Fix
    Prefix caching where prompts repeat (`prefix_share`), fewer requests at once, replicas, a smaller `max_num_batched_tokens` for `itl`, a larger
    one for `ttft`.

    Source
    Prefill is about 2 FLOP a parameter and token: 4,096 tokens of an 8B model are 66 TFLOP, at the 362 TFLOPS of an L40S 0.18 s before any
    loss.
    """
    yield from _judged(plan, "KC502", "ttft", "itl")


@rule("KC503", stage="plan")
def answer_time_out_of_reach(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    A typical answer, from sending the request to its last token, takes no longer than the SLA's `answer`. An error, a warning or a note by the end of
    the prediction's range that misses.

    Why
    An answer is the time to its first token and then every further token one after the other; nothing but speed of one request shortens it, not
    more requests at once.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 4
      context     = 8K
      prompt      = 2K
      completion  = 1K
      answer     <= 2s   #! KC503
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 4
      context     = 8K
      prompt      = 2K
      completion  = 1K
      answer     <= 200s
    }
    ```

    Fix
    Shorter completions, a faster cut, a smaller model or format, or a bound that the hardware can hold.

    Source
    answer = ttft + completion × itl; `kcluster plan --why performance.answer_s` prints it with its figures.
    """
    yield from _judged(plan, "KC503", "answer")


@rule("KC504", stage="plan")
def throughput_out_of_reach(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    All requests together get the output tokens per second that the SLA asks for, at `concurrency` requests in flight. An error, a warning or a
    note by the end of the prediction's range that misses.

    Why
    Throughput grows with the requests that are decoded together, and ends where the KV cache holds no more of them, where arithmetic rather than
    memory bounds a step, or where all-reduces do.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 4
      context     = 4K
      prompt      = 1K
      completion  = 500
      throughput >= 5000   #! KC504
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 4
      context     = 4K
      prompt      = 1K
      completion  = 500
      throughput >= 40
    }
    ```

    Fix
    More requests in flight where there are more, more KV (fp8 KV, more cards, shorter contexts), replicas, or a bound that the hardware can hold.

    Source
    throughput = requests decoded together ÷ time of a step, less the share of prefill; `kcluster plan --why
    performance.output_tokens_per_second` prints it with its figures.
    """
    yield from _judged(plan, "KC504", "throughput")


@rule("KC505", stage="plan")
def survive_loss(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    With `survive_loss = replica` there are at least two replicas; with `survive_loss = host` no host carries all of them.

    Why
    One engine over several hosts is gone when any of them is. Only a second replica elsewhere still answers.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency  = 4
      context      = 8K
      prompt       = 2K
      completion   = 500
      survive_loss = replica   #! KC505
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 2 * l40s }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500, survive_loss = replica }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm { api_key = env("VLLM_API_KEY") }
    }
    ```

    Fix
    More cards or hosts, a smaller cut so that two replicas fit, or an SLA that does without.

    Source
    vLLM runs one engine core per data-parallel rank and ends when one of its workers does; a router sends new requests to the replicas that are
    left.
    """
    yield from reported(
        plan,
        "KC505",
        "error",
        marks=lambda serve, _: (
            Mark(
                written(serve.serve, "replicas", "tp", "pp") or gpus_of(serve.serve.hardware),
                ways.shape(serve.chosen.cut),
            ),
        ),
        help=lambda serve, _: (
            f"a second replica of this cut needs {counted(serve.chosen.cut.engine_gpus, 'card')} more",
        ),
    )


_LATENCY: Final[tuple[BoundName, ...]] = ("tokens_per_second", "ttft", "itl", "answer")


_SLOWING: Final[dict[str, tuple[object, ...]]] = {
    "--enforce-eager": (True,),
    "--async-scheduling": (False,),
    "--optimization-level": (0, "0"),
    "-O0": (True,),
}
"""Flags with the values that cost latency."""


@rule("KC508", stage="plan")
def latency_for_nothing(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    Under a latency bound, nothing costs time for nothing: no eager mode, no compilation or asynchronous scheduling switched off, and no more tensor parallel
    for a mixture of experts than makes it faster.

    Why
    Without CUDA graphs every kernel of every layer is launched by itself: one small all-reduce takes 20 to 45 µs instead of 4 to 8. A mixture of experts that
    reads few parameters a token has little to divide, so that more ranks add all-reduces and take nothing away.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 4
      context     = 4K
      prompt      = 1K
      completion  = 500
      tokens_per_second >= 5
    }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm {
        args { "--enforce-eager" = on }   #! KC508
      }
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 4
      context     = 4K
      prompt      = 1K
      completion  = 500
      tokens_per_second >= 5
    }
    ```

    Fix
    Delete the flag; where it was there for memory, a smaller `max_num_seqs` takes smaller graphs. For a mixture of experts a smaller tp, and replicas.

    Source
    All-reduce under a graph and eager: aiconfigurator's silicon tables (research of this project). gpt-oss-120b on A100: 90 tokens a second on one card, 77 to 78 on
    two and four.
    """
    for serve in plan.serves:
        sla = serve.serve.sla
        bound = next((bound for bound in sla.bounds if bound.name in _LATENCY), None) if sla is not None else None
        if bound is not None:
            asked = Mark(place_of(bound.value), "latency is asked for")
            yield from _slowing_flags(serve, asked)
            yield from _needless_ranks(serve, asked)


def _slowing_flags(serve: ServePlan, asked: Mark) -> Iterator[Diagnostic]:
    for name, value in serve.serve.engine.args:
        flag = name.value if name.value == "-O0" else name.value.replace("_", "-")
        if any(
            value.value is slow or (slow not in (True, False) and value.value == slow)
            for slow in _SLOWING.get(flag, ())
        ):
            state = "" if value.value is True else " off" if value.value is False else f" {value.value}"
            yield finding(
                "KC508",
                f"`{name.value}`{state} makes every step slower, and the SLA bounds latency",
                place_of(value) if value.written else place_of(name),
                marks=(asked,),
                help=("leave it out",),
            )


def _needless_ranks(serve: ServePlan, asked: Mark) -> Iterator[Diagnostic]:
    """A pinned tp of a mixture of experts that half of it would beat."""
    tp = serve.serve.parallel.tp
    timed = serve.chosen.performance
    if tp is None or not tp.written or tp.value < 2 or tp.value % 2 or timed is None:
        return
    if serve.serve.model.architecture.value.moe is None:
        return
    half = ways.half_tp(serve)
    if (
        half is not None
        and half.performance is not None
        and half.fits == "yes"
        and half.performance.itl.value < timed.itl.value
    ):
        yield finding(
            "KC508",
            f"tp {tp.value} takes {shown(timed.itl)} between tokens, and tp {half.cut.tp} {shown(half.performance.itl)}",
            place_of(tp),
            marks=(asked,),
            help=(f"`tp = {half.cut.tp}`, and replicas on the other cards",),
            figure="performance.itl_s",
        )
