"""`python -m benchmarks.commands FILE`: real launch commands with their known outcome, each imported and linted.

FILE holds one JSON object a line: `command` or `snippet`, `gpu`, `gpu_count`, `nodes`, `vllm_version`, `outcome`, `static`
(whether the failure can be seen in the command), `cause_class`, `fidelity`. The cards that a row names are given as `--gpus`
would give them; a card that the catalog lacks is not given. A failure counts as found where a finding of one of the codes that
mean its cause is reported (`CODES`), whatever its severity, which is printed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "compiler"))

from kcluster.catalog.gpus import find_gpu  # noqa: E402
from kcluster.diagnostics import Diagnostic  # noqa: E402
from kcluster.importers.documents import read_text  # noqa: E402
from kcluster.importers.judge import judge  # noqa: E402
from kcluster.importers.machines import Hardware  # noqa: E402
from kcluster.pipeline import check_source  # noqa: E402
from kcluster.source import Source  # noqa: E402

# The codes that mean a class of causes.
CODES: dict[str, tuple[str, ...]] = {
    "quant_shape": ("KC306", "KC309"),
    "heads": ("KC301", "KC302", "KC305"),
    "kv_too_small": ("KC202",),
    "oom_weights": ("KC201",),
    "oom_activations": ("KC201", "KC202", "KC205", "KC209"),
    "oom_graphs": ("KC202", "KC205"),
    "flag_unknown": ("KC801",),
    "flag_conflict": ("KC801", "KC802", "KC209"),
    "dtype_capability": ("KC803", "KC805"),
    "max_len": ("KC206", "KC209"),
    "ray": ("KC303", "KC401"),
    "network": ("KC801", "KC704", "KC705"),
    "speculative": ("KC310", "KC210"),
    "shm": ("KC707",),
    "security": ("KC701", "KC702"),
    "pp_unsupported": ("KC304", "KC801"),
    "ep_misuse": ("KC305",),
    "dp_misuse": ("KC303", "KC305", "KC802"),
}


@frozen
class Row:
    """One command, what is known of it, and what was found. `servers` is 0 where the text holds no launch."""

    id: str
    outcome: str
    static: bool
    cause: str
    fidelity: str
    servers: int
    known: bool
    fault: str
    findings: tuple[Diagnostic, ...]

    @property
    def errors(self) -> tuple[str, ...]:
        return tuple(sorted({one.code for one in self.findings if one.severity == "error"}))

    @property
    def hits(self) -> tuple[str, ...]:
        """The findings of codes that mean the cause, with their severities."""
        wanted = CODES.get(self.cause, ())
        return tuple(sorted({f"{one.code} ({one.severity})" for one in self.findings if one.code in wanted}))


def card(name: str | None) -> str:
    """The catalog's id for a card as people write it; empty where it has none, or where the row leaves it open."""
    if not name or " or " in name:
        return ""
    words = name.split()
    tries = [" ".join(words[start:]) for start in range(len(words))]
    return next((found.id for found in map(find_gpu, tries) if found is not None), "")


def row_of(raw: dict[str, Any]) -> Row:
    text = raw.get("command") or raw.get("snippet") or ""
    number = re.match(r"\d+\.\d+(\.\d+)?", raw.get("vllm_version") or "")
    version = number[0] if number else ""
    nodes = raw.get("nodes") or 1
    count = max((raw.get("gpu_count") or nodes) // nodes, 1)
    findings: tuple[Diagnostic, ...] = ()
    servers, fault, known = 0, "", False
    try:
        found = read_text(text, version=tuple(map(int, version.split("."))) if version else None)
        servers = len(found.launches)
        if servers:
            identifier = card(raw.get("gpu"))
            hardware = Hardware(f"{count} * {identifier or 'unknown'}", nodes=nodes)
            judged = judge(
                Source(raw["id"], text), found, hardware, lambda spec: check_source(spec).diagnostics, version=version
            )
            findings, known = judged.findings, judged.imported.known and not judged.assumed
    except Exception as error:
        fault = f"{type(error).__name__}: {error}"
    return Row(
        raw["id"], raw["outcome"], bool(raw.get("static")), raw.get("cause_class") or "", raw.get("fidelity") or "", servers,
        known, fault, findings,
    )  # fmt: skip


def rows(path: Path) -> Iterator[Row]:
    for line in path.read_text("utf-8").splitlines():
        if line.strip():
            yield row_of(json.loads(line))


def table(found: list[Row]) -> str:
    lines = [f"{'command':<44} {'form':<9} {'outcome':<8} {'cause':<17} found"]
    for row in found:
        said = ", ".join(row.hits) if row.outcome == "failed" else ", ".join(row.errors)
        if row.outcome == "failed":
            verdict = said or ("NOT FOUND" if row.static else "not static")
        else:
            verdict = f"FALSE ERROR {said}" if said else "no error"
        verdict = row.fault or (verdict if row.servers else "no launch in it")
        known = "" if row.known or not row.servers else "  (model or card not in the catalog)"
        lines.append(f"{row.id[:44]:<44} {row.fidelity:<9} {row.outcome:<8} {row.cause:<17} {verdict}{known}")
    static = [row for row in found if row.outcome == "failed" and row.static]
    worked = [row for row in found if row.outcome == "worked"]
    hit = sum(bool(row.hits) for row in static)
    errors = sum(any(hit.endswith("(error)") for hit in row.hits) for row in static)
    lines += [
        "",
        f"imported {sum(row.servers > 0 and not row.fault for row in found)} of {len(found)} "
        f"({sum(row.servers == 0 and not row.fault for row in found)} hold no launch, {sum(bool(row.fault) for row in found)} faults)",
        f"static failures found {hit} of {len(static)} ({errors} as errors)",
        f"worked without an error {sum(not row.errors for row in worked)} of {len(worked)} "
        f"({sum(row.known for row in worked)} of them judged with model and card known)",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.commands", description=__doc__)
    parser.add_argument("file", type=Path)
    print(table(list(rows(parser.parse_args().file))))


if __name__ == "__main__":
    main()
