"""Show what is known of a model (by id, or by its config.json), a GPU or a link, and what follows from it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from kcluster.cli.common import OK, UsageError, say
from kcluster.units import GB, GIB, human

WEIGHTS_SHOWN = ("bf16", "fp8", "fp8-block", "awq-int4", "nvfp4")
"""The formats whose sizes the text lists; JSON has all of them."""

CONFIG_LIMIT = 4 * 2**20
"""Bytes of a config.json that are read: real ones have a few kilobytes."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=("model", "gpu", "link"))
    parser.add_argument("name", metavar="NAME", help="a model id or the path of a config.json; a GPU; a link")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(arguments: argparse.Namespace) -> int:
    known = {"model": _model, "gpu": _gpu, "link": _link}[arguments.kind](arguments.name)
    if arguments.format == "json":
        say(json.dumps(known, indent=2, ensure_ascii=False))
    else:
        say({"model": _model_text, "gpu": _rows_text, "link": _rows_text}[arguments.kind](known))
    return OK


def _model(name: str) -> dict[str, Any]:
    from kcluster.catalog.formats import WEIGHT_FORMATS
    from kcluster.physics.cut import Cut, EngineVersion, Limits
    from kcluster.physics.kv import kv_bytes_per_token
    from kcluster.physics.parameters import parameters
    from kcluster.physics.weights import weight_bytes

    identity, arch, source, note = _architecture(name)
    counted = parameters(arch)
    engine = EngineVersion("vllm", _newest("vllm"))

    def kv(kv_format: Any) -> float:
        limits = Limits(arch.max_positions or 4096, 1, 2048, kv_format, 0.9)
        return kv_bytes_per_token(arch, Cut(), limits, engine).value

    parts = ("total", "active", "embedding", "attention", "mlp", "experts", "other")
    return {
        "id": identity,
        "parameters": {part: round(getattr(counted, part).value) for part in parts},
        "components": {part: round(figure.value) for part, figure in counted.components},
        "layers": len(arch.layers),
        "kv_bytes_per_token": {"bf16": _whole(kv("bf16")), "fp8": _whole(kv("fp8"))},
        "weight_bytes": {key: round(weight_bytes(arch, WEIGHT_FORMATS[key]).value) for key in WEIGHT_FORMATS},
        "max_positions": arch.max_positions,
        "model_type": arch.model_type,
        "class": arch.class_name,
        "hidden": arch.hidden,
        "vocabulary": arch.vocab,
        "source": source,
        "note": note,
    }


def _whole(value: float) -> int | float:
    return int(value) if float(value).is_integer() else round(value, 3)


def _newest(engine: str) -> tuple[int, ...]:
    from kcluster.catalog.engines import engine_versions

    return max(engine_versions(engine))


def _architecture(name: str) -> tuple[str, Any, str, str]:
    path = Path(name)
    if name.endswith(".json") or path.is_file():
        return _from_config(path)
    from kcluster.catalog.models import find_model, model_ids, nearest

    found = find_model(name)
    if found is None:
        near = nearest(model_ids(), name)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(f"the catalog has no model `{name}`{hint} (a config.json works too)")
    return found.id, found.architecture, found.source, found.note


def _from_config(path: Path) -> tuple[str, Any, str, str]:
    from kcluster.catalog.config_json import read_config

    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    if len(data) > CONFIG_LIMIT:
        raise UsageError(f"{path} is larger than {CONFIG_LIMIT // 2**20} MiB: not a config.json")
    try:
        config = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}") from None
    arch, problems = read_config(config)
    if arch is None:
        said = "; ".join(f"`{problem.field}` {problem.message}" for problem in problems)
        raise UsageError(f"{path} is not understood: {said}")
    return path.as_posix(), arch, path.as_posix(), "; ".join(f"{p.field}: {p.message}" for p in problems)


def _gpu(name: str) -> dict[str, Any]:
    from kcluster.catalog.gpus import find_gpu, gpu_row, nearest_gpus

    found = find_gpu(name)
    row = gpu_row(found.id) if found else None
    if found is None or row is None:
        near = nearest_gpus(name)
        raise UsageError(f"the catalog has no GPU `{name}`" + (f"; did you mean {' or '.join(near)}?" if near else ""))
    return {"id": found.id, **({"note": found.note} if found.note else {}), **row}


def _link(name: str) -> dict[str, Any]:
    from difflib import get_close_matches

    from kcluster.catalog.links import link_ids, link_row

    row = link_row(name)
    if row is None:
        near = get_close_matches(name, link_ids(), 3)
        raise UsageError(f"the catalog has no link `{name}`" + (f"; did you mean {' or '.join(near)}?" if near else ""))
    return {"id": name, **row}


def _model_text(known: dict[str, Any]) -> str:
    counted, total = known["parameters"], known["parameters"]["total"]
    lines = [
        f"{known['id']}   {known['class'] or known['model_type']}" + (f" · {known['note']}" if known["note"] else "")
    ]
    lines.append(f"  layers {known['layers']} · hidden {known['hidden']:,} · vocabulary {known['vocabulary']:,}")
    positions = known["max_positions"]
    lines.append(f"  longest context {positions:,} tokens" if positions else "  longest context not stated")
    lines.append("")
    lines.append("parameters")
    for part, count in counted.items():
        share = f"{count / total:7.1%}" if total else ""
        lines.append(f"  {part:<10} {count:>19,}  {share}")
    beside = {k: v for k, v in known["components"].items() if k != "language_model" and v}
    for part, count in beside.items():
        lines.append(f"  ({part.replace('_', ' ')}: {count:,})")
    lines.append("")
    lines.append("KV cache per token, whole model")
    for form, size in known["kv_bytes_per_token"].items():
        lines.append(f"  {form:<10} {size:>19,} bytes   {human(size * 8192, 'bytes')} for 8,192 tokens")
    lines.append("")
    lines.append("weights as shipped")
    for form in WEIGHTS_SHOWN:
        size = known["weight_bytes"][form]
        lines.append(f"  {form:<10} {size / GB:>15,.2f} GB   {size / GIB:,.2f} GiB")
    lines.append("")
    lines.append(f"source: {known['source']}")
    return "\n".join(lines)


def _rows_text(known: dict[str, Any]) -> str:
    width = max(map(len, known))
    lines = []
    for key, value in known.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {item}" for name, item in value.items())
        entries = value if isinstance(value, list) else [value]
        shown = [("yes" if entry else "no") if isinstance(entry, bool) else str(entry) for entry in entries] or ["-"]
        lines.append(f"{key.replace('_', ' '):<{width}}  {shown[0]}")
        lines += [f"{'':<{width}}  {entry}" for entry in shown[1:]]
    return "\n".join(lines)
