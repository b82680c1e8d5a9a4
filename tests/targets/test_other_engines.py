"""SGLang, TensorRT-LLM and Triton: the same plan in their words, held to what their packages and sources say."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import text_format
from syrupy.assertion import SnapshotAssertion

from kcluster.catalog.engines import flag_table
from kcluster.physics.cut import Cut
from kcluster.physics.fractions import (
    core_host_cache,
    free_fraction,
    host_cache_share,
    rank_host_cache,
    running_requests,
    static_fraction,
    step_tokens,
)
from kcluster.pipeline import Checked, check_source
from kcluster.planner.types import Plan
from kcluster.source import Source
from kcluster.targets import emit, engine_arguments
from kcluster.targets.layout import processes
from kcluster.units import GIB
from tests.support.compiled import tool, written_to

SPEC = """
model m {{ id = "Qwen/Qwen3-235B-A22B", checkpoint = "Qwen/Qwen3-235B-A22B-FP8" }}
hardware h {{ gpus = 8 * h100, hosts = ["127.0.0.1"], nodes = 1 }}
sla s {{ concurrency = 64, context = 16K, prompt = 2K, completion = 500 }}
serve chat {{
  model = m
  hardware = h
  sla = s
  parallel {{ {parallel} }}
  engine {engine} {{
    {settings}
  }}
}}
"""
EVERYTHING = "kv_cache = fp8\nprefix_caching = off\nkv_offload = 64GB\nmax_num_seqs = 128"
VERSIONS = {"sglang": "0.5.23", "trtllm": "1.2", "triton": "25.10"}

# What `trtllm-serve serve` takes, by commands/serve.py of the line 1.2 (NVIDIA/TensorRT-LLM@00209af).
TRTLLM_FLAGS = {
    "--tokenizer",
    "--custom_tokenizer",
    "--host",
    "--port",
    "--backend",
    "--log_level",
    "--max_beam_width",
    "--max_batch_size",
    "--max_num_tokens",
    "--max_seq_len",
    "--tensor_parallel_size",
    "--tp_size",
    "--pipeline_parallel_size",
    "--pp_size",
    "--context_parallel_size",
    "--cp_size",
    "--moe_expert_parallel_size",
    "--ep_size",
    "--moe_cluster_parallel_size",
    "--cluster_size",
    "--gpus_per_node",
    "--free_gpu_memory_fraction",
    "--kv_cache_free_gpu_memory_fraction",
    "--num_postprocess_workers",
    "--trust_remote_code",
    "--revision",
    "--config",
    "--extra_llm_api_options",
    "--reasoning_parser",
    "--tool_parser",
    "--enable_chunked_prefill",
    "--chat_template",
}
# Keys of its options file, by llmapi/llm_args.py (BaseLlmArgs, TorchLlmArgs, KvCacheConfig), which forbids others.
TRTLLM_KEYS = {"kv_cache_config", "enable_chunked_prefill", "enable_attention_dp", "pp_partition",
               "speculative_config", "return_perf_metrics", "enable_iter_perf_stats"}  # fmt: skip
CACHE_KEYS = {
    "enable_block_reuse",
    "dtype",
    "tokens_per_block",
    "host_cache_size",
    "free_gpu_memory_fraction",
    "max_tokens",
}
# What Triton's OpenAI front takes, by its main.py.
FRONT_FLAGS = {"--model-repository", "--tokenizer", "--backend", "--host", "--openai-port"}


def planned(engine: str, parallel: str = "tp = 8", settings: str = "", **other: str) -> Plan:
    """The plan of a spec that has no error of what is written for its engine. `other` takes the place of parts of it."""
    checked = judged(engine, parallel, settings, **other)
    assert not [one for one in checked.errors if one.code[:3] in ("KC1", "KC6", "KC8")], checked.errors
    assert checked.plan is not None, checked.diagnostics
    return checked.plan


def judged(engine: str, parallel: str, settings: str, **other: str) -> Checked:
    text = SPEC.format(engine=engine, parallel=parallel, settings=f'version = "{VERSIONS[engine]}"\n{settings}')
    for before, after in {**PARTS, **other}.items():
        text = text.replace(PARTS[before], after)
    return check_source(Source("test.kcluster", text))


PARTS = {
    "model": 'id = "Qwen/Qwen3-235B-A22B", checkpoint = "Qwen/Qwen3-235B-A22B-FP8"',
    "hardware": 'gpus = 8 * h100, hosts = ["127.0.0.1"], nodes = 1',
}
DENSE = 'id = "meta-llama/Llama-3.3-70B-Instruct"'
TWO_NODES = 'gpus = 8 * h200, hosts = ["10.0.0.1", "10.0.0.2"], network = 8 * infiniband(ndr)'


def accepted(engine: str, parallel: str, settings: str) -> Plan | None:
    """The plan; None where a value is refused."""
    checked = judged(engine, parallel, settings)
    assert checked.plan is not None, checked.diagnostics
    return None if any(one.code == "KC103" for one in checked.errors) else checked.plan


def arguments(plan: Plan) -> dict[str, Any]:
    return engine_arguments(plan, plan.serves[0])[0]


def files(plan: Plan) -> dict[str, str]:
    return {artifact.path: artifact.text for artifact in emit(plan)}


def test_fractions_by_hand() -> None:
    """The plan's own KV, said by each engine's share: of what is free before loading, and of what is left after it."""
    memory = planned("sglang").serves[0].chosen.memory
    assert memory is not None
    weights, kv, total = (figure.value / GIB for figure in (memory.weights, memory.kv_cache, memory.total))
    other, activation = memory.non_torch.value / GIB, memory.activation.value / GIB
    static = (weights + kv) / (total - other)
    free = kv / (total - weights - activation - other)
    assert static_fraction(memory).value <= static < static_fraction(memory).value + 0.001
    assert free_fraction(memory).value <= free < free_fraction(memory).value + 0.001
    assert arguments(planned("sglang"))["--mem-fraction-static"] == static_fraction(memory).value
    assert arguments(planned("trtllm"))["--kv_cache_free_gpu_memory_fraction"] == free_fraction(memory).value
    assert static != free != 0.92
    # 4 GiB that others hold are not free before loading: SGLang's own share is of what is.
    assert static_fraction(memory, 4 * GIB).value == pytest.approx((weights + kv) / (total - 4 - other), abs=0.001)
    assert free_fraction(memory, 4 * GIB).value == pytest.approx(
        kv / (total - 4 - weights - activation - other), abs=0.001
    )


def test_shares_of_host_memory_by_hand() -> None:
    """64 GB for an engine of 2 × 4 cards: SGLang's and TensorRT-LLM's size is of a card, vLLM's of a data-parallel rank."""
    cut = Cut(tp=2, dp=4)
    assert host_cache_share(64e9, cut).value == 8  # GB
    assert rank_host_cache(64e9, cut).value == 8e9
    assert core_host_cache(64 * GIB, cut).value == 16  # GiB
    assert core_host_cache(64e9, Cut(tp=8)).value == 59.604  # GiB, of 64e9 / 2^30 = 59.6046
    assert (running_requests(128, 4).value, step_tokens(4096, 4).value) == (512, 16384)


def test_the_plan_says_what_was_not_measured() -> None:
    from kcluster.render.plan_text import plan_text

    for engine in ("sglang", "trtllm"):
        assert "own overhead may be half or twice that" in plan_text(planned(engine))
    assert "half or twice" not in plan_text(planned("triton"))


@pytest.mark.parametrize(
    ("parallel", "settings"),
    [
        ("tp = 8", ""),
        ("tp = 8, ep = on", EVERYTHING),
        ("tp = 2, dp = 4, ep = on", ""),
        ("tp = 4, pp = 2", "chunked_prefill = off"),
        ("tp = 8", 'args { "--decode-log-interval" = 10, "--tensor-parallel-size" = 8 }\nenv { SGLANG_LOG_MS = "1" }'),
    ],
)
def test_sglang_takes_every_flag(parallel: str, settings: str) -> None:
    table = flag_table("sglang", (0, 5, 23))
    assert table is not None
    found = arguments(planned("sglang", parallel, settings))
    said = {
        flag: table.judge(flag, tuple(value) if isinstance(value, list) else value) for flag, value in found.items()
    }
    assert {flag: problems for flag, problems in said.items() if problems} == {}


def test_sglang_says_the_same_cut() -> None:
    found = arguments(planned("sglang", "tp = 2, dp = 4, ep = on", EVERYTHING + "\nmax_num_batched_tokens = 4096"))
    assert (found["--tp-size"], found["--attn-dp-size"], found["--ep-size"]) == (8, 4, 8)
    assert found["--chunked-prefill-size"] == 4 * 4096, "it divides by its attention groups"
    assert found["--kv-cache-dtype"] == "fp8_e4m3"
    assert found["--disable-radix-cache"] is True
    assert found["--max-running-requests"] == 128 * 4
    assert found["--hicache-size"] == 8, "64 GB over 8 cards"


def test_ranks_of_a_dense_model_are_copies_of_it() -> None:
    """Attention groups share one set of feed-forward weights, which the plan did not count on."""
    plan = planned("sglang", "tp = 2, dp = 4", "max_num_seqs = 16\nmax_num_batched_tokens = 4096", model=DENSE)
    found = arguments(plan)
    assert (found["--tp-size"], found["--dp-size"]) == (2, 4) and "--attn-dp-size" not in found
    assert (found["--max-running-requests"], found["--chunked-prefill-size"]) == (16, 4096), "of each copy"


@pytest.mark.parametrize(
    ("parallel", "other"),
    [("tp = 2, dp = 4", {"model": DENSE}), ("tp = 2, dp = 4, ep = on", {}), ("tp = 8, dcp = 2", {})],
)
def test_cuts_that_trtllm_has_no_words_for(parallel: str, other: dict[str, str]) -> None:
    refused = judged("trtllm", parallel, "", **other)
    assert "KC605" in [one.code for one in refused.errors]


def test_an_open_cut_of_trtllm_is_one_that_it_has_words_for() -> None:
    for hardware in (PARTS["hardware"], 'gpus = 8 * h200, hosts = ["127.0.0.1"], nodes = 1'):
        plan = planned("trtllm", "ep = on", hardware=hardware)
        cut = plan.serves[0].chosen.cut
        assert cut.tp == 1 or cut.dp == 1


@pytest.mark.parametrize(
    ("engine", "variable"), [("sglang", "SGLANG_PP_LAYER_PARTITION"), ("triton", "VLLM_PP_LAYER_PARTITION")]
)
def test_stages_have_the_layers_that_were_planned(engine: str, variable: str) -> None:
    """94 layers over 4 stages: vLLM gives the 2 that are left to stages before the last, SGLang would to the last ones and
    TensorRT-LLM to the first."""
    plan = planned(engine, "tp = 2, pp = 4")
    _, environment = engine_arguments(plan, plan.serves[0])
    assert environment[variable] == "23,24,24,23"
    whole = planned(engine)
    assert variable not in engine_arguments(whole, whole.serves[0])[1]
    if engine == "sglang":
        by_hand = planned(engine, "tp = 4, pp = 2, layers = [50, 44]")
        assert engine_arguments(by_hand, by_hand.serves[0])[1][variable] == "50,44"
    options = yaml.safe_load(files(planned("trtllm", "tp = 2, pp = 4"))["nodes/127.0.0.1/serve-chat.yaml"])
    assert options["pp_partition"] == [23, 24, 24, 23]


@pytest.mark.parametrize(
    ("draft", "config"),
    [
        ("method = ngram, tokens = 4", {"decoding_type": "NGram", "max_draft_len": 4}),
        (
            'method = eagle, id = "x/EAGLE3-y", tokens = 3',
            {"decoding_type": "Eagle", "max_draft_len": 3, "speculative_model_dir": "x/EAGLE3-y"},
        ),
        ('method = eagle, id = "x/EAGLE-y", tokens = 3', None),
        ('method = draft, id = "meta-llama/Llama-3.2-1B-Instruct", tokens = 3', None),
    ],
)
def test_drafters_of_trtllm(draft: str, config: dict[str, Any] | None) -> None:
    """Fields of llmapi/llm_args.py; what has no counterpart is an error."""
    checked = judged("trtllm", "tp = 8", "", model=f"{DENSE}, draft {{ {draft} }}")
    assert ("KC605" in {one.code for one in checked.errors}) is (config is None)
    if config is not None:
        assert checked.plan is not None
        options = yaml.safe_load(files(checked.plan)["nodes/127.0.0.1/serve-chat.yaml"])
        assert options["speculative_config"] == config


def test_idle_connections_close_at_the_router_first() -> None:
    """uvicorn closes after 5 s where it is told nothing: the router must close before, or a request is lost now and then."""
    for engine, seconds in (("sglang", 60), ("trtllm", 4), ("triton", 4)):
        plan = planned(engine, "tp = 4, replicas = 2")
        assert f"keepalive_timeout {seconds}s;" in files(plan)["router/nginx.conf"]
    plan = planned("sglang")
    assert engine_arguments(plan, plan.serves[0])[1]["SGLANG_TIMEOUT_KEEP_ALIVE"] == "75"


def test_a_raw_flag_takes_the_place_of_its_attribute() -> None:
    found = arguments(
        planned("sglang", "tp = 8", 'args { "--mem-fraction-static" = 0.7, "--pipeline-parallel-size" = 1 }')
    )
    assert found["--mem-fraction-static"] == 0.7
    assert found["--pp-size"] == 1
    assert "--pipeline-parallel-size" not in found


@pytest.mark.parametrize(
    "parallel", ["tp = 8, ep = on", "tp = 4, pp = 2, layers = [50, 44]", "tp = 1, dp = 8, ep = on"]
)
def test_trtllm_takes_every_flag_and_key(parallel: str) -> None:
    plan = planned("trtllm", parallel, "kv_cache = fp8\nkv_offload = 64GB\nmax_num_seqs = 128")
    assert set(arguments(plan)) <= TRTLLM_FLAGS
    options = yaml.safe_load(next(text for path, text in files(plan).items() if path.endswith("serve-chat.yaml")))
    assert set(options) <= TRTLLM_KEYS
    assert set(options["kv_cache_config"]) <= CACHE_KEYS
    assert "free_gpu_memory_fraction" not in options["kv_cache_config"], (
        "the flag says it, and the file would beat the flag"
    )
    assert options["kv_cache_config"]["dtype"] == "fp8"
    assert options["kv_cache_config"]["host_cache_size"] == 8 * 10**9, "64 GB over 8 cards, each with a pool of its own"
    assert options.get("enable_attention_dp", False) is ("dp" in parallel)
    assert options.get("pp_partition") == ([50, 44] if "pp" in parallel else None)


def model_config() -> Any:
    """Triton's own protobuf, without the client around it, which wants a network library."""
    package = importlib.util.find_spec("tritonclient")
    assert package is not None and package.submodule_search_locations
    place = Path(package.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ModelConfig()


def test_triton_reads_its_repository() -> None:
    plan = planned("triton", "tp = 8, ep = on", EVERYTHING + '\nargs { "--limit-mm-per-prompt" = "{\\"image\\": 2}" }')
    found = {path.partition("triton-chat/")[2]: text for path, text in files(plan).items() if "triton-chat/" in path}
    assert set(found) == {"Qwen-Qwen3-235B-A22B/config.pbtxt", "Qwen-Qwen3-235B-A22B/1/model.json"}
    config = text_format.Parse(found["Qwen-Qwen3-235B-A22B/config.pbtxt"], model_config())
    assert (config.name, config.backend, config.max_batch_size) == ("Qwen-Qwen3-235B-A22B", "vllm", 0)
    assert config.model_transaction_policy.decoupled
    assert [one.name for one in config.input][:2] == ["text_input", "stream"]
    assert config.parameters["REPORT_CUSTOM_METRICS"].string_value == "true"
    keys = json.loads(found["Qwen-Qwen3-235B-A22B/1/model.json"])
    assert (keys["tensor_parallel_size"], keys["enable_expert_parallel"], keys["kv_cache_dtype"]) == (8, True, "fp8")
    assert keys["enable_prefix_caching"] is False
    assert keys["limit_mm_per_prompt"] == {"image": 2}
    table = flag_table("vllm", (0, 33))
    assert table is not None
    unknown = [
        key
        for key in keys
        if key not in ("model", "disable_log_stats") and table.find("--" + key.replace("_", "-")) is None
    ]
    assert unknown == []
    flags = set(
        re.findall(
            r"^  (--[a-z-]+)", next(t for p, t in files(plan).items() if p.endswith("serve-chat.sh")), re.MULTILINE
        )
    )
    assert flags == FRONT_FLAGS


@pytest.mark.parametrize("engine", sorted(VERSIONS))
def test_the_files(engine: str, snapshot: SnapshotAssertion) -> None:
    """The whole of what is written for the engine itself, to be read by people when it changes."""
    own = {path: text for path, text in files(planned(engine)).items() if "/serve-" in path or "/triton-" in path}
    assert "\n".join(f"===== {path}\n{text}" for path, text in own.items()) == snapshot


@pytest.mark.parametrize("engine", sorted(VERSIONS))
def test_scripts_are_clean(engine: str, tmp_path: Path) -> None:
    settings = 'api_key = env("SGLANG_KEY")' if engine == "sglang" else ""
    plan = planned(engine, "tp = 8", settings)
    for index, (path, text) in enumerate(files(plan).items()):
        if not path.endswith(".sh"):
            continue
        place = tmp_path / f"{index}.sh"
        place.write_text(text)
        for name, *options in (("shellcheck", "-S", "style"), ("shfmt", "-d", "-i", "2")):
            program = shutil.which(name) or str(Path(sys.executable).parent / name)
            ended = subprocess.run([program, *options, str(place)], capture_output=True, text=True, check=False)
            assert ended.returncode == 0, path + ended.stdout + ended.stderr


def start(folder: Path, plan: Plan, program: str, body: str) -> subprocess.Popen[bytes]:
    """The start script with a stand-in for the program that it becomes."""
    written_to(folder, emit(plan))
    stand_in = folder / "bin" / program
    stand_in.parent.mkdir()
    stand_in.write_text(f"#!/bin/bash\n{body}\n")
    stand_in.chmod(0o755)
    environment = {
        "PATH": f"{stand_in.parent}:/usr/bin:/bin",
        "HOME": str(folder),
        "SGLANG_KEY": "sk-1",
        "TMPDIR": str(folder),
    }
    script = next(folder.glob("nodes/*/serve-chat.sh"))
    return subprocess.Popen(["bash", str(script)], env=environment, cwd=folder)


def until(there: Path) -> None:
    end = time.monotonic() + 60
    while not there.exists():
        assert time.monotonic() < end, f"{there} did not appear"
        time.sleep(0.02)


def test_sglang_gets_its_key_from_a_file_that_goes_again(tmp_path: Path) -> None:
    body = (
        f'printf "%s\\n" "$@" >"{tmp_path}/argv"; cp "$4" "{tmp_path}/config"; stat -c %a "$4" >"{tmp_path}/mode"\n'
        f'trap \'touch "{tmp_path}/finished"; exit 3\' TERM\ntouch "{tmp_path}/up"\nwhile :; do sleep 0.05; done'
    )
    plan = planned("sglang", "tp = 8", 'api_key = env("SGLANG_KEY")')
    running = start(tmp_path, plan, "python3", body)
    try:
        until(tmp_path / "up")
        argv = (tmp_path / "argv").read_text()
        assert argv.startswith("-m\nsglang.launch_server\n--config\n")
        assert "sk-1" not in argv
        assert yaml.safe_load((tmp_path / "config").read_text()) == {"api-key": "sk-1"}
        assert (tmp_path / "mode").read_text().strip() == "600"
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 3, "the engine's own status"
        assert (tmp_path / "finished").exists(), "it was told, and finished"
        assert list(tmp_path.glob("tmp.*")) == []
    finally:
        if running.poll() is None:
            os.kill(running.pid, signal.SIGKILL)
            running.wait(60)


@pytest.mark.parametrize("engine", ["trtllm", "triton"])
def test_paths_beside_the_script_are_found_from_anywhere(engine: str, tmp_path: Path) -> None:
    program = {"trtllm": "trtllm-serve", "triton": "python3"}[engine]
    running = start(tmp_path, planned(engine), program, f'pwd >"{tmp_path}/where"')
    assert running.wait(60) == 0
    where = Path((tmp_path / "where").read_text().strip())
    assert where == tmp_path / "nodes" / "127.0.0.1"
    assert (
        where / ("serve-chat.yaml" if engine == "trtllm" else "triton-chat/Qwen-Qwen3-235B-A22B/1/model.json")
    ).exists()


HOSTILE = (
    "$(touch CANARY)",
    "`touch CANARY`",
    '"; touch CANARY; "',
    "'; touch CANARY; '",
    "a: b\n- c",
    "--evil",
    "x\\nname: 1",
)


@pytest.mark.parametrize("engine", sorted(VERSIONS))
def test_hostile_strings_stay_strings(engine: str, tmp_path: Path) -> None:
    tool("bash", "bash")
    plain = set(files(planned(engine, "tp = 8", 'args { "--chat-template" = "x" }\nenv { SOME = "x" }')))
    reached = 0
    for number, hostile in enumerate(HOSTILE):
        folder = tmp_path / str(number)
        folder.mkdir()
        text = json.dumps(hostile.replace("CANARY", str(folder / "canary")))
        plan = accepted(engine, "tp = 8", f'args {{ "--chat-template" = {text} }}\nenv {{ SOME = {text} }}')
        if plan is None:
            continue
        reached += 1
        found = files(plan)
        assert set(found) == plain
        for path, content in found.items():
            if path.endswith("model.json"):
                assert json.loads(content)["chat_template"] == json.loads(text)
            if path.endswith("config.pbtxt"):
                text_format.Parse(content, model_config())
            if path.endswith(".yaml"):
                assert set(yaml.safe_load(content)) <= TRTLLM_KEYS
        program = {"trtllm": "trtllm-serve"}.get(engine, "python3")
        assert start(folder, plan, program, "exit 0").wait(60) == 0
        assert not (folder / "canary").exists()
    assert reached >= 5, "most of them are allowed in a free text"


def test_several_nodes_of_sglang_meet_at_the_first() -> None:
    text = SPEC.format(engine="sglang", parallel="tp = 8, pp = 2", settings='version = "0.5.23"')
    text = text.replace(
        'hosts = ["127.0.0.1"], nodes = 1', 'hosts = ["10.0.0.1", "10.0.0.2"], network = 8 * infiniband(ndr)'
    )
    plan = check_source(Source("t", text)).plan
    assert plan is not None
    from kcluster.targets.sglang import arguments as of

    ranks = [{one.flag: one.value for one in of(plan, process)} for process in processes(plan)]
    assert [(rank["--nnodes"], rank["--node-rank"]) for rank in ranks] == [(2, 0), (2, 1)]
    assert {rank["--dist-init-addr"] for rank in ranks} == {"10.0.0.1:29501"}


@pytest.mark.parametrize(
    ("cards", "parallel", "codes"),
    [
        (
            (3, 3),
            "tp = 2, pp = 3",
            {"KC605"},
        ),  # 3 stages over 2 nodes: SGLang would start one a node and forget the third
        ((4, 2), "tp = 1, pp = 6", {"KC303"}),  # and would look for 3 cards on each
        ((3, 3), "tp = 1, pp = 6", set()),
        ((4, 4), "tp = 4, pp = 2", set()),
        ((4, 4), "tp = 8, pp = 1", set()),
    ],
)
def test_sglang_lays_whole_stages_on_nodes(cards: tuple[int, int], parallel: str, codes: set[str]) -> None:
    nodes = "\n".join(
        f'node n{one} {{ gpus = {count} * h200, host = "10.0.0.{one}" }}' for one, count in enumerate(cards, 1)
    )
    hardware = f"network = 8 * infiniband(ndr)\n{nodes}"
    found = judged("sglang", parallel, "", model='id = "Qwen/Qwen3-32B"', hardware=hardware)
    assert {one.code for one in found.errors} & {"KC303", "KC605"} == codes, found.errors
