"""HAProxy as compiled, run for real in front of two stand-in engines: streams, TLS, keys, a killed replica, drains."""

from __future__ import annotations

import asyncio
import json
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.support.compiled import compiled, tool, two_replicas, venv_tool, written
from tests.support.fronted import Fronted, fronted
from tests.support.load import log_of, request
from tests.support.processes import free_port, listens, wait_for
from tests.support.stories import assert_streamed, drained, killed, streams

POLICIES = ("round_robin", "least_conn", "session", "power_of_two", "random", "request_id")


@pytest.fixture(autouse=True)
def haproxy() -> str:
    return tool("haproxy", "haproxy")


def accepted(folder: Path, env: dict[str, str] | None = None) -> None:
    """`haproxy.sh test`, in which warnings are failures."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    done = subprocess.run(
        ["bash", str(folder / "router/haproxy.sh"), "test"],
        env={"PATH": path, **(env or {})}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "warning" not in said.lower() and "alert" not in said.lower(), said


@pytest.mark.parametrize("policy", POLICIES)
def test_haproxy_accepts_every_policy(tmp_path: Path, policy: str) -> None:
    written(two_replicas(9101, f"router haproxy {{ listen = {free_port()}\npolicy = {policy} }}"), tmp_path)
    accepted(tmp_path)
    text = (tmp_path / "router/haproxy.cfg").read_text()
    words = {"round_robin": "roundrobin", "least_conn": "leastconn", "session": "hdr(X-Session-ID)", "power_of_two": "random(2)",
             "random": "random(1)", "request_id": "hash unique-id"}  # fmt: skip
    assert f"    balance {words[policy]}" in text


def test_a_warning_is_a_failure(tmp_path: Path) -> None:
    """What `test` refuses, so that the tests above mean something."""
    written(two_replicas(9101, f"router haproxy {{ listen = {free_port()} }}"), tmp_path)
    place = tmp_path / "router/haproxy.cfg"
    place.write_text(place.read_text().replace("    timeout client 300s", "    #"))
    with pytest.raises(AssertionError, match=r"(?i)missing timeouts|warning"):
        accepted(tmp_path)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_streams_arrive_as_they_are_made(tmp_path: Path, tls: bool) -> None:
    with fronted(tmp_path, "haproxy", tls=tls) as case:
        assert_streamed(asyncio.run(streams(case)))


def test_the_private_key_is_linked_not_copied(tmp_path: Path) -> None:
    with fronted(tmp_path, "haproxy", tls=True) as case:
        assert (tmp_path / "run/haproxy.pem.key").is_symlink()
        assert (tmp_path / "run/haproxy.pem.key").resolve() == tmp_path / "key.pem"
        assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
        # A renewed certificate is there after a reload.
        renewed = tmp_path / "renewed"
        renewed.mkdir()
        from tests.support.fronted import certificate

        cert, key, context = certificate(renewed)
        for place in (cert, key):
            (tmp_path / place.name).write_bytes(place.read_bytes())
        assert case.script("reload").returncode == 0
        case.tls = context

        def trusted() -> bool:
            try:
                return asyncio.run(request(case.port, path="/lb-health", method="GET", tls=case.tls))[0] == 200
            except OSError:
                return False

        wait_for(trusted, "the renewed certificate is shown")


def get(case: Fronted, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    status, body, _ = asyncio.run(request(case.port, path=path, method="GET", headers=headers))
    return status, body


def test_only_the_interface_for_clients_passes(tmp_path: Path) -> None:
    with fronted(tmp_path, "haproxy") as case:
        for path in (
            "/metrics", "/sleep", "/collective_rpc", "/health", "/", "/reset_prefix_cache", "/v1", "/V1/models", "//v1/models",
            "/v1/../metrics", "/v1/%2e%2e/metrics", "/v1/..%2fmetrics", "/v1/./models", "/v1/..", "/v1/load_lora_adapter",
            "/v1/%6coad_lora_adapter", "/v1/unload_lora_adapter", "/x/v1/models", "/?/v1/models",
        ):  # fmt: skip
            status, body = get(case, path)
            assert status == 404, path
            assert json.loads(body)["error"]["code"] == 404
        assert get(case, "/lb-health")[0] == 200
        for path in ("/v1/models", "/v1/models/org%2Fname", "/v1/models/a..b", "/v1/models?x=/../y"):
            assert get(case, path)[0] == 200, path


def test_the_balancer_before_it_learns_that_nothing_is_up(tmp_path: Path) -> None:
    with fronted(tmp_path, "haproxy") as case:
        assert get(case, "/lb-health")[0] == 200
        for replica in case.replicas:
            replica.kill()
            replica.wait()
        wait_for(lambda: get(case, "/lb-health")[0] == 503, "health says that nothing is up")
        status, body = get(case, "/v1/models")
        assert status == 503 and b"no replica" in body


def test_the_engine_sees_who_called_and_an_id(tmp_path: Path) -> None:
    with fronted(tmp_path, "haproxy") as case:
        _, body = get(case, "/v1/models", {"X-Request-ID": "mine", "X-Forwarded-For": "1.2.3.4"})
        seen = json.loads(body)["headers"]
        assert len(seen["x-request-id"]) == 36 and seen["x-request-id"] != "mine"
        assert seen["x-forwarded-for"].endswith("127.0.0.1")
        assert seen["x-forwarded-proto"] == "http"


def test_a_key_of_the_router_is_asked_for(tmp_path: Path) -> None:
    with fronted(tmp_path, "haproxy", router='api_key = env("CLIENT_KEY")', CLIENT_KEY="k-123") as case:
        for headers in (
            {},
            {"Authorization": "Bearer k-12"},
            {"Authorization": "Bearer k-1234"},
            {"Authorization": "k-123"},
        ):
            assert asyncio.run(request(case.port, headers=headers))[0] == 401, headers
        status, body, _ = asyncio.run(request(case.port, headers={"Authorization": "Bearer k-123"}))
        assert status == 200
        assert b"Bearer k-123" in body, "the engine sees the header too"
        assert get(case, "/lb-health")[0] == 200, "a balancer needs no key"
        for place in sorted(tmp_path.rglob("*")):
            if place.is_file():
                assert b"k-123" not in place.read_bytes(), place
        without = {name: value for name, value in case.env.items() if name != "CLIENT_KEY"}
        assert "set CLIENT_KEY" in case.script("test", env=without).stderr
        # A drain needs no key: the running HAProxy has it.
        assert case.script("drain", "chat-0", env=without).returncode == 0


@pytest.mark.parametrize("key", ["", 'a"b', "a b", "a)b", "${HOME}", "a\nb", "a,b", "a'b", "a\\b"])
def test_a_key_that_no_header_can_hold_is_refused(tmp_path: Path, key: str) -> None:
    written(two_replicas(9101, f'router haproxy {{ listen = {free_port()}\napi_key = env("CLIENT_KEY") }}'), tmp_path)
    with pytest.raises(AssertionError, match="CLIENT_KEY"):
        accepted(tmp_path, {"CLIENT_KEY": key})


def test_clients_key_and_engines_key_may_differ(tmp_path: Path) -> None:
    spec = two_replicas(
        0, 'router haproxy { listen = {port}\napi_key = env("CLIENT_KEY") }', engine='api_key = env("ENGINE_KEY")'
    ).replace("port = 0", "port = {engine}")
    with fronted(tmp_path, "haproxy", spec=spec, CLIENT_KEY="outer", ENGINE_KEY="inner") as case:
        status, body, _ = asyncio.run(request(case.port, headers={"Authorization": "Bearer outer"}))
        assert status == 200 and b"Bearer inner" in body
        assert asyncio.run(request(case.port, headers={"Authorization": "Bearer inner"}))[0] == 401


def test_bodies_above_the_context_are_refused(tmp_path: Path) -> None:
    with fronted(tmp_path, "haproxy", router="max_body = 20KB") as case:

        def status_of(size: int) -> int:
            return asyncio.run(request(case.port, body={"prompt": "x" * size}))[0]

        assert status_of(18_000) == 200
        assert status_of(21_000) == 413


def test_prometheus_reads_it_on_loopback(tmp_path: Path) -> None:
    with fronted(tmp_path, "haproxy") as case:
        asyncio.run(request(case.port))
        address = f"http://127.0.0.1:{case.env['KCLUSTER_METRICS_PORT']}/metrics"
        with urllib.request.urlopen(address, timeout=30) as answer:
            text = answer.read().decode()
        assert 'haproxy_backend_http_responses_total{proxy="kcluster_chat",code="2xx"} 1' in text
        assert 'haproxy_server_status{proxy="kcluster_chat",server="chat-1",state="UP"} 1' in text


def test_a_second_one_on_the_same_port_does_not_start(tmp_path: Path) -> None:
    with fronted(tmp_path, "haproxy") as case:
        other = {**case.env, "KCLUSTER_RUN_DIR": str(tmp_path / "other"), "KCLUSTER_METRICS_PORT": str(free_port())}
        done = case.script("start", env=other)
        assert done.returncode != 0
        assert "Address already in use" in done.stderr


def test_a_killed_replica_costs_what_was_in_flight_and_nothing_twice(tmp_path: Path) -> None:
    with fronted(tmp_path, "haproxy") as case:
        found = killed(case)
        assert found.sent_twice(case) == set()
        assert 0 < found.in_flight <= 24
        assert len(found.outcome.failed) <= found.in_flight + 2, found.outcome.failed
        assert found.outcome.ok > 50


def test_a_drain_by_health_loses_nothing(tmp_path: Path) -> None:
    with fronted(tmp_path, "haproxy") as case:

        def drain() -> None:
            with urllib.request.urlopen(f"http://127.0.0.1:{case.engine}/drain", timeout=30) as answer:
                assert answer.status == 200

        found = drained(case, drain, lambda: None)
        assert found.outcome.failed == [] and found.sent_twice(case) == set()
        assert found.outcome.ok > 30


def test_a_drain_by_the_script_loses_nothing(tmp_path: Path) -> None:
    with fronted(tmp_path, "haproxy") as case:

        def script(*words: str) -> None:
            done = case.script(*words)
            assert done.returncode == 0, done.stderr + done.stdout

        found = drained(case, lambda: script("drain", "chat-0"), lambda: script("restore"))
        assert found.outcome.failed == [] and found.sent_twice(case) == set()
        assert found.outcome.ok > 30
        for name in ("chat-2", "chat", "chat-.", ".*", "chat-0 127.0.0.1", "", "chat-0/;w x"):
            refused = case.script("drain", name)
            assert refused.returncode != 0, name
        assert case.script("drain", "chat-1").returncode == 0
        assert case.script("drain", "chat-1").returncode == 2, "already drained"
        assert case.script("reload").returncode == 0
        assert case.script("drain", "chat-1").returncode == 0, "a reload takes the file as compiled"
        assert case.script("nonsense").returncode == 2


def two_models(first: str, second: str, *, router: str = "") -> str:
    """Two serves on one machine behind one HAProxy, each with its route."""
    return f"""
model a {{ id = "meta-llama/Llama-3.1-8B-Instruct" }}
model b {{ id = "Qwen/Qwen3-8B" }}
hardware h {{
  gpus  = 2 * rtx-5090
  hosts = ["127.0.0.1"]
}}
sla s {{ concurrency = 16, context = 4K, prompt = 1K, completion = 200 }}
router haproxy front {{
  listen = {{port}}
  {router}
}}
serve one {{
  model = a, hardware = h, sla = s
  gpus  = [0]
  engine vllm {{ port = {{engine}} }}
  route front {{ {first} }}
}}
serve two {{
  model = b, hardware = h, sla = s
  gpus  = [1]
  engine vllm {{ port = {{engine2}} }}
  route front {{ {second} }}
}}
"""


def asked(
    case: Fronted,
    name: str,
    *,
    path: str = "/v1/chat/completions",
    headers: dict[str, str] | None = None,
    **body: object,
) -> int:
    status, _, _ = asyncio.run(
        request(case.port, name=name, path=path, headers=headers, body={"seconds": 0.01, **body})
    )
    return status


def reached(case: Fronted, replica: int) -> list[str]:
    return log_of(case.log(replica))[0]


def test_models_behind_one_address_by_model_name(tmp_path: Path) -> None:
    with fronted(tmp_path, "haproxy", spec=two_models('model_name = "small"', 'model_name = "org/big:v1"')) as case:
        assert asked(case, "s1", model="small") == 200
        assert asked(case, "b1", model="org/big:v1") == 200
        # Wherever it stands, however the JSON is laid out, and with a long prompt after it.
        assert (
            asked(case, "s2", messages=[{"role": "user", "content": 'the "model":"org/big:v1" is'}], model="small")
            == 200
        )
        assert asked(case, "b2", model="org/big:v1", prompt="x" * 3_000_000) == 200
        for wrong in ("", "Small", "small ", "smal", "org/big", "org/big:v11"):
            assert asked(case, f"w-{wrong}", model=wrong) == 404, wrong
        assert asked(case, "n1") == 404
        assert asked(case, "n2", model=["small"]) == 404
        assert asked(case, "n3", path="/metrics", model="small") == 404
        assert reached(case, 0) == ["s1", "s2"]
        assert reached(case, 1) == ["b1", "b2"]
        status, body = get(case, "/v1/models")
        assert status == 200
        listed = json.loads(body)
        assert [row["id"] for row in listed["data"]] == ["small", "org/big:v1"] and listed["object"] == "list"
        results = asyncio.run(named_streams(case, "small"))
        assert_streamed(results)


async def named_streams(case: Fronted, model: str) -> list[tuple[int, bytes, list[float]]]:
    body: dict[str, object] = {"seconds": 1.6, "model": model}
    return list(await asyncio.gather(*(request(case.port, stream=True, body=body) for _ in range(4))))


def test_models_behind_one_address_by_header(tmp_path: Path) -> None:
    spec = two_models('header = ["X-Model", "small"]', 'header = ["X-Model", "big.v1"]')
    with fronted(tmp_path, "haproxy", spec=spec) as case:
        assert asked(case, "s", headers={"X-Model": "small"}) == 200
        assert asked(case, "b", headers={"x-model": "big.v1"}) == 200
        assert asked(case, "n1") == 404
        assert asked(case, "n2", headers={"X-Model": "bigxv1"}) == 404
        assert (reached(case, 0), reached(case, 1)) == (["s"], ["b"])


def test_models_behind_one_address_by_path(tmp_path: Path) -> None:
    spec = two_models('path = "/small"', 'path = "/team.b/big/"')
    with fronted(tmp_path, "haproxy", spec=spec) as case:
        assert asked(case, "s", path="/small/v1/chat/completions?x=1") == 200
        assert asked(case, "b", path="/team.b/big/v1/completions") == 200
        status, body = get(case, "/small/v1/models")
        assert status == 200 and json.loads(body)["path"] == "/v1/models", "the engine sees its own path"
        for path in (
            "/v1/models",
            "/small/metrics",
            "/small/v1/../../metrics",
            "/smallv1/models",
            "/teamxb/big/v1/models",
            "/small",
        ):
            assert get(case, path)[0] == 404, path
        assert (reached(case, 0), reached(case, 1)) == (["s"], ["b"])


def test_what_says_more_goes_first(tmp_path: Path) -> None:
    """One serve takes a whole path, the other what a header asks of it there, although it is written later."""
    spec = two_models('path = "/x"', 'header = ["X-Model", "big"], path = "/x"')
    with fronted(tmp_path, "haproxy", spec=spec) as case:
        assert asked(case, "one", path="/x/v1/completions") == 200
        assert asked(case, "no", headers={"X-Model": "big"}) == 404
        assert asked(case, "two", path="/x/v1/completions", headers={"X-Model": "big"}) == 200
        assert (reached(case, 0), reached(case, 1)) == (["one"], ["two"])


def test_thirty_models_behind_one_address(tmp_path: Path) -> None:
    """No line and no condition becomes too long for HAProxy."""
    serves = "".join(
        f'serve s{n} {{ model = a, hardware = h, sla = s\n gpus = [{n % 8}]\n nodes = [{n // 8}]\n route front {{ model_name = "{"m" * 100}{n}" }} }}\n'
        for n in range(30)
    )
    hosts = ", ".join(f'"10.0.0.{n}"' for n in range(1, 5))
    text = f"""
model a {{ id = "meta-llama/Llama-3.1-8B-Instruct" }}
hardware h {{ gpus = 8 * l40s, hosts = [{hosts}], network = roce(100GbE) }}
sla s {{ concurrency = 4, context = 4K, prompt = 1K, completion = 200 }}
router haproxy front {{ listen = {free_port()} }}
{serves}"""
    written(text, tmp_path)
    accepted(tmp_path)
    assert compiled(text)["router/haproxy.cfg"].text.count("use_backend") == 30


def test_haproxy_is_gone_when_its_script_is_ended(tmp_path: Path) -> None:
    with fronted(tmp_path, "haproxy") as case:
        assert case.router is not None
        case.router.terminate()
        case.router.wait(30)
        wait_for(lambda: not listens(case.port), "nothing listens any more")


def test_the_script_is_clean(tmp_path: Path) -> None:
    attributes = 'api_key = env("CLIENT_KEY")\ntls { certificate = "/etc/c.pem", key = "/etc/k.pem" }'
    written(
        two_replicas(9101, f"router haproxy {{ listen = 8443\n{attributes} }}", engine='api_key = env("K")'), tmp_path
    )
    place = str(tmp_path / "router/haproxy.sh")
    for command in (["shellcheck", "-S", "style"], ["shfmt", "-d", "-i", "2"]):
        done = subprocess.run([venv_tool(command[0]), *command[1:], place], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
