"""Write the product's flag table of vLLM from the flag lists read out of the real argument parser of each version.

    python benchmarks/catalog/import_flags.py FOLDER        # holds vllm_flags_<version>.json

One line is one flag over a run of versions in which it did not change; what changed gets a line of its own. The table
is tab-separated text because it is read at start-up: splitting lines costs a tenth of parsing the same as TOML.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).resolve().parents[2] / "compiler/kcluster/catalog/data/engines/vllm.tsv"
COLUMNS = ("since", "until", "flag", "kind", "nargs", "default", "deprecated", "aliases", "choices", "hint", "instead")

KINDS = {
    "str": "str",
    "int": "int",
    "float": "float",
    "bool": "bool",
    "flag": "bare",
    "json": "json",
    "union_dict_and_str": "json-or-str",
    "parse_dataclass": "object",
    "_compute_kwargs.<locals>.parse_dataclass": "object",
    "_parse_type": "json",
    "human_readable_int": "size",
    "human_readable_int_or_auto": "size-or-auto",
    "EngineArgs.add_cli_args.<locals>.<lambda>": "str",
    "parse_reasoning_parser": "str",
    "DeprecatedLogConfigFileAction": "str",
    "_HelpAction": "bare",
}

# What took the place of a flag that is gone, from the release notes and the parsers themselves.
INSTEAD = {
    "--cuda-graph-sizes": "--cudagraph-capture-sizes",
    "--rope-scaling": "--hf-overrides",
    "--rope-theta": "--hf-overrides",
    "--task": "--runner or --convert",
    "--override-pooler-config": "--pooler-config",
    "--guided-decoding-backend": "--structured-outputs-config.backend",
    "--guided-decoding-disable-fallback": "--structured-outputs-config",
    "--guided-decoding-disable-any-whitespace": "--structured-outputs-config",
    "--guided-decoding-disable-additional-properties": "--structured-outputs-config",
    "--num-redundant-experts": "--eplb-config.num_redundant_experts",
    "--eplb-window-size": "--eplb-config.window_size",
    "--eplb-step-interval": "--eplb-config.step_interval",
    "--eplb-log-balancedness": "--eplb-config.log_balancedness",
    "--enable-multimodal-encoder-data-parallel": "--mm-encoder-tp-mode data",
    "--disable-log-requests": "--no-enable-log-requests",
}


def row(flag: dict[str, Any]) -> tuple[str, ...]:
    """The columns of one flag after `since` and `until`."""
    kind = KINDS[flag["type"]]
    nargs = "" if flag["nargs"] is None else str(flag["nargs"])
    name = flag["flag"]
    aliases = list(flag["aliases"])
    if kind == "bool" and nargs == "0":
        kind = "switch"
        # 0.33 lists only the --enable/--disable pair but takes the older --no- form too.
        if f"--no-{name[2:]}" not in aliases:
            aliases.append(f"--no-{name[2:]}")
    if kind == "bare":
        nargs = "0"
    if "-O" in aliases:
        kind = "json"  # -O3 is short for --compilation-config 3 there
    if kind == "str" and not nargs and isinstance(flag["default"], list):
        nargs = "append"
    default = flag["default"]
    text = "" if default is None or (isinstance(default, str) and re.match(r"==|<", default)) else json.dumps(default)
    choices = "|".join(str(choice) for choice in flag["choices"] or () if choice is not None)
    hint = "|".join(str(value) for value in flag["values_hint"] or ())
    deprecated = "deprecated" if flag["deprecated"] else ""
    return (name, kind, nargs, text, deprecated, " ".join(sorted(aliases)), choices, hint, INSTEAD.get(name, ""))


def main() -> None:
    folder = Path(sys.argv[1])
    tables: list[tuple[str, dict[str, tuple[str, ...]]]] = []
    for path in sorted(folder.glob("vllm_flags_*.json"), key=lambda p: [int(n) for n in re.findall(r"\d+", p.name)]):
        content = json.loads(path.read_text())
        version = ".".join(content["version"].split(".")[:2])
        rows = {flag["flag"]: row(flag) for flag in content["flags"] if flag["flag"].startswith("--")}
        tables.append((version, rows))
    lines: list[str] = []
    for name in sorted({name for _, rows in tables for name in rows}):
        runs: list[tuple[str, str, tuple[str, ...]]] = []
        for index, (version, rows) in enumerate(tables):
            if name not in rows:
                continue
            if runs and runs[-1][2] == rows[name] and runs[-1][1] == tables[index - 1][0]:
                runs[-1] = (runs[-1][0], version, rows[name])
            else:
                runs.append((version, version, rows[name]))
        lines += ["\t".join((since, until, *columns)) for since, until, columns in runs]
    head = [
        "# Flags of `vllm serve`, read from the real argument parser of each version (2026-11).",
        "# Written by benchmarks/catalog/import_flags.py; do not edit.",
        "\t".join(("tables", *(version for version, _ in tables))),
        "\t".join(COLUMNS),
    ]
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text("\n".join(head + lines) + "\n", encoding="utf-8")
    print(f"{OUTPUT.name}: {len(lines)} lines, {OUTPUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
