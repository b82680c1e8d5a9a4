"""Every model of the catalog: parameters counted from its config, beside the total that its publisher states.

    python -m benchmarks.catalog.parameters

A stated total counts what its row says it does; where it counts something else as well, or less, the tensors are named. Exits with 1
where a difference has no name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from kcluster.catalog.models import ModelMatch, find_model, model_ids
from kcluster.physics.parameters import parameters

Counts = Mapping[str, int]


def counts(match: ModelMatch) -> dict[str, int]:
    """Parameters by component, and the elements of the output head."""
    found = {name: int(figure.value) for name, figure in parameters(match.architecture).components}
    found["head"] = match.architecture.vocab * match.architecture.hidden
    return found


def stated_sum(covers: str, has: Counts) -> int:
    """What a stated total counts, by the words of its row."""
    parts = {
        "vision": "vision" in covers or "everything" in covers,
        "mtp": "MTP layer" in covers,
        "stored_mtp_embedding": "copy of embeddings and head" in covers,
        "head": "copy of the tied output head" in covers,
        "block_scales": "block scales" in covers,
    }
    return has["language_model"] + sum(has.get(name, 0) for name, counted in parts.items() if counted)


def _int4_experts(_: Counts) -> int:
    matrices = 60 * 384 * 3
    return matrices * 7168 * 2048 // 32 + 16 * matrices


def _mimo_v2_flash(has: Counts) -> int:
    # an MTP layer: sliding attention (64 query heads of 192, 8 KV heads, values of 128) with 64 sinks, a dense MLP, projections, norms
    mtp = 4096 * (64 * 192 + 8 * 192 + 8 * 128 + 64 * 128) + 64 + 3 * 4096 * 16_384 + 2 * 4096**2 + 5 * 4096
    # its FP8 blocks: q, k and v have 96 + 12 + 8 rows of them, the MLP 3 × 128; the output projections have none, here as there
    mtp_scales = 32 * (96 + 12 + 8) + 3 * 128 * 32
    return 3 * (mtp + mtp_scales) + has["block_scales"] - 48 * 32 * 64 + 9 * 64


DIFFERENCES: Final[dict[str, tuple[str, Callable[[Counts], int]]]] = {
    "LGAI-EXAONE/K-EXAONE-236B-A23B": ("the dense MTP layer", lambda has: has["mtp"]),
    "XiaomiMiMo/MiMo-7B-Base": ("the MTP layer", lambda has: has["mtp"]),
    "XiaomiMiMo/MiMo-V2-Flash": (
        "three dense MTP layers, FP8 block scales of all but output projections, 64 sinks in the 9 full layers",
        _mimo_v2_flash,
    ),
    "baidu/ERNIE-4.5-300B-A47B-Paddle": ("the dense MTP layer", lambda has: has["mtp"]),
    "moonshotai/Kimi-K2-Instruct": (
        "scales of the kv_a projections beyond whole blocks, 56 in each of 61 layers",
        lambda _: 61 * 56,
    ),
    "moonshotai/Kimi-K2.5": (
        "scales of INT4 groups of 32, and 16 elements of shape a matrix of experts",
        _int4_experts,
    ),
    "moonshotai/Kimi-K2.6": (
        "scales of INT4 groups of 32, and 16 elements of shape a matrix of experts",
        _int4_experts,
    ),
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": ("not the 23 × 128 router corrections", lambda _: -23 * 128),
    "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16": (
        "the MTP layers, but not the 41 × 512 router corrections",
        lambda has: has["mtp"] - 41 * 512,
    ),
}
"""Stated totals that count something else than their row says: the tensors, and their parameters."""


def difference(row: Mapping[str, Any], has: Counts) -> tuple[int, str, int]:
    """(stated total minus the sum that its row names, the tensors that make it, their parameters); "" where none are known."""
    name, known = DIFFERENCES.get(row["id"], ("", lambda _: 0))
    return row["published_parameters"] - stated_sum(row["published_covers"], has), name, known(has)


def main() -> int:
    print("| model | counted | of it vision | of it MTP | stated | what the stated total counts | difference |")
    print("|---|---|---|---|---|---|---|")
    compared = exact = unnamed = 0
    for model in model_ids():
        match = find_model(model)
        assert match is not None
        has = counts(match)
        total = parameters(match.architecture).total.value
        cells = [model, f"{total:,.0f}", *(f"{has[key]:,}" if has.get(key) else "" for key in ("vision", "mtp"))]
        if "published_parameters" not in match.row:
            print("|", " | ".join((*cells, "", "no total is stated", "")), "|")
            continue
        off, name, named = difference(match.row, has)
        compared += 1
        exact += off == 0
        unnamed += off != named
        why = (
            "0"
            if off == 0
            else f"{off:+,}: {name}"
            if off == named
            else f"{off:+,}, **of it {off - named:+,} unnamed**"
        )
        stated = f"{match.row['published_parameters']:,}"
        print("|", " | ".join((*cells, stated, match.row["published_covers"], why)), "|")
    named = compared - exact - unnamed
    print(f"\n{compared} stated totals: {exact} equal, {named} differ by named tensors, {unnamed} by others")
    return 1 if unnamed else 0


if __name__ == "__main__":
    sys.exit(main())
