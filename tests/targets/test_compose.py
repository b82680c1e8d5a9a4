"""The Compose file: of its published schema, and every container is what the plan says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from kcluster.physics.cut import Cut
from kcluster.planner.types import EnginePorts, Plan
from kcluster.spec.types import Secret
from kcluster.targets import emit
from kcluster.targets.compose.services import literal, project
from kcluster.targets.hosts.folders import compose_profile
from kcluster.targets.layout import processes
from kcluster.targets.types import Artifact
from tests.support.compiled import compiled, venv_tool
from tests.targets import checker, factory
from tests.targets.factory import written
from tests.targets.run import HOSTILE, run

TWO = ("10.0.0.11", "10.0.0.12")


def under_compose(**fields: Any) -> Plan:
    given = {"serve": {"runtime": written("compose")}, "engine": {"api_key": written(Secret("KEY"))}, **fields}
    return factory.plan(factory.serve_plan(**given))


PLANS = {
    "one box": under_compose(hardware={"model_path": written("/srv/models")}),
    "replicas": under_compose(cut=Cut(tp=4, replicas=2), hosts=TWO, network=factory.ETHERNET, engine={}),
    "two on a box": under_compose(cut=Cut(tp=2, replicas=2), gpus=4, engines=(
        factory.placement(Cut(tp=2), [0], [0, 1]), factory.placement(Cut(tp=2), [0], [3, 2])
    )),
    "nodes": under_compose(
        cut=Cut(tp=4, pp=2), hosts=TWO, distribution="nnodes", ports=(EnginePorts(8000, 29501),), network=factory.ROCE
    ),
    "external": under_compose(
        cut=Cut(dp=8, ep=True), hosts=TWO, distribution="dp", ports=(EnginePorts(8000, dp_rpc=29550),),
        parallel={"balance": written("external")},
    ),
}  # fmt: skip

ROUTED = """
model m {{ id = "meta-llama/Llama-3.1-8B-Instruct" }}
hardware h {{ gpus = 2 * rtx-5090, hosts = ["127.0.0.1"] }}
sla s {{ concurrency = 16, context = 4K, prompt = 1K, completion = 200 }}
serve chat {{
  model = m, hardware = h, sla = s, runtime = compose
  parallel {{ replicas = 2, tp = 1, pp = 1 }}
  router {kind} {{
    listen = 443, api_key = env("CLIENT_KEY")
    tls {{ certificate = "/etc/ssl/a.pem", key = "/etc/ssl/a.key" }}
  }}
}}
"""


def files_of(plan: Plan) -> dict[str, Artifact]:
    return {artifact.path: artifact for artifact in emit(plan)}


def services(files: dict[str, Artifact]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(files["compose/compose.yaml"].text)["services"]
    return found


def accepted(files: dict[str, Artifact], folder: Path) -> None:
    """Its schema, yamllint and, where it is installed, Compose itself take the file."""
    for path, artifact in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(artifact.text)
    file = folder / "compose/compose.yaml"
    rules = "{extends: default, rules: {line-length: disable, document-start: disable, comments-indentation: disable}}"
    for command in (
        [venv_tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(file)],
        [venv_tool("yamllint"), "--strict", "-d", rules, str(file)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    for profile in {body["profiles"][0] for body in services(files).values()} if _compose() else ():
        done = read_by_compose(folder, profile)
        assert done.returncode == 0, done.stderr
        read = json.loads(done.stdout)["services"]
        own = {name: body for name, body in services(files).items() if body["profiles"] == [profile]}
        assert {**read}.keys() == own.keys()
        for name, body in own.items():
            assert read[name]["entrypoint"] == [literal_read(word) for word in body["entrypoint"]]


def literal_read(text: str) -> str:
    return text.replace("$$", "$")


@cache
def schema() -> Any:
    """The published schema, as check-jsonschema brings it."""
    import check_jsonschema
    import jsonschema

    folder = Path(check_jsonschema.__file__).parent / "builtin_schemas"
    (file,) = folder.rglob("*compose-spec.json")
    return jsonschema.Draft7Validator(json.loads(file.read_text()))


@cache
def _compose() -> tuple[str, ...]:
    """Compose 2 where there is one: the program that KCLUSTER_COMPOSE names, or Docker with its plugin. No Debian package has it,
    and what PyPI has was built by somebody else: the tests do not install it."""
    named, docker = os.environ.get("KCLUSTER_COMPOSE"), shutil.which("docker")
    if named:
        return (named,)
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        return ()
    return (docker, "compose")


def read_by_compose(folder: Path, profile: str, absent: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """`docker compose config` of one host's profile, which needs no daemon, with files of keys for all services but those that
    are `absent`."""
    file = folder / "compose/compose.yaml"
    text = file.read_text()
    for path in re.findall(r'path: "(/etc/kcluster/\S+)"', text):
        keys = folder / "keys" / Path(path).name
        keys.parent.mkdir(exist_ok=True)
        if keys.name not in absent:
            keys.write_text("KEY=1\nCLIENTS=2\n")
        text = text.replace(f'"{path}"', json.dumps(str(keys)))
    (folder / "compose/read.yaml").write_text(text)
    command = [*_compose(), "-f", str(folder / "compose/read.yaml"), "--profile", profile, "config", "--format", "json"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_compose_takes_the_file(tmp_path: Path) -> None:
    accepted(files_of(PLANS["nodes"]), tmp_path)


@pytest.mark.parametrize("kind", ["nginx", "haproxy", "vllm-router"])
def test_routers_in_containers(kind: str, tmp_path: Path) -> None:
    files = compiled(ROUTED.format(kind=kind))
    schema().validate(yaml.safe_load(files["compose/compose.yaml"].text))
    if kind == "vllm-router":
        accepted(files, tmp_path)
    router = services(files)[f"router-{kind}"]
    assert router["entrypoint"][1].removeprefix("/kcluster/") in files
    assert router["env_file"] == [{"path": f"/etc/kcluster/{kind}.env", "required": True}]
    assert "NET_BIND_SERVICE" in router["cap_add"] and router["cap_drop"] == ["ALL"]
    mounted = {volume["target"] for volume in router["volumes"]}
    assert {"/kcluster", "/etc/ssl/a.pem", "/etc/ssl/a.key"} == mounted
    longest = {
        "nginx": "proxy_read_timeout {}s",
        "haproxy": "timeout server {}s",
        "vllm-router": "proxy_read_timeout {}s",
    }
    text = files[f"router/{kind}.{'cfg' if kind == 'haproxy' else 'conf'}"].text
    (timeout,) = re.findall(longest[kind].replace("{}", r"(\d+)"), text)
    assert int(router["stop_grace_period"].removesuffix("s")) > int(timeout)
    if kind == "vllm-router":
        assert f"compose/{router['build']['dockerfile']}" in files


def test_a_wrong_key_would_be_seen(tmp_path: Path) -> None:
    files = files_of(PLANS["one box"])
    spoilt = Artifact("compose/compose.yaml", files["compose/compose.yaml"].text.replace("shm_size", "shm_sice"))
    with pytest.raises(AssertionError, match="shm_sice"):
        accepted({**files, "compose/compose.yaml": spoilt}, tmp_path)


@pytest.mark.parametrize("name", PLANS)
def test_containers_are_the_plan(name: str, tmp_path: Path) -> None:
    """Every process has a container with its cards, its script, room for its ranks and time to stop."""
    plan = PLANS[name]
    files = files_of(plan)
    found = services(files)
    schema().validate(yaml.safe_load(files["compose/compose.yaml"].text))
    engines = {service: body for service, body in found.items() if not service.startswith("router-")}
    planned = {f"/kcluster/{process.path}.sh": process for process in processes(plan)}
    assert {body["entrypoint"][1] for body in engines.values()} == set(planned)
    for number, body in enumerate(engines.values()):
        process = planned[body["entrypoint"][1]]
        assert body["profiles"] == [process.host] and body["network_mode"] == "host"
        script = files[f"{process.path}.sh"]
        assert script.executable
        (device,) = body["deploy"]["resources"]["reservations"]["devices"]
        assert sorted(device["device_ids"]) == sorted(str(gpu) for gpu in process.gpus)
        (tmp_path / str(number)).mkdir()
        ran = run(
            script.text.replace("[[ -d /srv/models", "[[ -d / || -d /srv/models"),
            tmp_path / str(number),
            KEY="k",
        )
        assert ran.code == 0, ran.stderr
        # Docker numbers the cards that it hands over by their own order.
        inside = sorted(process.gpus)
        seen = [inside[int(index)] for index in ran.env["CUDA_VISIBLE_DEVICES"].split(",")]
        assert tuple(seen) == process.gpus
        flags = checker.read(ran.argv, (0, 33))
        assert int(body["stop_grace_period"].removesuffix("s")) > flags["shutdown_timeout"]
        # 64 MiB is what a container has unless told otherwise; a rank's queue alone is 240.
        assert body["shm_size"] >= (len(process.gpus) + 1) * 2**30
        if process.answers:
            host = "127.0.0.1" if flags["host"] in ("127.0.0.1", "0.0.0.0") else flags["host"]
            assert body["healthcheck"]["test"][-1] == f"http://{host}:{flags['port']}/health"
        else:
            assert body["healthcheck"] == {"disable": True}


def test_keys_are_of_the_host() -> None:
    files = files_of(PLANS["one box"])
    (body,) = services(files).values()
    assert body["env_file"] == [{"path": "/etc/kcluster/chat.env", "required": True}]
    assert "KEY=…" in files["compose/compose.yaml"].text and "environment" not in body


def test_weights_come_from_the_host_or_from_a_cache_that_stays() -> None:
    (box,) = services(files_of(PLANS["one box"])).values()
    assert {"/srv/models", "/kcluster"} == {volume["target"] for volume in box["volumes"]}
    whole = yaml.safe_load(files_of(PLANS["nodes"])["compose/compose.yaml"].text)
    assert list(whole["volumes"]) == ["models"]


def test_only_a_serve_that_asks_for_it_has_containers() -> None:
    assert "compose/compose.yaml" not in files_of(factory.two_replicas())


def interpolated(text: str) -> str:
    """What Compose makes of a value where no variable is set: `$$` is `$`, a variable is empty."""
    return re.sub(r"\$\$|\$\{[^}]*\}|\$[A-Za-z_]\w*", lambda match: "$" if match[0] == "$$" else "", text)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_what_they_are(text: str) -> None:
    assert interpolated(literal(text)) == text
    plan = under_compose(
        name=f"n{text}", engine={"image": written(f"i{text}")}, hardware={"model_path": written(f"/m{text}")},
        model={"checkpoint": written(f"/m{text}/c")},
    )  # fmt: skip
    files = files_of(plan)
    schema().validate(yaml.safe_load(files["compose/compose.yaml"].text))
    ((name, body),) = services(files).items()
    assert interpolated(body["image"]) == f"i{text}"
    assert f"/m{text}" in [interpolated(volume["source"]) for volume in body["volumes"]] or "/" in text
    assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
    assert set(body) == set(next(iter(services(files_of(PLANS["one box"])).values())))
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", project(plan))


def test_profiles_are_names_that_compose_takes() -> None:
    for folder in ("nodes/a", "nodes/10.0.0.11", "nodes/_b", "nodes/box-1"):
        assert re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", compose_profile(folder))


TWO_HOSTS = """
model m { id = "meta-llama/Llama-3.1-8B-Instruct" }
hardware h { nodes = 2, gpus = 2 * rtx-5090, network = ethernet(25GbE), hosts = ["10.0.0.1", "10.0.0.2"] }
sla s { concurrency = 16, context = 4K, prompt = 1K, completion = 200 }
serve one {
  model = m, hardware = h, sla = s, runtime = compose, gpus = [0]
  parallel { replicas = 2, tp = 1, pp = 1 }
  engine vllm { api_key = env("KEY") }
  router nginx { listen = 8080 }
}
serve two {
  model = m, hardware = h, sla = s, runtime = compose, nodes = [1], gpus = [1]
  engine vllm { port = 8100, api_key = env("KEY") }
}
"""


def test_each_host_names_its_own_profile_in_commands(tmp_path: Path) -> None:
    """With the services of another host, Compose asks for that host's keys too, and stops without them (seen with 2.40)."""
    files = compiled(TWO_HOSTS)
    rolling, runbook = files["rolling-restart.sh"].text, files["README.md"].text
    assert "--profile '*'" not in rolling + runbook
    assert "declare -A profiles=(\n  ['10.0.0.1']=10.0.0.1\n  ['10.0.0.2']=10.0.0.2\n)" in rolling
    assert "--profile 10.0.0.1 exec router-nginx" in runbook
    for host in ("10.0.0.1", "10.0.0.2"):
        assert f"--profile {host} stop {host}-serve-one`" in runbook
    for file, hosts in (("one", "`10.0.0.1`, `10.0.0.2`"), ("two", "`10.0.0.2`")):
        assert f"- `/etc/kcluster/{file}.env` on {hosts}: `KEY`\n" in runbook
    accepted(files, tmp_path)
    if _compose():
        (tmp_path / "keys/two.env").unlink()
        assert read_by_compose(tmp_path, "10.0.0.1", absent=("two.env",)).returncode == 0
        assert "two.env" in read_by_compose(tmp_path, "*", absent=("two.env",)).stderr
