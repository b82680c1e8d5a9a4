"""Terms of the memory budget against lines of logs that give them apart: `python -m benchmarks.fit.terms`.

Most logs give weights and KV only, so that what lies between them is one sum. A few print it by part; `terms.toml` has those with
their sources. Nothing is fitted here: the constants' values by their mechanism come from the same lines.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    _ROOT = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(_ROOT), str(_ROOT / "compiler")]

from attrs import frozen
from benchmarks.fit.judge import quantile

from kcluster.catalog.constants import memory_constants
from kcluster.catalog.formats import WEIGHT_FORMATS
from kcluster.catalog.gpus import find_gpu
from kcluster.catalog.models import find_model
from kcluster.physics.cut import Cut, EngineVersion, Limits
from kcluster.physics.graphs import graphs
from kcluster.physics.libraries import non_torch
from kcluster.physics.memory import default_limits
from kcluster.physics.memory_terms import activation
from kcluster.units import GIB, Figure

TERMS = Path(__file__).with_name("terms.toml")
LENGTH = 8192
NAMES = ("activation", "libraries", "graphs")


@frozen
class Term:
    """One printed term beside the formula's, in bytes a GPU."""

    row: dict[str, Any]
    name: str
    measured: float
    computed: Figure

    @property
    def error(self) -> float:
        """Computed less measured, in GiB."""
        return (self.computed.value - self.measured) / GIB


def rows() -> list[dict[str, Any]]:
    """The printed terms, a start a row."""
    return list(tomllib.loads(TERMS.read_text(encoding="utf-8"))["row"])


def terms(row: dict[str, Any]) -> Iterator[Term]:
    """What one start printed, each beside its formula."""
    found, gpu = find_model(row["model"]), find_gpu(row.get("card", "h100-sxm"))
    assert found is not None and gpu is not None, row["model"]
    arch, card = found.architecture, gpu.card
    engine = EngineVersion("vllm", tuple(row.get("version", (0, 19))))
    cut = Cut(tp=row.get("tp", 1), pp=row.get("pp", 1))
    sequences, batched = default_limits(arch, card, engine, max_model_len=LENGTH)
    limits = Limits(LENGTH, sequences, batched, "bf16", 0.95, sampler=row.get("sampler", ""))
    constants = memory_constants()
    computed = {
        "activation": activation(arch, WEIGHT_FORMATS[row.get("format", "bf16")], cut, limits, engine, constants, 0),
        "libraries": non_torch(cut, card, engine, constants),
        "graphs": graphs(arch, len(arch.layers), cut.tp, limits, engine, constants),
    }
    for name in NAMES:
        if name in row:
            yield Term(row, name, row[name] * GIB, computed[name])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and, by term, the errors."""
    del arguments
    found = [term for row in rows() for term in terms(row)]
    print(f"{'model':46} {'version':8} cut         term        measured  computed   error")
    for term in found:
        version = ".".join(str(part) for part in term.row.get("version", (0, 19)))
        cut = " ".join(f"{name} {term.row[name]}" for name in ("tp", "pp") if name in term.row)
        values = f"{term.measured / GIB:8.2f}  {term.computed.value / GIB:8.2f}  {term.error:+6.2f} GiB"
        print(f"{term.row['model']:46} {version:8} {cut:11} {term.name:10} {values}")
    for name in NAMES:
        errors = [abs(term.error) for term in found if term.name == name]
        inside = [
            term.computed.range()[0] <= term.measured <= term.computed.range()[1] for term in found if term.name == name
        ]
        print(
            f"{name:10} n={len(errors):3}  median {quantile(errors, 0.5):.2f}, 90th {quantile(errors, 0.9):.2f} GiB; "
            f"the range holds {sum(inside)} of {len(inside)}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
