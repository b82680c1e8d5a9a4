"""NGINX as compiled, run for real in front of two stand-in engines: streams, TLS, a killed replica, a drain."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define

from tests.support.compiled import free_pair, tool, two_replicas, written
from tests.support.load import Outcome, log_of, request, under_load
from tests.support.processes import end, free_port, listens, running, wait_for

STANDIN = Path(__file__).parent.parent / "support" / "standin.py"
CLIENTS = 24


@define
class Serving:
    """NGINX on `port` in front of stand-ins on `engine` and `engine + 1`."""

    folder: Path
    port: int
    engine: int
    replicas: list[subprocess.Popen[bytes]]
    tls: ssl.SSLContext | None

    def log(self, replica: int) -> Path:
        return self.folder / f"replica-{replica}.log"

    def start(self, replica: int) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, str(STANDIN), str(self.engine + replica), str(self.log(replica))],
            start_new_session=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(lambda: listens(self.engine + replica), "a stand-in listens")
        return process

    def script(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(self.folder / "out/router/nginx.sh"), *arguments],
            env=self.env, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    @property
    def env(self) -> dict[str, str]:
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "KCLUSTER_RUN_DIR": str(self.folder / "run"), "CLIENT_KEY": "k-123"}


@contextlib.contextmanager
def serving(folder: Path, *, tls: bool = False, router: str = "") -> Iterator[Serving]:
    tool("nginx", "nginx-light")
    folder.chmod(0o755)  # workers of a root NGINX are another user
    engine, port = free_pair(), free_port()
    context = None
    inner = f"listen = {port}\n{router}\n"
    if tls:
        cert, key = folder / "cert.pem", folder / "key.pem"
        subprocess.run(
            [tool("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(cert),
             "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
            check=True, capture_output=True,
        )  # fmt: skip
        inner += f'tls {{ certificate = "{cert}", key = "{key}" }}\n'
        context = ssl.create_default_context(cafile=str(cert))
        context.check_hostname = False
    written(two_replicas(engine, f"router nginx {{ {inner} }}"), folder / "out")
    case = Serving(folder, port, engine, [], context)
    with running(["bash", str(folder / "out/router/nginx.sh"), "start"], folder / "nginx.log", env=case.env):
        try:
            case.replicas = [case.start(0), case.start(1)]
            wait_for(lambda: listens(port), "NGINX listens")
            yield case
        finally:
            for process in case.replicas:
                end(process)


def test_nginx_accepts_what_is_compiled(tmp_path: Path) -> None:
    nginx = tool("nginx", "nginx-light")
    for policy in ("", "policy = session", "policy = round-robin", 'api_key = env("CLIENT_KEY")'):
        folder = tmp_path / policy.partition("=")[2].strip().partition("(")[0].strip() if policy else tmp_path / "plain"
        written(two_replicas(9101, f"router nginx {{ listen = {free_port()}\n{policy} }}"), folder)
        run = folder / "run"
        run.mkdir()
        if "api_key" in policy:
            (folder / "router/keys.conf").write_text("map $http_authorization $kcluster_authorized { default 0; }\n")
        done = subprocess.run(
            [nginx, "-t", "-p", f"{run}/", "-c", str(folder / "router/nginx.conf")],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "warn" not in done.stderr, done.stderr


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_streams_arrive_as_they_are_made(tmp_path: Path, tls: bool) -> None:
    """A stream of eight chunks over 1.6 s: buffered, everything would come at the end."""
    with serving(tmp_path, tls=tls) as case:

        async def many() -> list[tuple[int, bytes, list[float]]]:
            body: dict[str, object] = {"seconds": 1.6}
            return list(await asyncio.gather(*(request(case.port, stream=True, body=body, tls=case.tls) for _ in range(6))))

        for status, body, times in asyncio.run(many()):
            assert status == 200
            assert body.count(b"data: ") == 9 and b"[DONE]" in body
            assert len(times) > 3, times
            # In order, and spread over the time that they were made in: the first long before the last.
            assert times[0] < 0.5 * times[-1], times


def test_only_the_interface_for_clients_passes(tmp_path: Path) -> None:
    with serving(tmp_path) as case:

        async def status(path: str, method: str = "GET") -> int:
            return (await request(case.port, path=path, method=method))[0]

        for path in ("/metrics", "/sleep", "/collective_rpc", "/v1/../metrics", "/health", "/", "/reset_prefix_cache"):
            assert asyncio.run(status(path)) == 404, path
        assert asyncio.run(status("/lb-health")) == 200
        assert asyncio.run(status("/v1/models")) == 200


def test_a_key_of_the_router_is_asked_for(tmp_path: Path) -> None:
    with serving(tmp_path, router='api_key = env("CLIENT_KEY")') as case:
        status, _, _ = asyncio.run(request(case.port))
        assert status == 401
        status, body, _ = asyncio.run(request(case.port, headers={"Authorization": "Bearer k-123"}))
        assert status == 200
        assert b"Bearer k-123" in body, "the engine sees the header too"
        assert (tmp_path / "run/keys.conf").stat().st_mode & 0o777 == 0o600
        assert "k-123" not in (tmp_path / "out/router/nginx.conf").read_text()


def test_a_killed_replica_costs_what_was_in_flight_and_nothing_twice(tmp_path: Path) -> None:
    with serving(tmp_path) as case:
        outcome, state = Outcome(), {"stop": False, "lost": 0}

        async def story() -> None:
            load = asyncio.create_task(
                under_load(case.port, clients=CLIENTS, until=lambda: bool(state["stop"]), outcome=outcome)
            )
            await asyncio.sleep(1.5)
            case.replicas[0].kill()
            case.replicas[0].wait()
            started, ended = log_of(case.log(0))
            state["lost"] = len(started) - len(ended)
            await asyncio.sleep(2)
            before = len(started)
            case.replicas[0] = await asyncio.to_thread(case.start, 0)
            end_of_wait = asyncio.get_running_loop().time() + 60
            while len(log_of(case.log(0))[0]) <= before:
                assert asyncio.get_running_loop().time() < end_of_wait, "no traffic came back to the replica"
                await asyncio.sleep(0.1)
            state["stop"] = True
            await load

        asyncio.run(story())
        sent = [name for replica in (0, 1) for name in log_of(case.log(replica))[0]]
        twice = {name for name in sent if sent.count(name) > 1}
        assert not twice, f"sent to two replicas: {sorted(twice)}"
        assert 0 < state["lost"] <= CLIENTS
        assert len(outcome.failed) <= state["lost"] + 2, outcome.failed
        assert outcome.ok > 50


def test_a_drain_loses_nothing(tmp_path: Path) -> None:
    with serving(tmp_path) as case:
        outcome, state = Outcome(), {"stop": False}

        async def story() -> None:
            load = asyncio.create_task(under_load(case.port, clients=12, until=lambda: state["stop"], outcome=outcome))
            await asyncio.sleep(1)
            done = await asyncio.to_thread(case.script, "drain", f"127.0.0.1:{case.engine}")
            assert done.returncode == 0, done.stderr
            end_of_wait = asyncio.get_running_loop().time() + 60
            quiet = 0
            while quiet < 15:  # nothing is running on it, again and again
                started, ended = log_of(case.log(0))
                quiet = quiet + 1 if len(started) == len(ended) else 0
                assert asyncio.get_running_loop().time() < end_of_wait, "the replica never became idle"
                await asyncio.sleep(0.1)
            end(case.replicas[0])
            await asyncio.sleep(0.5)
            case.replicas[0] = await asyncio.to_thread(case.start, 0)
            before = len(log_of(case.log(0))[0])
            assert (await asyncio.to_thread(case.script, "restore")).returncode == 0
            while len(log_of(case.log(0))[0]) <= before:
                assert asyncio.get_running_loop().time() < end_of_wait, "no traffic came back"
                await asyncio.sleep(0.1)
            state["stop"] = True
            await load

        asyncio.run(story())
        assert not outcome.failed, outcome.failed
        assert outcome.ok > 30
