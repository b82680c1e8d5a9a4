"""Rows of logged starts as what the model is asked: an architecture, a format, a cut, limits, a card, an engine version.

A row is left out only where it does not say what the question needs, or where it ran something that the model does not claim to
know; each reason is printed. A miss is never a reason.
"""

from __future__ import annotations

import json
import re
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from attrs import evolve, frozen

from kcluster.catalog.config_json import read_config
from kcluster.catalog.formats import WEIGHT_FORMATS, checkpoint_suffix, format_of_checkpoint
from kcluster.catalog.gpus import find_gpu
from kcluster.catalog.models import find_model, model_ids
from kcluster.physics.architecture import Architecture
from kcluster.physics.cut import Cut, EngineVersion, KvFormat, Limits
from kcluster.physics.formats import WeightFormat
from kcluster.physics.hardware import Card
from kcluster.physics.kv import default_prefix_caching
from kcluster.physics.memory import default_limits
from kcluster.units import GIB, Figure

RELEASES: Final[tuple[tuple[str, tuple[int, ...]], ...]] = (
    ("2025-03-18", (0, 8)),
    ("2025-05-27", (0, 9)),
    ("2025-07-24", (0, 10)),
    ("2025-08-18", (0, 10, 1)),
    ("2025-09-13", (0, 10, 2)),
    ("2025-10-02", (0, 11)),
    ("2025-12-03", (0, 12)),
    ("2025-12-18", (0, 13)),
    ("2026-01-20", (0, 14)),
    ("2026-01-29", (0, 15)),
    ("2026-02-24", (0, 16)),
    ("2026-03-06", (0, 17)),
    ("2026-03-20", (0, 18)),
    ("2026-04-03", (0, 19)),
    ("2026-04-28", (0, 20)),
    ("2026-05-15", (0, 21)),
    ("2026-05-29", (0, 22)),
    ("2026-06-12", (0, 23)),
    ("2026-06-27", (0, 24)),
    ("2026-07-11", (0, 25)),
    ("2026-07-25", (0, 26)),
    ("2026-08-10", (0, 27)),
    ("2026-08-26", (0, 28)),
    ("2026-09-09", (0, 29)),
    ("2026-09-22", (0, 30)),
    ("2026-10-06", (0, 31)),
    ("2026-10-20", (0, 32)),
    ("2026-11-01", (0, 33)),
)
"""When versions of vLLM came out: dates of the packages' files, those between read packages at the usual two weeks."""

QUANTIZATIONS: Final = {
    "none": "",
    "fp8": "fp8",
    "fp8-block": "fp8-block",
    "mxfp4": "mxfp4",
    "nvfp4": "nvfp4",
    "awq": "awq-int4",
    "awq_marlin": "awq-int4",
    "awq-compressed-tensors": "w4a16-g32",
    "autoround-int4": "gptq-int4",
    "gptq": "gptq-int4",
    "gptq_marlin": "gptq-int4",
    "gptq-int4": "gptq-int4",
    "w4a16": "w4a16",
    "int8": "int8",
    "w8a8": "int8",
    "compressed-tensors-int4": "w4a16",
    "bitsandbytes": "bnb-int4",
}
KV_FORMATS: Final[dict[str, KvFormat]] = {
    "bfloat16": "bf16",
    "float16": "fp16",
    "fp8": "fp8",
    "fp8_e4m3": "fp8",
    "fp8_e5m2": "fp8",
    "nvfp4": "nvfp4",
}


@frozen
class Start:
    """One logged start. `excluded` is empty where the model is asked; `stated` says whether the log gives version and utilization,
    without which KV is not judged from scratch. `format_known`: whether weights can be judged."""

    id: str
    row: dict[str, Any]
    thread: str
    excluded: str = ""
    arch: Architecture | None = None
    fmt: WeightFormat | None = None
    cut: Cut | None = None
    limits: Limits | None = None
    card: Card | None = None
    engine: EngineVersion | None = None
    stated: bool = False
    unstated: str = ""
    notes: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        return bool(self.row.get("error"))


def read_starts(path: Path) -> list[Start]:
    """Every row of a JSON Lines file as a start, excluded ones with their reason."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [_start(row) for row in rows]


def _start(row: dict[str, Any]) -> Start:
    start = Start(str(row.get("id")), row, str(row.get("thread") or row.get("id")))
    card = _card(row)
    if card is None:
        return evolve(start, excluded=f"no such card in the catalog: {row.get('gpu')}")
    found = _model(str(row.get("model") or ""))
    if found is None:
        return evolve(start, excluded=f"no such model in the catalog: {row.get('model')}", card=card)
    arch, checkpoint = found
    engine, by_date = _engine(row)
    if engine is None:
        return evolve(start, excluded=f"no vLLM release: {row.get('vllm_version')}", card=card)
    if not engine.at_least(0, 8) or "V0" in str(row.get("notes")):
        return evolve(start, excluded="the V0 engine, which sized its pool by another rule", card=card)
    reason = _foreign(row, arch)
    if reason:
        return evolve(start, excluded=reason, card=card)
    tp, pp, dp, dcp = (int(row.get(name) or 1) for name in ("tp", "pp", "dp", "dcp"))
    fmt = _format(row, arch, checkpoint)
    limits, notes = _limits(row, arch, card, engine)
    defaults = re.search(r"(?:all else|default) (?:default|flags)|other flags default", str(row.get("notes")))
    unstated = ", ".join(
        name
        for name, lacking in (
            ("version", by_date),
            ("utilization", (row.get("gpu_memory_utilization") is None and not defaults) or _two_utilizations(row)),
        )
        if lacking
    )
    return evolve(
        start,
        arch=arch,
        fmt=fmt,
        cut=Cut(tp=tp, pp=pp, dp=dp, ep=bool(row.get("ep")), dcp=dcp),
        limits=limits,
        card=card,
        engine=engine,
        stated=not unstated,
        unstated=unstated,
        notes=notes,
        excluded="" if fmt is not None else f"weight format not known: {row.get('quantization')}",
    )


def _two_utilizations(row: dict[str, Any]) -> bool:
    """Whether the source gives two and says not which the start had ("0.92 vs 0.85")."""
    return re.search(r"utilization[^;]*0\.\d+ vs 0\.\d+", str(row.get("notes") or "")) is not None


def _card(row: dict[str, Any]) -> Card | None:
    found = find_gpu(str(row.get("gpu") or ""))
    if found is None:
        return None
    total = row.get("total_gpu_memory_gib")
    if total is None:
        return found.card
    return evolve(found.card, memory=Figure("gpu.memory", float(total) * GIB, "bytes", source="the log"))


def _model(name: str) -> tuple[Architecture, str] | None:
    """The architecture of a logged name, and the name as a checkpoint. People add remarks behind the id, leave the publisher out,
    and name a format in words."""
    bare = name.split(" (")[0].strip()
    first = bare.split(" ")[0]
    plain = checkpoint_suffix(first)[0]
    for attempt in dict.fromkeys((bare, first, plain, first.removesuffix("-MTP-NVFP4"), plain.removesuffix("-MTP"))):
        found = _by_id(attempt)
        if found is not None:
            return found, bare
    return None


def _by_id(name: str) -> Architecture | None:
    tail = name.rpartition("/")[2].lower()
    for known, facts in _configs().items():
        if known.partition("/")[2].lower() == tail:
            arch = _by_id(facts["same_as"]) if "same_as" in facts else read_config(facts["config"])[0]
            return arch if arch is None else evolve(arch, max_positions=facts.get("positions", arch.max_positions))
    match = find_model(name)
    if match is not None:
        return match.architecture
    for known in model_ids():
        if known.partition("/")[2].lower() == tail:
            match = find_model(known)
            return None if match is None else match.architecture
    return None


@lru_cache(maxsize=1)
def _configs() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("configs.toml").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _samplers() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("samplers.toml").read_text(encoding="utf-8"))


def _engine(row: dict[str, Any]) -> tuple[EngineVersion | None, bool]:
    """The version, and whether it is only by the row's date (a build from the development branch counts as the release that
    followed it)."""
    text = str(row.get("vllm_version") or "")
    match = re.match(r"^v?0\.(\d+)(?:\.(\d+))?", text)
    if match and int(match[1]) >= 5:
        return EngineVersion("vllm", (0, int(match[1]), *((int(match[2]),) if match[2] else ()))), False
    about = re.search(r"~\s*0\.(\d+)", text)
    if about:
        return EngineVersion("vllm", (0, int(about[1]))), False
    date = str(row.get("date") or "")
    if not re.match(r"^\d{4}-\d{2}", date):
        return None, True
    development = "dev" in text or "main" in text or "nightly" in text
    index = sum(released <= date for released, _ in RELEASES) - 1 + (1 if development else 0)
    if index < 0:
        return None, True
    return EngineVersion("vllm", RELEASES[min(index, len(RELEASES) - 1)][1]), not development


def _foreign(row: dict[str, Any], arch: Architecture) -> str:
    """Why a row lies outside what the model claims to know; empty where it does not."""
    speculative = row.get("speculative")
    if speculative and not ("mtp" in str(speculative).lower() and arch.mtp_layers):
        return f"a drafter whose sizes the log does not give: {speculative}"
    if row.get("kv_cache_dtype") not in (None, "auto", *KV_FORMATS):
        return f"a KV format outside the language: {row['kv_cache_dtype']}"
    notes = str(row.get("notes") or "")
    if "pinned" in notes:
        return "the pool was pinned by hand to a size that the log does not give"
    if "INCONSISTENT" in notes:
        return "the source contradicts itself about the cut"
    return ""


def _format(row: dict[str, Any], arch: Architecture, checkpoint: str) -> WeightFormat | None:
    quantization = row.get("quantization")
    if quantization in (None, "compressed-tensors"):
        name = format_of_checkpoint(None, checkpoint) or ""
        if not name and (quantization or row.get("weight_dtype") not in ("bf16", "fp16")):
            return None
    elif quantization in QUANTIZATIONS:
        name = QUANTIZATIONS[quantization]
    else:
        return None
    if arch.model_type.startswith("kimi_k2") and name.startswith("w4a16"):
        name = "int4-experts"
    if not name:
        name = "fp16" if row.get("weight_dtype") == "fp16" else "bf16"
    return WEIGHT_FORMATS.get(name)


def _limits(
    row: dict[str, Any], arch: Architecture, card: Card, engine: EngineVersion
) -> tuple[Limits, tuple[str, ...]]:
    notes = []
    length = row.get("max_model_len") or arch.default_positions or arch.max_positions or 32768
    if row.get("max_model_len") is None:
        notes.append(f"length by default ({length})")
    sequences, batched = default_limits(
        arch,
        card,
        engine,
        max_model_len=length,
        max_num_seqs=row.get("max_num_seqs"),
        max_num_batched_tokens=row.get("max_num_batched_tokens"),
    )
    utilization = row.get("gpu_memory_utilization") or (0.92 if engine.at_least(0, 20) else 0.9)
    asked = str(row.get("speculative") or "").lower()
    tokens = re.search(r"n\s*=\s*(\d+)", asked)
    own: KvFormat = "fp16" if arch.dtype == "float16" or row.get("weight_dtype") == "fp16" else "bf16"
    limits = Limits(
        max_model_len=int(length),
        max_num_seqs=sequences,
        max_num_batched_tokens=batched,
        kv_format=KV_FORMATS.get(str(row.get("kv_cache_dtype")), own),
        utilization=float(utilization),
        prefix_caching=default_prefix_caching(arch, engine),
        eager=bool(row.get("enforce_eager")),
        block_size=None if arch.recurrent else row.get("block_size"),
        language_model_only="vision tower not charged" in str(row.get("notes")),
        speculative_tokens=(int(tokens[1]) if tokens else 1) if "mtp" in asked else 0,
        sampler=_samplers().get(str(row.get("id")), ""),
    )
    return limits, tuple(notes)
