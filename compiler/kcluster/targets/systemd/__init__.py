"""systemd: units for engines, their Ray and their routers, and a script that installs them on its host."""

from __future__ import annotations

from kcluster.planner.types import Plan
from kcluster.targets.systemd.install import install_scripts
from kcluster.targets.systemd.pause import pause_script
from kcluster.targets.systemd.units import Unit, units
from kcluster.targets.types import Artifact, target

__all__ = ["Unit", "emit", "units"]


@target("systemd")
def emit(plan: Plan) -> tuple[Artifact, ...]:
    """`nodes/<host>/systemd/*.service`, with `pause.sh` beside them, and `nodes/<host>/install.sh` for every host of a serve
    with `runtime = systemd`."""
    found = units(plan)
    folders = dict.fromkeys(unit.folder for unit in found)
    return (
        *(Artifact(unit.path, unit.text) for unit in found),
        *(Artifact(f"{folder}/systemd/pause.sh", pause_script(plan), executable=True) for folder in folders),
        *install_scripts(plan, found),
    )
