"""`python -m benchmarks.mutations [NUMBER] [SPEC…] [--out FILE]`: many seeded single mistakes of every spec, the whole way.

NUMBER (10,000) mistakes of each spec are made: tokens lost, doubled, exchanged with the next or followed by a stray character;
characters lost, replaced or put in; files that end early; beside them bytes at random. Each text is judged (parsed, resolved,
planned, ruled), and formatted where it parses. All of it must hold:

- no traceback; no text takes more than a second of CPU time; the process stays below 300 MB;
- of the mistakes that are found as mistakes of the language (KC0xx, KC101 to KC107), at least 85 % give exactly one finding, and
  a lost, doubled or exchanged token never more than three;
- what `fmt` makes of a text that parses means the same, has every comment, and stays as it is.

Exits with 1 where one does not, with the texts in FILE (a JSON object a line). Interrupted, it prints the figures so far.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Final

from tests.support.spoilt import NAMED, counted, formats, mutations
from tests.syntax.mutations import Mutation, noise

from kcluster.diagnostics import Diagnostic
from kcluster.pipeline import decode_and_check
from kcluster.planner.answers import keep_answers

ROOT: Final = Path(__file__).resolve().parents[2]
SEED: Final = 20261124
NUMBER: Final = 10_000
CHUNK: Final = 500
"""Mutations of one spec before the next has its turn, so that a run that is cut short has seen them all."""
CPU_S: Final = 1.0
STOP_S: Final = 20.0
"""CPU seconds after which a text is given up."""
MEMORY: Final = 300_000_000
SHARE: Final = 0.85
ANSWERS: Final = 512
MOST: Final = 3
SINGLE: Final = ("delete", "double", "swap")
GROUPS: Final = (*SINGLE, "junk", "lose", "replace", "put in", "truncate")


class Hang(BaseException):
    """Not an Exception: nothing on the way may take it for its own."""


def _ring(signum: int, frame: FrameType | None) -> None:
    raise Hang


class Run:
    """The figures of a run, and the texts that broke a promise."""

    def __init__(self, out: Path | None) -> None:
        self.counts: dict[str, Counter[int]] = {group: Counter() for group in GROUPS}
        self.formatted = 0
        self.slowest = 0.0
        self.broken: Counter[str] = Counter()
        self.out = out

    def judge(self, path: Path, mutation: Mutation) -> None:
        """One text the whole way."""
        found: tuple[Diagnostic, ...] = ()
        number, why, stage = 0, "", "traceback"
        begun = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, STOP_S)
        try:
            checked = decode_and_check(mutation.text.encode("utf-8", "replace"), "t.kcluster", folder=path.parent)
            found, number = checked.diagnostics, counted(checked)
            stage = "fmt"
            self.formatted += formats(mutation.text)
        except Exception as error:
            why = f"{stage}: {error!r}"
        except Hang:
            why = "hang"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        took = time.process_time() - begun
        group = next(group for group in GROUPS if mutation.kind.startswith(group))
        if not why:
            self.counts[group][number] += 1
            if took > CPU_S and (took := min(took, alone(mutation, path))) > CPU_S:
                why = f"slow: {took:.2f} s of CPU time"
            elif number > MOST:
                why = f"{'cascade' if group in SINGLE else 'many'}: {number} findings"
            self.slowest = max(self.slowest, took)
        if why:
            self.broken[why.partition(":")[0]] += 1
        if why or number > 1:
            self.keep(path, mutation, why, found)

    def keep(self, path: Path, mutation: Mutation, why: str, found: tuple[Diagnostic, ...]) -> None:
        if self.out is None:
            return
        told = [f"{one.code} {one.message}" for one in found if one.code.startswith(("KC0", *NAMED))]
        row = {
            "spec": path.stem,
            "kind": mutation.kind,
            "what": mutation.what,
            "why": why,
            "found": told,
            "text": mutation.text,
        }
        with self.out.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(json.dumps(row) + "\n")

    def bytes_(self, path: Path, data: bytes) -> None:
        """A file that is none."""
        try:
            decode_and_check(data, "t.kcluster", folder=path.parent)
        except Exception as error:
            self.broken["traceback"] += 1
            self.keep(path, Mutation("noise", repr(data), ""), f"traceback: {error!r}", ())

    def all(self, paths: list[Path], number: int) -> bool:
        """Every spec in turns, some hundred mutations at a time, then bytes at random."""
        turns = [(path, distinct(path, number)) for path in paths]
        while turns:
            for turn in list(turns):
                path, texts = turn
                some = list(islice(texts, CHUNK))
                for mutation in some:
                    self.judge(path, mutation)
                if len(some) < CHUNK:
                    turns.remove(turn)
            done = sum(counts.total() for counts in self.counts.values())
            print(f"{done:,} texts; {dict(self.broken)}; {self.share():.1%}", file=sys.stderr, flush=True)
        for path in paths:
            for data in noise(random.Random(f"{SEED} {path.name}"), max(2, number // 10)):
                self.bytes_(path, data)
        return True

    def share(self, groups: tuple[str, ...] = GROUPS) -> float:
        """Of the mistakes that are found, those that give exactly one finding."""
        counts = sum((self.counts[group] for group in groups), Counter[int]())
        return counts[1] / max(1, sum(number for found, number in counts.items() if found))

    def table(self) -> str:
        """The figures as a Markdown table."""
        lines = [
            "| mistake | texts | none | one | two | three | more | exactly one of those found |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for group in GROUPS:
            counts = self.counts[group]
            more = sum(number for found, number in counts.items() if found > MOST)
            cells = [counts.total(), *(counts[found] for found in range(MOST + 1)), more]
            lines.append(f"| {group} | {' | '.join(f'{cell:,}' for cell in cells)} | {self.share((group,)):.1%} |")
        total = sum(counts.total() for counts in self.counts.values())
        lines.append(
            f"\n{total:,} different texts; exactly one finding: {self.share():.1%} of all, {self.share(SINGLE):.1%} of tokens lost, "
            f"doubled or exchanged; formatted: {self.formatted:,}; slowest: {self.slowest:.2f} s CPU; memory: {memory() / 1e6:.0f} MB; "
            f"broken promises: {dict(self.broken) or 'none'}"
        )
        return "\n".join(lines)

    @property
    def passed(self) -> bool:
        hard = {why for why in self.broken if why != "many"}
        return not hard and self.share() >= SHARE and self.share(SINGLE) >= SHARE and memory() < MEMORY


def alone(mutation: Mutation, path: Path) -> float:
    """CPU seconds of judging a text, the least of three: on a machine with much else to do one measure is up to four times too long."""
    keep_answers(0)
    took = []
    for _ in range(3):
        begun = time.process_time()
        decode_and_check(mutation.text.encode("utf-8", "replace"), "t.kcluster", folder=path.parent)
        took.append(time.process_time() - begun)
    keep_answers(ANSWERS)
    return min(took)


def memory() -> int:
    """The most memory that this process had, in bytes."""
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def distinct(path: Path, number: int) -> Iterator[Mutation]:
    """The mutations of a spec, each text once."""
    text = path.read_text(encoding="utf-8")
    seen: set[int] = {hash(text)}
    # Drawn in turns of a hundred, so that every kind comes early.
    rng = random.Random(f"{SEED} {path.name}")
    for _ in range(max(1, number // 100)):
        for mutation in mutations(text, rng, min(number, 100)):
            if hash(mutation.text) not in seen:
                seen.add(hash(mutation.text))
                yield mutation


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mutations", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("number", type=int, nargs="?", default=NUMBER)
    parser.add_argument("specs", nargs="*", help="stems of specs; left out, all")
    parser.add_argument("--out", type=Path, help="where texts with more than one finding go, a JSON object a line")
    asked = parser.parse_args(arguments)
    paths = [
        path for path in sorted((ROOT / "specs").rglob("*.kcluster")) if not asked.specs or path.stem in asked.specs
    ]
    signal.signal(signal.SIGPROF, _ring)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # As an editor's server does: most mistakes leave the question to the planner as it was, and a run would take four times as long.
    keep_answers(ANSWERS)
    run = Run(asked.out)
    try:
        whole = run.all(paths, asked.number)
    except KeyboardInterrupt:
        whole = False
    print(run.table() + ("" if whole else " (cut short)"))
    return 0 if run.passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
