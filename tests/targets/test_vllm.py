"""What the engine is started with: flags of its version, in the script and in the `--config` file alike."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from kcluster.physics.cut import Cut
from kcluster.pipeline import Checked, check_source
from kcluster.planner.types import EnginePorts, Plan
from kcluster.source import Source
from kcluster.spec.types import DraftSpec, RouteSpec, Secret
from kcluster.targets import emit
from kcluster.targets.hosts.folders import start_seconds
from kcluster.targets.layout import processes
from kcluster.targets.ports import open_ports
from kcluster.targets.vllm import engine_args, engine_env, lacking
from tests.targets import checker, factory
from tests.targets.factory import HERE, SOURCE, default, written
from tests.targets.run import HOSTILE, run

VERSIONS = ((0, 11), (0, 32), (0, 33))


class Text(SingleFileSnapshotExtension):
    """One readable file a snapshot."""

    _write_mode = WriteMode.TEXT
    file_extension = "txt"


@pytest.fixture
def files(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(Text)


def drafted(method: str, id_: str | None = None) -> DraftSpec:
    return DraftSpec(
        method=written(method),
        id=written(id_) if id_ else None,
        architecture=None,
        weights=None,
        tokens=written(3),
        acceptance=default(0.7),
        tp=None,
        block=HERE,
        source=SOURCE,
    )


def everything(version: tuple[int, ...]) -> Plan:
    """One serve that asks for all that can be asked for."""
    return factory.plan(
        factory.serve_plan(
            cut=Cut(tp=2, pp=2, dcp=2, layers=(41, 39)),
            engine={
                "kv_cache": written("fp8"),
                "prefix_caching": written(False),
                "chunked_prefill": written(True),
                "kv_offload": written(64 * 2**30),
                "dtype": written("bf16"),
                "api_key": written(Secret("CHAT_KEY")),
                "args": (
                    (written("--enforce-eager"), written(True)),
                    (written("--enable-auto-tool-choice"), written(True)),
                    (written("--tool-call-parser"), written("llama3_json")),
                    (written("--uvicorn-log-level"), written("warning")),
                ),
                "env": ((written("HF_HUB_OFFLINE"), written("1")),),
            },
            limits={"kv_format": "fp8", "prefix_caching": False},
            model={"revision": written("0123abcd"), "draft": drafted("eagle", "yuhuili/EAGLE3-LLaMA3.3-Instruct-70B")},
            version=version,
        )
    )


PLANS: dict[str, Any] = {
    "one-box": lambda version: factory.plan(factory.serve_plan(version=version)),
    "replicas": lambda version: factory.plan(
        factory.serve_plan(cut=Cut(tp=2, replicas=2), engines=two_on_one_node(), version=version)
    ),
    "nodes": factory.two_nodes,
    "ray": lambda version: factory.over_ray(version=version),
    "expert-parallel": lambda version: factory.expert_parallel(None, version),
    "hybrid": lambda version: factory.expert_parallel("hybrid", version),
    "external": lambda version: factory.expert_parallel("external", version),
    "everything": everything,
}


def two_on_one_node() -> Any:
    return (
        factory.placement(Cut(tp=2), [0], [0, 1]),
        factory.placement(Cut(tp=2), [0], [2, 3]),
    )


def scripts(plan: Plan) -> dict[str, str]:
    return {artifact.path: artifact.text for artifact in emit(plan, ("vllm", "ray")) if artifact.path.endswith(".sh")}


def said(plan: Plan, process: Any) -> dict[str, Any]:
    """The flags of one process, checked strictly against its version."""
    argv = ["serve"]
    for flag, value in engine_args(plan, process):
        if flag == "--model":
            argv.append(str(value))
        elif value is True:
            argv.append(flag)
        elif isinstance(value, tuple):
            argv += [flag, *(str(item) for item in value)]
        else:
            argv += [flag, str(value)]
    return checker.read(argv, process.serve.serve.engine.version.value)


@pytest.mark.parametrize("version", VERSIONS, ids=str)
@pytest.mark.parametrize("name", PLANS)
def test_every_flag_is_one_that_the_version_takes(name: str, version: tuple[int, ...]) -> None:
    plan = PLANS[name](version)
    found = processes(plan)
    assert found
    for process in found:
        assert said(plan, process)["tensor_parallel_size"] == process.serve.chosen.cut.tp
    if not (name == "nodes" and version == (0, 11)) and not (name == "everything" and version == (0, 11)):
        assert not any(lacking(plan, process) for process in found)


@pytest.mark.parametrize("version", VERSIONS, ids=str)
@pytest.mark.parametrize("name", PLANS)
def test_script_and_config_file_say_the_same(name: str, version: tuple[int, ...], tmp_path: Path) -> None:
    plan = PLANS[name](version)
    texts = {artifact.path: artifact.text for artifact in emit(plan, ("vllm",))}
    for process in processes(plan):
        script = texts[f"{process.path}.sh"]
        if process.serve.distribution == "ray":
            # The wait for Ray's cards has its own tests with a real Ray.
            head, _, rest = script.partition("# Whoever reaches Ray's ports")
            script = head + rest.partition("done\n")[2]
        ran = run(script, tmp_path, CHAT_KEY="s3cret")
        assert ran.code == 0, ran.stderr
        by_script = checker.read(ran.argv, version)
        by_config = checker.read(checker.config_argv(texts[f"{process.path}.yaml"]), version)
        assert by_script == by_config == said(plan, process)
        for variable, value in engine_env(process):
            assert ran.env[variable] == value


def test_what_a_version_lacks_is_named_and_not_emitted() -> None:
    plan = everything((0, 11))
    (process,) = processes(plan)
    assert [argument.flag for argument in lacking(plan, process)] == ["--kv-offloading-size"]
    (first, _) = processes(factory.two_nodes((0, 11)))
    assert {argument.flag for argument in lacking(factory.two_nodes((0, 11)), first)} == {
        "--nnodes",
        "--node-rank",
        "--master-addr",
        "--master-port",
    }


def test_everything_asked_for_is_said() -> None:
    plan = everything((0, 33))
    (process,) = processes(plan)
    flags = dict(engine_args(plan, process))
    assert flags["--model"] == "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic"
    assert flags["--revision"] == "0123abcd"
    assert flags["--served-model-name"] == ("meta-llama/Llama-3.3-70B-Instruct",)
    assert (flags["--tensor-parallel-size"], flags["--pipeline-parallel-size"]) == (2, 2)
    assert flags["--decode-context-parallel-size"] == 2
    assert flags["--kv-cache-dtype"] == "fp8" and flags["--dtype"] == "bfloat16"
    assert flags["--no-enable-prefix-caching"] is True and flags["--enable-chunked-prefill"] is True
    assert flags["--kv-offloading-size"] == 64  # GiB: 64 × 2^30 bytes
    assert flags["--speculative-config"] == (
        '{"method": "eagle3", "model": "yuhuili/EAGLE3-LLaMA3.3-Instruct-70B", "num_speculative_tokens": 3}'
    )
    assert flags["--enforce-eager"] is True and flags["--tool-call-parser"] == "llama3_json"
    assert flags["--distributed-executor-backend"] == "mp"
    # The longest answer takes 1.6 + 8192 × 0.045 = 370 s at the slow end: in half minutes, 390.
    assert flags["--shutdown-timeout"] == 390 and flags["--sse-keep-alive-interval"] == 15
    environment = dict(engine_env(process))
    assert environment["VLLM_PP_LAYER_PARTITION"] == "41,39"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["VLLM_HTTP_TIMEOUT_KEEP_ALIVE"] == "75"
    assert "VLLM_API_KEY" not in environment and "CHAT_KEY" not in str(flags)


@pytest.mark.parametrize(
    ("raw", "expected", "gone"),
    [
        (("--max-num-seqs", 8), {"--max-num-seqs": 8}, ()),
        (("--max_num_seqs", 8), {"--max-num-seqs": 8}, ()),
        (("-tp", 2), {"--tensor-parallel-size": 2}, ("-tp",)),
        (("--enable-prefix-caching", False), {"--no-enable-prefix-caching": True}, ("--enable-prefix-caching",)),
        (("--disable-prefix-caching", True), {"--no-enable-prefix-caching": True}, ("--enable-prefix-caching",)),
        (("--no-enable-prefix-caching", False), {"--enable-prefix-caching": True}, ("--no-enable-prefix-caching",)),
        (("--headless", False), {}, ("--headless",)),
        (("--served-model-name", ("a", "b")), {"--served-model-name": ("a", "b")}, ()),
        (("--allowed-origins", ("https://a", "https://b")), {"--allowed-origins": '["https://a", "https://b"]'}, ()),
        (("--compilation-config.cudagraph_mode", "NONE"), {"--compilation-config.cudagraph_mode": "NONE"}, ()),
        (("-O3", True), {"--optimization-level": "3"}, ("-O3",)),
        (("--no-such-flag", "x"), {"--no-such-flag": "x"}, ()),
    ],
)
def test_raw_flags_take_the_place_of_attributes(raw: Any, expected: dict[str, Any], gone: tuple[str, ...]) -> None:
    plan = factory.plan(factory.serve_plan(engine={"args": ((written(raw[0]), written(raw[1])),)}))
    (process,) = processes(plan)
    pairs = engine_args(plan, process)
    flags = dict(pairs)
    assert len(pairs) == len(flags)
    for flag, value in expected.items():
        assert flags[flag] == value
    assert not set(gone) & set(flags)


def test_a_raw_key_of_a_planned_json_flag_goes_inside() -> None:
    """The engine would let the dotted form replace the whole."""
    plan = factory.plan(
        factory.serve_plan(
            cut=Cut(tp=1, dp=4, ep=True, eplb=True, redundant_experts=4),
            engine={"args": ((written("--eplb-config.step_interval"), written(500)),)},
        )
    )
    (process,) = processes(plan)
    assert dict(engine_args(plan, process))["--eplb-config"] == '{"num_redundant_experts": 4, "step_interval": 500}'


@pytest.mark.parametrize(
    ("draft", "version", "expected"),
    [
        (drafted("draft", "meta-llama/Llama-3.2-1B"), (0, 33), '"method": "draft_model"'),
        (drafted("eagle", "x/EAGLE-y"), (0, 33), '"method": "eagle"'),
        (drafted("mtp"), (0, 33), '{"method": "mtp", "num_speculative_tokens": 3}'),
        (drafted("ngram"), (0, 32), '{"method": "ngram", "num_speculative_tokens": 3}'),
    ],
)
def test_drafters(draft: DraftSpec, version: tuple[int, ...], expected: str) -> None:
    plan = factory.plan(factory.serve_plan(model={"draft": draft}, version=version))
    (process,) = processes(plan)
    assert expected in str(dict(engine_args(plan, process))["--speculative-config"])
    said(plan, process)


def test_host_memory_is_shared_by_the_ranks_of_an_engine() -> None:
    """vLLM's size is of one engine core: 64 GiB over 4 data-parallel ranks are 16 each."""
    plan = factory.plan(factory.serve_plan(cut=Cut(tp=1, dp=4, ep=True), engine={"kv_offload": written(64 * 2**30)}))
    (process,) = processes(plan)
    assert dict(engine_args(plan, process))["--kv-offloading-size"] == 16


WIDE = """
model m {{ id = "deepseek-ai/DeepSeek-V3" }}
hardware h {{
  gpus    = 8 * h200-sxm
  hosts   = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]
  network = 8 * infiniband(ndr)
}}
sla s {{ concurrency = 64, context = 8K, prompt = 2K, completion = 500 }}
serve chat {{
  model = m
  hardware = h
  sla = s
  parallel {{ tp = 8, pp = 2, dp = 2, ep = on }}
  engine vllm {{
    version = "{version}"
    {executor}
  }}
}}
"""


def wide(version: str, executor: str = "") -> Checked:
    return check_source(Source("wide.kcluster", WIDE.format(version=version, executor=executor)))


def test_ranks_that_span_nodes() -> None:
    """Two ranks of two nodes each. Nodes of one engine know their ranks by their place; where the ranks meet is a port of
    its own, which the plan lists. Ray must be told that a rank may span nodes, and 0.11 cannot be."""
    plan = wide("0.33").plan
    assert plan is not None
    for place, process in enumerate(processes(plan)):
        flags = dict(engine_args(plan, process))
        assert (flags["--nnodes"], flags["--node-rank"], flags["--data-parallel-size"]) == (4, place, 2)
        assert (flags["--data-parallel-address"], flags["--data-parallel-rpc-port"]) == ("10.0.0.1", 29550)
        assert ("--headless" in flags) is (place > 0) and "--data-parallel-start-rank" not in flags
        said(plan, process)
    assert {29501, 29550} <= {port.first for port in open_ports(plan) if port.host == "10.0.0.1"}
    over_ray = wide("0.33", "executor = ray").plan
    assert over_ray is not None
    (process,) = processes(over_ray)
    assert dict(engine_env(process))["VLLM_RAY_DP_PACK_STRATEGY"] == "span"
    assert dict(engine_args(over_ray, process))["--data-parallel-size-local"] == 1
    assert "KC605" in {one.code for one in wide("0.11").errors}


def test_the_server_waits_as_long_as_what_is_around_it() -> None:
    """It would give up after 600 s, and its unit calls it stuck only later. 0.11 has no such setting."""
    plan = factory.plan(factory.serve_plan(version=(0, 33)))
    (process,) = processes(plan)
    seconds, _ = start_seconds(process.serve)
    assert seconds > 600 and dict(engine_env(process))["VLLM_ENGINE_READY_TIMEOUT_S"] == str(seconds)
    (older,) = processes(factory.plan(factory.serve_plan(version=(0, 11))))
    assert "VLLM_ENGINE_READY_TIMEOUT_S" not in dict(engine_env(older))
    # A node that does not answer only computes: nobody waits there.
    _, headless = processes(factory.two_nodes())
    assert "VLLM_ENGINE_READY_TIMEOUT_S" not in dict(engine_env(headless))


def test_nodes_of_one_engine_meet_at_the_first() -> None:
    plan = factory.two_nodes()
    first, second = (dict(engine_args(plan, process)) for process in processes(plan))
    shared = {"--nnodes": 2, "--master-addr": "10.0.0.11", "--master-port": 29501}
    assert shared.items() <= first.items() and shared.items() <= second.items()
    assert (first["--node-rank"], second["--node-rank"]) == (0, 1)
    assert "--headless" not in first and second["--headless"] is True
    assert "--host" in first and not {"--host", "--port", "--sse-keep-alive-interval"} & set(second)
    # The rest, which the engine wants to be the same everywhere, is.
    own = {"--node-rank", "--headless", "--host", "--port", "--sse-keep-alive-interval"}
    assert {k: v for k, v in first.items() if k not in own} == {k: v for k, v in second.items() if k not in own}
    environment = dict(engine_env(processes(plan)[1]))
    assert environment["VLLM_HOST_IP"] == "10.0.0.12"
    assert environment["NCCL_SOCKET_IFNAME"] == "=ens1f0" and environment["GLOO_SOCKET_IFNAME"] == "ens1f0"
    assert "NCCL_IB_DISABLE" not in environment  # RoCE


def test_ranks_over_nodes_add_up() -> None:
    """dp 8 over two nodes of four cards, in each way to balance."""
    for kind in (None, "hybrid", "external"):
        plan = factory.expert_parallel(kind)
        found = processes(plan)
        assert sorted(rank for process in found for rank in process.ranks) == list(range(8))
        assert [len(process.gpus) for process in found] == ([1] * 8 if kind == "external" else [4, 4])
        flags = [dict(engine_args(plan, process)) for process in found]
        assert all(item["--data-parallel-size"] == 8 and item["--enable-expert-parallel"] is True for item in flags)
        assert all(item["--data-parallel-address"] == "10.0.0.11" for item in flags)
        assert all(item["--data-parallel-rpc-port"] == 29550 for item in flags)
        if kind is None:
            assert [item.get("--data-parallel-start-rank") for item in flags] == [None, 4]
            assert [item.get("--headless") for item in flags] == [None, True]
        elif kind == "hybrid":
            assert [item["--data-parallel-start-rank"] for item in flags] == [0, 4]
            assert all(item["--data-parallel-hybrid-lb"] is True and "--headless" not in item for item in flags)
        else:
            assert [item["--data-parallel-rank"] for item in flags] == list(range(8))
            # Four servers a node, each with its own port and card.
            assert [item["--port"] for item in flags] == [8000, 8001, 8002, 8003] * 2
            assert [process.gpus for process in found] == [(0,), (1,), (2,), (3,)] * 2


def test_replicas_on_one_node_do_not_share_ports_or_cards() -> None:
    plan = PLANS["replicas"]((0, 33))
    first, second = processes(plan)
    assert (first.stem, second.stem) == ("serve-chat-0", "serve-chat-1")
    assert (first.gpus, second.gpus) == ((0, 1), (2, 3))
    flags = [dict(engine_args(plan, process)) for process in (first, second)]
    assert [item["--port"] for item in flags] == [8000, 8001]
    assert [item["--host"] for item in flags] == ["127.0.0.1"] * 2  # NGINX stands on the same node


def test_the_name_by_which_a_shared_router_picks_is_served() -> None:
    route = RouteSpec(router=written("front"), model_name=written("small"), header=None, path=None, block=HERE)
    plan = factory.plan(factory.serve_plan(serve={"route": route}))
    (process,) = processes(plan)
    assert dict(engine_args(plan, process))["--served-model-name"] == ("meta-llama/Llama-3.3-70B-Instruct", "small")


def test_a_model_in_a_folder_is_looked_for_before_the_start(tmp_path: Path) -> None:
    plan = factory.plan(
        factory.serve_plan(
            hardware={"model_path": written(str(tmp_path / "models"))}, model={"revision": written("abc")}
        )
    )
    (process,) = processes(plan)
    flags = dict(engine_args(plan, process))
    place = f"{tmp_path}/models/RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic"
    assert flags["--model"] == place and "--revision" not in flags
    (text,) = scripts(plan).values()
    assert "no model at" in run(text, tmp_path).stderr
    Path(place).mkdir(parents=True)
    assert run(text, tmp_path).argv[1] == place


def test_a_missing_key_stops_the_script_and_its_value_is_nowhere(tmp_path: Path) -> None:
    plan = factory.plan(factory.serve_plan(engine={"api_key": written(Secret("CHAT_KEY"))}))
    texts = {artifact.path: artifact.text for artifact in emit(plan)}
    script = texts["nodes/10.0.0.11/serve-chat.sh"]
    without = run(script, tmp_path)
    assert without.code != 0 and "set CHAT_KEY to the key that clients send" in without.stderr and not without.argv
    ran = run(script, tmp_path, CHAT_KEY="s3 cret'")
    assert ran.env["VLLM_API_KEY"] == "s3 cret'"
    assert "s3 cret'" not in ran.argv
    assert "CHAT_KEY" in texts["plan.toml"]


def test_a_missing_engine_is_said(tmp_path: Path) -> None:
    (text,) = scripts(factory.one_box()).values()
    ended = subprocess.run(
        [shutil.which("bash") or "bash", "-c", text],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 127 and "vllm is not on the PATH" in ended.stderr


def test_hosts_known_by_name_are_looked_up_at_start(tmp_path: Path) -> None:
    """Ranks bind the address where they meet, which a name cannot be."""
    plan = factory.plan(
        factory.serve_plan(
            cut=Cut(dp=8, ep=True),
            hosts=("localhost", "10.0.0.12"),
            distribution="dp",
            ports=(EnginePorts(8000, dp_rpc=29550),),
            network=factory.ROCE,
        )
    )
    first = processes(plan)[0]
    ran = run(scripts(plan)[f"{first.path}.sh"], tmp_path)
    assert ran.env["VLLM_HOST_IP"] == "127.0.0.1"
    assert ran.argv[ran.argv.index("--data-parallel-address") + 1] == "127.0.0.1"


def hostile(text: str) -> Plan:
    """A plan with one hostile text in every place that a spec's string reaches."""
    return factory.plan(
        factory.serve_plan(
            name=text,
            cut=Cut(tp=4, pp=2),
            hosts=(f"a{text}", "10.0.0.12"),
            distribution="ray",
            network=factory.ETHERNET,
            model={
                "id": written(text),
                "checkpoint": written(text),
                "revision": written(text),
                "draft": drafted("draft", text),
            },
            hardware={"interface": written(text), "model_path": written(f"/{text}")},
            engine={
                "host": written(text),
                "dtype": written(text),
                "args": ((written(f"--{text}"), written(text)), (written("--chat-template"), written(text))),
                "env": ((written("TEXT"), written(text)), (written(text), written(text))),
            },
        )
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_never_become_a_command(text: str, tmp_path: Path) -> None:
    """Executed, with a canary: no text of a spec runs, whatever the script then does."""
    for path, script in scripts(hostile(text)).items():
        assert ".." not in path and path.isascii()
        for lines in (
            script,
            script.replace("|| { echo", "|| : { echo").replace("exit 1", ":").replace("exit 127", ":"),
        ):
            run(lines.replace("set -euo pipefail", "set -uo pipefail"), tmp_path, KCLUSTER_RAY_DEADLINE="0")
    assert not list(tmp_path.rglob("canary"))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_arrive_as_they_were_written(text: str, tmp_path: Path) -> None:
    plan = factory.plan(
        factory.serve_plan(
            model={"id": written(f"m{text}"), "checkpoint": written(f"c{text}")},
            engine={
                "args": ((written("--chat-template"), written(text)), (written("--uds"), written("-x" + text))),
                "env": ((written("TEXT"), written(text)), (written("ODD.NAME"), written(text))),
            },
        )
    )
    (process,) = processes(plan)
    (script,) = scripts(plan).values()
    ran = run(script, tmp_path)
    assert ran.code == 0, ran.stderr
    assert ran.argv[:2] == ["serve", f"c{text}"]
    assert ran.argv[ran.argv.index("--served-model-name") + 1] == f"m{text}"
    assert ran.argv[ran.argv.index("--chat-template") + 1] == text
    assert f"--uds=-x{text}" in ran.argv
    assert ran.env["TEXT"] == text and ran.env["ODD.NAME"] == text
    config = next(artifact.text for artifact in emit(plan, ("vllm",)) if artifact.path.endswith(".yaml"))
    assert checker.read(checker.config_argv(config), (0, 33)) == checker.read(ran.argv, (0, 33))
    assert not list(tmp_path.rglob("canary"))
    assert process.stem == "serve-chat"


@pytest.mark.parametrize("name", ["one-box", "replicas", "nodes", "ray", "expert-parallel", "everything"])
def test_scripts_are_clean(name: str, tmp_path: Path) -> None:
    """shellcheck has no word to say, and shfmt would not move one."""
    shellcheck, shfmt = (Path(shutil.which(tool) or Path(".venv/bin") / tool) for tool in ("shellcheck", "shfmt"))
    for index, (path, text) in enumerate(scripts(PLANS[name]((0, 33))).items()):
        place = tmp_path / f"{index}.sh"
        place.write_text(text)
        for command in ([shellcheck, "-S", "style", place], [shfmt, "-d", "-i", "2", place]):
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            assert ended.returncode == 0, path + ended.stdout + ended.stderr


@pytest.mark.parametrize("name", ["one-box", "nodes", "ray"])
def test_files(name: str, files: SnapshotAssertion) -> None:
    """The whole of what is written, to be read by people when it changes."""
    parts = [
        f"===== {artifact.path}\n{artifact.text}" for artifact in emit(PLANS[name]((0, 33)), ("vllm", "ray", "runbook"))
    ]
    assert "\n".join(parts) == files
