"""`python -m benchmarks.startup [RUNS]`: CPU time of the command line beside a bare interpreter of the same environment.

The wheel is built from the checkout and installed into a fresh virtual environment. Then RUNS rounds (25 by default), each of which
runs every command once, so that whatever else the machine does hits all of them alike. A ratio is that of the medians. Exits
with 1 where one is over what it must be.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import frozen

ROOT: Final = Path(__file__).resolve().parents[2]
SPEC: Final = ROOT / "specs" / "recipe-a.kcluster"
RUNS: Final = 25


@frozen
class Case:
    """One command. `cold`: the cache is emptied before each run. `must` and `aim`: times the bare interpreter."""

    name: str
    command: tuple[str, ...]
    cold: bool
    must: float
    aim: float


def installed(folder: Path) -> Path:
    """A fresh virtual environment with the wheel in it; gives its `bin`."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")],
        cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    bin_ = folder / "venv" / "bin"
    wheel = next((folder / "dist").glob("*.whl"))
    subprocess.run([str(bin_ / "pip"), "install", "--quiet", str(wheel)], check=True)
    return bin_


def seconds(command: tuple[str, ...], cwd: Path, environment: dict[str, str]) -> float:
    """User and system time of one process and its children.

    Raises:
        SystemExit: the command failed, and what was measured is something else.
    """
    with open(os.devnull, "wb") as nothing:
        child = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=nothing, stdout=nothing, stderr=subprocess.PIPE
        )
        assert child.stderr is not None
        said = child.stderr.read()
        child.stderr.close()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}: {said.decode(errors='replace')}")
    return used.ru_utime + used.ru_stime


def measure(bin_: Path, folder: Path, runs: int, say: Callable[[str], object] = print) -> bool:
    """Run all commands `runs` times and print the table; whether all are within what they must be."""
    python, program = str(bin_ / "python"), str(bin_ / "kcluster")
    cases = (
        Case("lint, nothing kept", (program, "lint", SPEC.name), True, 14, 10),
        Case("lint, file unchanged", (program, "lint", SPEC.name), False, 4, 3),
        Case("--version", (program, "--version"), False, 4, 4),
    )
    shutil.copy(SPEC, folder)
    # Bytecode is written and read as for anyone who installed the wheel; a cache of this run's own.
    left_out = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONPYCACHEPREFIX", "VIRTUAL_ENV")
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    caches = {cold: folder / f"cache-{cold}" for cold in (True, False)}
    bare: list[float] = []
    taken: dict[str, list[float]] = {case.name: [] for case in cases}
    for round_ in range(runs + 1):
        base = seconds((python, "-c", "pass"), folder, environment)
        found = {}
        for case in cases:
            if case.cold:
                shutil.rmtree(caches[True], ignore_errors=True)
            own = {**environment, "XDG_CACHE_HOME": str(caches[case.cold])}
            found[case.name] = seconds(case.command, folder, own)
        if round_:  # the first fills the cache, and reads all files from the disk once
            bare.append(base)
            for name, value in found.items():
                taken[name].append(value)
    middle = statistics.median(bare)
    say(f"{runs} rounds; a bare interpreter takes {middle * 1000:.1f} ms of CPU time\n")
    say("| command | CPU ms | × bare | must | aim |\n|---|---|---|---|---|")
    sound = True
    for case in cases:
        value = statistics.median(taken[case.name])
        ratio = value / middle
        sound = sound and ratio <= case.must
        over = "" if ratio <= case.must else "  OVER"
        say(f"| {case.name} | {value * 1000:.1f} | {ratio:.1f} | {case.must:g} | {case.aim:g} |{over}")
    return sound


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return 0 if measure(installed(folder), folder, runs) else 1


if __name__ == "__main__":
    sys.exit(main())
