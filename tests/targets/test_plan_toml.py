"""`plan.toml`: complete, read back by a TOML parser, without secrets; and the artifacts add up to it."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from kcluster.physics.cut import Cut
from kcluster.spec.types import Secret
from kcluster.targets import emit, target_names
from kcluster.targets.header import text_sha256
from kcluster.targets.layout import processes
from kcluster.targets.ports import open_ports
from kcluster.targets.ray import ray_clusters
from kcluster.targets.vllm import engine_args, engine_env
from tests.targets import factory
from tests.targets.factory import written
from tests.targets.run import HOSTILE

PLANS = {
    "one-box": factory.one_box,
    "replicas": factory.two_replicas,
    "nodes": factory.two_nodes,
    "ray": factory.over_ray,
    "internal": factory.expert_parallel,
    "hybrid": lambda: factory.expert_parallel("hybrid"),
    "external": lambda: factory.expert_parallel("external"),
}


def read(artifacts: Any) -> dict[str, Any]:
    return tomllib.loads(next(artifact.text for artifact in artifacts if artifact.path == "plan.toml"))


@pytest.mark.parametrize("name", PLANS)
def test_it_lists_every_file_with_its_hash(name: str) -> None:
    artifacts = emit(PLANS[name]())
    assert artifacts[-1].path == "plan.toml"
    listed = {entry["path"]: (entry["sha256"], entry["executable"]) for entry in read(artifacts)["files"]}
    assert listed == {a.path: (text_sha256(a.text), a.executable) for a in artifacts[:-1]}
    assert list(listed) == sorted(listed)


@pytest.mark.parametrize("name", PLANS)
def test_cards_ranks_and_ports_of_the_processes_are_those_of_the_plan(name: str) -> None:
    """Read back from `plan.toml` and from what each process is started with, and compared."""
    plan = PLANS[name]()
    content = read(emit(plan))
    (serve,) = content["serves"]
    placed = {(entry["host"], gpu) for entry in serve["placement"] for gpu in entry["gpus"]}
    parallel = serve["parallel"]
    assert len(placed) == parallel["replicas"] * parallel["tp"] * parallel["pp"] * parallel["dp"]
    if serve["distribution"] == "ray":
        used = [(node.host, gpu) for cluster in ray_clusters(plan) for node in cluster.nodes for gpu in node.gpus]
    else:
        used = [
            (process.host, int(gpu))
            for process in processes(plan)
            for gpu in dict(engine_env(process))["CUDA_VISIBLE_DEVICES"].split(",")
        ]
    assert len(used) == len(set(used)) and set(used) == placed
    by_file = {entry["file"]: entry for entry in serve["processes"]}
    for process in processes(plan):
        entry = by_file[f"{process.path}.sh"]
        flags = dict(engine_args(plan, process))
        assert entry["host"] == process.host and entry.get("port") == flags.get("--port")
        assert flags["--tensor-parallel-size"] == parallel["tp"]
        assert flags.get("--pipeline-parallel-size", 1) == parallel["pp"]
        assert flags.get("--data-parallel-size", 1) == parallel["dp"]
        for limit in ("max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization"):
            assert flags[f"--{limit.replace('_', '-')}"] == serve["limits"][limit]


@pytest.mark.parametrize("name", PLANS)
def test_no_two_listeners_share_a_port(name: str) -> None:
    taken: set[tuple[str, int]] = set()
    for port in open_ports(PLANS[name]()):
        for number in range(port.first, port.last + 1):
            assert (port.host, number) not in taken, port
            taken.add((port.host, number))


def test_figures_carry_their_names_and_ranges() -> None:
    (serve,) = read(emit(factory.one_box()))["serves"]
    memory = serve["memory"]
    assert memory["weights_gib"] == 16.9 and memory["kv_cache_tokens"] == 123000
    assert memory["stages"] == [{"stage": 0, "layers": 80, "weights_gib": 16.9, "kv_cache_gib": 9.4}]
    assert serve["performance"]["itl_s"] == {"value": 0.034, "low": 0.026, "high": 0.045}
    assert set(memory["range"]) == {"weights_gib", "kv_cache_gib", "kv_cache_tokens", "max_concurrency"}


def test_secrets_are_names_only() -> None:
    plan = factory.plan(factory.serve_plan(engine={"api_key": written(Secret("CHAT_KEY"))}))
    (serve,) = read(emit(plan))["serves"]
    assert serve["secrets"] == ["CHAT_KEY"]


def test_the_same_plan_gives_the_same_bytes() -> None:
    assert emit(factory.over_ray()) == emit(factory.over_ray())


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_values(text: str) -> None:
    plan = factory.plan(factory.serve_plan(name=f"n{text}", model={"id": written(text)}, hosts=(f"h{text}",)))
    content = read(emit(plan))
    (serve,) = content["serves"]
    assert serve["name"] == f"n{text}" and serve["model"]["id"] == text
    assert {entry["host"] for entry in serve["placement"]} == {f"h{text}"}


def test_names_that_would_meet_in_one_path_stay_apart() -> None:
    """`chat 1` and `chat-1` are one segment; so are two hosts that differ in a sign."""
    plan = factory.plan(
        factory.serve_plan("chat 1", hosts=("a b",)),
        factory.serve_plan("chat-1", hosts=("a b",)),
        factory.serve_plan("x", hosts=("a-b",)),
        factory.serve_plan("..", hosts=("..",)),
    )
    paths = [artifact.path for artifact in emit(plan)]
    assert len(paths) == len(set(paths))
    assert all(part not in ("", ".", "..") for path in paths for part in path.split("/"))
    assert {process.path for process in processes(plan)} == {
        "nodes/a-b/serve-chat-1",
        "nodes/a-b/serve-chat-1-x1",
        "nodes/a-b-x1/serve-x",
        "nodes/x/serve-x",
    }


def test_two_engines_over_ray_on_the_same_nodes_keep_apart() -> None:
    """Each has a Ray of its own, with its own cards, scripts and ports."""
    cut = Cut(tp=2, pp=2, replicas=2)
    engines = (
        factory.placement(Cut(tp=2, pp=2), [0, 1], [0, 1]),
        factory.placement(Cut(tp=2, pp=2), [0, 1], [2, 3]),
    )
    plan = factory.plan(
        factory.serve_plan(
            cut=cut, engines=engines, hosts=("10.0.0.11", "10.0.0.12"), distribution="ray", network=factory.ROCE
        )
    )
    first, second = ray_clusters(plan)
    assert (first.address, second.address) == ("10.0.0.11:6379", "10.0.0.11:6399")
    assert [node.gpus for node in (*first.nodes, *second.nodes)] == [(0, 1), (0, 1), (2, 3), (2, 3)]
    assert {node.path for node in (*first.nodes, *second.nodes)} == {
        "nodes/10.0.0.11/ray-head-chat-0",
        "nodes/10.0.0.12/ray-worker-chat-0",
        "nodes/10.0.0.11/ray-head-chat-1",
        "nodes/10.0.0.12/ray-worker-chat-1",
    }
    taken = [(p.host, n) for p in open_ports(plan) for n in range(p.first, p.last + 1)]
    assert len(taken) == len(set(taken))


def test_targets_are_picked_by_name_and_unknown_ones_refused() -> None:
    paths = {artifact.path for artifact in emit(factory.over_ray(), ("ray",))}
    assert paths == {"nodes/10.0.0.11/ray-head.sh", "nodes/10.0.0.12/ray-worker.sh", "plan.toml"}
    with pytest.raises(KeyError):
        emit(factory.one_box(), ("nope",))
    assert {"vllm", "ray", "nginx", "runbook"} <= set(target_names())


def test_a_fleet_of_64_nodes_is_quick_to_name() -> None:
    """Naming processes must not grow with the square of their number: 64 nodes of 8 cards, a replica each."""
    hosts = tuple(f"10.0.1.{number}" for number in range(64))
    plan = factory.plan(factory.serve_plan(cut=Cut(tp=4, replicas=64), hosts=hosts, network=factory.ROCE))
    artifacts = emit(plan)
    assert sum(artifact.path.endswith(".sh") and "/serve-" in artifact.path for artifact in artifacts) == 64
