"""List what is built in, with where it was read: GPUs, models, links, engines."""

from __future__ import annotations

import argparse
import json
from typing import Any

from kcluster.cli.common import OK, say

KINDS = ("gpus", "models", "links", "engines")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list",), default="list", help="the only action there is")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"which ({', '.join(KINDS)}; default: all)")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(arguments: argparse.Namespace) -> int:
    kinds = tuple(part for entry in arguments.kinds for part in entry.split(",") if part) or KINDS
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        from kcluster.cli.common import UsageError

        raise UsageError(f"there is no list of `{unknown[0]}` (there are: {', '.join(KINDS)})")
    readers = {"gpus": _gpus, "models": _models, "links": _links, "engines": _engines}
    found = {kind: readers[kind]() for kind in kinds}
    if arguments.format == "json":
        say(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        say("\n\n".join(_table(rows) for rows in found.values()))
    return OK


def _gpus() -> list[dict[str, Any]]:
    from kcluster.catalog.gpus import find_gpu, gpu_ids

    rows = []
    for name in gpu_ids():
        found = find_gpu(name)
        assert found is not None
        card = found.card
        rows.append(
            {
                "gpu": name,
                "memory_gib": round(card.memory.value / 2**30, 2),
                "bandwidth_gbs": round(card.bandwidth.value / 1e9, 1),
                "compute": ", ".join(f"{kind} {rate.value / 1e12:g}" for kind, rate in card.flops),
                "source": found.source,
            }
        )
    return rows


def _models() -> list[dict[str, Any]]:
    from kcluster.catalog.models import find_model, model_ids

    rows = []
    for name in model_ids():
        found = find_model(name)
        assert found is not None
        arch = found.architecture
        rows.append(
            {
                "model": name,
                "type": arch.model_type,
                "layers": len(arch.layers),
                "positions": arch.max_positions,
                "source": found.source,
            }
        )
    return rows


def _links() -> list[dict[str, Any]]:
    from kcluster.catalog.links import link_ids, link_row

    rows = []
    for name in link_ids():
        row = link_row(name) or {}
        rows.append(
            {
                "link": name,
                "theory_gbs": row.get("theory_gbs"),
                "realistic_gbs": row.get("realistic_gbs"),
                "source": "; ".join(row.get("sources", [])),
            }
        )
    return rows


def _engines() -> list[dict[str, Any]]:
    from kcluster.catalog.engines import engine_versions, flag_table

    rows = []
    for engine in ("vllm", "sglang", "trtllm", "triton"):
        for version in engine_versions(engine):
            table = flag_table(engine, version)
            rows.append(
                {
                    "engine": engine,
                    "version": ".".join(map(str, version)),
                    "flags": len(table.flags) if table else 0,
                    "source": "the engine's own argument parser",
                }
            )
    return rows


def _table(rows: list[dict[str, Any]]) -> str:
    """Columns as wide as their longest cell; the last one, the source, is not padded."""
    if not rows:
        return ""
    names = list(rows[0])
    cells = [[name.replace("_", " ") for name in names]]
    cells += [["-" if row[name] is None else str(row[name]) for name in names] for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )
