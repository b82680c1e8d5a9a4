"""`python -m tests.fuzz DRIVE [--seconds N] [--work DIR]`: fuzz one drive (language, lint, command, config) with atheris.

An input that breaks something is left in `tests/fuzz/found/DRIVE/`, where the fast tests replay it; the corpus that was found on
the way stays in DIR. What takes more than a minute or a gigabyte counts as broken. Exits with libFuzzer's code.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["kcluster"]):
    from .drive import DRIVES, LARGEST
    from .seeds import SEEDS, Mutator, dictionary

FOUND = Path(__file__).parent / "found"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("drive", choices=sorted(DRIVES))
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0, help="of libFuzzer; 0 for one at random")
    parser.add_argument("--work", type=Path, help="where the corpus is kept; a folder of its own if left out")
    asked = parser.parse_args()
    work = asked.work or Path(tempfile.mkdtemp(prefix="kcluster-fuzz-"))
    corpus = work / asked.drive
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = [seed for seed in SEEDS[asked.drive]() if len(seed) <= LARGEST]
    for seed in seeds:
        (corpus / sha256(seed).hexdigest()[:16]).write_bytes(seed)
    words = work / f"{asked.drive}.dict"
    words.write_text(dictionary(asked.drive), encoding="ascii")
    mutator = Mutator(asked.drive, seeds)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        return atheris.Mutate(data, most) if seed % 3 == 0 else mutator(data, most, seed)

    found = FOUND / asked.drive
    found.mkdir(exist_ok=True)
    options = [
        f"-max_total_time={asked.seconds}", f"-max_len={LARGEST}", f"-dict={words}", f"-artifact_prefix={found}/",
        "-timeout=60", "-rss_limit_mb=1024", f"-seed={asked.seed}", "-print_final_stats=1",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(corpus)], DRIVES[asked.drive], custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
