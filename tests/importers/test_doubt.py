"""What a command leaves open is no error: its version, how a checkpoint is packed, cards that servers share."""

from __future__ import annotations

import pytest

from kcluster.importers.documents import read_text
from kcluster.importers.judge import Judged, judge
from kcluster.importers.machines import Hardware
from kcluster.pipeline import check_source
from kcluster.source import Source


def judged(text: str, gpus: str = "1 * l40s", version: str = "") -> Judged:
    found = read_text(text, version=tuple(map(int, version.split("."))) if version else None)
    return judge(
        Source("cmd", text), found, Hardware(gpus), lambda spec: check_source(spec).diagnostics, version=version
    )


def severities(one: Judged, code: str) -> set[str]:
    return {str(finding.severity) for finding in one.findings if finding.code == code}


QWEN = "vllm serve Qwen/Qwen3-8B --max-model-len 8192"


@pytest.mark.parametrize(
    ("flags", "version", "severity"),
    [
        ("--swap-space 4", "", {"warning"}),  # last seen before the newest, and no version is said
        ("--swap-space 4", "0.33", {"error"}),
        ("--enable-reasoning", "", {"warning"}),  # older than every table
        ("--enable-reasoning", "0.33", {"error"}),
        ("--enable-reasoning", "0.9.1", {"warning"}),  # no table is as old
        ("--temperature 0.6", "", {"error"}),  # never a flag of the server
        ("--limit-mm-per-prompt image=1,video=0", "", {"warning"}),
        ("--limit-mm-per-prompt image=1,video=0", "0.33", {"error"}),
        ("--limit-mm-per-prompt image=4", "0.8.5", {"warning"}),
        ("--hf-overrides '{\"a\": 1,}'", "", {"error"}),
    ],
)
def test_what_only_other_versions_have(flags: str, version: str, severity: set[str]) -> None:
    assert severities(judged(f"{QWEN} {flags}", version=version), "KC801") == severity


def test_how_a_checkpoint_is_packed_is_open_where_its_name_alone_says_it() -> None:
    # 10,944 of the dense layer is 85.5 groups of 128: that layer cannot have been packed so
    text = "vllm serve cpatonn/GLM-4.5-Air-AWQ-4bit -tp 4 --max-model-len 32768"
    assert "error" not in severities(judged(text, "4 * rtx-3090"), "KC306")
    # 29,568 is 231 groups of 128, which two cards cannot share evenly
    text = "vllm serve OpenGVLab/InternVL3-78B-AWQ -tp 2 --max-model-len 8192"
    assert severities(judged(text, "2 * a100-80gb-sxm"), "KC306") == {"error"}


def test_recurrent_states_of_a_limit_that_nobody_wrote() -> None:
    text = "vllm serve nvidia/Qwen3.5-27B-NVFP4 --max-model-len 32768 --gpu-memory-utilization 0.5"
    assert severities(judged(text, "1 * rtx-pro-6000-blackwell-ws"), "KC207") == {"warning"}
    written = severities(judged(f"{text} --max-num-seqs 1024", "1 * rtx-pro-6000-blackwell-ws"), "KC207")
    assert written == {"error"}


def test_two_servers_on_one_card() -> None:
    text = "{q} --port 8000 {a} &\n{q} --port 8001 {b} &\nwait\n"
    said = text.format(q=QWEN, a="--gpu-memory-utilization 0.5", b="--gpu-memory-utilization 0.4")
    assert severities(judged(said), "KC112") == set()
    assert severities(judged(text.format(q=QWEN, a="", b="")), "KC112") == {"error"}


def test_two_servers_that_name_no_port_take_the_same() -> None:
    text = f"CUDA_VISIBLE_DEVICES=0 {QWEN} &\nCUDA_VISIBLE_DEVICES=1 {QWEN} &\n"
    assert severities(judged(text, "2 * l40s"), "KC704") == {"error"}
    compose = "services:\n" + "".join(
        f"  {name}:\n    image: vllm/vllm-openai:v0.33.0\n    command: --model Qwen/Qwen3-8B --max-model-len 8192\n"
        for name in "ab"
    )
    assert severities(judged(compose, "2 * l40s"), "KC704") == set()  # each container has ports of its own


def test_bfloat16_for_a_model_that_is_not_known() -> None:
    assert severities(judged("vllm serve acme/Own-7B --dtype bfloat16", "1 * t4"), "KC803") == {"error"}
    assert severities(judged("vllm serve acme/Own-7B --dtype bfloat16"), "KC803") == set()


def test_one_after_the_other_is_not_side_by_side() -> None:
    first = f"{QWEN} --enforce-eager"
    assert {"KC112", "KC704"} & {finding.code for finding in judged(f"{QWEN}\n# or\n{first}\n").findings} == set()
    assert severities(judged(f"{QWEN} &\n{first} &\n"), "KC112") == {"error"}
    docker = "docker run -d --gpus all --ipc=host vllm/vllm-openai:v0.33.0 --model Qwen/Qwen3-8B --max-model-len 8192\n"
    assert severities(judged(docker * 2), "KC112") == {"error"}
    assert severities(judged(docker.replace(" -d", "") * 2), "KC112") == set()


def test_the_nodes_of_one_engine_are_one_server() -> None:
    node = "vllm serve meta-llama/Llama-3.1-405B-Instruct-FP8 -tp 8 -pp 2 --nnodes 2 --max-model-len 16384 --node-rank"
    assert len(read_text(f"# head\n{node} 0\n# worker\n{node} 1 --headless\n").launches) == 1
    ranks = "vllm serve Qwen/Qwen3-235B-A22B -dp 4 --data-parallel-size-local 2"
    assert len(read_text(f"{ranks}\n{ranks} --headless --data-parallel-start-rank 2\n").launches) == 1
    assert len(read_text(f"{node} 1 --headless").launches) == 1, "a node alone is what there is"


def test_a_draft_in_dotted_flags_is_a_draft() -> None:
    text = "vllm serve Qwen/Qwen3-Next-80B-A3B-Instruct -tp 4 --max-model-len 8192 --max-num-seqs 16"
    dotted = "--speculative-config.method qwen3_next_mtp --speculative-config.num_speculative_tokens 2"
    one = judged(f"{text} {dotted}", "4 * h200-sxm")
    assert severities(one, "KC210") == set()
    assert one.imported.paths["model", "qwen3-next-80b-a3b-instruct", "draft", "tokens"] == "2"


@pytest.mark.parametrize(
    ("model", "gpus", "found"),
    [
        ("acme/Own-70B", "1 * rtx-4090", True),  # 130.4 GiB
        ("acme/Own-70B -tp 8", "8 * rtx-4090", False),  # 16.3 of 21.7 GiB
        ("acme/Own-34B-AWQ", "1 * l4", False),  # 15.8 of 20.3 GiB
        ("acme/Own-34B-4bits", "1 * l4", False),  # packed, in a way that nobody knows
        ("acme/Own-30B-A3B", "1 * l40s", True),  # 55.9 GiB: the 3B are what a token uses
        ("acme/Own-8x7B", "1 * l4", False),
        ("acme/Own-70B --cpu-offload-gb 200", "1 * rtx-4090", False),
    ],
)
def test_the_size_in_a_name_against_the_cards(model: str, gpus: str, found: bool) -> None:
    assert severities(judged(f"vllm serve {model}", gpus), "KC201") == ({"warning"} if found else set())


@pytest.mark.parametrize("version", ["0.11", "0.16"])
def test_memory_on_limits_that_nobody_wrote_is_said(version: str) -> None:
    """The engine's own sequences and steps leave no room beside these weights; the command says neither."""
    text = "vllm serve openai/gpt-oss-120b"
    assert severities(judged(text, "1 * h100-sxm", version=version), "KC201")
