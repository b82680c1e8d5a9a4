"""Whether the SLA says enough, and nothing that contradicts itself (KC506, KC507)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kcluster.diagnostics import Diagnostic
from kcluster.rules.finding import Mark, finding, head_of, place_of
from kcluster.rules.registry import rule
from kcluster.rules.words import count, quoted, shown
from kcluster.spec.types import Bound, SlaSpec, Spec, Value
from kcluster.units import Figure, derive, given, human


@rule("KC506", stage="spec")
def incomplete_sla(spec: Spec) -> Iterator[Diagnostic]:
    """
    What it checks
    A serve has an SLA, and it states the concurrency, the longest context, and a typical prompt and completion.

    Why
    How many requests the KV cache must hold, and how a second of the cards is shared between reading prompts and writing answers, follow from
    these four. What is missing is assumed, and the plan is then one for the assumption.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {   #! KC506
      concurrency = 4
      context     = 8K
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    ```

    Fix
    Write the figures that the message names; what was assumed for each is noted. A day of access logs gives them.

    Source
    PHYSICS of this project: KV capacity is judged at `context` and at `prompt + completion`, times at `concurrency`.
    """
    named: set[int] = set()
    for serve in spec.serves:
        sla = serve.sla
        if sla is None:
            yield finding(
                "KC506",
                f"`{serve.name}` has no SLA, so that a cut can only be judged by whether it starts",
                head_of(serve),
                help=("add an `sla` block with `concurrency`, `context`, `prompt` and `completion`",),
            )
            continue
        if id(sla) in named:
            continue
        named.add(id(sla))
        four: tuple[tuple[str, Value[Any]], ...] = (
            ("concurrency", sla.concurrency),
            ("context", sla.context),
            ("prompt", sla.prompt),
            ("completion", sla.completion),
        )
        missing = [(name, value) for name, value in four if not value.written and name not in sla.unread]
        if missing:
            assumed = (
                f"`{name}` is taken as {count(value.value)}{': ' + value.origin.note if value.origin.note else ''}"
                for name, value in missing
            )
            yield finding(
                "KC506",
                f"`{sla.name}` leaves out {quoted((name for name, _ in missing), 'and')}, so that the choice is a guess",
                head_of(sla),
                notes=assumed,
                help=("state them; a day of access logs gives them",),
            )


@rule("KC507", stage="spec")
def contradictory_sla(spec: Spec) -> Iterator[Diagnostic]:
    """
    What it checks
    The figures of an SLA can hold together: a typical prompt and completion fit into the longest context (error). A bound that another one already
    implies is pointed out (note): `tokens_per_second >= 20` means 50 ms between tokens, so `itl <= 100ms` adds nothing.

    Why
    A context below prompt plus completion is a slip in one of the three, and every figure of the plan hangs on which. A bound that adds nothing
    is usually one that was meant to be tighter.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 4
      context     = 2K   #! KC507
      prompt      = 2K
      completion  = 500
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 4, context = 4K, prompt = 2K, completion = 500 }
    ```

    Fix
    Raise `context` to at least the sum, or correct the typical lengths; delete or tighten a bound that is implied.

    Source
    A request is its prompt and its completion; the engine counts both against `--max-model-len`.
    """
    for sla in spec.slas:
        yield from _lengths(sla)
        yield from _implied(sla)


def _lengths(sla: SlaSpec) -> Iterator[Diagnostic]:
    known = [value for value in (sla.prompt, sla.completion) if value.written]
    if not known:
        return
    total = derive(
        "sla.typical_request",
        "tokens",
        "prompt + completion",
        prompt=given("prompt", sla.prompt.value if sla.prompt.written else 0, "tokens"),
        completion=given("completion", sla.completion.value if sla.completion.written else 0, "tokens"),
    )
    if total.value > sla.context.value:
        names = " + ".join(count(value.value) for value in known)
        yield finding(
            "KC507",
            f"a typical request of {names} tokens is longer than the longest one, {count(sla.context.value)}",
            place_of(sla.context) if sla.context.written else place_of(known[0]),
            marks=[
                Mark(place_of(value), f"{count(value.value)} tokens")
                for value in known
                if sla.context.written or value is not known[0]
            ],
            help=(f"`context` of at least {count(total.value)}, or shorter typical lengths",),
        )


def _implied(sla: SlaSpec) -> Iterator[Diagnostic]:
    speed, itl, ttft, answer = sla.bound("tokens_per_second"), sla.bound("itl"), sla.bound("ttft"), sla.bound("answer")
    if speed is not None and itl is not None and speed.value.value > 0:
        gap = derive(
            "sla.itl_of_speed", "s", "1 / speed", speed=given("tokens_per_second", speed.value.value, "tokens/s")
        )
        text = f"{shown_rate(speed)} mean {shown(gap)} between tokens"
        if itl.value.value >= gap.value:
            yield _adds_nothing(itl, f"{text}, so that {human(itl.value.value, 's')} adds nothing", speed)
        else:
            yield _adds_nothing(
                speed,
                f"`itl` of at most {human(itl.value.value, 's')} asks for more than {shown_rate(speed)} already",
                itl,
            )
    if ttft is not None and answer is not None and ttft.value.value >= answer.value.value:
        yield _adds_nothing(
            ttft,
            f"a whole answer within {human(answer.value.value, 's')} has its first token within {human(ttft.value.value, 's')}",
            answer,
        )
    slowest = _slowest_answer(sla, ttft, itl, speed)
    if answer is not None and slowest is not None and slowest.value <= answer.value.value:
        others = [bound for bound in (ttft, itl, speed) if bound is not None]
        yield _adds_nothing(
            answer,
            f"the other bounds already keep an answer of {count(sla.completion.value)} tokens within {shown(slowest)}",
            *others,
        )


def _slowest_answer(sla: SlaSpec, ttft: Bound | None, itl: Bound | None, speed: Bound | None) -> Figure | None:
    """The slowest typical answer that the other bounds allow, None where they allow any."""
    if ttft is None or not sla.completion.written:
        return None
    first = given("ttft", ttft.value.value, "s")
    tokens = given("completion", sla.completion.value, "tokens")
    if itl is not None:
        gap = given("itl", itl.value.value, "s")
        return derive("sla.slowest_answer", "s", "ttft + completion * itl", ttft=first, completion=tokens, itl=gap)
    if speed is not None and speed.value.value > 0:
        rate = given("tokens_per_second", speed.value.value, "tokens/s")
        return derive("sla.slowest_answer", "s", "ttft + completion / speed", ttft=first, completion=tokens, speed=rate)
    return None


def shown_rate(bound: Bound) -> str:
    return human(bound.value.value, "tokens/s")


def _adds_nothing(bound: Bound, message: str, *others: Bound) -> Diagnostic:
    return finding(
        "KC507",
        message,
        place_of(bound.value),
        severity="note",
        marks=[Mark(place_of(other.value), "implies it") for other in others],
        help=("delete it, or make it tighter",),
    )
