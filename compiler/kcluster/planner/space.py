"""The cuts that a spec leaves open, before anything is judged.

A family is a tensor-parallel size, data-parallel ranks and whole or sliced experts; within it pipeline stages grow. A number
that the author pinned is taken as it is, also where it cannot work: then the plan says why. Up to `EXHAUSTIVE` cards every
combination is tried; beyond, where thousands differ in nothing that matters, counts grow in steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.physics.architecture import GroupedAttention
from kcluster.physics.cut import Cut, KvFormat
from kcluster.planner.case import Case
from kcluster.values import frozen

EXHAUSTIVE: Final = 16
"""Cards up to which every combination is tried."""
STEPS: Final = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128)
"""Pipeline stages that are tried on more cards."""


@frozen
class Family:
    """Cuts that differ only in their stages, dcp and KV format."""

    tp: int
    dp: int
    ep: bool


def is_large(case: Case) -> bool:
    """Whether the cluster is too large to try every combination."""
    return case.cluster.gpus > EXHAUSTIVE


def families(case: Case) -> Iterator[Family]:
    """Every family, small groups first."""
    for tp in tensor_sizes(case):
        for dp in rank_counts(case, tp):
            for ep in expert_choices(case, tp, dp):
                yield Family(tp, dp, ep)


def tensor_sizes(case: Case) -> tuple[int, ...]:
    """Group sizes: every one that a node holds, and whole nodes together (so that a plan can say what the wire costs)."""
    if case.pins.tp is not None:
        return (case.pins.tp,)
    nodes = [len(node.cards) for node in case.cluster.nodes if node.cards]
    largest = max(nodes, default=1)
    together = _doublings(sum(1 for cards in nodes if cards == largest))
    if is_large(case) and case.architecture.pipeline:
        together = together[:1]
    attention = case.architecture.attention
    heads = attention.heads if attention is not None else case.architecture.hidden
    sizes = (*range(1, largest + 1), *(largest * count for count in together))
    return tuple(size for size in sizes if size <= max(heads, largest))


def rank_counts(case: Case, tp: int) -> tuple[int, ...]:
    """Data-parallel ranks inside one engine: for mixtures of experts those that fill a node or whole nodes; for dense models
    replicas do the same without a lock-step."""
    if case.pins.dp is not None:
        return (case.pins.dp,)
    if case.architecture.moe is None or case.pins.ep is False:
        return (1,)
    if case.engine.name == "trtllm" and tp > 1:
        return (1,)  # its attention is data parallel over all cards of a stage, or over none
    sizes = sorted({len(node.cards) for node in case.cluster.nodes if node.cards})
    counts = {1}
    for cards in sizes:
        counts |= {ranks for ranks in range(2, cards // tp + 1) if cards % (tp * ranks) == 0}
        same = sum(1 for node in case.cluster.nodes if len(node.cards) == cards)
        counts |= {cards * nodes // tp for nodes in _doublings(same) if cards >= tp and cards * nodes % tp == 0}
    return tuple(sorted(counts))


def expert_choices(case: Case, tp: int, dp: int) -> tuple[bool, ...]:
    """Whole experts on each rank or slices of them: whole ones where data-parallel ranks share them, else both."""
    if case.pins.ep is not None:
        return (case.pins.ep,)
    if case.architecture.moe is None or tp * dp == 1:
        return (False,)
    return (True,) if dp > 1 and case.pins.dp is None else (True, False)


def stage_counts(case: Case, family: Family) -> tuple[int, ...]:
    """Pipeline stages, rising: as many as there are layers and cards for."""
    if case.pins.pp is not None:
        return (case.pins.pp,)
    if not case.architecture.pipeline:
        return (1,)
    if is_large(case) and family.dp > 1 and case.pins.dp is None:
        return (1,)
    most = min(len(case.architecture.layers), max(1, case.cluster.gpus // (family.tp * family.dp)))
    return tuple(stages for stages in (STEPS if is_large(case) else range(1, most + 1)) if stages <= most)


def context_counts(case: Case, tp: int) -> tuple[int, ...]:
    """Decode context parallel: where every rank would hold the same KV, sizes that split it."""
    if case.pins.dcp is not None:
        return (case.pins.dcp,)
    attention = case.architecture.attention
    if attention is None or case.engine.name == "trtllm":  # its context parallelism is another kind
        return (1,)
    copies = tp
    if isinstance(attention, GroupedAttention):
        copies = tp // attention.kv_heads if attention.kv_heads and tp > attention.kv_heads else 1
    sizes = tuple(size for size in range(1, copies + 1) if copies % size == 0)
    return (*sizes[:1], *sizes[-1:]) if is_large(case) and len(sizes) > 2 else sizes


def kv_formats(case: Case) -> tuple[KvFormat, ...]:
    """The model's own format, which engines take by themselves; then fp8, which halves the cache at some loss of accuracy."""
    if case.pins.kv_format is not None:
        return (case.pins.kv_format,)
    return (case.dtype, "fp8")


def cut(case: Case, family: Family, pp: int, dcp: int, replicas: int) -> Cut:
    """The cut of a family with what the author fixed beside it."""
    return Cut(
        tp=family.tp,
        pp=pp,
        dp=family.dp,
        ep=family.ep,
        dcp=dcp,
        replicas=replicas,
        layers=case.pins.layers,
        eplb=case.pins.eplb,
        redundant_experts=case.pins.redundant_experts if case.pins.eplb else 0,
    )


def _doublings(count: int) -> tuple[int, ...]:
    """2, 4, 8 … up to a count, and the count itself."""
    sizes = []
    size = 2
    while size < count:
        sizes.append(size)
        size *= 2
    return (*sizes, count) if count > 1 else ()
