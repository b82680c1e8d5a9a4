"""Planning in a process of its own: what it costs, and what it answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from attrs import frozen

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
text = sys.stdin.read()
import kcluster
from kcluster.render.plan_words import cut_words, ranged
def resident():
    # Not ru_maxrss: that starts at the size of whoever forked this process, and exec does not reset it.
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
started = resident()
before = time.process_time()
plan = kcluster.plan(text, path="case.kcluster")
spent = time.process_time() - before
(serve,) = plan.serves
chosen, timed = serve.chosen, serve.chosen.performance
found = [(one.because, one.code) for one in serve.alternatives]
print(json.dumps({
    "cpu": spent, "process": time.process_time(), "peak": resident(), "started": started,
    "cut": cut_words(chosen), "fits": chosen.fits, "sla": chosen.meets_sla if chosen.verdicts else "",
    "itl": ranged(timed.itl) if timed else "", "throughput": ranged(timed.throughput) if timed else "",
    "violations": [f"{one.code} {one.because}" for one in chosen.violations],
    "alternatives": [[cut_words(one.candidate), one.code, one.because] for one in serve.alternatives],
    "considered": serve.considered, "gpus": serve.serve.cluster.gpus,
}))
"""


@frozen
class Planned:
    """`cpu`: seconds of planning one text, imports of the planner included; `process`: of the whole process. `peak`: the
    most resident memory in bytes; `started`: before it planned."""

    cpu: float
    process: float
    peak: int
    started: int
    cut: str
    fits: str
    sla: str
    itl: str
    throughput: str
    violations: tuple[str, ...]
    alternatives: tuple[tuple[str, str, str], ...]
    considered: int
    gpus: int


def planned(spec: str) -> Planned:
    """Plan a spec in a fresh process.

    Raises:
        CalledProcessError: the spec could not be planned.
    """
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ROOT / "compiler")], input=spec, capture_output=True, text=True, check=True
    )
    read: dict[str, Any] = json.loads(done.stdout)
    return Planned(
        cpu=read["cpu"],
        process=read["process"],
        peak=read["peak"] * 1024,
        started=read["started"] * 1024,
        cut=read["cut"],
        fits=read["fits"],
        sla=read["sla"],
        itl=read["itl"],
        throughput=read["throughput"],
        violations=tuple(read["violations"]),
        alternatives=tuple((cut, code, because) for cut, code, because in read["alternatives"]),
        considered=read["considered"],
        gpus=read["gpus"],
    )


def least(spec: str, times: int) -> Planned:
    """The cheapest of several runs: what else the machine does only ever adds."""
    return min((planned(spec) for _ in range(times)), key=lambda one: one.cpu)
