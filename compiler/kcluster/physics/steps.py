"""One step of one engine, by cause.

Each stage's parts are computed by a formula whose text is also what `plan --why` prints; the search for the running batch asks for
the same formulas without figures around them.
"""

from __future__ import annotations

import math
from typing import Final

from kcluster.physics.collectives import allreduce_value
from kcluster.physics.communication import (
    ACTIVATION_BYTES,
    allreduce_one,
    alltoall_step,
    pipeline_seconds,
)
from kcluster.physics.engine import Engine, Stage
from kcluster.physics.results import StepTime
from kcluster.physics.time_constants import Residual
from kcluster.physics.work import TOUCHED
from kcluster.units import Figure, Unit, derive, evaluator, given
from kcluster.values import frozen

READING: Final = "plain / read_plain + packed / read_packed + experts / read_experts"
ARITHMETIC: Final = (
    "tokens * (plain_flops / compute_plain + packed_flops / compute_packed + expert_flops / compute_experts)"
    " + attention / compute_plain"
)
LINEAR: Final = "max(reading, arithmetic)"
KV: Final = "sequences * kv_bytes / read_kv"
STEP: Final = "stages * (step + together) + sequences * sequence"


@frozen
class _Batch:
    """What one stage works on in one micro-batch: decoding sequences and tokens of one data-parallel rank, tokens of all ranks
    of the engine together (which the experts see), and tokens of prompts."""

    sequences: float
    tokens: float
    everyone: float
    prompt: float


def _micro(engine: Engine, batch: float) -> _Batch:
    micro = max(min(1.0, batch), batch / (engine.cut.dp * engine.cut.pp))
    tokens = micro * (1 + engine.limits.speculative_tokens)
    ranks = min(engine.cut.dp, max(1.0, batch / engine.cut.pp))
    return _Batch(micro, tokens, tokens * ranks, 0.0)


def _touched(stage: Stage, tokens: float) -> float:
    """Bytes of experts that one rank reads for `tokens` tokens of the engine."""
    total = 0.0
    for layer in stage.work.layers:
        if layer.moe:
            touched = evaluator(TOUCHED)(experts=layer.experts, taken=layer.taken, tokens=tokens)
            total += layer.count * layer.expert_bytes * touched / stage.work.expert_ranks
    return total


def _linear_inputs(engine: Engine, stage: Stage, batch: _Batch) -> tuple[dict[str, float], dict[str, float]]:
    work = stage.work
    tokens = batch.tokens + batch.prompt
    everyone = batch.everyone + batch.prompt * engine.cut.dp
    packed_head = work.head_packed
    reading = {
        "plain": work.plain_bytes + (0.0 if packed_head else work.head_bytes),
        "packed": work.packed_bytes + (work.head_bytes if packed_head else 0.0),
        "experts": _touched(stage, everyone),
    }
    plain, packed = work.plain_flops, work.packed_flops
    if not engine.fmt.quantized:
        plain, packed = plain + packed, 0.0
    arithmetic = {
        "tokens": tokens,
        "plain_flops": plain + work.head_flops * min(1.0, batch.sequences / tokens if tokens else 1.0),
        "packed_flops": packed,
        "expert_flops": work.expert_flops * (everyone / tokens if tokens else 1.0),
        "attention": batch.prompt * stage.attention_flops if batch.prompt else 0.0,
    }
    return reading, arithmetic


def _linear(engine: Engine, stage: Stage, batch: _Batch) -> float:
    reading, arithmetic = _linear_inputs(engine, stage, batch)
    speed = stage.rates
    read = evaluator(READING)(
        plain=reading["plain"],
        packed=reading["packed"],
        experts=reading["experts"],
        read_plain=speed.read_plain.value,
        read_packed=speed.read_packed.value,
        read_experts=speed.read_experts.value,
    )
    compute = evaluator(ARITHMETIC)(
        tokens=arithmetic["tokens"],
        plain_flops=arithmetic["plain_flops"],
        packed_flops=arithmetic["packed_flops"],
        expert_flops=arithmetic["expert_flops"],
        attention=arithmetic["attention"],
        compute_plain=speed.compute_plain.value,
        compute_packed=speed.compute_packed.value,
        compute_experts=speed.compute_experts.value,
    )
    return evaluator(LINEAR)(reading=read, arithmetic=compute)


def _allreduce(engine: Engine, stage: Stage, tokens: float) -> float:
    if engine.cut.tp < 2 or tokens <= 0:
        return 0.0
    size = tokens * engine.arch.hidden * ACTIVATION_BYTES
    return allreduce_value(size, stage.group, engine.constants, eager=engine.limits.eager)


def _reduces(engine: Engine, stage: Stage) -> int:
    if engine.cut.dp > 1:
        return stage.work.allreduces - stage.work.moe_count
    return stage.work.allreduces


def _context(engine: Engine, stage: Stage, tokens: float) -> float:
    """Seconds that decode context parallel talks in a stage: in each layer queries are gathered and outputs summed and scattered,
    together as long as one all-reduce of half of both, and the sums of the softmax are gathered (4 bytes a head, mostly latency).
    """
    group = stage.context_group
    if group is None or tokens <= 0:
        return 0.0
    whole = stage.context_bytes * tokens / (2 * stage.context_layers)
    eager = engine.limits.eager
    moved = allreduce_value(whole, group, engine.constants, eager=eager)
    sums = allreduce_value(4 * tokens * engine.cut.dcp, group, engine.constants, eager=eager) / 2
    return stage.context_layers * (moved + sums)


def step_seconds(engine: Engine, batch: float) -> tuple[float, float]:
    """(seconds of a step at this batch, the part of them that is prefill mixed in)."""
    parts = _parts(engine, batch)
    return sum(parts.values()), parts["prefill"]


def _parts(engine: Engine, batch: float) -> dict[str, float]:
    """Seconds of one decode step (through all stages) by cause."""
    micro = _micro(engine, batch)
    parts = dict.fromkeys(("weights", "kv", "prefill", "allreduce", "alltoall", "pipeline", "layers", "step"), 0.0)
    for stage in engine.stages:
        many = stage.count
        linear = _linear(engine, stage, micro)
        parts["weights"] += many * linear
        parts["kv"] += many * evaluator(KV)(
            sequences=micro.sequences, kv_bytes=stage.kv_bytes, read_kv=stage.rates.read_kv.value
        )
        reduce = _allreduce(engine, stage, micro.tokens)
        parts["allreduce"] += many * _reduces(engine, stage) * reduce
        parts["allreduce"] += many * _context(engine, stage, micro.tokens)
        parts["layers"] += many * stage.fixed
        if batch > 1:
            parts["prefill"] += many * _prefill_share(engine, stage, micro, linear, reduce) * (1 - 1 / batch)
    tokens = micro.everyone
    links = engine.links
    if links.experts is not None:
        parts["alltoall"] = alltoall_step(engine.arch, engine.cut, links, tokens, engine.constants).value
    if links.boundary is not None:
        parts["pipeline"] = pipeline_seconds(engine.arch, engine.cut, links, micro.tokens, engine.constants).value
    parts["step"] = evaluator(STEP)(
        stages=engine.cut.pp,
        step=engine.step_cost.value,
        together=engine.together.value,
        sequences=micro.sequences * engine.cut.pp,
        sequence=engine.constants.sequence.value,
    )
    return parts


def _chunk(engine: Engine) -> float:
    """Tokens of prompt in one step that has any."""
    if not engine.limits.chunked_prefill:
        return engine.prompt
    return max(1.0, min(engine.prompt, engine.limits.max_num_batched_tokens))


def _prompt_step(
    engine: Engine, stage: Stage, chunk: float, micro: _Batch, linear: float = 0.0, reduce: float = 0.0
) -> float:
    """Seconds that a chunk of prompt adds to a step of one stage that decodes `micro` beside it, in `linear` seconds of weights and
    `reduce` seconds an all-reduce."""
    mixed = _Batch(micro.sequences, micro.tokens, micro.everyone, chunk)
    added = _linear(engine, stage, mixed) - linear
    whole = _allreduce(engine, stage, micro.tokens + chunk) - reduce
    added += _reduces(engine, stage) * whole
    return added


def _prefill_share(engine: Engine, stage: Stage, micro: _Batch, linear: float, reduce: float) -> float:
    """Seconds of prefill in a mean decode step: every completion's worth of steps, a request's prompt must be read.

    A request does not decode beside its own prompt: the caller takes out that share.
    """
    completion = max(1.0, engine.load.completion / engine.tokens_per_step)
    arriving = micro.sequences * engine.prompt / completion
    chunk = max(_chunk(engine), min(arriving, engine.limits.max_num_batched_tokens))
    return arriving / chunk * _prompt_step(engine, stage, chunk, micro, linear, reduce)


def prompt_time(engine: Engine) -> Figure:
    """Seconds to prefill one typical prompt on an idle engine: its chunks through the stages, one behind the other."""
    chunk = _chunk(engine)
    chunks = max(1, math.ceil(engine.prompt / chunk))
    chunk = engine.prompt / chunks
    idle = _Batch(0.0, 0.0, 0.0, 0.0)
    each = [
        (stage.count, _prompt_step(engine, stage, chunk, idle) + stage.fixed + engine.step_cost.value)
        for stage in engine.stages
    ]
    through = sum(count * seconds for count, seconds in each)
    slowest = max(seconds for _, seconds in each)
    boundary = pipeline_seconds(engine.arch, engine.cut, engine.links, chunk, engine.constants)
    exchange = alltoall_step(engine.arch, engine.cut, engine.links, chunk, engine.constants)
    figure = derive(
        "performance.prefill",
        "s",
        "through + (chunks - 1) * slowest + boundaries + chunks * exchange + request",
        source="arithmetic against weight reads, all-reduces and fixed costs of each chunk",
        through=given("one chunk through all stages", through, "s"),
        chunks=chunks,
        slowest=given("one chunk in the slowest stage", slowest, "s"),
        boundaries=boundary,
        exchange=exchange,
        request=engine.constants.request,
    )
    return figure.spread(0.6, 1.8)


def prompt_cost(engine: Engine) -> float:
    """Seconds that one more prompt adds where many are read at once: its share of full chunks in the slowest stage."""
    chunk = float(max(engine.limits.max_num_batched_tokens, 1)) if engine.limits.chunked_prefill else engine.prompt
    idle = _Batch(0.0, 0.0, 0.0, 0.0)
    return engine.prompt / chunk * max(_prompt_step(engine, stage, chunk, idle) for stage in engine.stages)


def step_time(engine: Engine, batch: float, residual: Residual) -> StepTime:
    """One decode step at a batch as figures, with the range of its total."""
    parts = _parts(engine, batch)
    micro = _micro(engine, batch)
    weights, comm = _weight_figure(engine, micro, parts), _communication_figures(engine, micro, parts)
    figures = {
        "weights": weights,
        "kv": _sum_figure("step.kv", parts["kv"], "sequences * KV bytes read / bandwidth, over the stages"),
        "prefill": _sum_figure(
            "step.prefill", parts["prefill"], "prompt tokens that arrive in a step, at a chunk's cost"
        ),
        **comm,
        "layers": _sum_figure("step.layers", parts["layers"], "fixed cost of the layers' small kernels"),
        "step": derive(
            "step.step",
            "s",
            STEP,
            stages=engine.cut.pp,
            step=engine.step_cost,
            together=engine.together,
            sequences=micro.sequences * engine.cut.pp,
            sequence=engine.constants.sequence,
        ),
    }
    total = derive(
        "step.total",
        "s",
        "weights + kv + prefill + allreduce + alltoall + pipeline + layers + step",
        source="PHYSICS.md, section 5",
        **figures,
    )
    below = sum(figures[name].value - figures[name].range()[0] for name in ("allreduce", "alltoall", "pipeline"))
    above = sum(figures[name].range()[1] - figures[name].value for name in ("allreduce", "alltoall", "pipeline"))
    # residuals hold what links were off by where they were measured; where a link leaves more open than that, its own range counts
    low = total.value - max(total.value * (1 - residual.low), below)
    high = total.value + max(total.value * (residual.high - 1), above)
    return StepTime(
        weights=figures["weights"],
        kv=figures["kv"],
        prefill_share=figures["prefill"],
        allreduce=figures["allreduce"],
        alltoall=figures["alltoall"],
        pipeline=figures["pipeline"],
        layers=figures["layers"],
        step=figures["step"],
        total=total.between(max(low, 0.2 * total.value), high),
    )


def _sum_figure(name: str, value: float, source: str, unit: Unit = "s") -> Figure:
    return given(name, value, unit, source)


def _weight_figure(engine: Engine, micro: _Batch, parts: dict[str, float]) -> Figure:
    """Weight reads or arithmetic of all stages; derived in full for the stage that takes longest."""
    stage = max(engine.stages, key=lambda item: _linear(engine, item, micro))
    reading, arithmetic = _linear_inputs(engine, stage, micro)
    speed = stage.rates
    one = derive(
        "one stage",
        "s",
        LINEAR,
        reading=derive(
            "weights read",
            "s",
            READING,
            plain=given("16-bit weights of a rank", reading["plain"], "bytes"),
            packed=given(f"{engine.fmt.name} weights of a rank", reading["packed"], "bytes"),
            experts=given("experts that the batch touches", reading["experts"], "bytes"),
            read_plain=speed.read_plain,
            read_packed=speed.read_packed,
            read_experts=speed.read_experts,
        ),
        arithmetic=derive(
            "arithmetic",
            "s",
            ARITHMETIC,
            tokens=given("tokens", arithmetic["tokens"], "tokens"),
            plain_flops=given("16-bit operations a token", arithmetic["plain_flops"], "flop"),
            packed_flops=given("operations a token", arithmetic["packed_flops"], "flop"),
            expert_flops=given("operations a token in experts", arithmetic["expert_flops"], "flop"),
            attention=given("attention to the prompt", arithmetic["attention"], "flop"),
            compute_plain=speed.compute_plain,
            compute_packed=speed.compute_packed,
            compute_experts=speed.compute_experts,
        ),
    )
    return derive(
        "step.weights",
        "s",
        "slowest * equal",
        source="max(weight reads, arithmetic), summed over the stages",
        slowest=one,
        equal=given("stages as long as the slowest", parts["weights"] / one.value if one.value else 0.0, "ratio"),
    )


def _communication_figures(engine: Engine, micro: _Batch, parts: dict[str, float]) -> dict[str, Figure]:
    if parts["allreduce"] == 0:
        allreduce = given("step.allreduce", 0.0, "s", "tp 1")
    else:
        slowest = max(engine.stages, key=lambda stage: _allreduce(engine, stage, micro.tokens))
        reduce = allreduce_one(engine.arch, slowest.group, micro.tokens, engine.constants, engine.limits.eager)
        context = sum(stage.count * _context(engine, stage, micro.tokens) for stage in engine.stages)
        number = (parts["allreduce"] - context) / reduce.value
        counted = given("all-reduces", number, "count")
        allreduce = derive("step.allreduce", "s", "number * one", number=counted, one=reduce)
        if context:
            talk = given("dcp: queries and outputs", context, "s", "vLLM with dcp")
            allreduce = derive(
                "step.allreduce", "s", "number * one + context", number=counted, one=reduce, context=talk
            )
        low, high = (edge / reduce.value for edge in reduce.range())
        allreduce = allreduce.between(allreduce.value * low, allreduce.value * high)
    return {
        "allreduce": allreduce,
        "alltoall": alltoall_step(engine.arch, engine.cut, engine.links, micro.everyone, engine.constants),
        "pipeline": pipeline_seconds(engine.arch, engine.cut, engine.links, micro.tokens, engine.constants),
    }
