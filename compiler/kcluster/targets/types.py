"""Artifacts and the register of targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kcluster.planner.types import Plan
from kcluster.values import frozen


@frozen
class Artifact:
    """One file of the output: its path (relative, `/`), its whole text, and whether it is started as a program."""

    path: str
    text: str
    executable: bool = False


Emitter = Callable[[Plan], tuple[Artifact, ...]]

TARGETS: Final[dict[str, Emitter]] = {}


def target(name: str) -> Callable[[Emitter], Emitter]:
    """Register a function that turns a plan into the files of one target; it gives nothing where the plan does not ask
    for it. Pure: the same plan gives the same bytes on every machine."""

    def register(emit: Emitter) -> Emitter:
        if name in TARGETS:
            raise ValueError(f"target {name} is registered twice")
        TARGETS[name] = emit
        return emit

    return register
