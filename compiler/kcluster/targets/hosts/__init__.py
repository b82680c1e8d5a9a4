"""What a host runs beside the engines: a firewall list, a readiness check for every server, and the rolling restart."""

from __future__ import annotations

from kcluster.planner.types import Plan
from kcluster.targets.hosts.firewall import firewalls
from kcluster.targets.hosts.ready import ready_scripts
from kcluster.targets.hosts.rolling import rolling_restart
from kcluster.targets.types import Artifact, target


@target("hosts")
def emit(plan: Plan) -> tuple[Artifact, ...]:
    """`nodes/<host>/firewall.nft`, `nodes/<host>/ready-<name>.sh`, `rolling-restart.sh` (not for serves in Kubernetes)."""
    return (*firewalls(plan), *ready_scripts(plan), *rolling_restart(plan))
