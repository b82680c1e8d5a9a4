"""The constants of the time model: measured tables of collectives, and what `benchmarks/serving/fit.py` fits."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Literal

from kcluster.units import Figure
from kcluster.values import frozen

CollectivePath = Literal["custom", "nccl", "staged"]


@frozen(eq=False)
class CollectiveTable:
    """Measured all-reduce times on one system.

    `seconds[i][j]` is of `ranks[i]` ranks and a message of `sizes[j]` bytes, never less than of a smaller one; `bandwidth` is what one direction of a card's link
    reaches on that system (bytes/s), by which another generation or width is scaled. `low` and `high` bound, as factors, what
    like systems show.
    """

    name: str
    path: CollectivePath
    bus: str
    generation: int
    bandwidth: float
    sizes: tuple[float, ...]
    ranks: tuple[int, ...]
    seconds: tuple[tuple[float, ...], ...]
    low: float
    high: float
    source: str

    def at(self, ranks: int, size: float) -> tuple[float, float]:
        """(seconds, the part of them that is latency) of one all-reduce of `size` bytes over `ranks` ranks.

        Interpolated in the logarithm of size and of ranks. Beyond the
        largest rank count latency grows with the ranks and the rest with 2 (n − 1) / n, as a ring's does.
        """
        last = len(self.ranks) - 1
        if ranks >= self.ranks[last]:
            latency, whole = self._column(last, self.sizes[0]), self._column(last, size)
            known = self.ranks[last]
            share = ((ranks - 1) / ranks) / ((known - 1) / known)
            grown = latency * ranks / known
            return grown + (whole - latency) * share, grown
        upper = next(index for index, count in enumerate(self.ranks) if count > ranks)
        if upper == 0:
            return self._column(0, size), self._column(0, self.sizes[0])
        weight = math.log(ranks / self.ranks[upper - 1]) / math.log(self.ranks[upper] / self.ranks[upper - 1])
        pair = [
            math.exp(
                (1 - weight) * math.log(self._column(upper - 1, point)) + weight * math.log(self._column(upper, point))
            )
            for point in (size, self.sizes[0])
        ]
        return pair[0], pair[1]

    def _column(self, row: int, size: float) -> float:
        times = self.seconds[row]
        if size <= self.sizes[0]:
            return times[0]
        if size >= self.sizes[-1]:
            return times[-1] * size / self.sizes[-1]
        index = bisect_right(self.sizes, size)
        low, high = times[index - 1], times[index]
        weight = math.log(size / self.sizes[index - 1]) / math.log(self.sizes[index] / self.sizes[index - 1])
        return math.exp((1 - weight) * math.log(low) + weight * math.log(high))


@frozen(eq=False)
class Residual:
    """How far measured values lie from predicted ones, as factors of the prediction, for one class of point."""

    name: str
    low: float
    high: float
    points: int


@frozen(eq=False)
class TimeConstants:
    """Constants as figures with their provenance. Efficiencies are shares of a card's peak.

    Attributes:
        bandwidth_16bit, bandwidth_8bit, bandwidth_4bit, bandwidth_fp4: of memory bandwidth, when weights of that storage are
            read for one token (16 bits; fp8 and int8; 4-bit weight-only kernels; native fp4).
        bandwidth_experts: of memory bandwidth for expert weights.
        bandwidth_kv: of memory bandwidth for the KV cache.
        bandwidth_amd, bandwidth_amd_old: factor on all of them on AMD cards, with engines of today and of 2024.
        compute_16bit, compute_8bit, compute_fp4, compute_weight_only: of the tensor rate with many tokens.
        compute_experts: factor on them for experts, whose matrices see few tokens each.
        layer, layer_moe: seconds of fixed cost a layer and step (small kernels), with CUDA graphs.
        layer_block: seconds more for a layer whose weights have two-dimensional blocks of scales.
        layer_eager: seconds more a layer and step without CUDA graphs.
        step_v0, step_v1, step_async: seconds of fixed cost a step by engine generation.
        step_ranks: seconds more a step where several GPUs run it together.
        sequence: seconds a step and running request on the host (scheduling, sampling, output).
        request: seconds of a request before and beside its prefill (HTTP, tokenizer, first scheduling).
        allreduce_factor: how much longer than in a micro-benchmark an all-reduce takes inside a model (skew, launch).
        allreduce_eager: seconds more for one all-reduce without CUDA graphs.
        send, send_staged: seconds of latency of a message between two cards of a node, with and without peer-to-peer.
        exchange: seconds of latency of one all-to-all in a node.
        tables: measured collectives.
        residuals: of time and throughput by class of point.
    """

    bandwidth_16bit: Figure
    bandwidth_8bit: Figure
    bandwidth_4bit: Figure
    bandwidth_fp4: Figure
    bandwidth_experts: Figure
    bandwidth_kv: Figure
    bandwidth_amd: Figure
    bandwidth_amd_old: Figure
    compute_16bit: Figure
    compute_8bit: Figure
    compute_fp4: Figure
    compute_weight_only: Figure
    compute_experts: Figure
    layer: Figure
    layer_moe: Figure
    layer_block: Figure
    layer_eager: Figure
    step_v0: Figure
    step_v1: Figure
    step_async: Figure
    step_ranks: Figure
    sequence: Figure
    request: Figure
    allreduce_factor: Figure
    allreduce_eager: Figure
    send: Figure
    send_staged: Figure
    exchange: Figure
    tables: tuple[CollectiveTable, ...]
    residuals: tuple[Residual, ...]

    def residual(self, *names: str) -> Residual:
        """The first class of that name that has residuals; the last class (all points) where none has."""
        for name in names:
            for residual in self.residuals:
                if residual.name == name:
                    return residual
        return self.residuals[-1]

    def table(self, path: CollectivePath, bus: str, generation: int) -> CollectiveTable:
        """The table of a path on a bus, of the nearest generation where the very one was not measured.

        Raises:
            LookupError: no system with that path and bus was measured.
        """
        known = [table for table in self.tables if table.path == path and table.bus == bus]
        if not known:
            raise LookupError(f"no {path} table for {bus}")
        return min(known, key=lambda table: (abs(table.generation - generation), -table.generation))
