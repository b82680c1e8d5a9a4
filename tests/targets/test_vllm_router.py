"""vLLM Router's script as text and by what reads it; the released router itself runs it in tests/e2e."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.compiled import compiled, tool, two_replicas, venv_tool, written
from tests.support.fronted import SYSTEM_PATH
from tests.support.processes import free_port

OPTIONS = Path(__file__).parent.parent / "data/vllm_router_options.txt"


def spec(attributes: str = "", *, share: str = "") -> str:
    text = two_replicas(9101, f"router vllm-router {{ listen = 8080\n{attributes} }}", engine='api_key = env("K")')
    return text.replace("completion = 200", f"completion = 200{share}")


def args(text: str) -> dict[str, str]:
    """What the script gives the router: each flag with its value."""
    lines = text.partition("\nargs=(\n")[2].partition("\n)\n")[0].splitlines()
    words = " ".join(line for line in lines if not line.lstrip().startswith("#")).split()
    found: dict[str, str] = {}
    for word in words:
        if word.startswith("--"):
            found[word] = ""
            last = word
        else:
            found[last] = word
    return found


def script(attributes: str = "", *, share: str = "") -> str:
    return compiled(spec(attributes, share=share))["router/vllm-router.sh"].text


def test_every_option_is_one_of_the_release() -> None:
    known = set(OPTIONS.read_text().split("\n\n")[1].split())
    given = args(script())
    assert len(given) > 15 and set(given) <= known, set(given) - known


@pytest.mark.parametrize(
    ("written_", "share", "given"),
    [
        ("", "", "power_of_two"),
        ("", ", prefix_share = 0.5", "cache_aware"),
        ("policy = round_robin", ", prefix_share = 0.2", "round_robin"),
        ("policy = random", "", "random"),
        ("policy = session", "", "consistent_hash"),
        ("policy = cache_aware", "", "cache_aware"),
        ("policy = power_of_two", "", "power_of_two"),
    ],
)
def test_the_policy_is_the_specs_or_follows_from_it(written_: str, share: str, given: str) -> None:
    assert args(script(written_, share=share))["--policy"] == given


def test_what_keeps_a_generation_single_and_a_dead_replica_out() -> None:
    given = args(script())
    assert given["--disable-retries"] == ""
    assert int(given["--health-check-interval-secs"]) <= 5
    assert int(given["--cb-failure-threshold"]) <= 3 and int(given["--cb-timeout-duration-secs"]) <= 10
    assert given["--host"] == given["--prometheus-host"] == "127.0.0.1"


def test_times_and_sizes_follow_from_the_plan() -> None:
    given = args(script("timeout = 3000s\nmax_body = 20MB"))
    assert given["--request-timeout-secs"] == "6000", "a whole answer may take more than two parts of it apart"
    assert given["--max-payload-size"] == "20000000"
    # 8B at 2 bytes and 0.5 GB/s, twice, is 64 s: a limit beyond the router's own 600 s for what comes after.
    assert 900 <= int(given["--worker-startup-timeout-secs"]) <= 1200


def test_clients_reach_nginx_and_nothing_else() -> None:
    files = compiled(spec())
    conf = files["router/vllm-router.conf"].text
    assert re.search(r"^        listen 8080;$", conf, re.M)
    assert re.findall(r"^        server (\S+)", conf, re.M) == ["127.0.0.1:30000"]
    assert "proxy_set_header X-Session-ID $kcluster_session;" in conf
    assert "8080" not in args(files["router/vllm-router.sh"].text).values()


@pytest.mark.parametrize("attributes", ["", "policy = session", 'api_key = env("CLIENT_KEY")'])
def test_readers_accept_it(tmp_path: Path, attributes: str) -> None:
    tool("nginx", "nginx-light")
    written(spec(attributes), tmp_path)
    fake = tmp_path / "bin/vllm-router"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\n")
    fake.chmod(0o755)
    place = tmp_path / "router/vllm-router.sh"
    done = subprocess.run(
        ["bash", str(place), "test"],
        env={"PATH": f"{fake.parent}:{SYSTEM_PATH}", "CLIENT_KEY": "a", "K": "b", "KCLUSTER_ROUTER_PORT": str(free_port())},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0 and "warn" not in done.stderr, done.stderr
    for command in (["shellcheck", "-S", "style"], ["shfmt", "-d", "-i", "2"]):
        read = subprocess.run(
            [venv_tool(command[0]), *command[1:], str(place)], capture_output=True, text=True, check=False
        )
        assert read.returncode == 0, read.stdout + read.stderr


def test_without_the_package_it_says_which_one(tmp_path: Path) -> None:
    written(spec(), tmp_path)
    done = subprocess.run(
        ["bash", str(tmp_path / "router/vllm-router.sh")],
        env={"PATH": os.defpath}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 127 and "pip install vllm-router==0.1.17" in done.stderr
