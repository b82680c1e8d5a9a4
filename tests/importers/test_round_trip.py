"""A command, its spec, and what the spec compiles to: the flags are the same again."""

from __future__ import annotations

import json
import tomllib

import pytest

from kcluster.api import compile_
from kcluster.importers.documents import read_text
from kcluster.importers.machines import Hardware
from kcluster.importers.specs import to_spec
from kcluster.importers.words import size_of

COMMANDS = {
    "1 * l40s": "vllm serve Qwen/Qwen3-8B --max-model-len 16K --max-num-seqs 32 --max_num_batched_tokens=4096 --dtype half "
    "--kv-cache-dtype fp8_e4m3 --gpu-memory-utilization .85 --no-enable-prefix-caching --enforce-eager --port 8123 "
    "--served-model-name a b --override-generation-config '{\"temperature\": 0.6}'",
    "4 * rtx-5090": "vllm serve RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic -tp 2 -pp 2 --max-model-len 8192 "
    "--disable-custom-all-reduce --enable-auto-tool-choice --tool-call-parser llama3_json -O2",
    "8 * h200-sxm": "vllm serve deepseek-ai/DeepSeek-V3 --data-parallel-size 8 --enable-expert-parallel --max-model-len 16384 "
    "--max-num-seqs 64 --eplb-config.step_interval 100 --trust-remote-code",
}


@pytest.mark.parametrize(("gpus", "text"), COMMANDS.items(), ids=COMMANDS)
def test_the_flags_are_the_same_again(gpus: str, text: str) -> None:
    (launch,) = read_text(text).launches
    hardware = Hardware(gpus, hosts=("10.0.0.1",))
    files = compile_(to_spec((launch,), hardware, version="0.33").source.text)
    plan = next(file.text for file in files if file.path == "plan.toml")
    (arguments,) = _arguments(tomllib.loads(plan))
    for setting in launch.settings:
        name = f"{setting.flag}.{setting.key}" if setting.key else setting.flag
        name = name if setting.on else f"--no-{name[2:]}"
        assert name in arguments, (name, arguments)
        written = arguments[name]
        if setting.values:
            values = written if isinstance(written, list) else [written]
            assert [_plain(value) for value in values] == [_plain(word.text) for word in setting.values], name
        else:
            assert written is True, name


def _plain(value: object) -> object:
    """A value however it is written: `16K` is 16384, `.85` is 0.85, JSON is what it holds."""
    if not isinstance(value, str):
        return value
    if size_of(value) is not None:
        return size_of(value)
    try:
        return json.loads(value if value[:1] != "." else f"0{value}")
    except ValueError:
        return {"half": "float16", "fp8_e4m3": "fp8"}.get(value, value)


def _arguments(node: object) -> list[dict[str, object]]:
    if isinstance(node, list):
        return [found for item in node for found in _arguments(item)]
    if not isinstance(node, dict):
        return []
    own = [node["args"]] if isinstance(node.get("args"), dict) else []
    return [*own, *(found for value in node.values() for found in _arguments(value))]
