"""The pause before an engine is started again: longer after every failure. systemd has this itself from version 254 on
(`RestartSteps`); older ones, Debian 12's among them, would ignore those lines with a warning."""

from __future__ import annotations

from typing import Final

from kcluster.planner.types import Plan
from kcluster.targets.header import comment_header
from kcluster.targets.shell import SHEBANG, STRICT

FIRST_SECONDS: Final = 10
DOUBLINGS: Final = 5
LONGEST_SECONDS: Final = FIRST_SECONDS * 2**DOUBLINGS


def pause_script(plan: Plan) -> str:
    """`pause.sh UNIT`: nothing before the first start, then 10 s, 20 s, … up to 320 s by how often systemd restarted it."""
    return "".join(
        (
            SHEBANG,
            comment_header(plan, "The pause before a unit is started again, longer after every failure"),
            "# usage: pause.sh UNIT\n",
            STRICT,
            "\n",
            'restarts=$(systemctl show --property NRestarts --value -- "$1" || echo 0)\n',
            f"((restarts <= {DOUBLINGS})) || restarts={DOUBLINGS + 1}\n",
            f"((restarts == 0)) || sleep $(({FIRST_SECONDS} << (restarts - 1)))\n",
        )
    )
