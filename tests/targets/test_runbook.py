"""The runbook: every command in it exists, and no text of a spec becomes markup."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kcluster.planner.types import Plan
from kcluster.spec.types import Secret
from kcluster.targets import emit
from kcluster.targets.markdown import code
from tests.support.compiled import compiled
from tests.targets import factory
from tests.targets.factory import written
from tests.targets.run import HOSTILE


def runbook(plan: Plan) -> str:
    return next(artifact.text for artifact in emit(plan) if artifact.path == "README.md")


def commands(text: str) -> list[str]:
    """What stands in the code blocks."""
    return [match.strip() for match in re.findall(r"```sh\n(.*?)\n\s*```", text, re.DOTALL)]


@pytest.mark.parametrize(
    "plan", [factory.one_box(), factory.two_replicas(), factory.two_nodes(), factory.over_ray()], ids=range(4)
)
def test_every_script_is_started_once_and_exists(plan: Plan) -> None:
    artifacts = emit(plan)
    text = runbook(plan)
    scripts = [artifact.path for artifact in artifacts if artifact.path.startswith("nodes/") and artifact.executable]
    started = [command[2:] for command in commands(text) if command.startswith("./")]
    assert sorted(started) == sorted(scripts)
    for command in commands(text):
        if command.startswith("bash router/"):
            assert command.split()[1] in [artifact.path for artifact in artifacts]


RUNTIMES = """
model m {{ id = "meta-llama/Llama-3.1-8B-Instruct" }}
hardware h {{ nodes = 2, gpus = 1 * rtx-5090, network = ethernet(25GbE), hosts = ["10.0.0.1", "10.0.0.2"] }}
sla s {{ concurrency = 16, context = 4K, prompt = 1K, completion = 200 }}
serve chat {{
  model = m, hardware = h, sla = s, runtime = {runtime}
  parallel {{ replicas = 2, tp = 1, pp = 1 }}
  engine vllm {{ api_key = env("KEY") }}
  {more}
}}
"""
SAYS = {
    "shell": ("Copy this folder to every host, then in this order.", "KCLUSTER_HOOK", "log is what it prints"),
    "systemd": (
        "systemd: copy this folder",
        "install.sh",
        "journalctl -e -u kcluster-serve-chat.service",
        "reset-failed",
    ),
    "compose": ("Compose (2.24", "docker compose", "logs --tail=200"),
    "kubernetes": ("Kubernetes, from any machine", "kubectl", "kubectl -n llm get pods"),
}


@pytest.mark.parametrize("runtime", SAYS)
def test_it_speaks_of_what_was_compiled_and_of_nothing_else(runtime: str) -> None:
    more = (
        'kubernetes { namespace = "llm", claim = "models" }'
        if runtime == "kubernetes"
        else "router haproxy { listen = 8080 }"
    )
    files = compiled(RUNTIMES.format(runtime=runtime, more=more))
    text = files["README.md"].text
    for other, words in SAYS.items():
        assert all((word in text) is (other == runtime) for word in words), other
    listed = commands(text)
    units = [path.rpartition("/")[2] for path in files if path.endswith(".service")]
    started = [word for command in listed if command.startswith("systemctl") for word in command.split() if "." in word]
    assert sorted(started) == sorted(units * 2)
    for command in listed:
        words = command.split()
        named = [word.removeprefix("./") for word in words if word.startswith(("./", "nodes/", "router/", "compose/"))]
        assert all(name in files for name in named), command
        if words[:3] == ["kubectl", "apply", "-k"]:
            assert f"{words[3]}/kustomization.yaml" in files
    if runtime == "compose":
        profiles = yaml.safe_load(files["compose/compose.yaml"].text)["services"]
        assert {body["profiles"][0] for body in profiles.values()} == {
            command.split()[5] for command in listed if command.startswith("docker compose")
        }
    assert ("rolling-restart.sh" in files) is ("./rolling-restart.sh" in text) is (runtime != "kubernetes")


def test_the_key_is_the_one_that_the_router_asks_for() -> None:
    spec = RUNTIMES.format(runtime="shell", more='router haproxy { listen = 8080, api_key = env("CLIENTS") }')
    (completion,) = [c for c in commands(compiled(spec)["README.md"].text) if "completions" in c]
    assert "Bearer ${CLIENTS}" in completion


def test_ray_comes_before_its_engine_and_the_router_last() -> None:
    text = runbook(factory.over_ray())
    order = [
        text.index(name)
        for name in ("./nodes/10.0.0.11/ray-head.sh", "ray-worker.sh", "serve-chat.sh", "ready-chat.sh")
    ]
    assert order == sorted(order)
    text = runbook(factory.two_replicas())
    assert text.index("bash router/nginx.sh start") > text.rindex("/ready-chat")


def test_commands_are_bash_and_the_completion_names_the_key_by_its_variable(tmp_path: Path) -> None:
    plan = factory.plan(factory.serve_plan(engine={"api_key": written(Secret("CHAT_KEY"))}))
    text = runbook(plan)
    for command in commands(text):
        subprocess.run(["bash", "-n", "-c", command], check=True, timeout=60)
    (completion,) = [command for command in commands(text) if "completions" in command]
    script = f"curl() {{ printf '%s\\n' \"$@\"; }}\n{completion}"
    said = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env={"CHAT_KEY": "k"}, cwd=tmp_path
    ).stdout
    assert "Authorization: Bearer k" in said and "http://10.0.0.11:8000/v1/completions" in said


STATED = re.compile(r"has requests at most (\d+) s after it answers `/health`(?:, its whole share (\d+) s later)?")


def test_a_replica_is_back_when_the_runbook_says() -> None:
    """The stated seconds against the numbers in the routers' own files."""
    said, files = {}, {}
    for kind in ("nginx", "haproxy", "vllm-router"):
        files = {**files, **compiled(RUNTIMES.format(runtime="shell", more=f"router {kind} {{ listen = 8080 }}"))}
        ((seconds, slow),) = STATED.findall(files["README.md"].text)
        said[kind] = (int(seconds), slow)
    # It is passed over for `fail_timeout` after the last failure, and then tried.
    (fail_timeout,) = set(re.findall(r"fail_timeout=(\d+)s", files["router/nginx.conf"].text))
    assert said["nginx"] == (int(fail_timeout), "")
    # Of `rise` good checks the first comes within `inter`, each further one `fastinter` later.
    (server,) = re.findall(
        r"inter (\d+)s fastinter (\d+)ms fall 3 rise (\d+) slowstart (\d+)s", files["router/haproxy.cfg"].text
    )
    inter, fast, rise, slow = map(int, server)
    assert inter + (rise - 1) * fast / 1000 == 1.5 <= said["haproxy"][0] < 1.5 + 1
    assert said["haproxy"][1] == str(slow)
    # So many good checks, and where its breaker opened last, the breaker's time.
    flags = dict(re.findall(r"--(\S+) (\d+)", files["router/vllm-router.sh"].text))
    checks = int(flags["health-check-interval-secs"]) * int(flags["health-success-threshold"])
    assert said["vllm-router"] == (checks + int(flags["cb-timeout-duration-secs"]), "")


def test_what_has_one_replica_is_not_taken_out() -> None:
    for plan in (factory.over_ray(), factory.expert_parallel("external")):
        assert "Take one replica out" not in runbook(plan) and "A replica dies" not in runbook(plan)
    assert "A replica dies: NGINX" in runbook(factory.two_replicas())


def test_what_starts_together_is_restarted_together() -> None:
    assert "Restart that on the first host of the engine" in runbook(factory.two_nodes())
    assert "Restart all of the engine, on all its hosts" in runbook(factory.expert_parallel())
    for plan in (factory.one_box(), factory.two_replicas(), factory.over_ray()):
        assert "has ended: its nodes meet" not in runbook(plan)


def test_ranks_with_servers_of_their_own_are_told_apart() -> None:
    starts = re.findall(r"^\d+\. (On `\S+`, `chat`, .*):$", runbook(factory.expert_parallel("external")), re.MULTILINE)
    assert len(starts) == len(set(starts)) == 8 and starts[0].startswith(
        "On `10.0.0.11`, `chat`, the first node of 2, rank 0"
    )


@pytest.mark.parametrize("runtime", SAYS)
def test_the_plan_is_held_against_the_log_and_the_metrics(runtime: str, tmp_path: Path) -> None:
    """The commands run: what they read is what a real engine would give, from programs that stand in for its supervisor."""
    more = 'kubernetes { namespace = "llm", claim = "models" }' if runtime == "kubernetes" else ""
    files = compiled(RUNTIMES.format(runtime=runtime, more=more))
    by_log, by_metrics = [c for c in commands(files["README.md"].text) if "kcluster verify" in c]
    for path, artifact in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(artifact.text)
    (tmp_path / "FILE").write_text("INFO Model loading took 14.99 GiB memory and 3.2 seconds\n")
    (tmp_path / "bin").mkdir()
    reads = "/bin/cat FILE"
    for name in ("journalctl", "docker", "kubectl"):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{reads}\n")
    (tmp_path / "bin/systemctl").write_text("#!/bin/sh\necho 1\n")
    metrics = 'vllm:cache_config_info{block_size="16",num_gpu_blocks="60000",gpu_memory_utilization="0.92"} 1.0'
    (tmp_path / "bin/curl").write_text(f"#!/bin/sh\necho '{metrics}'\n")
    (tmp_path / "bin/kcluster").write_text(f'#!/bin/sh\nexec {sys.executable} -m kcluster "$@"\n')
    for program in (tmp_path / "bin").iterdir():
        program.chmod(0o755)
    env = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    for command in (by_log, by_metrics):
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode in (0, 1) and "chat" in done.stdout, done.stdout + done.stderr


def test_other_engines_are_read_by_their_own_metrics() -> None:
    text = compiled(RUNTIMES.format(runtime="systemd", more="").replace("engine vllm", "engine sglang"))[
        "README.md"
    ].text
    assert "vllm:" not in text
    before = text.partition("## When it does not start")[0]
    assert "kcluster verify --serve=chat --metrics=-" in before and "--log=" not in before
    assert "`sglang:num_running_reqs` is 0" in text and "| `sglang:time_to_first_token_seconds` |" in text


def test_an_engine_that_does_not_count_has_no_command_that_finds_nothing() -> None:
    spec = RUNTIMES.format(runtime="shell", more="").replace('engine vllm { api_key = env("KEY") }', "engine triton {}")
    text = compiled(spec)["README.md"].text
    assert "How full the KV cache is" not in text and "grep -E" not in text
    assert "s to end, stop it" in text, "its answers are waited for by time"


def test_expected_figures_stand_with_their_ranges() -> None:
    text = runbook(factory.one_box())
    assert "| time between tokens | 34 ms | 26 ms to 45 ms | `vllm:inter_token_latency_seconds` |" in text
    assert "| KV cache of one engine | 123,000 tokens |" in text
    assert "390 s for running answers" in text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_shown_and_not_read_as_markup(text: str) -> None:
    plan = factory.plan(
        factory.serve_plan(
            name=f"n{text}", model={"id": written(text), "checkpoint": written(text)}, hosts=(f"h{text}", "10.0.0.2")
        )
    )
    written_text = runbook(plan)
    # One table row a serve, whatever is in its name; headings, lists and HTML are those of the runbook only.
    outside = re.sub(
        r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", "", re.sub(r"```sh\n.*?\n\s*```", "", written_text, flags=re.DOTALL)
    )
    assert "<script>" not in outside and outside.count("<!--") == 2
    assert all(line.count("|") - line.count("\\|") in (0, 5, 6, 3) for line in outside.splitlines())
    headings = [line for line in written_text.splitlines() if line.startswith("#")]
    assert len(headings) == 8


def test_code_spans() -> None:
    assert code("a") == "`a`"
    assert code("a`b") == "``a`b``"
    assert code("`a`") == "`` `a` ``"
    assert code("a|b") == "`a\\|b`"
    assert code("") == "`  `"
