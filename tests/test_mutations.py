"""Every real spec, spoilt in one place, through the whole way: no traceback, no hang, one mistake one finding; and `fmt` on
whatever of it still parses.

A sample; `make mutations` makes 10,000 of every spec (`benchmarks/mutations`).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

import pytest

from kcluster.pipeline import decode_and_check

from .support.spoilt import counted, formats, mutations
from .syntax.mutations import noise

ROOT = Path(__file__).parent.parent
SPECS = sorted((ROOT / "specs").rglob("*.kcluster"))
SEED = 20261124
SAMPLE = 30
"""Mutations of each spec: about 600 in all."""
ALARM = 20
"""Seconds of one case before it counts as hanging: far above any, so that a busy machine raises no false alarm."""
MEMORY = 300 * 2**20


class Hang(BaseException):
    """Not an Exception: nothing on the way may take it for its own."""


class Alarm:
    """Raises Hang in a case that takes far too long."""

    def __enter__(self) -> None:
        signal.signal(signal.SIGALRM, self.rung)
        signal.setitimer(signal.ITIMER_REAL, ALARM)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    @staticmethod
    def rung(signum: int, frame: FrameType | None) -> None:
        raise Hang


def run(path: Path, number: int) -> tuple[Counter[int], int, list[str]]:
    """Mutations of one spec: findings → how often, texts that `fmt` took, and those with more than three findings."""
    text = path.read_text(encoding="utf-8")
    rng = random.Random(f"{SEED} {path.name}")
    counts: Counter[int] = Counter()
    parsed = 0
    many = []
    seen: set[str] = set()
    for mutation in mutations(text, rng, number):
        if mutation.text in seen:
            continue
        seen.add(mutation.text)
        with Alarm():
            try:
                checked = decode_and_check(mutation.text.encode("utf-8", "replace"), "t.kcluster", folder=path.parent)
                parsed += formats(mutation.text)
            except (Exception, Hang) as error:
                raise AssertionError(f"{path.name}: {mutation.kind}: {mutation.what}") from error
        found = counted(checked)
        counts[found] += 1
        if found > 3:
            many.append(
                f"{path.name}: {mutation.kind}: {mutation.what}: {[one.message for one in checked.diagnostics]}"
            )
    for data in noise(rng, max(2, number // 10)):
        with Alarm():
            decode_and_check(data, "t.kcluster", folder=path.parent)
    return counts, parsed, many


def share_of_one(counts: Counter[int]) -> float:
    """Of the mutations that are mistakes of the language, those that give exactly one finding."""
    return counts[1] / sum(number for found, number in counts.items() if found)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_single_mistakes(path: Path) -> None:
    counts, parsed, many = run(path, SAMPLE)
    assert not many, many
    assert counts.total() >= SAMPLE * 3 // 4
    assert parsed >= counts.total() // 10
    # A sample of one spec is small; the share that is asked for is held over all of them below.
    assert share_of_one(counts) >= 0.7, counts


def test_one_mistake_one_finding() -> None:
    """Over all specs, with texts drawn anew."""
    total: Counter[int] = Counter()
    for path in SPECS[::3]:
        text = path.read_text(encoding="utf-8")
        for mutation in mutations(text, random.Random(f"{SEED + 1} {path.name}"), SAMPLE):
            total[counted(decode_and_check(mutation.text.encode(), "t.kcluster", folder=path.parent))] += 1
    assert share_of_one(total) >= 0.85, total
    assert max(total) <= 3, total


def calls(data: bytes, folder: Path) -> int:
    """The work of judging a text: Python's and C's calls on the way."""
    number = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal number
        number += 1

    sys.setprofile(count)
    try:
        decode_and_check(data, "t.kcluster", folder=folder)
    finally:
        sys.setprofile(None)
    return number


def test_a_mistake_costs_no_more_than_the_spec() -> None:
    """Steps are counted, not time: what has a mistake is judged with a small multiple of the sound spec's."""
    path = ROOT / "specs" / "recipe-a.kcluster"
    text = path.read_text(encoding="utf-8")
    sound = max(calls(text.encode(), path.parent) for _ in range(2))
    worst = max(calls(m.text.encode(), path.parent) for m in mutations(text, random.Random(SEED), 15))
    assert worst <= 8 * sound, (worst, sound)


LARGEST = 2**20
REPEATED = tuple(
    (part * LARGEST)[: LARGEST - 1] + end
    for part, end in (
        (b"\0", b""), (b"{", b""), (b"}", b""), (b"[", b""), (b'"', b""), (b"'", b""), (b"a ", b""), (b"a{", b""), (b"1", b""),
        (b"1_", b"1"), (b"1.1", b""), (b"\xf0", b""), (b"#", b""), (b"\n", b""), (b"\n ", b""), (b"a = 1\n", b""), (b"a-", b""),
        ("\u200b".encode(), b""), (b"model m {}\n", b""), (b"0..9,", b""), (b"aaa = [", b""), (b"\\n", b""), (b"abcd ", b""),
    )
)  # fmt: skip
HOSTILE = (*REPEATED, b'"' + b"a" * (LARGEST - 2) + b'"', b'"' + b"\\n" * (LARGEST // 2 - 1) + b'"')
"""Files as large as may be, each of one thing over and over."""


def test_memory_has_a_bound() -> None:
    """Hostile files and bytes at random, in a process of their own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.test_mutations"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'compiler'}:{ROOT}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 20 * 2**20 < int(done.stdout) <= MEMORY, f"{int(done.stdout) / 2**20:.0f} MiB"


def main() -> None:
    """Judge what is hostile; print the most memory that this process had, in bytes."""
    for data in HOSTILE:
        decode_and_check(data, "t.kcluster")
    rng = random.Random(SEED)
    for data in noise(rng, 100):
        decode_and_check(data, "t.kcluster")
    # Not ru_maxrss: that starts at the size of whoever forked this process, and exec does not reset it.
    status = Path("/proc/self/status").read_text()
    print(1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")))


if __name__ == "__main__":
    main()
