"""Show what is known of a model (by id, or by its config.json), a GPU or a link, and what follows from it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kcluster.cli.common import OK, UsageError, say
from kcluster.physics.architecture import Architecture
from kcluster.units import GB, GIB, human
from kcluster.values import frozen

DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}

WEIGHTS_SHOWN = ("bf16", "fp8", "fp8-block", "awq-int4", "nvfp4")
"""The formats whose sizes the text lists beside the checkpoint's own; JSON has all of them."""

BATCHED_TOKENS = 2048
"""Tokens of a batch for what sliding layers keep of it beside their window: the least that an engine takes untold."""

WORDS = {
    "vision": "of it the vision tower",
    "mtp": "of it multi-token prediction",
    "stored_head": "and in the files a copy of the tied head",
    "stored_mtp_embedding": "and in the files embedding and head again",
    "block_scales": "and in FP8 blocks of 128 × 128 their scales",
}
"""What a component is, in the text's words."""

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
    from kcluster.catalog.formats import WEIGHT_FORMATS, format_of_checkpoint
    from kcluster.cli.model_layers import layers_in_words
    from kcluster.physics.cut import Cut, EngineVersion, Limits
    from kcluster.physics.kv import kv_bytes_per_token, kv_fixed_bytes
    from kcluster.physics.parameters import parameters
    from kcluster.physics.weights import weight_bytes

    shown = _architecture(name)
    arch = shown.architecture
    counted = parameters(arch)
    engine = EngineVersion("vllm", _newest("vllm"))

    def kv(figure: Any) -> dict[str, int | float]:
        length = arch.default_positions or arch.max_positions or 4096
        limits = {form: Limits(length, 1, BATCHED_TOKENS, form, 0.9) for form in ("bf16", "fp8")}
        return {form: _whole(figure(arch, Cut(), limit, engine).value) for form, limit in limits.items()}

    parts = ("total", "active", "embedding", "attention", "mlp", "experts", "other")
    return {
        "id": shown.id,
        "parameters": {part: round(getattr(counted, part).value) for part in parts},
        "components": {part: round(figure.value) for part, figure in counted.components},
        "layers": len(arch.layers),
        "layer_kinds": [{"count": count, "words": words} for count, words in layers_in_words(arch)],
        "kv_bytes_per_token": kv(kv_bytes_per_token),
        "kv_bytes_per_sequence": kv(kv_fixed_bytes),
        "weight_bytes": {key: round(weight_bytes(arch, WEIGHT_FORMATS[key]).value) for key in WEIGHT_FORMATS},
        "weights": format_of_checkpoint(shown.quantization, shown.id) or DTYPES.get(arch.dtype, "bf16"),
        "published": {key: shown.row[f"published_{key}"] for key in ("parameters", "covers") if shown.row},
        "max_positions": arch.max_positions,
        "default_positions": arch.default_positions,
        "model_type": arch.model_type,
        "class": arch.class_name,
        "hidden": arch.hidden,
        "vocabulary": arch.vocab,
        "source": shown.source,
        "note": shown.note,
    }


def _whole(value: float) -> int | float:
    return int(value) if float(value).is_integer() else round(value, 3)


def _newest(engine: str) -> tuple[int, ...]:
    from kcluster.catalog.engines import engine_versions

    return max(engine_versions(engine))


@frozen
class _Shown:
    """A model as it was asked for: a row of the catalog where it has published figures, or a file."""

    id: str
    architecture: Architecture
    source: str
    note: str
    quantization: dict[str, Any] | None
    row: Mapping[str, Any]


def _architecture(name: str) -> _Shown:
    path = Path(name)
    if name.endswith(".json") or path.is_file():
        return _from_config(path)
    from kcluster.catalog.models import find_model, model_ids, nearest

    found = find_model(name)
    if found is None:
        near = nearest(model_ids(), name)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(f"the catalog has no model `{name}`{hint} (a config.json works too)")
    row = found.row if "published_parameters" in found.row else {}
    return _Shown(found.id, found.architecture, found.source, found.note, found.quantization, row)


def _from_config(path: Path) -> _Shown:
    from kcluster.catalog.config_json import read_config
    from kcluster.catalog.formats import quantization_of

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
    return _Shown(path.as_posix(), arch, path.as_posix(), "", quantization_of(config), {})


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
    note = f" · {known['note']}" if known["note"] else ""
    lines = [f"{known['id']}   {known['class'] or known['model_type']}{note}"]
    lines.append(f"  layers {known['layers']} · hidden {known['hidden']:,} · vocabulary {known['vocabulary']:,}")
    lines += [f"  {entry['count']:>4} × {entry['words']}" for entry in known["layer_kinds"]]
    positions, untold = known["max_positions"], known["default_positions"]
    lines.append(f"  longest context {positions:,} tokens" if positions else "  longest context not stated")
    if untold:
        lines[-1] += f", {untold:,} where the engine is told none"
    lines += ["", "parameters", *_parameters(known)]
    lines += ["", "KV cache of the whole model, a token"]
    for form, size in known["kv_bytes_per_token"].items():
        lines.append(f"  {form:<10} {size:>19,} bytes   {human(size * 8192, 'bytes')} for 8,192 tokens")
    if any(known["kv_bytes_per_sequence"].values()):
        lines.append(f"and beside it a long sequence: windows and states, with batches of {BATCHED_TOKENS:,} tokens")
        for form, size in known["kv_bytes_per_sequence"].items():
            lines.append(f"  {form:<10} {size:>19,} bytes   {human(size, 'bytes')}")
    lines += ["", "weights by format"]
    own = known["weights"]
    shown = tuple(dict.fromkeys((own, *WEIGHTS_SHOWN)))
    width = max(10, *map(len, shown))
    for form in shown:
        size = known["weight_bytes"][form]
        as_published = "   as published" if form == own else ""
        lines.append(f"  {form:<{width}} {size / GB:>15,.2f} GB   {size / GIB:,.2f} GiB{as_published}")
    return "\n".join([*lines, "", f"source: {known['source']}"])


def _parameters(known: dict[str, Any]) -> list[str]:
    """The counts, what of them stands beside the language model, and what their publisher states."""
    counted, total = known["parameters"], known["parameters"]["total"]
    lines = [f"  {part:<10} {count:>19,}  {count / max(1, total):7.1%}" for part, count in counted.items()]
    for part, count in known["components"].items():
        if part != "language_model" and count:
            lines.append(f"  ({WORDS[part]}: {count:,})")
    if known["published"]:
        stated = known["published"]
        lines.append(f"  stated by its publisher: {stated['parameters']:,} ({stated['covers']})")
    return lines


def _rows_text(known: dict[str, Any]) -> str:
    width = max(map(len, known))
    lines = []
    for key, value in known.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {item}" for name, item in value.items())
        if key.endswith("_range_gib"):
            value = " to ".join(map(str, value))
        entries = value if isinstance(value, list) else [value]
        shown = [("yes" if entry else "no") if isinstance(entry, bool) else str(entry) for entry in entries] or ["-"]
        lines.append(f"{key.replace('_', ' '):<{width}}  {shown[0]}")
        lines += [f"{'':<{width}}  {entry}" for entry in shown[1:]]
    return "\n".join(lines)
