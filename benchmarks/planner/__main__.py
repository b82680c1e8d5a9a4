"""`python -m benchmarks.planner [scale] [cases]`: what planning costs as clusters grow, and cases beside aiconfigurator.

`scale`: CPU seconds and peak memory of planning with every cut open, up to 64 nodes of 8 cards, as ratios to one node.
`cases`: our cut and why the next best one was not taken, beside what aiconfigurator 0.12.0 answered. With
AICONFIGURATOR set to the folder of a virtual environment that holds it, it is run again where its own files can say the case.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "compiler"))

from benchmarks.planner.cases import CASES, LLAMA_405B, Case
from benchmarks.planner.measure import Planned, least, planned

NODES: Final = (1, 2, 8, 16, 32, 64)
MODELS: Final = (("Llama-3.1-405B fp8", LLAMA_405B, "fp8"), ("DeepSeek-V3", "deepseek-ai/DeepSeek-V3", "fp8-block"))
TIMES: Final = 3


def scale_spec(model: str, weights: str, nodes: int) -> str:
    """Every cut open on `nodes` nodes of 8 × H200 on InfiniBand, four requests a card."""
    network = ", network = 8 * infiniband(ndr)" if nodes > 1 else ""
    return f"""
model m {{ id = "{model}", weights = {weights} }}
hardware h {{ nodes = {nodes}, gpus = 8 * h200-sxm{network} }}
sla s {{ concurrency = {32 * nodes}, context = 16K, prompt = 4K, completion = 1K, itl <= 100ms }}
serve x {{ model = m, hardware = h, sla = s }}
"""


def scale(nodes: Sequence[int] = NODES, times: int = TIMES) -> list[str]:
    """The table of cost by size."""
    lines = ["model               nodes  GPUs  cuts  CPU s  × one node  peak MB  × one node  chosen"]
    for name, model, weights in MODELS:
        first: Planned | None = None
        for count in nodes:
            one = least(scale_spec(model, weights, count), times)
            first = first or one
            lines.append(
                f"{name:20}{count:5}{one.gpus:6}{one.considered:6}{one.cpu:7.2f}{one.cpu / first.cpu:12.1f}"
                f"{one.peak / 1e6:9.0f}{one.peak / first.peak:12.1f}  {one.cut}"
            )
    return lines


def answer(case: Case) -> list[str]:
    """One case: our cut with its figures, why the runner-up with another reason was not taken, and the other's answer."""
    one = planned(case.spec)
    verdict = {"yes": "starts", "no": "does not start", "uncertain": "may not start"}[one.fits]
    bound = f", {case.bounds} {one.sla}" if case.bounds else ""
    lines = [
        f"{case.name}",
        f"  kcluster         {one.cut}: {verdict}{bound} ({one.cpu:.2f} s CPU, {one.peak / 1e6:.0f} MB)",
    ]
    if one.itl:
        lines.append(f"                   {one.throughput}, {one.itl} a token")
    lines += [f"                   {text}" for text in one.violations]
    seen: set[str] = set()
    for cut, code, because in sorted(one.alternatives, key=lambda row: row[0] != case.against):
        if (code or because.partition(":")[0]) not in seen and len(seen) < 2:
            seen.add(code or because.partition(":")[0])
            lines.append(f"    not {cut}: {because}{f' ({code})' if code else ''}")
    lines.append(f"  aiconfigurator   {case.other} ({case.seconds} s, as run on 2026-11-23)")
    return lines


def again(case: Case, folder: Path) -> list[str]:
    """The other planner run here: its exit code, its CPU seconds, and what it says last: its best rows or its errors."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [str(folder / "bin" / "aiconfigurator"), *case.command],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    rows = [line for line in said if re.match(r"\|\s*\d+\s*\|", line)][:3] or [line for line in said if "rror" in line][
        -2:
    ]
    return [f"  run here         exit {done.returncode} after {spent:.1f} s CPU", *(f"    {row[:160]}" for row in rows)]


def main(wanted: Sequence[str]) -> int:
    """Print what is asked for; everything without an argument."""
    unknown = set(wanted) - {"scale", "cases"}
    if unknown:
        sys.stderr.write(f"scale or cases, not {', '.join(sorted(unknown))}\n")
        return 2
    if not wanted or "scale" in wanted:
        print("\n".join(scale()), flush=True)
    if not wanted or "cases" in wanted:
        other = os.environ.get("AICONFIGURATOR")
        for case in CASES:
            print(
                "\n".join(["", *answer(case), *(again(case, Path(other)) if other and case.command else [])]),
                flush=True,
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
