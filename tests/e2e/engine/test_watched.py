"""A real Prometheus with the compiled configuration over the real replicas: what it asks for is there, and its alerts tell."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator

import pytest

from tests.e2e.engine.serving import PATIENCE, Replicas
from tests.e2e.engine.watching import Prometheus
from tests.support.load import Outcome, under_load
from tests.support.processes import wait_for

pytestmark = pytest.mark.e2e

OTHERS = {"up", "ALERTS"}
"""Names of Prometheus itself."""


@pytest.fixture(scope="module")
def busy(engines: Replicas, watcher: Prometheus) -> Iterator[Outcome]:
    """A few requests at a time at the second replica, straight."""
    outcome = Outcome()
    stop = threading.Event()

    def body(client: int, turn: int) -> dict[str, object]:
        return {"model": str(engines.model), "max_tokens": 32, "ignore_eos": True, "seed": 7}

    def load() -> None:
        asyncio.run(under_load(engines.port + 1, clients=2, until=stop.is_set, outcome=outcome, asked=body, pause=0.5))

    thread = threading.Thread(target=load)
    thread.start()
    yield outcome
    stop.set()
    thread.join()


def named(text: str) -> set[str]:
    """The series that PromQL of the compiled files selects."""
    return set(re.findall(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{", text)) - OTHERS


def test_both_are_scraped(engines: Replicas, watcher: Prometheus, busy: Outcome) -> None:
    wait_for(lambda: watcher.up() == {"0": "1", "1": "1"}, "both are scraped", PATIENCE)
    down = {("KclusterReplicaDown", replica) for replica in ("0", "1")}
    wait_for(lambda: not down & watcher.alerts("firing"), "it knows that both are up", PATIENCE)
    (found,) = watcher.ask("query", query='vllm:generation_tokens_total{replica="1"}')["result"]
    assert found["metric"]["serve"] == "chat" and found["metric"]["host"] == "127.0.0.1"
    assert float(found["value"][1]) > 0


def test_every_series_that_is_asked_for_is_there(engines: Replicas, watcher: Prometheus, busy: Outcome) -> None:
    folder = watcher.folder / "out/monitoring"
    expressions = [
        target["expr"]
        for panel in json.loads((folder / "grafana.json").read_text())["panels"]
        for target in panel.get("targets", ())
    ]
    wanted = named("\n".join(expressions)) | named((folder / "alerts.yml").read_text())
    assert len(wanted) > 8, wanted
    offered = {line.split("{")[0].split(" ")[0] for line in engines.metrics(1).splitlines() if not line.startswith("#")}
    assert wanted <= offered, wanted - offered


def test_bounds_of_alerts_are_buckets_of_the_engine(engines: Replicas, watcher: Prometheus, busy: Outcome) -> None:
    """A threshold between two bounds would never be counted."""
    alerts = (watcher.folder / "out/monitoring/alerts.yml").read_text().replace("\\", "")
    asked = re.findall(r'([a-z_:]+_bucket)\{[^}]*le="([^"]+)"', alerts)
    assert asked
    text = engines.metrics(1)
    for name, bound in asked:
        assert re.search(rf'^{name}\{{[^}}]*le="{re.escape(bound)}"', text, re.M), (name, bound)


def test_the_alert_on_a_slow_first_token_fires(watcher: Prometheus, busy: Outcome) -> None:
    """Its bound is one that no engine meets. It waits for five minutes of it, most of which other tests have given."""
    name = ("KclusterFirstTokenSlow", "")
    wait_for(lambda: name in watcher.alerts("firing") | watcher.alerts("pending"), "it is seen to be slow", PATIENCE)
    wait_for(lambda: name in watcher.alerts("firing"), "the alert on the first token fires", 2 * PATIENCE)
    silent = {"KclusterKvCacheFull", "KclusterPreemptions", "KclusterServerErrors", "KclusterReplicaDown"}
    assert not {alert for alert, _ in watcher.alerts("firing")} & silent
    wait_for(lambda: busy.ok > 0, "one of the requests is answered", PATIENCE)
    assert busy.failed == []


def test_the_alert_on_a_dead_replica_fires(engines: Replicas, watcher: Prometheus, busy: Outcome) -> None:
    """The last one of this folder: nobody starts it again, and no test of a later module may ask for these engines."""
    engines.kill(0)
    wait_for(lambda: ("KclusterReplicaDown", "0") in watcher.alerts("firing"), "the alert on replica 0 fires", PATIENCE)
    assert ("KclusterReplicaDown", "1") not in watcher.alerts("firing") | watcher.alerts("pending")
