"""The time of a token, of a prompt, and what an engine serves at a concurrency.

A decode step is max(weight reads, arithmetic) + KV reads + the share of prefill mixed in + all-reduces + exchanges + boundaries + a
fixed cost a layer + a cost a step (PHYSICS.md, section 5). Serving is the fixed point of three things that depend on each other:
how many requests decode at a time, how long a step of so many takes, and how many wait, because KV or `max_num_seqs` hold no more.
"""

from __future__ import annotations

import math
from typing import Final

from kcluster.physics.architecture import Architecture
from kcluster.physics.cut import Cut, EngineVersion, Limits, Load
from kcluster.physics.engine import Engine, build_engine
from kcluster.physics.formats import WeightFormat
from kcluster.physics.hardware import Cluster, EnginePlacement
from kcluster.physics.memory import held_requests
from kcluster.physics.results import Memory, Performance, StepTime
from kcluster.physics.steps import prompt_cost, prompt_time, step_seconds, step_time
from kcluster.physics.time_constants import Residual, TimeConstants
from kcluster.units import Figure, derive, given
from kcluster.values import frozen

# The fixed point is found by halving: the batch that decodes is between one request and all that are admitted.
_ROUNDS: Final = 12
# Where all requests arrive together, as benchmarks let them, the median one waits for about this share of all their prompts (rows with
# a median first token: 0.3 to 1.0). The high end of a first token's range is that case.
_BURST: Final = 0.7


@frozen(eq=False)
class _Serving:
    """One engine at a load: `admitted` requests run at once, `batch` of them decode, `waiting` have no slot."""

    admitted: float
    batch: float
    waiting: float
    busy: float


def performance(
    arch: Architecture,
    fmt: WeightFormat,
    cut: Cut,
    limits: Limits,
    placement: EnginePlacement,
    cluster: Cluster,
    load: Load,
    memory: Memory,
    engine: EngineVersion,
    constants: TimeConstants,
) -> Performance:
    """Predict what requests see at `load.concurrency` requests in flight over all replicas of a cut."""
    model = build_engine(arch, fmt, cut, limits, placement, cluster, load, engine, constants)
    return served(model, cut.replicas, memory, engine)


def served(model: Engine, replicas: int, memory: Memory, engine: EngineVersion) -> Performance:
    """The same of an engine that is built, of so many replicas.

    `itl`, `tokens_per_second` and `answer` are of one typical request; `throughput` is of all replicas; `step` is one decode step
    with its share of prefill, `prefill` one typical prompt on an idle engine. Ranges hold nine measured points in ten.
    """
    load, limits = model.load, model.limits
    active = max(1, min(replicas, load.concurrency))
    concurrency = max(1.0, load.concurrency / active)
    capacity = _kv_capacity(memory, model.arch, model.cut, limits, engine, load)
    slots = limits.max_num_seqs * model.cut.dp
    alone = prompt_time(model)
    serving = _serve(model, concurrency, min(capacity.value, slots), alone.value)
    return _figures(model, load, serving, capacity, slots, concurrency, active, alone, model.constants)


def _kv_capacity(
    memory: Memory, arch: Architecture, cut: Cut, limits: Limits, engine: EngineVersion, load: Load
) -> Figure:
    """Requests that the KV of one engine holds at once, at the mean length that they have while they run."""
    shared = load.prompt * load.prefix_share if limits.prefix_caching else 0.0
    mean = max(1, round(load.prompt - shared + load.completion / 2))
    core = held_requests(memory, arch, cut, limits, engine, min(mean, limits.max_model_len))
    figure = derive("serving.kv_capacity", "requests", "core * cores", core=core, cores=cut.dp)
    low, high = core.range()
    return figure.between(low * cut.dp, high * cut.dp)


def _serve(model: Engine, concurrency: float, most: float, alone: float) -> _Serving:
    """Find the batch that decodes: of the admitted requests, those that are not in prefill."""
    admitted = max(1.0, min(concurrency, most)) if math.isfinite(most) else concurrency
    completion = max(1.0, model.load.completion / model.tokens_per_step)
    low, high = min(1.0, admitted), admitted
    batch = high
    busy = 0.0
    for _ in range(_ROUNDS):
        step, share = step_seconds(model, batch)
        busy = min(0.95, share / step)
        decode = completion * step
        prefill = _prefill_residence(alone, busy)
        wanted = admitted * decode / (decode + prefill)
        if abs(wanted - batch) < 0.01 * batch:
            batch = wanted
            break
        batch = (batch + max(low, min(high, wanted))) / 2
    return _Serving(admitted, max(min(1.0, admitted), batch), max(0.0, concurrency - admitted), busy)


def _prefill_residence(alone: float, busy: float) -> float:
    """Seconds from admission to the first token: the prompt's own time, and the wait for those before it (an M/D/1 queue)."""
    return alone * (1 + busy / (2 * (1 - busy)))


def _residual(model: Engine, constants: TimeConstants, kind: str) -> Residual:
    return constants.residual(f"{kind}: {model.point_class}", kind)


def _figures(
    model: Engine,
    load: Load,
    serving: _Serving,
    capacity: Figure,
    slots: int,
    concurrency: float,
    active: int,
    alone: Figure,
    constants: TimeConstants,
) -> Performance:
    step = step_time(model, serving.batch, _residual(model, constants, "time"))
    batch = given("serving.batch", serving.batch, "requests", "fixed point of batch, KV, queue and step time")
    low, high = capacity.range()
    if 0 < capacity.value < concurrency:
        batch = batch.between(
            serving.batch * low / capacity.value, serving.batch * min(high, concurrency) / capacity.value
        )
    itl = _scaled(
        derive("performance.itl", "s", "step / tokens", step=step.total, tokens=model.tokens_per_step), step.total
    )
    speed = _inverse(derive("performance.tokens_per_second", "tokens/s", "1 / itl", itl=itl), itl)
    residence = derive(
        "performance.prefill_residence",
        "s",
        "alone * (1 + busy / (2 * (1 - busy)))",
        source="the prompt's own prefill, and an M/D/1 wait for those before it",
        alone=alone,
        busy=given("share of time in prefill", serving.busy, "ratio"),
    )
    throughput = derive(
        "performance.throughput",
        "tokens/s",
        "replicas * admitted * completion / (completion * itl + prefill)",
        source="Little's law over the admitted requests",
        replicas=given("replicas that have a request", active, "count"),
        admitted=given("admitted requests of an engine", serving.admitted, "requests"),
        completion=load.completion,
        itl=itl,
        prefill=residence,
    )
    throughput = _throughput_range(throughput, itl, capacity, concurrency, _residual(model, constants, "throughput"))
    ttft = _ttft(active, serving, residence, alone, throughput, load, prompt_cost(model))
    answer = derive(
        "performance.answer",
        "s",
        "ttft + (completion - 1) * itl",
        ttft=ttft,
        completion=max(1, load.completion),
        itl=itl,
    )
    after = max(1, load.completion) - 1
    answer = answer.between(ttft.range()[0] + after * itl.range()[0], ttft.range()[1] + after * itl.range()[1])
    return Performance(
        ttft=ttft,
        itl=itl,
        tokens_per_second=speed,
        throughput=throughput,
        answer=answer,
        batch=batch,
        step=step,
        prefill=alone,
        bound_by=_bound_by(step, capacity.value, slots, concurrency),
    )


def _scaled(figure: Figure, by: Figure) -> Figure:
    low, high = by.range()
    return figure.between(figure.value * low / by.value, figure.value * high / by.value)


def _inverse(figure: Figure, of: Figure) -> Figure:
    low, high = of.range()
    return figure.between(1 / high, 1 / low)


def _throughput_range(
    throughput: Figure, itl: Figure, capacity: Figure, concurrency: float, residual: Residual
) -> Figure:
    """The residuals of measured throughput, and where KV binds, what more or less of it would serve."""
    low, high = residual.low, residual.high
    if 0 < capacity.value < concurrency:
        least, most = capacity.range()
        low = 1 - math.hypot(1 - low, 1 - max(0.3, least / capacity.value))
        high = 1 + math.hypot(high - 1, min(most, concurrency) / capacity.value - 1)
    fast, slow = itl.range()
    low = min(low, 0.5 * (low + itl.value / slow))
    high = max(high, 0.5 * (high + itl.value / fast))
    return throughput.between(throughput.value * max(0.25, low), throughput.value * high)


def _ttft(
    active: int, serving: _Serving, residence: Figure, alone: Figure, throughput: Figure, load: Load, each: float
) -> Figure:
    """First token: the wait for a slot (Little's law over what waits), then the wait for prefill and the prefill."""
    figure = derive(
        "performance.ttft",
        "s",
        "prefill + waiting * replicas * completion / throughput",
        source="residence in prefill, and the wait for a slot by Little's law",
        prefill=residence,
        waiting=given("requests of an engine that wait for a slot", serving.waiting, "requests"),
        replicas=active,
        completion=load.completion,
        throughput=throughput,
    )
    queue = figure.value - residence.value
    low, high = alone.range()
    slow = throughput.value / throughput.range()[0]
    burst = _BURST * (serving.admitted - 1) * each * high / alone.value
    return figure.between(
        min(low, figure.value) + queue / slow, residence.value * high / alone.value + burst + queue * slow
    )


def _bound_by(step: StepTime, capacity: float, slots: int, concurrency: float) -> str:
    if min(capacity, slots) < concurrency:
        return "KV capacity" if capacity <= slots else "max_num_seqs"
    return max(step.parts, key=lambda part: part[1].value)[0]
