"""What fuzzing once found stays mended, and the drives themselves work."""

from __future__ import annotations

from pathlib import Path

import pytest

from .drive import DRIVES
from .seeds import SEEDS, Mutator, dictionary

FOUND = Path(__file__).parent / "found"
INPUTS = sorted(path for path in FOUND.glob("*/*") if path.parent.name in DRIVES)


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}-{path.name[:24]}")
def test_found(path: Path) -> None:
    DRIVES[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", sorted(DRIVES))
def test_the_drives_take_seeds_and_what_is_made_of_them(name: str) -> None:
    seeds = list(SEEDS[name]())[:60:6]
    mutator = Mutator(name, seeds)
    for number, seed in enumerate(seeds):
        DRIVES[name](mutator(seed, 4096, number))
    assert all(line.isascii() and line.startswith('"') for line in dictionary(name).splitlines())
