"""The released vLLM Router as compiled, with its NGINX, in front of two stand-in engines."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.compiled import tool, two_replicas
from tests.support.fronted import SYSTEM_PATH, Fronted, fronted
from tests.support.load import log_of, request
from tests.support.needed import absent
from tests.support.processes import free_port, gone_or, wait_for
from tests.support.stories import assert_streamed, drained, killed, streams

pytestmark = pytest.mark.e2e


def router_folder() -> Path:
    """The folder with `vllm-router`. CI has one; where there is none, the test is skipped and says so."""
    named = os.environ.get("KCLUSTER_E2E_BIN")
    found = Path(named) if named else Path(shutil.which("vllm-router") or "/nowhere/vllm-router").parent
    if not os.access(found / "vllm-router", os.X_OK):
        absent(
            "no vllm-router: KCLUSTER_E2E_BIN names the folder of the end-to-end environment's programs (make e2e does)"
        )
    return found


@contextmanager
def routed(
    folder: Path, *, tls: bool = False, router: str = "", spec: str = "", **environment: str
) -> Iterator[Fronted]:
    tool("nginx", "nginx-light")
    environment = {
        "PATH": f"{router_folder()}:{SYSTEM_PATH}", "KCLUSTER_ROUTER_PORT": str(free_port()), **environment,
    }  # fmt: skip
    with fronted(folder, "vllm-router", tls=tls, router=router, spec=spec, **environment) as case:

        def ready() -> bool:
            return asyncio.run(request(case.port, path="/lb-health", method="GET", tls=case.tls))[0] == 200

        wait_for(lambda: gone_or(case.router, ready), "the router is ready")
        yield case


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_streams_arrive_as_they_are_made(tmp_path: Path, tls: bool) -> None:
    with routed(tmp_path, tls=tls) as case:
        assert_streamed(asyncio.run(streams(case)))


def test_only_the_interface_for_clients_passes(tmp_path: Path) -> None:
    """What the router itself would let anybody do."""
    with routed(tmp_path) as case:
        inner = case.env["KCLUSTER_ROUTER_PORT"]
        for path in (
            "/metrics",
            "/sleep",
            "/list_workers",
            "/workers",
            "/get_loads",
            "/v1/../list_workers",
            "/health",
            "/generate",
        ):
            assert asyncio.run(request(case.port, path=path, method="GET"))[0] == 404, path
            with urllib.request.urlopen(f"http://127.0.0.1:{inner}/list_workers", timeout=30) as answer:
                assert len(json.loads(answer.read())["urls"]) == 2
        for path in (
            "/add_worker?url=http://127.0.0.1:9",
            f"/remove_worker?url=http://127.0.0.1:{case.engine}",
            "/flush_cache",
        ):
            assert asyncio.run(request(case.port, path=path))[0] == 404, path
        assert asyncio.run(request(case.port, path="/v1/models", method="GET"))[0] == 200
        with urllib.request.urlopen(
            f"http://127.0.0.1:{case.env['KCLUSTER_METRICS_PORT']}/metrics", timeout=30
        ) as answer:
            assert "vllm_router_" in answer.read().decode()


def test_clients_key_is_asked_for_and_engines_key_is_put_in_its_place(tmp_path: Path) -> None:
    spec = two_replicas(
        0, 'router vllm-router { listen = {port}\napi_key = env("CLIENT_KEY") }', engine='api_key = env("ENGINE_KEY")'
    ).replace("port = 0", "port = {engine}")
    with routed(tmp_path, spec=spec, CLIENT_KEY="outer", ENGINE_KEY="inner") as case:
        assert asyncio.run(request(case.port))[0] == 401
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings"):
            body: dict[str, object] = {
                "model": "m",
                "messages": [{"role": "user", "content": "a"}],
                "prompt": "a",
                "input": "a",
            }
            status, answer, _ = asyncio.run(
                request(case.port, path=path, headers={"Authorization": "Bearer outer"}, body=body)
            )
            assert status == 200 and b"Bearer inner" in answer, path


def test_replicas_are_reached_past_the_proxy_of_the_host(tmp_path: Path) -> None:
    """A host has one where models are fetched by it; here nothing answers at its address."""
    nowhere = dict.fromkeys(("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"), "http://127.0.0.1:9")
    with routed(tmp_path, **nowhere) as case:
        assert asyncio.run(request(case.port))[0] == 200
        assert case.script("drain", f"127.0.0.1:{case.engine}").returncode == 0
        assert case.script("restore").returncode == 0


def test_sessions_keep_their_replica(tmp_path: Path) -> None:
    with routed(tmp_path, router="policy = session") as case:

        async def many(session: str | None, count: int) -> None:
            headers = {"X-Session-ID": session} if session else {}
            body: dict[str, object] = {"seconds": 0.01, "model": "m", "messages": [{"role": "user", "content": "a"}]}
            for _ in range(count):
                status, _, _ = await request(case.port, name=session or "none", headers=headers, body=body)
                assert status == 200

        for number in range(16):
            asyncio.run(many(f"session-{number}", 3))
        asyncio.run(many(None, 3))
        seen = [set(log_of(case.log(replica))[0]) for replica in (0, 1)]
        assert not seen[0] & seen[1], "a session on two replicas"
        assert min(len(seen[0] - {"none"}), len(seen[1] - {"none"})) >= 2, "and not all on one"


def test_a_killed_replica_costs_twice_what_was_in_flight_at_most_and_nothing_twice(tmp_path: Path) -> None:
    with routed(tmp_path) as case:
        found = killed(case)
        assert found.sent_twice(case) == set()
        assert 0 < found.in_flight <= 24
        assert len(found.outcome.failed) <= 2 * found.in_flight + 2, found.outcome.failed
        assert found.outcome.ok > 50


def test_a_drain_by_health_loses_nothing(tmp_path: Path) -> None:
    with routed(tmp_path) as case:

        def drain() -> None:
            with urllib.request.urlopen(f"http://127.0.0.1:{case.engine}/drain", timeout=30) as answer:
                assert answer.status == 200

        found = drained(case, drain, lambda: None)
        assert found.outcome.failed == [] and found.sent_twice(case) == set()
        assert found.outcome.ok > 30


def test_a_drain_by_the_script_loses_nothing(tmp_path: Path) -> None:
    with routed(tmp_path) as case:

        def script(*words: str) -> None:
            done = case.script(*words)
            assert done.returncode == 0, done.stderr + done.stdout

        found = drained(case, lambda: script("drain", f"127.0.0.1:{case.engine}"), lambda: script("restore"))
        assert found.outcome.failed == [] and found.sent_twice(case) == set()
        assert found.outcome.ok > 30
        for name in ("127.0.0.1", "", "127.0.0.1:9", f"127.0.0.1:{case.engine} 127.0.0.1:{case.engine + 1}"):
            assert case.script("drain", name).returncode != 0, name


def test_ended_it_lets_answers_finish_and_leaves_nothing(tmp_path: Path) -> None:
    with routed(tmp_path) as case:
        assert case.router is not None

        async def story() -> tuple[int, bytes]:
            body: dict[str, object] = {"seconds": 2.0}
            running = asyncio.create_task(request(case.port, stream=True, body=body))
            await asyncio.sleep(0.7)
            assert case.router is not None
            case.router.terminate()
            status, answer, _ = await running
            return status, answer

        status, answer = asyncio.run(story())
        assert status == 200 and b"[DONE]" in answer
        assert case.router.wait(60) == 0
        from tests.support.processes import listens

        assert not listens(case.port) and not listens(int(case.env["KCLUSTER_ROUTER_PORT"]))


def test_when_one_of_both_ends_so_does_the_other(tmp_path: Path) -> None:
    """A supervisor sees it and starts both again."""
    with routed(tmp_path) as case:
        assert case.router is not None
        pid = int((Path(case.env["KCLUSTER_RUN_DIR"]) / "nginx.pid").read_text())
        os.kill(pid, 15)
        assert case.router.wait(60) == 1
        assert "ended" in case.router_log
