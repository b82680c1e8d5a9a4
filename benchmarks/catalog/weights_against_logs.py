"""Weights per GPU against what the engine logged: `python benchmarks/catalog/weights_against_logs.py POINTS.jsonl`.

Prints one line a start-up log that states "Model loading took …", the error, and for known outliers the reason; then median and
90th percentile over the rest.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from attrs import frozen

from kcluster.catalog.formats import WEIGHT_FORMATS, format_of_checkpoint
from kcluster.catalog.models import find_model
from kcluster.physics.cut import Cut
from kcluster.physics.weights import stage_weights
from kcluster.units import GIB

# logs that name a local folder or a re-upload nobody knows: what the log says it is
IDS = {
    "google/gemma-4-26B-A4B-it-qat-q4_0-unquantized": "google/gemma-4-26B-A4B",
    "cyankiwi/Qwen3.5-9B-AWQ-4bit": "Qwen/Qwen3.5-9B",
    "GLM-5.2 NVFP4": "zai-org/GLM-5.2",
}
FORMATS = {"awq-compressed-tensors": "w4a16-g32", "awq_marlin": "awq-int4", "compressed-tensors": "nvfp4-ffn"}
WITHOUT_VISION = frozenset({"5060ti-qwen35-9b-awq"})
OUTLIERS = {
    "jet-qwen36-35b-dflash": "a drafter is loaded too",
    "jet-gemma4-26b-dflash": "a drafter is loaded too, and the checkpoint's ignore list is unknown",
    "l40s-qwen3-235b-tp4-ep": "the log contradicts itself: it fits 8 GPUs, or a 4-bit build on 4",
    "cmm-llama8b": "ROCm pads linear weights",
    "gb10-glm52-nvfp4": "an unnamed build that leaves more in 16 bits",
}


@frozen
class Row:
    """One log: GiB logged and computed, the relative error, and why it is left out of the statistics ("" where it is not)."""

    id: str
    model: str
    form: str
    logged: float
    computed: float
    outlier: str

    @property
    def error(self) -> float:
        return self.computed / self.logged - 1


def compared(point: dict[str, Any]) -> Row | None:
    """One start-up point against the computed weights; None where it states no weights or its model is unknown."""
    if not point["model_loading_gib"]:
        return None
    name = point["model"].split(" (")[0]
    match = find_model(IDS.get(name, name))
    if match is None:
        return None
    stated = point["quantization"] or ""
    form = FORMATS.get(stated, stated)
    if form not in WEIGHT_FORMATS:
        form = "bf16" if form == "none" else format_of_checkpoint(match.quantization, name) or "bf16"
    cut = Cut(tp=point["tp"], pp=point["pp"], dp=point["dp"], ep=point["ep"])
    vision = point["id"] not in WITHOUT_VISION
    computed = stage_weights(match.architecture, WEIGHT_FORMATS[form], cut, 0, vision=vision).value / GIB
    outlier = next((why for start, why in OUTLIERS.items() if point["id"].startswith(start)), "")
    return Row(point["id"], match.id, form, point["model_loading_gib"], computed, outlier)


def rows(points: Path) -> list[Row]:
    lines = points.read_text(encoding="utf-8").splitlines()
    found = (compared(json.loads(line)) for line in lines if line.strip())
    return [row for row in found if row is not None]


def quantiles(found: list[Row]) -> tuple[float, float]:
    """Median and 90th percentile of the absolute errors of what is no outlier."""
    errors = sorted(abs(row.error) for row in found if not row.outlier)
    return statistics.median(errors), errors[min(len(errors) - 1, round(0.9 * (len(errors) - 1)))]


def main(points: Path) -> None:
    found = rows(points)
    for row in found:
        print(
            f"{row.id:32} {row.model:36} {row.form:12} logged {row.logged:8.3f}  computed {row.computed:8.3f}"
            f"  {100 * row.error:+6.2f} %  {row.outlier}"
        )
    median, ninth = quantiles(found)
    count = sum(not row.outlier for row in found)
    print(f"{count} of {len(found)} logs: median {100 * median:.2f} %, 90th percentile {100 * ninth:.2f} %")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
