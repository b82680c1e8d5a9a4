"""The folder that `compile` writes, and which engine processes run where: names, paths, ranks, cards and ports.

Every target that speaks of a process (scripts, units, containers, monitoring, the runbook, `plan.toml`) takes it from here,
so that the files agree.
"""

from __future__ import annotations

import math
from typing import Final, Literal

from kcluster.physics.routing import longest_answer
from kcluster.planner.types import Plan, ServePlan
from kcluster.values import frozen

SHORTEST_DRAIN: Final = 30
LONGEST_DRAIN: Final = 900


@frozen
class Process:
    """One `vllm serve` (or the like) on one node.

    Attributes:
        serve: the plan of the serve that it belongs to.
        replica: the index of its engine, from 0.
        node: the index of its node in `serve.hosts`; `host` is the address there.
        folder: `nodes/<host>`; `stem` names its files there (`serve-chat`, or `serve-chat-1` for replica 1 of several).
        answers: whether it has an HTTP port (a headless one has none); `port` is 0 without.
        node_rank: its place among the `nodes` nodes of its engine.
        ranks: the data-parallel ranks that it runs, in order.
        gpus: indices on the real machine of the cards that it uses, in rank order.
    """

    serve: ServePlan
    replica: int
    node: int
    host: str
    folder: str
    stem: str
    answers: bool
    port: int
    node_rank: int
    nodes: int
    ranks: tuple[int, ...]
    gpus: tuple[int, ...]

    @property
    def path(self) -> str:
        """Where its files lie, without their ending."""
        return f"{self.folder}/{self.stem}"


def segment(text: str) -> str:
    """A text as one segment of a path: letters, digits, `.`, `_`, `-`, and neither hidden nor empty."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text)
    return safe.lstrip(".-") or "x"


def node_folders(plan: Plan) -> dict[str, str]:
    """`nodes/<host>` of every host of the plan, distinct for distinct hosts."""
    folders: dict[str, str] = {}
    for host in dict.fromkeys(host for serve in plan.serves for host in serve.hosts):
        folders[host] = _unused(f"nodes/{segment(host)}", set(folders.values()))
    return folders


def _unused(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    return next(f"{name}-x{number}" for number in range(1, len(taken) + 2) if f"{name}-x{number}" not in taken)


def balance(serve_plan: ServePlan) -> Literal["internal", "hybrid", "external"]:
    """Who balances between the data-parallel ranks of one engine: its head, each node, or the router."""
    written = serve_plan.serve.parallel.balance
    return written.value if written else "internal"


def processes(plan: Plan) -> tuple[Process, ...]:
    """Every engine process of the plan: by serve in file order, by replica, then in the order in which they start."""
    folders = node_folders(plan)
    taken: dict[str, set[str]] = {folder: set() for folder in folders.values()}
    found: list[Process] = []
    for serve_plan in plan.serves:
        for process in _of_serve(serve_plan):
            folder = folders[process.host]
            stem = _unused(process.stem, taken[folder])
            taken[folder].add(stem)
            found.append(_placed(process, folder, stem))
    return tuple(found)


def processes_of(plan: Plan, serve_plan: ServePlan) -> tuple[Process, ...]:
    """The processes of one serve."""
    return tuple(process for process in processes(plan) if process.serve is serve_plan)


def _placed(process: Process, folder: str, stem: str) -> Process:
    from kcluster.values import evolve

    return evolve(process, folder=folder, stem=stem)


def _of_serve(serve_plan: ServePlan) -> list[Process]:
    stem = f"serve-{segment(serve_plan.name)}"
    placements = serve_plan.chosen.placement
    sharing = [node for placement in placements for node in placement.nodes]
    external = serve_plan.chosen.cut.dp > 1 and balance(serve_plan) == "external"
    found = []
    for replica, placement in enumerate(placements):
        port = serve_plan.ports[replica].http
        nodes = placement.nodes[:1] if serve_plan.distribution == "ray" else placement.nodes
        for node_rank, node in enumerate(nodes):
            name = f"{stem}-{replica}" if sharing.count(node) > 1 else stem
            groups = [
                (rank, tuple(place.gpu for stage in stages for place in stage if place.node == node))
                for rank, stages in enumerate(placement.ranks)
            ]
            local = [(rank, gpus) for rank, gpus in groups if gpus]
            units = (
                [([rank], f"{name}-rank{rank}") for rank, _ in local] if external else [([r for r, _ in local], name)]
            )
            for number, (ranks, unit) in enumerate(units):
                answers = (
                    external or node_rank == 0 or (serve_plan.chosen.cut.dp > 1 and balance(serve_plan) == "hybrid")
                )
                found.append(
                    Process(
                        serve=serve_plan,
                        replica=replica,
                        node=node,
                        host=serve_plan.hosts[node],
                        folder="",
                        stem=unit,
                        answers=answers,
                        port=port + number if answers else 0,
                        node_rank=node_rank,
                        nodes=len(placement.nodes),
                        ranks=tuple(ranks),
                        gpus=tuple(
                            serve_plan.serve.gpu_ids[node][gpu] for rank, gpus in local if rank in ranks for gpu in gpus
                        ),
                    )
                )
    return found


def shutdown_seconds(serve_plan: ServePlan) -> int:
    """Seconds that an engine is given to finish what it answers when it is stopped: the SLA's longest answer at the slow
    end of its range, in whole half minutes between 30 s and 15 minutes."""
    performance = serve_plan.chosen.performance
    if performance is None:
        return SHORTEST_DRAIN
    longest = longest_answer(serve_plan.load, performance).value
    return min(LONGEST_DRAIN, max(SHORTEST_DRAIN, math.ceil(longest / 30) * 30))


def served_names(serve_plan: ServePlan) -> tuple[str, ...]:
    """The names under which an engine knows its model, the one of its metrics first: the model's id, and the name by
    which a shared router picks it."""
    route = serve_plan.serve.route
    chosen = (route.model_name.value,) if route and route.model_name else ()
    names = tuple(dict.fromkeys((serve_plan.serve.model.id.value, *chosen)))
    if serve_plan.serve.engine.name.value == "triton":
        # There a model's name is that of a folder.
        return tuple(dict.fromkeys(segment(name) for name in names))
    return names


def model_location(serve_plan: ServePlan) -> str:
    """What the engine loads: the checkpoint's name, or its folder below the hardware's `model_path`."""
    checkpoint = serve_plan.serve.model.checkpoint.value
    folder = serve_plan.serve.hardware.model_path
    if folder is None or checkpoint.startswith("/"):
        return checkpoint
    return f"{folder.value.rstrip('/')}/{checkpoint}"
