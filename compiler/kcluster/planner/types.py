"""The plan: what runs where, what was rejected and why."""

from __future__ import annotations

from typing import Literal

from kcluster.physics.cut import Cut, Limits, Load
from kcluster.physics.hardware import EnginePlacement
from kcluster.physics.results import Communication, Memory, Performance, Verdict
from kcluster.spec.types import Bound, ServeSpec, Spec
from kcluster.units import Figure
from kcluster.values import frozen


@frozen
class Violation:
    """A constraint that a candidate breaks. The planner rejects with it and the rule of the same code reports it: the
    inequality is written once.

    `subject`: the attribute that it is about (`tp`, `pp`, `max_model_len`, …), so that a rule can point at it where it was
    written. `because`: a short clause with the figures. `fatal`: the engine would not start (or not run) so. `error`: it would
    start, and the rule still calls it an error (tensor parallel across nodes without RDMA); the planner does not choose it.
    """

    code: str
    subject: str
    because: str
    fatal: bool
    figures: tuple[Figure, ...] = ()
    error: bool = False


@frozen
class SlaVerdict:
    """One bound against its prediction. `met` is "uncertain" where the range of the prediction holds the target."""

    bound: Bound
    predicted: Figure
    met: Verdict


@frozen
class Candidate:
    """One way to serve. Memory and times are None only where a fatal violation makes them meaningless."""

    cut: Cut
    limits: Limits
    placement: tuple[EnginePlacement, ...]
    """One an engine (replica)."""
    memory: Memory | None
    communication: Communication | None
    performance: Performance | None
    violations: tuple[Violation, ...]
    verdicts: tuple[SlaVerdict, ...]
    idle: int
    """Cards of the serve that nothing uses."""

    @property
    def fits(self) -> Verdict:
        if self.memory is None or any(violation.fatal for violation in self.violations):
            return "no"
        return self.memory.starts

    @property
    def meets_sla(self) -> Verdict:
        met = [verdict.met for verdict in self.verdicts]
        if self.fits == "no" or "no" in met:
            return "no"
        return "uncertain" if "uncertain" in met or self.fits == "uncertain" else "yes"


@frozen
class Alternative:
    """A candidate that was not chosen, with the code of the first rule that speaks against it (empty where it only ranks
    lower) and the reason in a clause."""

    candidate: Candidate
    code: str
    because: str


@frozen
class EnginePorts:
    """The ports of one replica, on its first node unless said otherwise: HTTP, and what its form of distribution needs
    (0 where not needed)."""

    http: int
    master: int = 0
    dp_rpc: int = 0


@frozen
class ServePlan:
    """The decision for one serve. `load` is what it was judged at (defaults where the SLA is silent)."""

    serve: ServeSpec
    load: Load
    chosen: Candidate
    alternatives: tuple[Alternative, ...]
    """Best first."""
    considered: int
    distribution: Literal["single", "nnodes", "ray", "dp"]
    """How one engine spans what it spans: one node, the engine's own multi-node, Ray, or data-parallel ranks over nodes."""
    ports: tuple[EnginePorts, ...]
    """One a replica."""
    hosts: tuple[str, ...]
    """Addresses of the nodes of `serve.cluster`, in its order."""

    @property
    def name(self) -> str:
        return self.serve.name


@frozen
class Plan:
    """A plan for every serve of the spec that could be planned, in file order."""

    spec: Spec
    serves: tuple[ServePlan, ...]
