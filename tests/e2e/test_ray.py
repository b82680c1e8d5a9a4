"""The compiled Ray scripts bring up a real Ray on two nodes, and the compiled engine script finds its cards there.

Two network namespaces where the test is root, so that addresses, fixed ports and interfaces are as on two machines; else two
processes on loopback with other ports. GPUs are numbers that Ray is told; the engine is a stand-in that asks Ray for the
placement group that the real one asks for. Processes are ended by their id.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define, field

from kcluster.output import write
from kcluster.targets import emit
from kcluster.targets.ray import fixed_ports, ray_clusters
from tests.support.needed import absent
from tests.support.processes import wait_for
from tests.targets import factory

pytestmark = pytest.mark.e2e

PATIENCE = 300.0
HEAD, WORKER = "10.231.77.1", "10.231.77.2"

ENGINE = """
import argparse, json, os, sys
import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

parser = argparse.ArgumentParser()
parser.add_argument("serve")
parser.add_argument("model")
parser.add_argument("--tensor-parallel-size", type=int, default=1)
parser.add_argument("--pipeline-parallel-size", type=int, default=1)
parser.add_argument("--distributed-executor-backend")
known, _ = parser.parse_known_args()
assert known.distributed_executor_backend == "ray"
ray.init(address="auto", logging_level="error")
world = known.tensor_parallel_size * known.pipeline_parallel_size
group = placement_group([{"GPU": 1}] * world, strategy="PACK")
ray.get(group.ready(), timeout=200)

@ray.remote(num_gpus=1, num_cpus=0)
class Rank:
    def look(self):
        names = ("VLLM_HOST_IP", "CUDA_VISIBLE_DEVICES", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "NCCL_IB_DISABLE")
        return {"node": ray.util.get_node_ip_address(), **{name: os.environ.get(name) for name in names}}

ranks = [
    Rank.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle)).remote()
    for bundle in range(world)
]
seen = ray.get([rank.look.remote() for rank in ranks], timeout=200)
with open(os.environ["KCLUSTER_TEST_RESULT"], "w") as file:
    json.dump(seen, file)
"""


def ray_program() -> Path:
    """The `ray` to test with. CI has one; where there is none, the test is skipped and says so."""
    named = os.environ.get("KCLUSTER_RAY_BIN") or shutil.which("ray")
    if not named or not os.access(named, os.X_OK):
        absent("no ray: set KCLUSTER_RAY_BIN to the one of the end-to-end environment (make e2e does)")
    return Path(named)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=60)


@define
class Machine:
    """One node: how a command is run on it, and the address that it has there."""

    address: str
    prefix: tuple[str, ...] = ()
    namespace: str = ""
    extra: tuple[str, ...] = ()

    def command(self, *words: str) -> list[str]:
        return [*self.prefix, *words]


@define
class Cluster:
    """Two machines with a compiled folder, and the processes started on them."""

    head: Machine
    worker: Machine
    folder: Path
    scratch: Path
    ray: Path
    started: dict[str, subprocess.Popen[bytes]] = field(factory=dict)

    def environment(self, machine: Machine) -> dict[str, str]:
        (self.scratch / "bin").mkdir(exist_ok=True)
        # Short: sockets live below it, and their paths must fit into 107 bytes.
        place = f"/tmp/kct-{os.getpid()}-{'h' if machine is self.head else 'w'}"
        return {
            "PATH": f"{self.scratch / 'bin'}:{self.ray.parent}:{os.environ['PATH']}",
            "HOME": str(self.scratch),
            "RAY_AUTH_TOKEN_PATH": str(self.scratch / "token"),
            "KCLUSTER_RAY_DIR": place,
            "KCLUSTER_RAY_DEADLINE": "240",
            "KCLUSTER_TEST_RESULT": str(self.scratch / "result.json"),
            "RAY_DISABLE_IMPORT_WARNING": "1",
        }

    def start(self, name: str, machine: Machine, script: str, *words: str) -> None:
        with (self.scratch / f"{name}.log").open("ab") as log:
            self.started[name] = subprocess.Popen(
                machine.command("bash", str(self.folder / script), *words),
                env=self.environment(machine),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self, name: str, sign: signal.Signals = signal.SIGTERM) -> int:
        """End a script by its own id only, as a supervisor would, and wait for it."""
        process = self.started.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, sign)
        return process.wait(120)

    def log(self, name: str) -> str:
        return (self.scratch / f"{name}.log").read_text("utf-8", "replace")

    def status(self, **changed: str) -> subprocess.CompletedProcess[str]:
        address = ray_clusters(self.plan())[0].address
        environment = {**self.environment(self.head), "RAY_AUTH_MODE": "token", **changed}
        command = self.head.command("timeout", "60", str(self.ray), "status", "--address", address)
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def cards(self) -> int:
        found = [line.split()[0] for line in self.status().stdout.splitlines() if line.strip().endswith("GPU")]
        return int(float(found[0].partition("/")[2])) if found else 0

    def plan(self):  # type: ignore[no-untyped-def]
        return factory.over_ray((self.head.address, self.worker.address))

    def alive(self, machine: Machine) -> list[str]:
        """Processes that still live in a machine's namespace."""
        listed = subprocess.run(["ip", "netns", "pids", machine.namespace], capture_output=True, text=True, check=True)
        return listed.stdout.split()


@contextlib.contextmanager
def namespaces() -> Iterator[tuple[Machine, Machine]]:
    """Two namespaces joined by a cable."""
    names = (f"kcta{os.getpid()}", f"kctb{os.getpid()}")
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "eth0", "netns", names[0], "type", "veth", "peer", "name", "eth0", "netns", names[1])
        for name, address in zip(names, (HEAD, WORKER), strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", "eth0", "up")
        first, second = (
            Machine(address, ("ip", "netns", "exec", name), name)
            for name, address in zip(names, (HEAD, WORKER), strict=True)
        )
        yield first, second
    finally:
        for name in names:
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "del", name)


@contextlib.contextmanager
def loopback() -> Iterator[tuple[Machine, Machine]]:
    """Two addresses of loopback; the second node takes other ports, since both are one machine."""
    ports = tuple(f"--{name}-port={7480 + number}" for number, name in enumerate(NODE_PORTS))
    yield (
        Machine("127.0.0.1"),
        Machine("127.0.0.2", extra=(*ports, "--min-worker-port=21000", "--max-worker-port=21399")),
    )


NODE_PORTS = (
    "node-manager",
    "object-manager",
    "dashboard-agent-grpc",
    "dashboard-agent-listen",
    "runtime-env-agent",
    "metrics-export",
)


def may_make_namespaces() -> bool:
    if os.geteuid() != 0 or not shutil.which("ip") or os.environ.get("KCLUSTER_TEST_LOOPBACK"):
        return False
    name = f"kctp{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    if made:
        ip("netns", "del", name)
    return made


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    ray = ray_program()
    with namespaces() if may_make_namespaces() else loopback() as (head, worker):
        (tmp_path / "token").touch(0o600)
        (tmp_path / "token").write_text("f00d" * 16)
        made = Cluster(head, worker, tmp_path / "compiled", tmp_path, ray)
        environment = made.environment(head)
        stand_in = tmp_path / "bin/vllm"
        stand_in.write_text(f'#!/bin/sh\nexec {ray.parent}/python3 {tmp_path}/engine.py "$@"\n')
        stand_in.chmod(0o755)
        (tmp_path / "engine.py").write_text(ENGINE)
        write(made.folder, emit(made.plan()))
        try:
            yield made
        finally:
            for name in list(made.started):
                pid = made.started[name].pid
                with contextlib.suppress(subprocess.TimeoutExpired):
                    made.stop(name)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            for machine in (head, worker):
                if machine.namespace:
                    for pid_text in made.alive(machine):
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(int(pid_text), signal.SIGKILL)
                shutil.rmtree(made.environment(machine)["KCLUSTER_RAY_DIR"], ignore_errors=True)
            del environment


def head_script(cluster: Cluster) -> str:
    return f"{ray_clusters(cluster.plan())[0].nodes[0].path}.sh"


def worker_script(cluster: Cluster) -> str:
    return f"{ray_clusters(cluster.plan())[0].nodes[1].path}.sh"


def test_two_nodes_come_up_and_the_engine_gets_its_cards(cluster: Cluster) -> None:
    # The worker before its head, and the engine before either: each waits.
    cluster.start("worker", cluster.worker, worker_script(cluster), *cluster.worker.extra)
    cluster.start("engine", cluster.head, f"nodes/{cluster.head.address}/serve-chat.sh")
    time.sleep(5)
    assert cluster.started["worker"].poll() is None, cluster.log("worker")
    assert cluster.started["engine"].poll() is None, cluster.log("engine")
    assert not (cluster.scratch / "result.json").exists()
    cluster.start("head", cluster.head, head_script(cluster))

    # The engine goes on by itself once Ray has 8 cards, and gets tp 4 × pp 2 = 8 of them.
    engine = cluster.started.pop("engine")
    assert engine.wait(PATIENCE) == 0, cluster.log("engine") + cluster.log("worker") + cluster.log("head")
    ranks = json.loads((cluster.scratch / "result.json").read_text())
    assert len(ranks) == 8
    if cluster.head.namespace:
        for address in (HEAD, WORKER):
            here = [rank for rank in ranks if rank["node"] == address]
            # Each node's four, each card once, with that node's own environment.
            assert sorted(rank["CUDA_VISIBLE_DEVICES"] for rank in here) == ["0", "1", "2", "3"]
            assert {rank["VLLM_HOST_IP"] for rank in here} == {address}
            assert {rank["GLOO_SOCKET_IFNAME"] for rank in here} == {"eth0"}
            assert {rank["NCCL_SOCKET_IFNAME"] for rank in here} == {"=eth0"}
            assert {rank["NCCL_IB_DISABLE"] for rank in here} == {"1"}
        _only_fixed_ports(cluster)
    else:
        assert sorted(rank["CUDA_VISIBLE_DEVICES"] for rank in ranks) == ["0", "0", "1", "1", "2", "2", "3", "3"]

    # Another token is refused.
    other = cluster.scratch / "other"
    other.touch(0o600)
    other.write_text("0bad" * 16)
    refused = cluster.status(RAY_AUTH_TOKEN_PATH=str(other))
    assert refused.returncode != 0 and "GPU" not in refused.stdout

    # Ending the two scripts by their own ids leaves nothing behind.
    cluster.stop("worker")
    cluster.stop("head")
    if cluster.head.namespace:
        for machine in (cluster.head, cluster.worker):
            wait_for(lambda machine=machine: not cluster.alive(machine), "nothing of Ray is left", 60)  # type: ignore[misc]


def _only_fixed_ports(cluster: Cluster) -> None:
    """Everything that listens beyond loopback is a port that the plan lists."""
    for machine, node in zip((cluster.head, cluster.worker), ray_clusters(cluster.plan())[0].nodes, strict=True):
        listed = {port for _, port in fixed_ports(node)}
        listening = subprocess.run(machine.command("ss", "-ltnH"), capture_output=True, text=True, check=True).stdout
        for line in listening.splitlines():
            address, _, port = line.split()[3].rpartition(":")
            first, last = node.worker_ports
            inside = int(port) in listed or first <= int(port) <= last
            assert inside or address in ("127.0.0.1", "[::1]"), f"{line} is not among the fixed ports"


def test_a_head_that_is_killed_and_started_again_gets_its_worker_back(cluster: Cluster) -> None:
    cluster.start("head", cluster.head, head_script(cluster))
    cluster.start("worker", cluster.worker, worker_script(cluster), *cluster.worker.extra)
    wait_for(lambda: cluster.cards() == 8, "the worker joined", PATIENCE)
    process = cluster.started["head"]
    os.killpg(process.pid, signal.SIGKILL)
    cluster.stop("head", signal.SIGKILL)
    cluster.start("head", cluster.head, head_script(cluster))
    wait_for(lambda: cluster.cards() == 8, "the worker joined again", PATIENCE)
    assert cluster.started["worker"].poll() is None


def test_the_engine_gives_up_where_cards_are_missing(cluster: Cluster) -> None:
    """Half of the cards: a placement group would wait for ever; the script ends with what is missing."""
    cluster.start("head", cluster.head, head_script(cluster))
    wait_for(lambda: cluster.cards() == 4, "the head is up", PATIENCE)
    environment = {**cluster.environment(cluster.head), "KCLUSTER_RAY_DEADLINE": "6"}
    script = str(cluster.folder / f"nodes/{cluster.head.address}/serve-chat.sh")
    ended = subprocess.run(
        cluster.head.command("bash", script),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert ended.returncode == 1 and "has 4 of 8 cards" in ended.stderr


def test_scripts_refuse_a_token_that_others_can_read(cluster: Cluster) -> None:
    (cluster.scratch / "token").chmod(0o644)
    for script in (head_script(cluster), worker_script(cluster), f"nodes/{cluster.head.address}/serve-chat.sh"):
        ended = subprocess.run(
            ["bash", str(cluster.folder / script)],
            env=cluster.environment(cluster.head),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ended.returncode == 1 and "readable by others" in ended.stderr
