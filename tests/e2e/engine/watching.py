"""Debian's Prometheus with the compiled configuration."""

from __future__ import annotations

import contextlib
import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import define

from tests.e2e.engine.serving import Replicas, tiny_spec, write_compiled
from tests.support.compiled import tool
from tests.support.processes import free_port, listens, running, wait_for

IMPATIENT = "ttft = 1ms"
"""A bound that no engine meets: what is slow by it must be told."""


@define
class Prometheus:
    folder: Path
    port: int

    def ask(self, path: str, **query: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            found = json.loads(answer.read())
        assert found["status"] == "success", found
        return found["data"]

    def alerts(self, state: str) -> set[tuple[str, str]]:
        """Name and replica ("" where it is of a whole serve) of the alerts in a state."""
        return {
            (alert["labels"]["alertname"], alert["labels"].get("replica", ""))
            for alert in self.ask("alerts")["alerts"]
            if alert["state"] == state
        }

    def up(self) -> dict[str, str]:
        """Whether each replica was there at its last scrape."""
        found = self.ask("query", query='up{job="kcluster"}')["result"]
        return {row["metric"]["replica"]: row["value"][1] for row in found}


@contextlib.contextmanager
def prometheus(engines: Replicas) -> Iterator[Prometheus]:
    """Prometheus on the compiled files of a spec of these engines, with a bound on the first token that is not met."""
    program = tool("prometheus", "prometheus")
    folder = engines.folder / "watched"
    folder.mkdir()
    write_compiled(tiny_spec(engines.model, engines.port, monitor=IMPATIENT), folder)
    port = free_port()
    command = [
        program, f"--config.file={folder}/out/monitoring/prometheus.yml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with running(command, folder / "prometheus.log", cwd=folder):
        wait_for(lambda: listens(port), "prometheus listens")
        yield Prometheus(folder, port)
