"""NGINX as compiled, run for real in front of two stand-in engines: streams, TLS, keys, a killed replica, a drain."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from tests.support.compiled import tool, two_replicas, venv_tool, written
from tests.support.fronted import SYSTEM_PATH, Fronted, certificate, fronted
from tests.support.load import log_of, request
from tests.support.processes import free_port
from tests.support.stories import assert_streamed, drained, killed, streams


@pytest.fixture(autouse=True)
def nginx() -> str:
    return tool("nginx", "nginx-light")


def accepted(folder: Path, env: dict[str, str] | None = None) -> None:
    """`nginx.sh test`; a warning is a failure."""
    done = subprocess.run(
        ["bash", str(folder / "router/nginx.sh"), "test"],
        env={"PATH": SYSTEM_PATH, **(env or {})}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr, done.stderr


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_streams_arrive_as_they_are_made(tmp_path: Path, tls: bool) -> None:
    with fronted(tmp_path, "nginx", tls=tls) as case:
        assert_streamed(asyncio.run(streams(case)))


def test_a_killed_replica_costs_what_was_in_flight_and_nothing_twice(tmp_path: Path) -> None:
    with fronted(tmp_path, "nginx") as case:
        found = killed(case)
        assert found.sent_twice(case) == set()
        assert 0 < found.in_flight <= 24
        assert len(found.outcome.failed) <= found.in_flight + 2, found.outcome.failed
        assert found.outcome.ok > 50


def test_a_drain_loses_nothing(tmp_path: Path) -> None:
    with fronted(tmp_path, "nginx") as case:

        def script(*words: str) -> None:
            done = case.script(*words)
            assert done.returncode == 0, done.stderr

        found = drained(case, lambda: script("drain", f"127.0.0.1:{case.engine}"), lambda: script("restore"))
        assert found.outcome.failed == [] and found.sent_twice(case) == set()
        assert found.outcome.ok > 30


def test_every_policy_is_accepted(tmp_path: Path) -> None:
    lines = set()
    for policy in ("auto", "round_robin", "least_conn", "session", "power_of_two", "random", "request_id"):
        folder = tmp_path / policy
        written(two_replicas(9101, f"router nginx {{ listen = {free_port()}\npolicy = {policy} }}"), folder)
        accepted(folder)
        text = (folder / "router/nginx.conf").read_text()
        lines.add(text.partition("upstream kcluster_chat {")[2].partition("server ")[0])
    assert len(lines) == 6, "auto is least_conn, and every other policy is its own"


def test_only_the_interface_for_clients_passes(tmp_path: Path) -> None:
    with fronted(tmp_path, "nginx") as case:

        def status(path: str) -> int:
            return asyncio.run(request(case.port, path=path, method="GET"))[0]

        for path in ("/metrics", "/sleep", "/collective_rpc", "/v1/../metrics", "/health", "/", "/reset_prefix_cache"):
            assert status(path) == 404, path
        assert status("/lb-health") == 200
        assert status("/v1/models") == 200


def test_a_key_of_the_router_is_asked_for(tmp_path: Path) -> None:
    with fronted(tmp_path, "nginx", router='api_key = env("CLIENT_KEY")', CLIENT_KEY="k-123") as case:
        assert asyncio.run(request(case.port))[0] == 401
        assert asyncio.run(request(case.port, headers={"Authorization": "Bearer k-124"}))[0] == 401
        status, body, _ = asyncio.run(request(case.port, headers={"Authorization": "Bearer k-123"}))
        assert status == 200 and b"Bearer k-123" in body
        kept = Path(case.env["KCLUSTER_RUN_DIR"]) / "keys.conf"
        assert kept.stat().st_mode & 0o777 == 0o600
        assert "k-123" not in (tmp_path / "out/router/nginx.conf").read_text()


@pytest.mark.parametrize("key", ["", 'a"b', "a b", "${HOME}", "$host", "a\nb", "a;b", "a'b", "a\\b", "a}b"])
def test_a_key_that_no_header_can_hold_is_refused(tmp_path: Path, key: str) -> None:
    written(two_replicas(9101, f'router nginx {{ listen = {free_port()}\napi_key = env("CLIENT_KEY") }}'), tmp_path)
    with pytest.raises(AssertionError, match="CLIENT_KEY"):
        accepted(tmp_path, {"CLIENT_KEY": key})


SEVERAL = """
model m { id = "meta-llama/Llama-3.1-8B-Instruct" }
hardware h { gpus = 2 * rtx-5090, hosts = ["127.0.0.1"] }
sla s { concurrency = 4, context = 4K, prompt = 1K, completion = 200 }
router nginx edge { listen = {port}, api_key = env("CLIENT_KEY") }
serve a {
  model = m, hardware = h, sla = s, gpus = [0]
  engine vllm { port = {engine}, api_key = env("ENGINE_KEY") }
  route edge { header = ["X-Model", "default"] }
}
serve b {
  model = m, hardware = h, sla = s, gpus = [1]
  engine vllm { port = {engine2}, api_key = env("OTHER_KEY") }
  route edge { ROUTE }
}
"""
"""`default` and `hostnames` are words of NGINX's maps, and values all the same."""
CHAT = "/v1/chat/completions"
KEYS = {"CLIENT_KEY": "outer", "ENGINE_KEY": "inner", "OTHER_KEY": "third"}


def answer(case: Fronted, path: str, **headers: str) -> tuple[int, str]:
    rows = {"Authorization": "Bearer outer", **{name.replace("_", "-"): value for name, value in headers.items()}}
    status, body, _ = asyncio.run(request(case.port, path=path, headers=rows))
    return status, json.loads(body)["authorization"] if status == 200 else ""


def test_several_serves_by_header(tmp_path: Path) -> None:
    with fronted(tmp_path, "nginx", spec=SEVERAL.replace("ROUTE", 'header = ["X-Size", "hostnames"]'), **KEYS) as case:
        assert answer(case, CHAT, X_Model="default") == (200, "Bearer inner")
        assert answer(case, CHAT, X_Size="hostnames") == (200, "Bearer third")
        assert answer(case, CHAT, X_Size="anything")[0] == 404
        assert answer(case, CHAT)[0] == 404
        assert answer(case, CHAT, X_Model="default", Authorization="Bearer inner")[0] == 401
        assert [len(log_of(case.log(replica))[0]) for replica in (0, 1)] == [1, 1]


def test_several_serves_by_path(tmp_path: Path) -> None:
    with fronted(tmp_path, "nginx", spec=SEVERAL.replace("ROUTE", 'path = "/big.one"'), **KEYS) as case:
        assert answer(case, CHAT, X_Model="default") == (200, "Bearer inner")
        assert answer(case, "/big.one" + CHAT) == (200, "Bearer third")
        assert answer(case, "/bigXone" + CHAT)[0] == 404
        assert answer(case, "/big.one/metrics")[0] == 404
        assert answer(case, CHAT)[0] == 404


FORMS = {
    "plain": (two_replicas(9101, "router nginx { listen = 8080 }"), "nginx"),
    "everything": (
        two_replicas(9101, 'router nginx { listen = 8443\npolicy = session\napi_key = env("CLIENT_KEY")\nTLS }',
                     engine='api_key = env("ENGINE_KEY")'),
        "nginx",
    ),
    "header": (SEVERAL.replace("ROUTE", 'header = ["X-Size", "big"]'), "nginx"),
    "path": (SEVERAL.replace("ROUTE", 'path = "/big.one"'), "nginx"),
    "guard": (two_replicas(9101, "router vllm-router { listen = 8080 }"), "vllm-router"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_gixy_finds_nothing(tmp_path: Path, form: str) -> None:
    """Two of its checks are left out on purpose. HSTS: a browser would refuse plain HTTP to every port of the host,
    Prometheus' among them. A resolver: routes by header name an upstream block, and nothing else is to be looked up."""
    text, kind = FORMS[form]
    cert, key, _ = certificate(tmp_path)
    text = text.replace("TLS", f'tls {{ certificate = "{cert}", key = "{key}" }}')
    for name, port in (("{port}", 8080), ("{engine}", 9101), ("{engine2}", 9102)):
        text = text.replace(name, str(port))
    written(text, tmp_path)
    place = tmp_path / f"router/{kind}.conf"
    (place.parent / "keys.conf").write_text("map $http_authorization $kcluster_authorized { default 0; }\n")
    done = subprocess.run(
        [
            venv_tool("gixy"),
            "--skips",
            "hsts_header,missing_resolver" if "$kcluster_route_" in place.read_text() else "hsts_header",
            str(place),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0 and "No issues found" in done.stdout, done.stdout + done.stderr


def test_gixy_would_find_something(tmp_path: Path) -> None:
    written(FORMS["plain"][0], tmp_path)
    place = tmp_path / "router/nginx.conf"
    place.write_text(place.read_text().replace("server_tokens off;", "server_tokens on;"))
    done = subprocess.run([venv_tool("gixy"), str(place)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1


@pytest.mark.parametrize("form", FORMS)
def test_scripts_are_clean(tmp_path: Path, form: str) -> None:
    text, kind = FORMS[form]
    text = text.replace("TLS", "").replace("{port}", "8080").replace("{engine}", "9101").replace("{engine2}", "9102")
    written(text, tmp_path)
    place = str(tmp_path / f"router/{kind}.sh")
    for command in (["shellcheck", "-S", "style"], ["shfmt", "-d", "-i", "2"]):
        done = subprocess.run([venv_tool(command[0]), *command[1:], place], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_adapters_are_not_loaded_from_outside(tmp_path: Path) -> None:
    with fronted(tmp_path, "nginx") as case:
        for path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/v1/%6coad_lora_adapter"):
            assert asyncio.run(request(case.port, path=path))[0] == 404, path


def test_ipv6_hosts_are_listened_on(tmp_path: Path) -> None:
    text = two_replicas(9101, 'router nginx { listen = 8080\nhost = "fd00::1" }')
    written(text, tmp_path)
    assert "        listen [::]:8080 ipv6only=off;\n" in (tmp_path / "router/nginx.conf").read_text()
