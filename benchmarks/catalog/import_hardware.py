"""Write the catalog's `gpus.toml` and `links.toml` from the project's collected facts.

    python benchmarks/catalog/import_hardware.py FOLDER [--out compiler/kcluster/catalog/data]

FOLDER holds `gpus.jsonl` and `links.jsonl`. What the facts leave open is estimated here from like cards, with a range and a
source that says so; nothing is filled in silently.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

READ = "2026-11-23"
GPU_HEAD = f"""\
# GPUs. Written by benchmarks/catalog/import_hardware.py from the project's collected facts (read {READ}); rows added by hand
# stand at the end, and stay when it is run again.
#
# memory_gb is the marketing size, memory_visible_gib what a driver reports (memory_source says where that was seen; where no log
# was found it is an estimate with memory_visible_range_gib). bandwidth_gbs and link_gbs are 10^9 bytes a second, link_gbs one
# direction over all links of a card. tflops are dense rates with 32-bit accumulation; a missing key is a format that the card does
# not compute in. `sources` were read, `unread_sources` are vendor pages against which to confirm.
"""
LINK_HEAD = f"""\
# Links. Written by benchmarks/catalog/import_hardware.py from the project's collected facts (read {READ}); rows added by hand
# stand at the end, and stay when it is run again.
#
# theory_gbs and realistic_gbs are one direction in 10^9 bytes a second; `basis` says what the realistic figure rests on.
"""

# Cards whose logs stand in for a card that no log names: the same memory technology and error-correction default.
GEFORCE = ("rtx-3090", "rtx-4090", "rtx-5080", "rtx-5090")
WORKSTATION = ("rtx-a6000", "rtx-pro-6000-blackwell-ws")
GDDR_ECC = ("l4", "l40s", "a40", "t4")
HBM = ("a100-40gb-sxm", "a100-80gb-sxm", "h100-sxm", "h200-sxm", "b200")
INSTINCT = ("mi300x", "mi350x")
LIKE: dict[str, tuple[str, ...]] = {
    "rtx-3080-10gb": GEFORCE,
    "rtx-4080": GEFORCE,
    "rtx-a5000": WORKSTATION,
    "rtx-6000-ada": (*WORKSTATION, "l40s"),
    "rtx-pro-4000-blackwell": WORKSTATION,
    "rtx-pro-4500-blackwell": WORKSTATION,
    "rtx-pro-5000-blackwell": WORKSTATION,
    "v100-16gb-sxm2": ("v100-32gb-sxm2",),
    "a10": GDDR_ECC,
    "a10g": GDDR_ECC,
    "a16": GDDR_ECC,
    "a30": ("a100-40gb-pcie",),
    "l40": GDDR_ECC,
    "h100-nvl": ("h100-pcie", "h100-sxm"),
    "h20": HBM,
    "b100": ("b200", "gb200"),
    "gh200-144gb": ("h200-sxm", "gh200-96gb"),
    "mi210": INSTINCT,
    "mi250x": INSTINCT,
    "mi325x": INSTINCT,
    "radeon-ai-pro-r9700": (*GEFORCE, *INSTINCT),
    "radeon-pro-w7900": (*GEFORCE, *INSTINCT),
    "rx-7900-xtx": (*GEFORCE, *INSTINCT),
    "gaudi2": HBM,
    "gaudi3": HBM,
    "arc-pro-b60": GEFORCE,
}

# Dense tensor rates that the sources leave null or in conflict: (bf16, low, high, why); fp8 and int8 are twice, fp4 four times bf16,
# the ratios of every other Blackwell card of compute capability 12.
RATES: dict[str, tuple[float, float, float, str]] = {
    "rtx-pro-4500-blackwell": (
        165.0,
        110.0,
        221.0,
        "estimated from 54.9 TFLOPS of fp32 shader rate: the PRO 6000's ratio of tensor to shader rate, to half of it",
    ),
    "rtx-pro-4000-blackwell": (
        124.0,
        82.0,
        166.0,
        "estimated from the RTX PRO 4500 Blackwell by the ratio of memory bandwidths (672 / 896)",
    ),
    "gb10": (
        125.0,
        62.0,
        125.0,
        "a quarter of the dense fp4 rate, the ratio of other Blackwell cards; half of that is possible",
    ),
}
RATE_RANGES: dict[str, tuple[float, float, str]] = {
    "rtx-pro-5000-blackwell": (
        1.0,
        2.0,
        "one source lists half-rate accumulation; full rate would double 16-bit and fp8",
    ),
}

FAMILIES: dict[str, tuple[str, str]] = {
    "rtx-pro-6000": ("rtx-pro-6000-blackwell-ws", "the commonest RTX PRO 6000"),
    "rtx-pro-6000-blackwell": ("rtx-pro-6000-blackwell-ws", "the commonest RTX PRO 6000"),
    "rtx-6000-pro": ("rtx-pro-6000-blackwell-ws", "the commonest RTX PRO 6000"),
    "rtx-6000-blackwell": ("rtx-pro-6000-blackwell-ws", "the commonest RTX PRO 6000"),
    "pro-6000": ("rtx-pro-6000-blackwell-ws", "the commonest RTX PRO 6000"),
    "h100": ("h100-sxm", "the commonest H100"),
    "h100-80gb": ("h100-sxm", "the commonest H100 of 80 GB"),
    "h200": ("h200-sxm", "the commonest H200"),
    "a100": ("a100-80gb-sxm", "the commonest A100"),
    "a100-80gb": ("a100-80gb-sxm", "the commonest A100 of 80 GB"),
    "a100-40gb": ("a100-40gb-sxm", "the commonest A100 of 40 GB"),
    "a100-sxm": ("a100-80gb-sxm", "the A100 SXM of 80 GB"),
    "a100-sxm4": ("a100-80gb-sxm", "the A100 SXM of 80 GB"),
    "a100-pcie": ("a100-80gb-pcie", "the A100 PCIe of 80 GB"),
    "v100": ("v100-32gb-sxm2", "the V100 SXM2 of 32 GB"),
    "v100-sxm2": ("v100-32gb-sxm2", "the V100 SXM2 of 32 GB"),
    "v100-32gb": ("v100-32gb-sxm2", "the commonest V100 of 32 GB"),
    "v100-16gb": ("v100-16gb-sxm2", "the commonest V100 of 16 GB"),
    "v100-pcie": ("v100-32gb-pcie", "the V100 PCIe of 32 GB"),
    "gh200": ("gh200-96gb", "the GH200 of 96 GB"),
    "gaudi": ("gaudi2", "the commonest Gaudi"),
    "mi250": ("mi250x", "the catalog's MI250-class card"),
    "mi300": ("mi300x", "the commonest MI300"),
    "mi350": ("mi350x", "the MI350X"),
    "rtx-3080": ("rtx-3080-10gb", "the RTX 3080 of 10 GB"),
    "rtx-pro-5000": ("rtx-pro-5000-blackwell", "the RTX PRO 5000 Blackwell of 48 GB"),
}

# Spellings beyond id and name (case, blanks, hyphens and vendor words do not count): what drivers, clouds and people write.
ALIASES: dict[str, tuple[str, ...]] = {
    "rtx-3080-10gb": ("3080",),
    "rtx-3090": ("3090",),
    "rtx-4080": ("4080",),
    "rtx-4090": ("4090",),
    "rtx-5080": ("5080",),
    "rtx-5090": ("5090", "rtx-5090-32gb"),
    "rtx-a5000": ("a5000",),
    "rtx-a6000": ("a6000",),
    "rtx-6000-ada": ("6000-ada", "rtx-ada-6000", "rtx-a6000-ada"),
    "rtx-pro-4000-blackwell": ("rtx-pro-4000", "pro-4000"),
    "rtx-pro-4500-blackwell": ("rtx-pro-4500", "pro-4500"),
    "rtx-pro-5000-blackwell": ("pro-5000",),
    "rtx-pro-6000-blackwell-ws": (
        "rtx-pro-6000-ws",
        "rtx-pro-6000-workstation",
        "rtx-pro-6000-blackwell-workstation",
        "pro-6000-ws",
    ),
    "rtx-pro-6000-blackwell-maxq": (
        "rtx-pro-6000-maxq",
        "rtx-pro-6000-max-q",
        "rtx-pro-6000-blackwell-max-q-workstation",
        "pro-6000-maxq",
    ),
    "rtx-pro-6000-blackwell-server": (
        "rtx-pro-6000-server",
        "rtx-pro-6000-se",
        "rtx-pro-6000-blackwell-se",
        "pro-6000-server",
    ),
    "v100-32gb-sxm2": ("v100-sxm2-32gb",),
    "v100-16gb-sxm2": ("v100-sxm2-16gb",),
    "v100-32gb-pcie": ("v100-pcie-32gb",),
    "a10g": ("a10g",),
    "a16": ("a16",),
    "a100-40gb-pcie": ("a100-pcie-40gb",),
    "a100-40gb-sxm": ("a100-sxm4-40gb", "a100-sxm-40gb"),
    "a100-80gb-pcie": ("a100-pcie-80gb",),
    "a100-80gb-sxm": ("a100-sxm4-80gb", "a100-sxm-80gb"),
    "h100-pcie": ("h100-80gb-pcie", "h100-pcie-80gb"),
    "h100-sxm": ("h100-80gb-hbm3", "h100-sxm5", "h100-80gb-sxm", "h100-sxm-80gb", "h100-hgx"),
    "h100-nvl": ("h100-94gb", "h100-94gb-nvl"),
    "h200-sxm": ("h200-141gb", "h200-sxm5", "h200-hgx", "h200-141gb-sxm"),
    "h200-nvl": ("h200-141gb-nvl",),
    "h20": ("h20-96gb",),
    "b200": ("b200-sxm", "b200-180gb"),
    "b300": ("b300-sxm", "b300-288gb"),
    "gb200": ("gb200-nvl72",),
    "gb300": ("gb300-nvl72",),
    "gh200-96gb": ("gh200-480gb",),
    "gb10": ("dgx-spark", "spark"),
    "mi300x": ("mi300x-oam",),
    "radeon-ai-pro-r9700": ("r9700", "ai-pro-r9700"),
    "radeon-pro-w7900": ("w7900",),
    "rx-7900-xtx": ("7900-xtx",),
    "arc-pro-b60": ("b60", "arc-b60"),
}

ARCHITECTURES: dict[str, str] = {
    "7.0": "Volta",
    "7.5": "Turing",
    "8.0": "Ampere",
    "8.6": "Ampere",
    "8.9": "Ada",
    "9.0": "Hopper",
    "10.0": "Blackwell",
    "10.3": "Blackwell",
    "12.0": "Blackwell",
    "12.1": "Blackwell",
    "gfx90a": "CDNA 2",
    "gfx942": "CDNA 3",
    "gfx950": "CDNA 4",
    "gfx1100": "RDNA 3",
    "gfx1201": "RDNA 4",
}
# Infinity Fabric generations as the vendor counts them.
XGMI_GENERATION = {"gfx90a": 3, "gfx942": 4, "gfx950": 4}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def toml(value: object) -> str:
    """One TOML value on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    raise TypeError(type(value).__name__)


def table(name: str, values: dict[str, object]) -> str:
    lines = [f"{key} = {toml(value)}" for key, value in values.items() if value is not None and value != []]
    return "\n".join([f"[{name}]", *lines]) + "\n"


def form(row: dict[str, Any]) -> str:
    text = row["form_factor"]
    for start, name in (("SXM", "sxm"), ("OAM", "oam"), ("Grace", "superchip"), ("desktop SoC", "soc")):
        if text.startswith(start):
            return name
    return "pcie"


def memory(row: dict[str, Any], logged: dict[str, float]) -> dict[str, object]:
    size = row["memory_gb"]
    if row["memory_gib_visible"] is not None:
        return {"memory_visible_gib": row["memory_gib_visible"], "memory_source": row["memory_gib_visible_source"]}
    like = LIKE[row["id"]]
    shares = [logged[name] for name in like]
    low, high = min(shares) - 0.01, min(1.0, max(shares) + 0.005)
    share = sum(shares) / len(shares)
    return {
        "memory_visible_gib": round(size * share, 2),
        "memory_visible_range_gib": [round(size * low, 2), round(size * high, 2)],
        "memory_source": f"estimated: no log found; {share:.3f} of the marketing size, as drivers report on {', '.join(like)}",
    }


def link(row: dict[str, Any]) -> dict[str, object]:
    text = row["gpu_link"]
    if text is None:
        return {}
    rate = row["gpu_link_total_bidir_gbs"] / 2
    if "GbE" in text:
        return {"link": "roce-mesh", "link_generation": 1, "link_gbs": rate, "link_switched": True}
    if text.startswith("Infinity"):
        kind = "nvlink-bridge" if "bridge" in text else "xgmi"
        generation = XGMI_GENERATION[row["compute_capability"]]
        if kind == "nvlink-bridge":
            return {"link_bridge": text, "link_generation": generation, "link_gbs": rate, "link_switched": False}
        return {"link": kind, "link_generation": generation, "link_gbs": rate, "link_switched": True}
    generation = int(text.split()[1])
    if "bridge" in text:
        return {"link": "nvlink-bridge", "link_generation": generation, "link_gbs": rate, "link_switched": False}
    # The V100's eight-card mesh is not fully connected (its switch is rare); every later SXM part sits behind a switch.
    return {"link": "nvlink", "link_generation": generation, "link_gbs": rate, "link_switched": generation >= 3}


def rates(row: dict[str, Any]) -> dict[str, object]:
    given = {key: value for key, value in row["dense_tflops"].items() if value is not None}
    if row["id"] in RATES:
        bf16, low, high, why = RATES[row["id"]]
        given = {"fp16": bf16, "bf16": bf16, "fp8": 2 * bf16, "int8": 2 * bf16, "fp4": given.get("fp4", 4 * bf16)}
        return {"tflops": given, "tflops_range": [round(low / bf16, 3), round(high / bf16, 3)], "tflops_source": why}
    if row["id"] in RATE_RANGES:
        low, high, why = RATE_RANGES[row["id"]]
        return {"tflops": given, "tflops_range": [low, high], "tflops_source": why}
    return {"tflops": given}


def gpu(row: dict[str, Any], logged: dict[str, float]) -> dict[str, object]:
    capability = row["compute_capability"] or ""
    native = [name for name in ("fp8", "nvfp4", "mxfp4") if row[f"native_{name}"]]
    return {
        "name": row["name"],
        "vendor": row["vendor"],
        "aliases": list(ALIASES.get(row["id"], ())),
        "memory_gb": row["memory_gb"],
        **memory(row, logged),
        "devices": 2 if row["id"] == "mi250x" else None,
        "bandwidth_gbs": row["memory_bandwidth_gbs"],
        **rates(row),
        "compute_capability": capability or None,
        "architecture": ARCHITECTURES.get(capability, row["name"] if row["vendor"] == "intel" else None),
        "form": form(row),
        "form_text": row["form_factor"],
        "pcie_generation": row["pcie_gen"],
        "pcie_lanes": row["pcie_lanes"],
        **link(row),
        "peer_to_peer": row["p2p_over_pcie"].startswith("yes"),
        "peer_to_peer_note": row["p2p_over_pcie"],
        "consumer": row["form_factor"].startswith("consumer"),
        "native": native,
        "tdp_w": row["tdp_w"],
        "notes": row["notes"],
        "sources": row["sources_read"],
        "unread_sources": row["sources_vendor_not_read"],
        "read": READ,
    }


def write_link(row: dict[str, Any]) -> dict[str, object]:
    return {
        "kind": row["kind"],
        "generation": row["generation"],
        "width": row["width"],
        "line_rate_gbps": row["line_rate_gbps"],
        "theory_gbs": row["theoretical_unidir_gbs"],
        "realistic_gbs": row["realistic_unidir_gbs"],
        "basis": row["realistic_basis"],
        "latency_us": row["latency_us"]
        and {key: value for key, value in row["latency_us"].items() if value is not None},
        "notes": row["notes"],
        "sources": row["sources"],
        "read": READ,
    }


def by_hand(path: Path, written: set[str]) -> list[str]:
    """The rows of a file that the facts do not have, as they were added to it."""
    old = tomllib.loads(path.read_text("utf-8")) if path.exists() else {}
    return [table(name, row) for name, row in old.items() if name not in written]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("compiler/kcluster/catalog/data"))
    options = parser.parse_args(arguments)
    cards = rows(options.folder / "gpus.jsonl")
    logged = {row["id"]: row["memory_gib_visible"] / row["memory_gb"] for row in cards if row["memory_gib_visible"]}
    families = {name: {"id": target, "why": why} for name, (target, why) in sorted(FAMILIES.items())}
    parts = [GPU_HEAD, table("families", families), *(table(row["id"], gpu(row, logged)) for row in cards)]
    place = options.out / "gpus.toml"
    parts += by_hand(place, {"families", *(row["id"] for row in cards)})
    place.write_text("\n".join(parts), encoding="utf-8")
    links = rows(options.folder / "links.jsonl")
    place = options.out / "links.toml"
    parts = [LINK_HEAD, *(table(row["id"], write_link(row)) for row in links)]
    parts += by_hand(place, {row["id"] for row in links})
    place.write_text("\n".join(parts), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
