"""What speaks against a candidate's links (KC401–KC404) and its spread over hosts (KC505)."""

from __future__ import annotations

from typing import Final

from kcluster.physics.communication import allreduce_seconds, allreduces
from kcluster.physics.cut import Cut
from kcluster.physics.hardware import EnginePlacement, Place
from kcluster.physics.results import Communication, Performance
from kcluster.planner.case import Case
from kcluster.planner.placement import group_spans_nodes
from kcluster.planner.types import Violation
from kcluster.units import Figure, derive, human

TALK_SHARE: Final = 0.5
"""All-reduce over this share of a decode step means that the group talks longer than it works (KC402)."""
WIDE_TALK_SHARE: Final = 0.35
"""The same beyond four cards without a switched link: there the next smaller group is nearly always at hand."""
WIDE: Final = 4
BOUNDARY_SHARE: Final = 0.2
"""Crossing the pipeline's boundaries over this share of a prompt's prefill is felt in the time to first token (KC403)."""
ALLTOALL_SHARE: Final = 0.35
"""All-to-all over this share of a decode step means that experts wait for the link (KC404)."""


def link_violations(
    case: Case, cut: Cut, engine: EnginePlacement, talk: Communication, timed: Performance
) -> tuple[Violation, ...]:
    """Every link that makes this candidate slow, with the figures."""
    found: list[Violation] = []
    if cut.tp > 1:
        spans = group_spans_nodes(engine)
        found += _across_nodes(case, cut, engine, talk) if spans else _beyond_bus(case, cut, engine, talk, timed)
    if cut.pp > 1:
        found += _boundary(talk, timed)
    if cut.ep_size > 1:
        found += _all_to_all(talk, timed)
    return tuple(found)


def _across_nodes(case: Case, cut: Cut, engine: EnginePlacement, talk: Communication) -> tuple[Violation, ...]:
    """KC401: the all-reduces of one token over the wire against those of the largest group inside a node."""
    group = engine.ranks[0][0]
    rdma = all((network := case.cluster.nodes[place.node].network) is not None and network.rdma for place in group)
    here = talk.allreduce_seconds_per_step
    inside = _inside(case, cut, group, talk)
    text = f"the all-reduces of one token take {human(here.value, 's')} over {talk.tp_path or 'the network'}"
    figures: tuple[Figure, ...] = (here,)
    if inside is not None:
        text += f", {human(inside.value, 's')} inside a node"
        figures = (here, inside)
    return (Violation("KC401", "tp", text, False, figures, error=not rdma),)


def _inside(case: Case, cut: Cut, group: tuple[Place, ...], talk: Communication) -> Figure | None:
    """The same bytes among the cards of one node, as tp × pp would have them; None where a node has a single card of it."""
    places = tuple(place for place in group if place.node == group[0].node)
    count = allreduces(case.architecture, cut)
    if len(places) < 2 or count == 0:
        return None
    message = talk.allreduce_bytes_per_step.value / (count * cut.dp * cut.pp)
    one = allreduce_seconds(message, places, case.cluster, case.time_constants)
    return derive("communication.allreduce_seconds_inside", "s", "allreduces * one", allreduces=count, one=one)


def _beyond_bus(
    case: Case, cut: Cut, engine: EnginePlacement, talk: Communication, timed: Performance
) -> tuple[Violation, ...]:
    """KC402: the share of a token's time that is all-reduce, on a link that is no switched NVLink or xGMI."""
    if switched(case, engine):
        return ()
    share = _share("communication.allreduce_share", timed.step.allreduce, timed.step.total)
    limit = WIDE_TALK_SHARE if cut.tp > WIDE else TALK_SHARE
    if share is None or share.value <= limit:
        return ()
    text = (
        f"{share.value * 100:.0f} % of a token's time is all-reduce: {human(timed.step.allreduce.value, 's')} of "
        f"{human(timed.step.total.value, 's')} over {talk.tp_path or 'the bus'}"
    )
    return (Violation("KC402", "tp", text, False, (share, timed.step.allreduce, timed.step.total)),)


def switched(case: Case, engine: EnginePlacement) -> bool:
    """Whether every node of the engine joins its cards by a switched link (NVSwitch, a full xGMI mesh)."""
    for index in engine.nodes:
        node = case.cluster.nodes[index]
        if node.bus.kind not in ("nvlink", "xgmi") or not all(card.gpu_link_switched for card in node.cards):
            return False
    return True


def _boundary(talk: Communication, timed: Performance) -> tuple[Violation, ...]:
    """KC403: a burst of prompts' activations over the pipeline's boundaries against the time to compute them."""
    if timed.prefill.value <= 0:
        return ()
    burst = derive("performance.burst_prefill_s", "s", "batch * prefill", batch=timed.batch, prefill=timed.prefill)
    share = _share("communication.boundary_share", talk.prefill_pipeline_seconds, burst)
    if share is None or share.value <= BOUNDARY_SHARE:
        return ()
    text = (
        f"the activations of {timed.batch.value:.0f} prompts ({human(talk.prefill_pipeline_bytes.value, 'bytes')}) take "
        f"{human(talk.prefill_pipeline_seconds.value, 's')} over {talk.pp_path or 'the link'}, "
        f"{share.value * 100:.0f} % of their prefill of {human(burst.value, 's')}"
    )
    return (Violation("KC403", "pp", text, False, (share, talk.prefill_pipeline_seconds, burst)),)


def _all_to_all(talk: Communication, timed: Performance) -> tuple[Violation, ...]:
    """KC404: the experts' all-to-all against a token's time."""
    share = _share("communication.alltoall_share", timed.step.alltoall, timed.step.total)
    if share is None or share.value <= ALLTOALL_SHARE:
        return ()
    text = (
        f"{share.value * 100:.0f} % of a token's time is the experts' all-to-all: {human(timed.step.alltoall.value, 's')} of "
        f"{human(timed.step.total.value, 's')} over {talk.ep_path or 'the link'}"
    )
    return (Violation("KC404", "ep", text, False, (share, timed.step.alltoall, timed.step.total)),)


def _share(name: str, part: Figure, whole: Figure) -> Figure | None:
    if whole.value <= 0:
        return None
    return derive(name, "ratio", "part / whole", part=part, whole=whole)


def survival(case: Case, cut: Cut, engines: tuple[EnginePlacement, ...]) -> tuple[Violation, ...]:
    """KC505: whether the loss of one replica, or of any one host, leaves a replica standing."""
    if case.survive is None or not engines:
        return ()
    if cut.replicas < 2:
        return (Violation("KC505", "survive_loss", "one replica alone serves", False, error=True),)
    if case.survive == "host":
        for node in range(len(case.cluster.nodes)):
            if all(node in engine.nodes for engine in engines):
                host = case.cluster.nodes[node].host
                text = f"every replica has cards on {host}"
                return (Violation("KC505", "survive_loss", text, False, error=True),)
    return ()
