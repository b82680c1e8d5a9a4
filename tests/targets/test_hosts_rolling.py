"""The rolling restart: under load through real routers nothing is lost, and it stops where going on would lose something."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kcluster.physics.cut import Cut
from kcluster.planner.types import EnginePorts, Plan
from kcluster.spec.types import Secret
from kcluster.targets import emit
from kcluster.targets.layout import shutdown_seconds
from kcluster.values import evolve
from tests.support.compiled import tool
from tests.support.fronted import STANDIN, SYSTEM_PATH, Fronted, fronted
from tests.support.load import Outcome, log_of, under_load
from tests.support.processes import PATIENCE, wait_for
from tests.targets import factory
from tests.targets.factory import written

HOOK = """#!/bin/bash
# stop|start HOST SCRIPT: stand-ins by their number
number=${3##*-} port=$((ENGINE + ${3##*-}))
echo "$*" >>"$FOLDER/hook.log"
if [[ $1 == stop ]]; then
  kill "$(cat "$FOLDER/pid-$number")"
  while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.1; done
else
  setsid "$PYTHON" "$STANDIN" "$port" "$FOLDER/replica-$number.log" &
  echo $! >"$FOLDER/pid-$number"
  [[ ! -e $FOLDER/broken ]] || { sleep 1; curl -fsS --noproxy '*' -o /dev/null "http://127.0.0.1:$port/break"; }
fi
"""


@pytest.fixture(params=["nginx", "haproxy"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fronted]:
    tool(request.param, {"nginx": "nginx-light"}.get(request.param, request.param))
    with fronted(tmp_path, request.param) as found:
        (tmp_path / "hook").write_text(HOOK)
        (tmp_path / "hook").chmod(0o755)
        for number, process in enumerate(found.replicas):
            (tmp_path / f"pid-{number}").write_text(str(process.pid))
        yield found
        for number, process in enumerate(found.replicas):
            subprocess.run(["kill", (tmp_path / f"pid-{number}").read_text().strip()], check=False, capture_output=True)
            process.wait(PATIENCE)


def environment(case: Fronted) -> dict[str, str]:
    return {
        **case.env, "KCLUSTER_HOOK": str(case.folder / "hook"), "FOLDER": str(case.folder), "ENGINE": str(case.engine),
        "PYTHON": sys.executable, "STANDIN": str(STANDIN), "PATH": SYSTEM_PATH,
    }  # fmt: skip


def rolling(case: Fronted, *names: str) -> subprocess.CompletedProcess[str]:
    """Output goes to files: stand-ins that the hook starts live on, and would hold a pipe open."""
    with (case.folder / "rolling.out").open("w+") as out, (case.folder / "rolling.err").open("w+") as err:
        done = subprocess.run(
            ["bash", str(case.folder / "out/rolling-restart.sh"), *names], env=environment(case), stdout=out, stderr=err,
            stdin=subprocess.DEVNULL, check=False, timeout=120,
        )  # fmt: skip
    out_text, err_text = ((case.folder / f"rolling.{end}").read_text() for end in ("out", "err"))
    return subprocess.CompletedProcess(done.args, done.returncode, out_text, err_text)


def hooked(case: Fronted) -> list[str]:
    log = case.folder / "hook.log"
    return log.read_text().splitlines() if log.exists() else []


def test_under_load_nothing_is_lost(case: Fronted) -> None:
    outcome = Outcome()

    async def story() -> subprocess.CompletedProcess[str]:
        stop = asyncio.Event()
        load = asyncio.create_task(under_load(case.port, clients=12, until=stop.is_set, outcome=outcome))
        try:
            await asyncio.sleep(1)
            done = await asyncio.to_thread(rolling, case)
            await asyncio.sleep(1)
            return done
        finally:
            stop.set()
            await load

    done = asyncio.run(story())
    assert done.returncode == 0, done.stderr
    assert hooked(case) == [
        f"{action} 127.0.0.1 serve-chat-{replica}" for replica in (0, 1) for action in ("stop", "start")
    ]
    assert outcome.failed == [] and outcome.ok > 30
    sent = [name for replica in (0, 1) for name in log_of(case.log(replica))[0] if name != "-"]
    assert len(sent) == len(set(sent)) >= outcome.ok
    for replica in (0, 1):
        started = log_of(case.log(replica))[0]
        assert "-" in started[:-1], "traffic comes back after the completion that it was held to"


def test_it_does_not_begin_while_another_replica_is_away(case: Fronted) -> None:
    case.replicas[1].kill()
    case.replicas[1].wait()
    done = rolling(case, "chat-0")
    assert done.returncode != 0 and hooked(case) == []
    assert "stopped at chat-0: nothing was changed" in done.stderr and f"127.0.0.1:{case.engine + 1}" in done.stderr
    assert case.script("restore").returncode == 0
    live = next((case.folder / "run").glob(f"{case.stem}.c*"))
    assert live.read_text() == (case.folder / "out/router" / live.name).read_text()


def test_it_stops_at_a_replica_that_does_not_compute(case: Fronted) -> None:
    (case.folder / "broken").touch()
    done = rolling(case)
    assert done.returncode != 0
    assert hooked(case) == ["stop 127.0.0.1 serve-chat-0", "start 127.0.0.1 serve-chat-0"]
    assert "a completion fails with status 500" in done.stderr
    assert f"on 127.0.0.1: router/{case.stem}.sh restore" in done.stderr
    # The broken one stays out: every request goes to the other.
    before = len(log_of(case.log(0))[0])
    outcome = Outcome()
    turns = iter(range(9))
    asyncio.run(under_load(case.port, clients=2, until=lambda: next(turns, 9) >= 8, outcome=outcome))
    assert outcome.failed == [] and outcome.ok >= 8
    assert len(log_of(case.log(0))[0]) == before


def test_names_are_known_and_one_runs_at_a_time(tmp_path: Path) -> None:
    script = tmp_path / "rolling-restart.sh"
    (text,) = (a.text for a in emit(factory.two_replicas(), ("hosts",)) if a.path == script.name)
    script.write_text(text)
    env = {"PATH": SYSTEM_PATH, "KCLUSTER_HOOK": "/bin/false"}
    done = subprocess.run(["bash", script, "chat-2"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "no such replica, one of: chat-0 chat-1" in done.stderr
    with subprocess.Popen(["flock", script, "sleep", "60"]) as holder:
        wait_for(lambda: subprocess.run(["flock", "-n", script, "true"], check=False).returncode != 0, "it is held")
        done = subprocess.run(["bash", script], env=env, capture_output=True, text=True, check=False)
        holder.kill()
    assert done.returncode != 0 and "another one runs" in done.stderr


FAKES = {
    "curl": 'case $* in */metrics*) printf "# HELP %s running\\n%s{x=\\"1\\"} 0.0\\n" "$RUNNING" "$RUNNING" ;; esac; echo "curl ${*: -1}" >>"$LOG"',
    "docker": 'echo "docker $*" >>"$LOG"',
    "systemctl": 'echo "systemctl $*" >>"$LOG"',
    "runuser": 'echo "runuser $1 $2" >>"$LOG"; shift 3; "$@"',
    "ssh-stand-in": 'echo "ssh $1" >>"$LOG"; shift; exec "$@"',
    "sleep": "",
    "hostname": "echo elsewhere",
}


def far(folder: Path, plan: object, **env: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """A rolling restart of hosts that are not here, with what it reaches as stand-ins that note what they were asked."""
    place = folder / "it's a $(touch canary) folder"
    for artifact in emit(plan, ("hosts",)):  # type: ignore[arg-type]
        (place / artifact.path).parent.mkdir(parents=True, exist_ok=True)
        (place / artifact.path).write_text(artifact.text)
        if "/ready-" in artifact.path:
            (place / artifact.path).write_text('echo "ready $0 ${KEY:-}" >>"$LOG"\n')
    (place / "router").mkdir(exist_ok=True)
    (place / "router/nginx.sh").write_text('echo "nginx.sh $* ${KCLUSTER_RUN_DIR:-}" >>"$LOG"\n')
    (folder / "bin").mkdir(exist_ok=True)
    for name, text in FAKES.items():
        (folder / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / "bin" / name).chmod(0o755)
    (folder / "log").unlink(missing_ok=True)
    done = subprocess.run(
        ["bash", str(place / "rolling-restart.sh")], cwd=folder, capture_output=True, text=True, check=False, timeout=60,
        env={
            "PATH": f"{folder}/bin:{SYSTEM_PATH}", "LOG": str(folder / "log"), "KCLUSTER_SSH": "ssh-stand-in",
            "KCLUSTER_DIR": str(place), "RUNNING": "vllm:num_requests_running", **env,
        },
    )  # fmt: skip
    log = (folder / "log").read_text().splitlines() if (folder / "log").exists() else []
    return done, [row.replace(str(place), "DIR") for row in log]


def test_engines_over_two_hosts_stop_and_start_as_one(tmp_path: Path) -> None:
    plan = factory.plan(
        factory.serve_plan(
            cut=Cut(tp=4, pp=2, replicas=2), hosts=("10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.4"),
            distribution="nnodes", ports=(EnginePorts(8000, 29501), EnginePorts(8000, 29501)),
            serve={"runtime": written("systemd")}, hardware={"user": written("llm")},
            engine={"api_key": written(Secret("KEY"))},
        )
    )  # fmt: skip
    key = 'it\'s $(touch canary) "secret"'
    done, log = far(tmp_path, plan, KEY=key)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("canary"))
    # The last of replica 0's steps, and those of replica 1: its two nodes stop, both are started, then waited for.
    start = log.index("curl http://127.0.0.1:8000/health")
    assert [row for row in log[start:] if not row.startswith(("ssh", "runuser"))] == [
        "curl http://127.0.0.1:8000/health",
        "nginx.sh drain 10.9.0.3:8000 /run/kcluster-nginx",
        *["curl http://10.9.0.3:8000/metrics"] * 3,
        "systemctl stop kcluster-serve-chat.service",
        "systemctl stop kcluster-serve-chat.service",
        "systemctl start --no-block kcluster-serve-chat.service",
        "systemctl start --no-block kcluster-serve-chat.service",
        "systemctl start kcluster-serve-chat.service",
        f"ready DIR/nodes/10.9.0.3/ready-chat.sh {key}",
        "nginx.sh restore /run/kcluster-nginx",
    ]
    hosts = [row.removeprefix("ssh llm@10.9.0.") for row in log[start - 1 :] if row.startswith("ssh")]
    assert hosts == ["1", "1", "3", "3", "4", "3", "4", "3", "1"]
    assert key not in (tmp_path / "it's a $(touch canary) folder/rolling-restart.sh").read_text()


def two_hosts() -> Plan:
    return factory.plan(
        factory.serve_plan(
            cut=Cut(tp=4, replicas=2), hosts=("10.9.0.1", "10.9.0.2"), network=factory.ETHERNET,
            serve={"runtime": written("systemd")},
        )
    )  # fmt: skip


def of_engine(plan: Plan, engine: str, version: tuple[int, ...]) -> Plan:
    (serve,) = plan.serves
    spec = evolve(serve.serve, engine=evolve(serve.serve.engine, name=written(engine), version=written(version)))
    return factory.plan(evolve(serve, serve=spec))


def test_an_engine_that_does_not_count_is_given_the_time_of_its_longest_answer() -> None:
    plan = of_engine(two_hosts(), "triton", (25, 10))
    script = {one.path: one.text for one in emit(plan, ("hosts",))}["rolling-restart.sh"]
    steps = script[script.index("turn_1() {") :].partition("}\n")[0]
    seconds = shutdown_seconds(plan.serves[0])
    assert "idle " not in steps and steps.index("drain ") < steps.index(f"sleep {seconds}") < steps.index("stop ")


@pytest.mark.parametrize(
    ("engine", "version", "health", "metrics", "running"),
    [
        ("sglang", (0, 5), "/health", "/metrics", "sglang:num_running_reqs"),
        ("trtllm", (1, 3), "/health", "/prometheus/metrics", "trtllm_num_requests_running"),
    ],
)
def test_every_engine_is_waited_for_by_its_own_metrics(
    tmp_path: Path, engine: str, version: tuple[int, ...], health: str, metrics: str, running: str
) -> None:
    plan = of_engine(two_hosts(), engine, version)
    done, log = far(tmp_path, plan, RUNNING=running)
    assert done.returncode == 0, done.stderr
    asked = [row for row in log if row.startswith("curl")]
    assert asked == [
        f"curl http://10.9.0.2:8001{health}", *[f"curl http://127.0.0.1:8000{metrics}"] * 3,
        f"curl http://127.0.0.1:8000{health}", *[f"curl http://10.9.0.2:8001{metrics}"] * 3,
    ]  # fmt: skip
    # Where the metric is not there, nobody knows whether it is idle: it is not stopped.
    done, log = far(tmp_path, plan, RUNNING=f"{running}_of_another")
    assert done.returncode != 0 and "or no metrics; nothing was stopped" in done.stderr
    assert not any("systemctl" in row for row in log)


def test_containers_are_reached_by_the_profile_of_their_host(tmp_path: Path) -> None:
    plan = factory.plan(
        factory.serve_plan(
            cut=Cut(tp=4, replicas=2), hosts=("10.9.0.1", "10.9.0.2"), network=factory.ETHERNET,
            serve={"runtime": written("compose")},
        )
    )  # fmt: skip
    done, log = far(tmp_path, plan)
    assert done.returncode == 0, done.stderr
    compose = "docker compose -f DIR/compose/compose.yaml --profile"
    assert [row for row in log if row.startswith("docker")][-4:] == [
        f"{compose} 10.9.0.1 exec -T router-nginx bash /kcluster/router/nginx.sh drain 10.9.0.2:8001",
        f"{compose} 10.9.0.2 stop 10.9.0.2-serve-chat",
        f"{compose} 10.9.0.2 up -d --no-deps 10.9.0.2-serve-chat",
        f"{compose} 10.9.0.1 exec -T router-nginx bash /kcluster/router/nginx.sh restore",
    ]


def test_a_script_is_written_only_where_something_can_roll() -> None:
    for plan in (factory.one_box(), factory.two_nodes(), factory.expert_parallel()):
        assert "rolling-restart.sh" not in {artifact.path for artifact in emit(plan, ("hosts",))}
    assert "rolling-restart.sh" in {artifact.path for artifact in emit(factory.two_replicas(), ("hosts",))}
