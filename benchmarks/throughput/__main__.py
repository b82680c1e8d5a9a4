"""`python -m benchmarks.throughput [PART[:SPECS]…]`: many distinct specs, and one of a large cluster (parts: `one`, `two`, `large`).
With another number of SPECS the bounds on seconds are in proportion; a machine that is busy takes fewer.

Specs are models × cards × agreements of the catalog, spread evenly over all of these, each with a plan of its own to be found.
`one`: 1,000 in one process on one core. `two`: 5,000 in two processes, with nothing kept, then again. `large`: one spec of 64 nodes
of 8 cards. Each is the command line as a person runs it; memory is the largest high-water mark (VmHWM) of its processes.

Judged is CPU time over cores, which is the wall time of a machine that does nothing else; the wall time stands beside it. With more
than one core it is at least what the process takes that gives out the work. Exits with 1 where a figure is over its bound.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Final

from attrs import frozen

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "compiler"))

from kcluster.catalog.gpus import gpu_ids  # noqa: E402
from kcluster.catalog.models import model_ids  # noqa: E402

AGREEMENTS: Final = tuple(
    f"concurrency = {users}, context = {context}, prompt = {prompt}, completion = 500, ttft <= {wait}, tokens_per_second >= 20"
    for users, (context, prompt), wait in product((1, 8, 64), (("8K", "2K"), ("32K", "8K")), ("1s", "5s"))
)
CARDS: Final = (1, 2, 4, 8)
LARGE: Final = """\
model m { id = "deepseek-ai/DeepSeek-V3" }
hardware h { nodes = 64, gpus = 8 * h200-sxm, network = 8 * infiniband(ndr) }
sla s { concurrency = 2048, context = 16K, prompt = 4K, completion = 1K, itl <= 100ms }
serve x { model = m, hardware = h, sla = s }
"""

# The command line with a line on its last words: what it and its children used. A process that waits for its children knows.
PROGRAM: Final = """
import json, os, resource, sys
sys.path.insert(0, sys.argv.pop(1))
from kcluster import __main__ as it
def high():
    return 1024 * next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
leave = os._exit
def said(code):
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    # Children are forked, not started: their ru_maxrss is theirs, and no less than what this process had then.
    peak = max(high(), 1024 * others.ru_maxrss)
    sys.stderr.write("\\n" + json.dumps({
        "own": own.ru_utime + own.ru_stime, "others": others.ru_utime + others.ru_stime, "peak": peak, "code": code
    }))
    sys.stderr.flush()
    leave(code)
os._exit = said
it.program()
"""


@frozen
class Used:
    """CPU seconds of the process that was asked and of those that helped it, wall seconds, and the most memory of any (bytes)."""

    own: float
    others: float
    wall: float
    peak: int
    out: bytes

    def judged(self, cores: int) -> float:
        return max((self.own + self.others) / cores, self.own)


def specs(number: int) -> list[str]:
    """That many texts, each of another plan."""
    every = len(model_ids()) * len(gpu_ids()) * len(AGREEMENTS) * len(CARDS)
    models, cards = model_ids(), gpu_ids()
    texts = []
    for index in range(number):
        at, agreement = divmod(index * every // number + index % len(AGREEMENTS), len(AGREEMENTS))
        at, count = divmod(at, len(CARDS))
        model, card = divmod(at, len(cards))
        texts.append(
            f'model m {{ id = "{models[model % len(models)]}" }}\n'
            f"hardware h {{ gpus = {CARDS[count]} * {cards[card]} }}\n"
            f"sla s {{ {AGREEMENTS[agreement]} }}\n"
            "serve x { model = m, hardware = h, sla = s }\n"
        )
    assert len(set(texts)) == number
    return texts


def run(folder: Path, *arguments: str) -> Used:
    """One command line in a folder.

    Raises:
        SystemExit: it ended with a fault, and what was measured is something else.
    """
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / ".cache")}
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ROOT / "compiler"), *arguments],
        cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip
    wall = time.monotonic() - begun
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr.decode(errors="replace"))
    said = json.loads(done.stderr.splitlines()[-1])
    return Used(said["own"], said["others"], wall, said["peak"], done.stdout)


def row(name: str, used: Used, cores: int, most_seconds: float, most_bytes: float | None) -> bool:
    """Print a row of the table; whether it is within its bounds."""
    judged = used.judged(cores)
    sound = judged <= most_seconds and (most_bytes is None or used.peak < most_bytes)
    bound = f"{most_seconds:g} s" + (f", {most_bytes / 1e6:.0f} MB" if most_bytes else "")
    over = "" if sound else "  OVER"
    print(f"| {name} | {judged:.2f} | {used.wall:.1f} | {used.peak / 1e6:.0f} | {bound} |{over}", flush=True)
    return sound


def write(folder: Path, number: int) -> Path:
    place = Path(tempfile.mkdtemp(dir=folder))
    for index, text in enumerate(specs(number)):
        (place / f"s{index:04}.kcluster").write_text(text)
    return place


def one(folder: Path, number: int = 1000) -> bool:
    place = write(folder, number)
    used = run(place, "lint", ".", "--jobs", "1", "--format", "concise")
    return row(f"{number:,} specs, one core", used, 1, 15 * number / 1000, 250e6)


def two(folder: Path, number: int = 5000) -> bool:
    place, share = write(folder, number), number / 5000
    lint = ("lint", ".", "--jobs", "2", "--format")
    cold = run(place, *lint, "concise")
    rows = [row(f"{number:,} specs, two cores, nothing kept", cold, 2, 45 * share, None)]
    again = run(place, *lint, "concise")
    rows.append(row("the same again", again, 1, 5 * share, None))
    other = run(place, *lint, "json")
    rows.append(row("again, in another format", other, 1, 5 * share, None))
    changed = place / "s0000.kcluster"
    changed.write_text(changed.read_text() + "# changed\n")
    rows.append(row("one of them changed", run(place, *lint, "concise"), 1, 5 * share, None))
    if again.out != cold.out:
        raise SystemExit("what was kept is not what was said")
    return all(rows)


def large(folder: Path) -> bool:
    place = folder / "large"
    place.mkdir()
    (place / "large.kcluster").write_text(LARGE)
    used = run(place, "plan", "large.kcluster")
    sound = row("plan of 64 nodes of 8 cards", used, 1, 1, 200e6)
    return row("lint of it", run(place, "lint", ".", "--no-cache"), 1, 1, 200e6) and sound


PARTS: Final[dict[str, Callable[..., bool]]] = {"one": one, "two": two, "large": large}


def main() -> int:
    folder = Path(tempfile.mkdtemp())
    print("| work | s (CPU over cores) | wall s | MB | bound |\n|---|---|---|---|---|")
    try:
        asked = [part.partition(":") for part in sys.argv[1:] or PARTS]
        sound = [PARTS[name](folder, *([int(number)] if number else [])) for name, _, number in asked]
    finally:
        shutil.rmtree(folder)
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 0 if all(sound) else 1


if __name__ == "__main__":
    sys.exit(main())
