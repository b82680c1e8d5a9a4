"""Predictions for measured points and their errors, beside four simple models."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median
from typing import Final

from attrs import frozen
from benchmarks.serving.points import Point

from kcluster.physics.architecture import MoeFfn
from kcluster.physics.communication import allreduces, links_of
from kcluster.physics.kernels import native
from kcluster.physics.performance import performance
from kcluster.physics.results import Performance
from kcluster.physics.time_constants import TimeConstants
from kcluster.physics.topology import Group
from kcluster.physics.weights import stage_layers
from kcluster.physics.work import stage_kv_bytes, stage_work


@frozen
class Judged:
    """One point beside its prediction: seconds a token and output tokens/s, each (low, value, high); None where not measured."""

    point: Point
    performance: Performance
    time: tuple[float, float, float] | None
    throughput: tuple[float, float, float] | None

    @property
    def time_error(self) -> float | None:
        """Predicted over measured, less one."""
        return None if self.time is None else self.time[1] / self.point.time - 1

    @property
    def throughput_error(self) -> float | None:
        return None if self.throughput is None else self.throughput[1] / self.point.throughput - 1

    def holds(self, what: str) -> bool:
        """Whether the stated range holds what was measured."""
        stated = self.time if what == "time" else self.throughput
        measured = self.point.time if what == "time" else self.point.throughput
        return stated is not None and stated[0] <= measured <= stated[2]


def predict(point: Point, constants: TimeConstants) -> Performance:
    """The product's own prediction of a point."""
    return performance(
        point.arch,
        point.fmt,
        point.cut,
        point.limits,
        point.placement,
        point.cluster,
        point.load,
        point.memory,
        point.engine,
        constants,
    )


def judge(point: Point, constants: TimeConstants) -> Judged:
    """A point beside its prediction. A median gap and a fixed batch know nothing of other requests' prompts: prefill is taken out."""
    predicted = predict(point, constants)
    time = None
    if point.kind != "none":
        low, high = predicted.itl.range()
        value = predicted.itl.value
        if point.kind == "step":
            alone = (predicted.step.total.value - predicted.step.prefill_share.value) / predicted.step.total.value
            low, value, high = low * alone, value * alone, high * alone
        time = (low, value, high)
    throughput = None
    if point.throughput:
        low, high = predicted.throughput.range()
        throughput = (low, predicted.throughput.value, high)
    return Judged(point, predicted, time, throughput)


# The simple models of research/perf.md, section 2: what a calculator without fixed costs says.
def _touched(layer: object, tokens: float) -> float:
    if not isinstance(layer, MoeFfn):
        return 0.0
    return layer.experts * (1 - (1 - layer.experts_per_token / layer.experts) ** tokens)


def _batch(point: Point, predicted: Performance) -> float:
    return max(1.0, predicted.batch.value)


def _reads(point: Point, batch: float) -> float:
    """Bytes of weights that one rank reads for a token of a request, through all stages."""
    layers = stage_layers(len(point.arch.layers), point.cut)
    total = 0.0
    for stage in range(point.cut.pp):
        work = stage_work(point.arch, point.fmt, point.cut, stage, layers)
        total += work.head_bytes
        for item in work.layers:
            total += item.count * (item.plain_bytes + item.packed_bytes)
            total += item.count * item.expert_bytes * _touched(item.layer.ffn, batch / point.cut.pp) / work.expert_ranks
    return total


def _reduce_seconds(point: Point, batch: float, constants: TimeConstants) -> float:
    if point.cut.tp < 2:
        return 0.0
    group: Group = links_of(point.placement, point.cluster).tp[0]
    try:
        table = constants.table("custom" if group.ranks == 2 else "nccl", group.bus.kind if group.bus else "pcie", 5)
    except LookupError:
        table = constants.table("custom", "nvlink", 4)
    size = max(1.0, batch / (point.cut.dp * point.cut.pp)) * point.arch.hidden * 2
    return allreduces(point.arch, point.cut) * table.at(group.ranks, size)[0]


def _bandwidth(point: Point) -> float:
    return min(card.bandwidth.value for node in point.cluster.nodes for card in node.cards)


def ideal(point: Point, batch: float, constants: TimeConstants) -> float:
    """Weights over the peak bandwidth, and nothing else."""
    return _reads(point, batch) / _bandwidth(point)


def eighty(point: Point, batch: float, constants: TimeConstants) -> float:
    """Weights over 80 % of the bandwidth."""
    return _reads(point, batch) / (0.8 * _bandwidth(point))


def eighty_and_links(point: Point, batch: float, constants: TimeConstants) -> float:
    """Weights over 80 % of the bandwidth, and all-reduces by the table."""
    return eighty(point, batch, constants) + _reduce_seconds(point, batch, constants)


def all_terms(point: Point, batch: float, constants: TimeConstants) -> float:
    """The ten-constant fit of perf.md, with its constants as printed there."""
    read = {False: 0.80, True: 0.87}[point.fmt.quantized and point.fmt.bytes_per_parameter >= 1]
    read = 0.92 if native(point.fmt, point.cluster.nodes[0].cards[0]) and point.fmt.arithmetic == "fp4" else read
    moe = any(isinstance(layer.ffn, MoeFfn) for layer in point.arch.layers)
    read = 0.84 if moe else read
    card = point.cluster.nodes[0].cards[0]
    bandwidth = _bandwidth(point) * (0.77 if card.vendor == "amd" else 1.0)
    layers = len(point.arch.layers)
    micro = max(1.0, batch / (point.cut.dp * point.cut.pp))
    stages = stage_layers(layers, point.cut)
    kv = 0.0
    flops = 0.0
    for stage in range(point.cut.pp):
        work = stage_work(point.arch, point.fmt, point.cut, stage, stages)
        context = point.load.prompt + point.load.completion / 2
        kv += micro * stage_kv_bytes(work, point.arch.hidden, context, point.limits.kv_format, 1) / (bandwidth * 0.7)
        flops += sum(item.count * (item.flops + item.expert_flops) for item in work.layers)
    rate = card.rate("bf16") or card.rate("fp16")
    share = 0.0
    if rate is not None and point.kind == "tpot" and point.load.concurrency > 1:
        prompt = micro * point.load.prompt / point.load.completion
        share = prompt * flops / (0.5 * rate.value)
        size = 2048.0 * point.arch.hidden * 2
        if point.cut.tp > 1:
            share += prompt / 2048 * _reduce_seconds(point, size / point.arch.hidden / 2 * point.cut.pp, constants)
    fixed = layers * (70e-6 if moe else 56e-6)
    step = 8.6e-3 if not point.engine.at_least(0, 8) else 3.2e-3
    reads = _reads(point, batch) / (bandwidth * read)
    return reads + kv + share + 1.32 * _reduce_seconds(point, batch, constants) + fixed + step * point.cut.pp


SIMPLE: Final[tuple[tuple[str, Callable[[Point, float, TimeConstants], float]], ...]] = (
    ("ideal roofline", ideal),
    ("80 % of bandwidth", eighty),
    ("80 % + all-reduce table", eighty_and_links),
    ("all terms, perf.md constants", all_terms),
)


def simple_errors(judged: Iterable[Judged], constants: TimeConstants) -> dict[str, tuple[list[float], list[float]]]:
    """Errors of the simple models: (time, throughput) by model, at the batch that the product's own model decodes."""
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name, _ in SIMPLE}
    for item in judged:
        point = item.point
        batch = _batch(point, item.performance)
        for name, model in SIMPLE:
            seconds = model(point, batch, constants)
            if item.time is not None:
                found[name][0].append(seconds / point.time - 1)
            if item.throughput is not None:
                found[name][1].append(batch / seconds * point.cut.replicas / point.throughput - 1)
    return found


def quantile(values: Iterable[float], share: float) -> float:
    """The value below which `share` of the values lie, interpolated; 0 for none."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    position = share * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])


def classes(item: Judged) -> tuple[str, ...]:
    """The classes that a point counts in."""
    point = item.point
    groups = [group for group in links_of(point.placement, point.cluster).tp if group.ranks > 1]
    found = ["all", "batch 1" if point.load.concurrency == 1 else "batch > 1"]
    if point.cut.pp > 1:
        found.append("pp")
    if not groups:
        found.append("tp 1")
    elif any(group.network is not None for group in groups):
        found.append("between nodes")
    else:
        found.append(
            "tp over PCIe" if any(group.bus and group.bus.kind == "pcie" for group in groups) else "tp over NVLink/xGMI"
        )
    found.append("MoE" if point.arch.moe is not None else "dense")
    found.append("engine before 0.8" if not point.engine.at_least(0, 8) else "engine from 0.8")
    return tuple(found)


def spread(items: Iterable[Judged], what: str) -> float:
    """Median of high over low of the stated ranges."""
    stated = [item.time if what == "time" else item.throughput for item in items]
    ratios = [pair[2] / pair[0] for pair in stated if pair is not None and pair[0] > 0]
    return median(ratios) if ratios else 0.0
