"""`python -m benchmarks.compiling [NODES]`: CPU seconds from the text of a spec to all files of a fleet of nodes with 8 cards, 64 where
none is said; by runtime, with one replica a node and with one a card. The digest is of all paths and bytes: every interpreter gives the
same."""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "compiler"))

from kcluster.api import compile_

NODES: Final = 64
TIMES: Final = 3
CUTS: Final = (
    ("one replica a node", "meta-llama/Llama-3.1-70B-Instruct", "tp = 8, pp = 1", 1),
    ("one replica a card", "meta-llama/Llama-3.1-8B-Instruct", "tp = 1, pp = 1", 8),
)
RUNTIMES: Final = ("shell", "systemd", "compose", "kubernetes")


def fleet(nodes: int, model: str, parallel: str, replicas: int, runtime: str) -> str:
    """The spec of a fleet of `nodes` nodes."""
    hosts = ", ".join(f'"10.0.{number // 250}.{number % 250 + 1}"' for number in range(nodes))
    pods = runtime == "kubernetes"
    more = 'kubernetes { namespace = "llm", claim = "models" }' if pods else "router haproxy { listen = 8080 }"
    return f"""
model m {{ id = "{model}" }}
hardware fleet {{ nodes = {nodes}, gpus = 8 * h100-sxm, network = 8 * infiniband(ndr), hosts = [{hosts}] }}
sla s {{ concurrency = {32 * nodes}, context = 8K, prompt = 2K, completion = 500 }}
serve chat {{
  model = m, hardware = fleet, sla = s, runtime = {runtime}
  parallel {{ {parallel}, replicas = {replicas * nodes} }}
  engine vllm {{ api_key = env("KEY") }}
  {more}
}}
"""


def measured(spec: str) -> tuple[int, int, float, str]:
    """How many files, their characters, the CPU seconds of the fastest of several compiles, and a digest of paths and bytes."""
    seconds = []
    for _ in range(TIMES):
        before = time.process_time()
        files = compile_(spec, path="fleet.kcluster")
        seconds.append(time.process_time() - before)
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.path}\0{file.executable}\0{file.text}\0".encode())
    return len(files), sum(len(file.text) for file in files), min(seconds), whole.hexdigest()[:12]


def main() -> None:
    nodes = int(sys.argv[1]) if len(sys.argv) > 1 else NODES
    print(f"{nodes} nodes of 8 cards     runtime     files      MB  CPU s  digest")
    for name, model, parallel, replicas in CUTS:
        for runtime in RUNTIMES:
            count, size, seconds, digest = measured(fleet(nodes, model, parallel, replicas, runtime))
            print(f"{name:23} {runtime:10} {count:6} {size / 1e6:7.1f} {seconds:6.2f}  {digest}")


if __name__ == "__main__":
    main()
