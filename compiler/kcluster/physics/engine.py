"""One engine on its cards, ready to be asked for the time of a step: everything that does not depend on its batch."""

from __future__ import annotations

from typing import Final

from kcluster.physics.architecture import Architecture
from kcluster.physics.communication import Links, context_group, links_of
from kcluster.physics.cut import Cut, EngineVersion, Limits, Load
from kcluster.physics.formats import WeightFormat
from kcluster.physics.hardware import Cluster, EnginePlacement
from kcluster.physics.kernels import Rates, rates
from kcluster.physics.time_constants import TimeConstants
from kcluster.physics.topology import Group
from kcluster.physics.weights import stage_layers
from kcluster.physics.work import StageWork, stage_attention_flops, stage_context_bytes, stage_kv_bytes, stage_work
from kcluster.units import Figure, evaluator, given
from kcluster.values import evolve, frozen

FIXED: Final = (
    "layers * layer + moe_layers * layer_moe + block_layers * layer_block * block_share + eager_layers * layer_eager"
)

# Engine generations by version (vLLM): the V1 engine is the default from 0.8, asynchronous scheduling from 0.14.
_V1_SINCE: Final = (0, 8)
_ASYNC_SINCE: Final = (0, 14)


@frozen(eq=False)
class Stage:
    """One stage on its slowest card, `count` equal ones of it.

    `context_group`: the ranks of decode context parallel, None without; `context_layers` and `context_bytes`: of the layers that it splits.
    `kv_bytes`: of KV that one decoding sequence reads, at its mean length. `attention_flops`: of one token of a prompt. `fixed`: seconds
    of its layers' fixed cost.
    """

    work: StageWork
    rates: Rates
    group: Group
    count: int
    kv_bytes: float
    attention_flops: float
    fixed: float
    context_group: Group | None = None
    context_layers: int = 0
    context_bytes: float = 0.0


@frozen(eq=False)
class Engine:
    """One engine, ready to be asked for the time of a step."""

    arch: Architecture
    fmt: WeightFormat
    cut: Cut
    limits: Limits
    load: Load
    links: Links
    stages: tuple[Stage, ...]
    constants: TimeConstants
    step_cost: Figure
    tokens_per_step: float
    prompt: float
    point_class: str

    @property
    def together(self) -> Figure:
        """What a step costs more where several GPUs of one stage run it."""
        several = self.cut.tp * self.cut.dp > 1
        return self.constants.step_ranks if several else given("one GPU a stage", 0.0, "s")


def build_engine(
    arch: Architecture,
    fmt: WeightFormat,
    cut: Cut,
    limits: Limits,
    placement: EnginePlacement,
    cluster: Cluster,
    load: Load,
    engine: EngineVersion,
    constants: TimeConstants,
) -> Engine:
    """Everything of an engine that does not depend on its batch."""
    links = links_of(placement, cluster)
    layers = stage_layers(len(arch.layers), cut)
    prompt = max(1.0, load.prompt * (1 - load.prefix_share if limits.prefix_caching else 1.0))
    context = load.prompt + load.completion / 2
    stages: list[Stage] = []
    keys: dict[tuple[object, ...], int] = {}
    for index in range(cut.pp):
        cards = [cluster.nodes[place.node].cards[place.gpu] for dp in placement.ranks for place in dp[index]]
        card = min(cards, key=lambda item: item.bandwidth.value)
        work = stage_work(arch, fmt, cut, index, layers)
        key = (work.layers, work.head_bytes, card.id, links.tp[index].words)
        if key in keys:
            known = stages[keys[key]]
            stages[keys[key]] = evolve(known, count=known.count + 1)
            continue
        keys[key] = len(stages)
        split, gathered = stage_context_bytes(work, cut.dcp)
        speed = rates(fmt, card, constants, old=engine.name == "vllm" and not engine.at_least(*_V1_SINCE))
        stages.append(
            Stage(
                work=work,
                rates=speed,
                group=links.tp[index],
                count=1,
                kv_bytes=stage_kv_bytes(work, arch.hidden, context, limits.kv_format, cut.dcp),
                attention_flops=stage_attention_flops(work, load.prompt - prompt / 2),
                fixed=_fixed(work, fmt, limits, speed, index == cut.pp - 1, constants),
                context_group=context_group(placement, cluster, index, cut.dcp) if split else None,
                context_layers=split,
                context_bytes=gathered,
            )
        )
    drafts = limits.speculative_tokens
    accepted = limits.speculative_acceptance
    per_step = 1.0 + drafts if accepted >= 1 else (1 - accepted ** (drafts + 1)) / (1 - accepted)
    return Engine(
        arch=arch,
        fmt=fmt,
        cut=cut,
        limits=limits,
        load=load,
        links=links,
        stages=tuple(stages),
        constants=constants,
        step_cost=_step_cost(engine, constants),
        tokens_per_step=per_step if drafts else 1.0,
        prompt=prompt,
        point_class=point_class(links),
    )


def point_class(links: Links) -> str:
    """The class of a point by which residuals are kept: whose kernels run, and what its ranks talk over.

    Finer classes (dense or experts, one request or many, the engine's generation, pipelines within a node) were tried: their ranges
    held fewer of the points of threads that they had not seen, as each rests on too few.
    """
    groups = [group for group in (*links.tp, *links.boundaries, links.experts) if group is not None]
    if any(group.vendor != "nvidia" for group in groups):
        return "other vendors"
    if any(group.network is not None for group in groups):
        return "over nodes"
    collectives = [group for group in (*links.tp, links.experts) if group is not None and group.ranks > 1]
    if not collectives or any(group.bus is not None and group.bus.kind == "pcie" for group in collectives):
        return "PCIe or one GPU"
    return "NVLink"


def _step_cost(engine: EngineVersion, constants: TimeConstants) -> Figure:
    if engine.name != "vllm" or engine.at_least(*_ASYNC_SINCE):
        return constants.step_async
    return constants.step_v1 if engine.at_least(*_V1_SINCE) else constants.step_v0


def _fixed(
    work: StageWork, fmt: WeightFormat, limits: Limits, speed: Rates, last: bool, constants: TimeConstants
) -> float:
    """Seconds of fixed cost of a stage's layers; drafting runs one layer a drafted token, as multi-token prediction and EAGLE do."""
    return evaluator(FIXED)(
        layers=work.count - work.moe_count + (limits.speculative_tokens if last else 0),
        layer=constants.layer.value,
        moe_layers=work.moe_count,
        layer_moe=constants.layer_moe.value,
        block_layers=work.count if fmt.block is not None else 0,
        layer_block=constants.layer_block.value,
        block_share=speed.block_share,
        eager_layers=work.count if limits.eager else 0,
        layer_eager=constants.layer_eager.value,
    )
