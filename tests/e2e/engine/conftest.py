"""Two real replicas and a Prometheus that scrapes them, shared by the tests of this folder: each start costs a minute."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.engine.serving import Replicas, replicas
from tests.e2e.engine.watching import Prometheus, prometheus


@pytest.fixture(scope="package")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    with replicas(tmp_path_factory.mktemp("engines")) as found:
        yield found


@pytest.fixture(scope="package")
def watcher(engines: Replicas) -> Iterator[Prometheus]:
    """From the first test on, so that it has seen minutes of load when its alerts are asked for."""
    with prometheus(engines) as found:
        yield found
