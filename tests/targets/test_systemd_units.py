"""Units, as systemd's own reader takes them: every warning is a failure, and so is more exposure than allowed."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from kcluster.physics.cut import Cut
from kcluster.planner.types import EnginePorts, Plan
from kcluster.spec.types import Secret
from kcluster.targets import emit
from kcluster.targets.systemd.quoting import item, line, word
from kcluster.targets.systemd.units import units
from tests.support.compiled import compiled, tool, two_replicas
from tests.support.compiled import written as written_out
from tests.support.fronted import SYSTEM_PATH, stand_in
from tests.support.processes import end, free_pair, free_port, listens, wait_for
from tests.targets import factory
from tests.targets.factory import written
from tests.targets.run import HOSTILE

MOST_EXPOSED = 30
"""Tenths of the score of `systemd-analyze security`, where 100 is a service that may do anything."""


def under_systemd(**fields: object) -> Plan:
    given = {"serve": {"runtime": written("systemd")}, "engine": {"api_key": written(Secret("KEY"))}, **fields}
    return factory.plan(factory.serve_plan(**given))  # type: ignore[arg-type]


TWO = ("10.0.0.11", "10.0.0.12")
PLANS = {
    "one box": under_systemd(hardware={"model_path": written("/srv/models")}),
    "replicas": under_systemd(cut=Cut(tp=4, replicas=2), hosts=TWO, network=factory.ETHERNET, hardware={"user": written("llm")}),
    "nodes": under_systemd(
        cut=Cut(tp=4, pp=2), hosts=TWO, distribution="nnodes", ports=(EnginePorts(8000, 29501),), network=factory.ROCE
    ),
    "ray": under_systemd(
        cut=Cut(tp=4, pp=2), hosts=TWO, distribution="ray", network=factory.ETHERNET,
        engine={"executor": written("ray")},
    ),
    "external": under_systemd(
        cut=Cut(dp=8, ep=True), hosts=TWO, distribution="dp", ports=(EnginePorts(8000, dp_rpc=29550),),
        parallel={"balance": written("external")},
    ),
}  # fmt: skip

ROUTED = """
model m {{ id = "meta-llama/Llama-3.1-8B-Instruct" }}
hardware h {{ gpus = 2 * rtx-5090, hosts = ["127.0.0.1"] }}
sla s {{ concurrency = 16, context = 4K, prompt = 1K, completion = 200 }}
serve chat {{
  model = m, hardware = h, sla = s, runtime = systemd
  parallel {{ replicas = 2, tp = 1, pp = 1 }}
  router {kind} {{
    listen = 443, api_key = env("CLIENT_KEY")
    tls {{ certificate = "/etc/ssl/a.pem", key = "/etc/ssl/a.key" }}
  }}
}}
"""


def texts(plan: Plan) -> dict[str, str]:
    return {artifact.path: artifact.text for artifact in emit(plan)}


def privately(script: str, folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A script in a mount namespace of its own, with an empty /opt, in which it is root."""
    return subprocess.run(
        [tool("unshare", "util-linux"), "--user", "--map-root-user", "--mount", "bash", "-c",
         f"set -e; mount -t tmpfs kcluster /opt; mkdir /opt/kcluster; {script}", "bash", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120, env={"PATH": SYSTEM_PATH, **env},
    )  # fmt: skip


def accepted(files: dict[str, str], executable: set[str], stack: str, folder: Path) -> list[str]:
    """The scores of all units of a folder that systemd takes without a word, each file at its installed place."""
    tool("systemd-analyze", "systemd")
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
        (folder / path).chmod(0o755 if path in executable else 0o644)
    found = sorted(path for path in files if path.endswith(".service"))
    done = privately(
        f"cp -R . /opt/kcluster/{stack}; cd /opt/kcluster/{stack}\n"
        'for unit in "$@"; do systemd-analyze verify --man=no --recursive-errors=no "./$unit"; done\n'
        f'for unit in "$@"; do systemd-analyze security --offline=true --threshold={MOST_EXPOSED} "./$unit" | tail -n 1; done',
        folder, *found,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if "exposure" in line]


@pytest.mark.parametrize("name", PLANS)
def test_systemd_takes_every_unit_without_a_warning(name: str, tmp_path: Path) -> None:
    artifacts = emit(PLANS[name])
    files = {artifact.path: artifact.text for artifact in artifacts}
    executable = {artifact.path for artifact in artifacts if artifact.executable}
    scores = accepted(files, executable, "hand", tmp_path)
    assert len(scores) == sum(path.endswith(".service") for path in files) >= 1


@pytest.mark.parametrize("kind", ["nginx", "haproxy", "vllm-router"])
def test_routers_have_units_that_may_do_little(kind: str, tmp_path: Path) -> None:
    artifacts = compiled(ROUTED.format(kind=kind))
    executable = {path for path, artifact in artifacts.items() if artifact.executable}
    texts_ = {path: artifact.text for path, artifact in artifacts.items()}
    assert len(accepted(texts_, executable, "test", tmp_path)) == 3
    text = texts_[f"nodes/127.0.0.1/systemd/kcluster-{kind}.service"]
    assert "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n" in text and "EnvironmentFile=/etc/kcluster/" in text


def test_a_warning_would_be_seen(tmp_path: Path) -> None:
    files = {path: text.replace("Type=exec", "Tpye=exec") for path, text in texts(PLANS["one box"]).items()}
    with pytest.raises(AssertionError, match="Tpye"):
        accepted(files, set(files), "hand", tmp_path)


def value(text: str, key: str) -> str:
    (found,) = re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)
    return str(found)


def command(line_: str) -> list[str]:
    """A command line of a unit with no variables in it, as systemd runs it."""
    return [part.replace("%%", "%").replace("$$", "$") for part in shlex.split(line_.lstrip("-+"))]


@pytest.mark.parametrize("name", PLANS)
def test_times_hold_each_other_and_files_exist(name: str) -> None:
    files = texts(PLANS[name])
    executable = {artifact.path for artifact in emit(PLANS[name]) if artifact.executable}
    found = [path for path in files if path.endswith(".service")]
    assert len(found) == len(units(PLANS[name])) > 0
    for path in found:
        text = files[path]
        program = command(value(text, "ExecStart"))
        script = program[-1 if "nginx" in path else 0].removeprefix("/opt/kcluster/hand/")
        assert script in executable
        if "nginx" in path:
            (longest,) = re.findall(r"proxy_read_timeout (\d+)s", files["router/nginx.conf"])
            assert int(value(text, "TimeoutStopSec")) > int(longest)
            continue
        assert script.rpartition("/")[0] == path.split("/systemd/")[0]
        attempts = int(value(text, "StartLimitBurst"))
        assert int(value(text, "StartLimitIntervalSec")) > attempts * int(value(text, "TimeoutStartSec"))
        if "serve-" in path:
            drain = int(re.findall(r"--shutdown-timeout (\d+)", files[script])[0])
            assert int(value(text, "TimeoutStopSec")) > drain
            assert "EnvironmentFile=/etc/kcluster/chat.env" in text.splitlines() or "api_key" not in files["plan.toml"]
        if "ExecStartPost" in text:
            ready = command(value(text, "ExecStartPost"))[0].removeprefix("/opt/kcluster/hand/")
            assert ready in executable
            (limit,) = re.findall(r"^limit=\$\{1:-(\d+)\}$", files[ready], re.MULTILINE)
            (completion,) = re.findall(r"--max-time (\d+) --header", files[ready])
            assert int(value(text, "TimeoutStartSec")) > int(limit) + int(completion)
        else:
            assert "--headless" in files[script] or "ray-" in path


def test_an_engine_over_ray_comes_after_it_and_headless_ones_are_not_asked() -> None:
    files = texts(PLANS["ray"])
    engine = files["nodes/10.0.0.11/systemd/kcluster-serve-chat.service"]
    assert "After=network-online.target kcluster-ray-head.service" in engine.splitlines()
    assert "Wants=network-online.target kcluster-ray-head.service" in engine.splitlines()
    assert "PrivateTmp=no" in engine.splitlines()
    assert "nodes/10.0.0.12/systemd/kcluster-ray-worker.service" in files
    nodes = texts(PLANS["nodes"])
    assert "ExecStartPost" not in nodes["nodes/10.0.0.12/systemd/kcluster-serve-chat.service"]
    assert "DeviceAllow=char-infiniband* rw" in nodes["nodes/10.0.0.12/systemd/kcluster-serve-chat.service"]


def test_only_a_serve_that_asks_for_it_has_units() -> None:
    assert not [path for path in texts(factory.two_replicas()) if "systemd" in path or "install" in path]


def verified(folder: Path, text: str) -> list[str]:
    """What systemd says of a unit."""
    tool("systemd-analyze", "systemd")
    (folder / "x.service").write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", "./x.service"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60, env={"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert [path.name for path in folder.iterdir()] == ["x.service"]
    return done.stderr.splitlines()


SHOWN = [text for text in HOSTILE if text.isprintable() and text]


@pytest.mark.parametrize("text", SHOWN)
def test_hostile_arguments_stay_one_argument(text: str, tmp_path: Path) -> None:
    unit = f"[Unit]\nDescription={line(text)}\n[Service]\nExecStart=/bin/true {word(text)}\nEnvironment={item('A=' + text)}\n"
    assert verified(tmp_path, unit) == []
    assert command(value(unit, "ExecStart")) == ["/bin/true", text]


@pytest.mark.parametrize("text", [text for text in SHOWN if not set(text) & set("'\"\\")])
def test_hostile_programs_stay_one_path(text: str, tmp_path: Path) -> None:
    """systemd names the program that it does not find: what it made of the text. It takes no quotes in a program's name."""
    (said,) = verified(tmp_path, f"[Service]\nExecStart={item('/nowhere/' + text)}\n")
    assert f"Command /nowhere/{text} is not executable: No such file or directory" in said


@pytest.mark.parametrize("text", ["a\nExecStartPre=/bin/touch canary", "a\rb", "a\0b"])
def test_what_would_add_a_line_is_refused(text: str) -> None:
    for quoted in (word, item):
        with pytest.raises(ValueError, match="unit"):
            quoted(text)
    assert "\n" not in line(text) and "\r" not in line(text)
    assert not line("ends in \\").endswith("\\")


def test_the_pause_grows_and_is_none_before_the_first_start(tmp_path: Path) -> None:
    files = texts(PLANS["one box"])
    (tmp_path / "pause.sh").write_text(files["nodes/10.0.0.11/systemd/pause.sh"])
    slept = []
    for restarts in ("0", "1", "2", "5", "6", "7", "999"):
        for name, text in (("systemctl", f"echo {restarts}"), ("sleep", f'echo "$1" >{tmp_path}/slept')):
            (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
            (tmp_path / name).chmod(0o755)
        (tmp_path / "slept").write_text("")
        subprocess.run(["bash", tmp_path / "pause.sh", "x"], check=True, env={"PATH": f"{tmp_path}:{SYSTEM_PATH}"})
        slept.append((tmp_path / "slept").read_text().strip())
    assert slept == ["", "10", "20", "160", "320", "320", "320"]


def test_nginx_runs_as_its_unit_starts_it_with_the_journal_s_socket(tmp_path: Path) -> None:
    """What it is given as output is a socket, as from systemd; its access log must still come out."""
    tool("nginx", "nginx-light")
    tmp_path.chmod(0o755)
    engine, port = free_pair(), free_port()
    spec = two_replicas(engine, f"router nginx {{ listen = {port} }}").replace(
        "  sla = s\n", "  sla = s\n  runtime = systemd\n"
    )
    folder = written_out(spec, tmp_path / "out")
    text = (folder / "nodes/127.0.0.1/systemd/kcluster-nginx.service").read_text()
    argv = [part.replace("/opt/kcluster/test", str(folder)) for part in command(value(text, "ExecStart"))]
    replicas = [stand_in(engine + number, tmp_path / f"log-{number}") for number in (0, 1)]
    ours, theirs = socket.socketpair()
    try:
        wait_for(lambda: listens(engine) and listens(engine + 1), "the stand-ins listen")
        router = subprocess.Popen(
            argv, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL, start_new_session=True,
            env={"PATH": SYSTEM_PATH, "KCLUSTER_RUN_DIR": str(tmp_path / "run")},
        )  # fmt: skip
        theirs.close()
        try:
            wait_for(lambda: listens(port) or router.poll() is not None, "nginx listens")
            assert router.poll() is None, received(ours, "")
            urllib.request.urlopen(f"http://127.0.0.1:{port}/lb-health").close()
            request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", b"{}")
            urllib.request.urlopen(request).close()
            assert "/v1/completions" in received(ours, "/v1/completions")
            # The signal of the unit goes to the process that systemd started: it must be NGINX's own.
            subprocess.run(["kill", "-s", value(text, "KillSignal").removeprefix("SIG"), str(router.pid)], check=True)
            assert router.wait(60) == 0
        finally:
            end(router)
    finally:
        ours.close()
        for process in replicas:
            end(process)


def received(end_: socket.socket, until: str) -> str:
    """What came out, up to a text."""
    end_.settimeout(20)
    found = ""
    while not found or (until and until not in found):
        piece = end_.recv(65536).decode()
        if not piece:
            break
        found += piece
    return found
