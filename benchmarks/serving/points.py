"""Rows of measured serving as what the model is asked: an architecture, a format, a cluster, a cut, limits, a load.

A row is left out only where it does not say what the question needs (model, card, layout, load) or where it ran something that the
model does not claim to predict (speculative decoding with an unknown drafter, cross-attention); each reason is printed. A miss is never a
reason.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final, Literal

from attrs import evolve, frozen

from kcluster.catalog.config_json import read_config
from kcluster.catalog.constants import memory_constants
from kcluster.catalog.formats import WEIGHT_FORMATS
from kcluster.catalog.gpus import find_gpu
from kcluster.catalog.links import default_bus, make_bus, make_network
from kcluster.catalog.models import find_model, model_ids
from kcluster.physics.architecture import Architecture, GroupedAttention
from kcluster.physics.cut import Cut, EngineVersion, KvFormat, Limits, Load
from kcluster.physics.formats import WeightFormat
from kcluster.physics.hardware import Bus, Card, Cluster, EnginePlacement, Node, Place
from kcluster.physics.memory import default_limits, memory
from kcluster.physics.results import Memory
from kcluster.units import GB, GIB, given

TimeKind = Literal["tpot", "step", "none"]

# Releases by date, for rows that date themselves but name no version; and what notes say of undated ones.
_RELEASES: Final = (
    ("2024-03", (0, 4)),
    ("2024-07", (0, 5)),
    ("2024-10", (0, 6)),
    ("2025-01", (0, 7)),
    ("2025-04", (0, 8)),
    ("2025-07", (0, 9)),
    ("2025-09", (0, 10)),
    ("2025-11", (0, 11)),
    ("2026-01", (0, 13)),
    ("2026-03", (0, 16)),
    ("2026-06", (0, 20)),
    ("2026-08", (0, 25)),
    ("9999-99", (0, 30)),
)
_UNDATED: Final = (0, 12)

# Names in the wild for rows of the catalog with the same architecture.
_NAMES: Final = {
    "glm-5.1 (nvfp4 build)": "zai-org/GLM-5.1",
    "deepseek-r1-0528": "deepseek-ai/DeepSeek-R1",
    "llama-3-70b-instruct": "meta-llama/Meta-Llama-3-70B-Instruct",
    "meta-llama-3.1-8b-instruct": "meta-llama/Llama-3.1-8B-Instruct",
    "mixtral-8x7b-v0.1": "mistralai/Mixtral-8x7B-v0.1",
    "qwen3-coder-30b-a3b-instruct": "Qwen/Qwen3-30B-A3B",
    "qwen3-30b-a3b-instruct-2507": "Qwen/Qwen3-30B-A3B",
    "qwen3.8-27b": "Qwen/Qwen3.6-27B",
}
# Models that rows measure and the catalog lacks: configs of the same form as a user's own file.
_STAND_INS: Final = Path(__file__).with_name("stand_ins.jsonl")

# Cards that people measured and the catalog lacks, as a spec's `gpu` block would state them: like, GB, GB/s, 16-bit and fp8 TFLOPS.
_CARDS: Final[dict[str, tuple[str, float, float, float, float | None]]] = {
    "rtx 3090 ti": ("rtx-3090", 24, 1008, 80, None),
    "l20": ("l40s", 48, 864, 119.5, 239),
}

_FORMATS: Final = (
    (r"marlin", "w4a16-g16"),
    (r"nvfp4", "nvfp4"),
    (r"mxfp4", "mxfp4"),
    (r"fp8.*block", "fp8-block"),
    (r"fp8", "fp8"),
    (r"int8|w8a8", "int8"),
    (r"awq", "awq-int4"),
    (r"g32", "w4a16-g32"),
    (r"int4|gptq|autoround|w4a16", "gptq-int4"),
    (r"bf16|fp16|16-bit", "bf16"),
)


@frozen
class Point:
    """One measured row and the question that it answers.

    Attributes:
        time: seconds a token as measured: of a request while it streams ("tpot", its share of others' prefill included) or of a
            step without prefill ("step", a median gap or a fixed batch); 0 with kind "none".
        throughput: output tokens/s of all replicas, 0 where not stated.
        derived: the row's time was computed from another figure of it.
    """

    row: dict[str, Any]
    arch: Architecture
    fmt: WeightFormat
    cut: Cut
    limits: Limits
    placement: EnginePlacement
    cluster: Cluster
    load: Load
    memory: Memory
    engine: EngineVersion
    time: float
    kind: TimeKind
    throughput: float

    @property
    def id(self) -> str:
        return str(self.row["id"])

    @property
    def thread(self) -> str:
        return str(self.row["thread"])


def read(path: Path, models: Path | None = None) -> tuple[list[Point], list[tuple[str, str]]]:
    """Points of a file, and (id, reason) of the rows that ask nothing. `models` adds models that the catalog lacks: rows with
    `id` and `config`."""
    _EXTRA.clear()
    for extra in (_STAND_INS, models):
        if extra is not None:
            _EXTRA.update(_configs(extra))
    points: list[Point] = []
    left: list[tuple[str, str]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip():
            continue
        row = json.loads(line)
        found = _point(row)
        if isinstance(found, str):
            left.append((str(row["id"]), found))
        else:
            points.append(found)
    return points, left


_EXTRA: dict[str, dict[str, Any]] = {}
_PUBLISHED: dict[str, str] = {}


def _configs(path: Path) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    _PUBLISHED.update({str(row["id"]).lower(): row["published_format"] for row in rows if row.get("published_format")})
    return {
        str(row["id"]).lower(): {
            "model_type": row.get("model_type"),
            "architectures": row.get("architectures"),
            **row["config"],
        }
        for row in rows
        if row.get("config")
    }


def architecture(name: str) -> Architecture | None:
    """The catalog's architecture of a model that a row names without its organisation."""
    asked = _NAMES.get(name.lower(), name)
    return _known(asked) or _extra(asked)


def _extra(asked: str) -> Architecture | None:
    for identifier, config in _EXTRA.items():
        if asked.lower() in (identifier, identifier.split("/", 1)[1]):
            arch, _ = read_config(config)
            if arch is not None:
                return arch
    return None


def _published(name: str) -> str | None:
    """The format that a model is published in, where that is not 16 bits."""
    return next((kind for identifier, kind in _PUBLISHED.items() if name.lower() in identifier), None)


def _known(asked: str) -> Architecture | None:
    if "/" in asked:
        match = find_model(asked)
        return None if match is None else match.architecture
    plain = re.sub(r"-(instruct|it|hf|chat)?(-?\d{4})?$", "", asked.lower())
    for identifier in model_ids():
        tail = identifier.split("/", 1)[1].lower()
        if tail in (asked.lower(), plain):
            match = find_model(identifier)
            return None if match is None else match.architecture
    for organisation in sorted({identifier.split("/", 1)[0] for identifier in model_ids()}):
        match = find_model(f"{organisation}/{asked}")
        if match is not None:
            return match.architecture
    return None


def card_of(name: str) -> Card | None:
    """A card by the name that a row gives it."""
    extra = _CARDS.get(name.lower())
    if extra is None:
        match = find_gpu(name)
        return None if match is None else match.card
    like, memory_gb, bandwidth, bf16, fp8 = extra
    match = find_gpu(like)
    if match is None:
        return None
    known = match.card
    rates = [("bf16", bf16), ("fp8", fp8), ("int8", 2 * bf16)]
    return evolve(
        known,
        id=name.lower().replace(" ", "-"),
        name=name,
        memory=given(
            "card.memory", memory_gb * GIB * known.memory.value / (round(known.memory.value / GIB) * GIB), "bytes"
        ),
        bandwidth=given("card.bandwidth", bandwidth * GB, "bytes/s"),
        flops=tuple((key, given(f"card.flops.{key}", value * 1e12, "flop/s")) for key, value in rates if value),
    )


def format_of(text: str | None) -> WeightFormat | None:
    """A weight format by what a row calls it; no statement is 16 bits."""
    if text is None:
        return WEIGHT_FORMATS["bf16"]
    for pattern, name in _FORMATS:
        if re.search(pattern, text.lower()):
            if name == "w4a16-g16":
                return evolve(WEIGHT_FORMATS["nvfp4"], weight_only=True)
            return WEIGHT_FORMATS[name]
    return None


def version_of(row: dict[str, Any]) -> EngineVersion:
    """The engine version that a row states, or that its date or notes imply."""
    stated = str(row["engine_version"] or "")
    numbers = re.search(r"(\d+)\.(\d+)", stated)
    if "sglang" in str(row["engine"] or "").lower():
        return EngineVersion("sglang", (int(numbers[1]), int(numbers[2])) if numbers else (0, 5))
    if numbers:
        return EngineVersion("vllm", (int(numbers[1]), int(numbers[2])))
    notes = f"{stated} {row['notes'] or ''}"
    if "V0" in notes:
        return EngineVersion("vllm", (0, 6))
    date = row["date"]
    if not date:
        return EngineVersion("vllm", _UNDATED)
    return EngineVersion("vllm", next(version for until, version in _RELEASES if str(date)[:7] <= until))


def bus_of(text: str | None, card: Card, count: int) -> Bus:
    """The bus that a row describes, the card's own where it says nothing."""
    cards = (card,) * count
    words = (text or "").lower()
    if "pcie" not in words:
        return default_bus(card, cards)
    generation = re.search(r"pcie\s*(?:gen)?\s*(\d)", words)
    direct = True if "patched" in words else None
    number = int(generation[1]) if generation else card.pcie_generation
    bus = make_bus("pcie", number, card.pcie_lanes, peer_to_peer=direct, cards=cards)
    return bus if bus is not None else default_bus(card, cards)


def _cut(row: dict[str, Any]) -> Cut | str:
    gpus, nodes = row["gpu_count"], row["nodes"] or 1
    if not gpus:
        return "says no GPU count"
    tp, pp, dp = row["tp"], row["pp"], row["dp"]
    if tp is None and pp is None and dp is None:
        # engines' guides for several nodes: tensor parallel in a node, pipeline between
        tp, pp, dp = max(1, gpus // nodes), nodes, 1
    tp, pp, dp = tp or 1, pp or 1, dp or 1
    replicas = row["instances"] or max(1, gpus // (tp * pp * dp))
    if tp * pp * dp * replicas > gpus:
        return f"needs {tp * pp * dp * replicas} of {gpus} GPUs"
    return Cut(tp=tp, pp=pp, dp=dp, ep=bool(row["ep"]), replicas=replicas)


def _load(row: dict[str, Any]) -> Load | str:
    concurrency = row["concurrency"]
    if concurrency is None:
        return "says no concurrency"
    prompt = row["input_len"] if row["input_len"] is not None else 128
    completion = row["output_len"] if row["output_len"] is not None else 256
    prompt, completion = max(1, int(prompt)), max(1, int(completion))
    return Load(int(concurrency), prompt + completion, prompt, completion)


def _measured(row: dict[str, Any], load: Load) -> tuple[float, TimeKind]:
    """Seconds a token: of the median stream, else of the mean one, else a fixed batch's, else the median gap, else a single stream's rate."""
    for key in ("tpot_ms_median", "tpot_ms_mean"):
        if row[key] is not None:
            return row[key] / 1e3, "tpot"
    if row["derived_itl_ms"] is not None:
        return row["derived_itl_ms"] / 1e3, "step"
    if row["itl_ms_median"] is not None:
        return row["itl_ms_median"] / 1e3, "step"
    if row["per_request_tok_s"] is not None:
        return 1 / row["per_request_tok_s"], "tpot"
    if load.concurrency == 1 and row["output_tok_s"] is not None:
        first = (row["ttft_ms_median"] or row["ttft_ms_mean"] or 0) / 1e3
        return max(1e-4, 1 / row["output_tok_s"] - first / load.completion), "tpot"
    return 0.0, "none"


def _without_prefill(streams: float, load: Load) -> bool:
    """Whether a stated throughput is that of decoding alone: as many tokens at a time as there are streams, though the prompt
    is longer than the answer. It then says nothing that the time of a token does not."""
    return load.prompt > 4 * load.completion and streams > 0.98 * load.concurrency


def _kv_format(row: dict[str, Any]) -> KvFormat:
    return "fp8" if "fp8" in str(row["kv_dtype"] or "") else "bf16"


def _point(row: dict[str, Any]) -> Point | str:
    if row["spec_decode"]:
        return "speculative decoding with an unknown acceptance"
    if not row["gpu"]:
        return "names no GPU"
    if row["engine"] is None:
        return "names no engine"
    words = f"{row['notes'] or ''} {row['interconnect'] or ''}".lower()
    if "anomal" in words or "wsl" in words:
        return "its own source calls it anomalous, or it ran under WSL"
    arch = architecture(row["model"])
    if arch is None:
        return f"the catalog has no {row['model']}"
    if not isinstance(arch.attention, GroupedAttention) and arch.attention is None:
        return "no attention"
    card = card_of(row["gpu"])
    if card is None:
        return f"no card {row['gpu']}"
    cut = _cut(row)
    fmt = format_of(row["quantization"] or _published(row["model"]))
    load = _load(row)
    for problem in (cut, load):
        if isinstance(problem, str):
            return problem
    if fmt is None or isinstance(cut, str) or isinstance(load, str):
        return f"no format {row['quantization']}"
    if fmt.name == "fp8" and arch.model_type.startswith(("deepseek", "qwen3", "glm", "kimi", "minimax")):
        fmt = WEIGHT_FORMATS["fp8-block"] if arch.moe is not None else fmt
    return _build(row, arch, fmt, card, cut, load)


def _build(row: dict[str, Any], arch: Architecture, fmt: WeightFormat, card: Card, cut: Cut, load: Load) -> Point | str:
    engine = version_of(row)
    nodes = row["nodes"] or 1
    each = max(1, int(row["gpu_count"]) // nodes)
    bus = bus_of(row["interconnect"], card, each)
    network = make_network("infiniband", 50 * GB, 1) if nodes > 1 else None
    cluster = Cluster(tuple(Node(f"node{index}", (card,) * each, bus, network) for index in range(nodes)))
    length = max(4096, load.context + 512)
    if arch.max_positions:
        length = min(length, max(arch.max_positions, load.context))
    sequences, batched = default_limits(arch, card, engine, max_model_len=length)
    limits = Limits(
        max_model_len=length,
        max_num_seqs=sequences,
        max_num_batched_tokens=batched,
        kv_format=_kv_format(row),
        utilization=0.92 if engine.at_least(0, 20) else 0.9,
        chunked_prefill=engine.at_least(0, 8),
    )
    budget = memory(arch, fmt, cut, limits, (card,) * cut.pp, engine, memory_constants())
    time, kind = _measured(row, load)
    throughput = float(row["output_tok_s"] or 0.0)
    if kind == "tpot" and _without_prefill(throughput * time, load):
        throughput = 0.0
    if kind == "none" and not throughput:
        return "states no time and no throughput"
    return Point(
        row=row,
        arch=arch,
        fmt=fmt,
        cut=cut,
        limits=limits,
        placement=_place(cut, cluster),
        cluster=cluster,
        load=load,
        memory=budget,
        engine=engine,
        time=time,
        kind=kind,
        throughput=throughput,
    )


def _place(cut: Cut, cluster: Cluster) -> EnginePlacement:
    flat = iter([Place(index, gpu) for index, node in enumerate(cluster.nodes) for gpu in range(len(node.cards))])
    return EnginePlacement(
        tuple(tuple(tuple(next(flat) for _ in range(cut.tp)) for _ in range(cut.pp)) for _ in range(cut.dp))
    )
