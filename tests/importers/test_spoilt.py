"""Words of a command that were spoilt on the way, files that a command names, loops, and what other planners' files say."""

from __future__ import annotations

import pytest

from kcluster.fixes import fix
from kcluster.importers.correcting import corrected
from kcluster.importers.documents import read_text
from kcluster.importers.judge import Judged, concerning, judge
from kcluster.importers.machines import Hardware
from kcluster.importers.specs import to_spec
from kcluster.pipeline import check_source
from kcluster.source import Source

BOX = Hardware("1 * h100-sxm")


def judged(text: str, hardware: Hardware = BOX, files: dict[str, str] | None = None) -> Judged:
    found = read_text(text, open_file=(files or {}).get)
    return judge(Source("cmd", text), found, hardware, lambda spec: check_source(spec).diagnostics)


def mended(text: str, files: dict[str, str] | None = None) -> str | None:
    one = judged(text, files=files)
    fixed = fix(
        one.imported.source,
        concerning(one.imported, BOX, False, lambda spec: check_source(spec).diagnostics),
        unsafe=True,
    )
    return corrected(Source("cmd", text), one.imported, fixed.text, one.problems)


SHORT = "vllm serve Qwen/Qwen3-8B --max-model-len 8192 "


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('--speculative-config {"method":"ngram","num_speculative_tokens":4}', """'{"method":"ngram","num_speculative_tokens":4}'"""),
        ('--override-generation-config {"temperature": 0.6}', """'{"temperature": 0.6}'"""),
        ("--override-generation-config '{\\\"temperature\\\": 0.6}'", """'{"temperature": 0.6}'"""),
        ("""--override-generation-config '{{"temperature": 0.6}}'""", """'{"temperature": 0.6}'"""),
        ("""--override-generation-config "'{}'" """, "'{}'"),
    ],
)  # fmt: skip
def test_json_that_a_shell_or_a_template_spoilt(written: str, meant: str) -> None:
    text = SHORT + written + " --port 8000"
    codes = [(one.code, one.severity) for one in judged(text).findings]
    assert codes == [("KC801", "error")]
    better = mended(text)
    assert better is not None and better.split() == f"{SHORT}{written.split()[0]} {meant} --port 8000".split()
    assert judged(better).findings == ()


def test_a_variables_default_is_what_is_mended() -> None:
    text = "vllm serve Qwen/Qwen3-8B --max-model-len ${CTX:-999999} --port ${PORT:-8000}"
    assert mended(text) == "vllm serve Qwen/Qwen3-8B --max-model-len ${CTX:-40K} --port ${PORT:-8000}"
    compose = (
        "services:\n  llm:\n    image: vllm/vllm-openai:v0.19.0\n    ipc: host\n    command: >\n"
        "      --model Qwen/Qwen3-8B --max-model-len ${CTX:-999999}\n"
    )
    assert mended(compose) == compose.replace("999999", "40K")


def test_a_repeated_serve_becomes_the_models_flag() -> None:
    text = "docker run --ipc=host vllm/vllm-openai:v0.11.0 serve Qwen/Qwen3-8B --max-model-len 8192"
    assert mended(text) == text.replace("serve ", "--model ")


# --config


CONFIG = {
    "serve.yaml": "model: Qwen/Qwen3-8B\nmax_model_len: 999999\nenable-prefix-caching: false\nserved-model-name: [a, b]\n"
    "speculative-config: {method: ngram, num_speculative_tokens: 4}\n"
}


def test_the_file_of_config_is_read_and_the_commands_own_flags_win() -> None:
    found = read_text("vllm serve --config serve.yaml --max-model-len 4096", open_file=CONFIG.get)
    (launch,) = found.launches
    assert launch.model is not None and launch.model.text == "Qwen/Qwen3-8B"
    said = launch.setting("--max-model-len")
    assert said is not None and said.text == "4096"
    spec = to_spec(found.launches, BOX)
    values = {path[-1]: value for path, value in spec.paths.items()}
    assert values["prefix_caching"] == "off" and values["--served-model-name"] == '["a", "b"]'
    assert values["method"] == "ngram" and values["tokens"] == "4"


def test_findings_stand_at_the_files_name_and_the_command_overrides_it() -> None:
    text = "vllm serve --config serve.yaml --port 9000"
    one = judged(text, files=CONFIG)
    at = {(finding.code, text[finding.span.start : finding.span.end]) for finding in one.findings}
    assert ("KC206", "serve.yaml") in at
    assert mended(text, CONFIG) == f"{text} --max-model-len 40K"


def test_a_file_that_is_not_there_is_said() -> None:
    found = read_text("vllm serve --config gone.yaml")
    assert found.notes == ("gone.yaml, which --config names, could not be read",)
    assert [one.code for one in judged("vllm serve --config gone.yaml").findings] == ["KC107"]


def test_a_loop_is_read_with_its_first_value() -> None:
    found = read_text('for M in Qwen/Qwen3-8B Qwen/Qwen3-14B; do\n  vllm serve "$M"\ndone\n')
    (launch,) = found.launches
    assert launch.model is not None and launch.model.text == "Qwen/Qwen3-8B"
    assert found.notes == ("the loop over M was read with its first value alone, Qwen/Qwen3-8B",)


# Other planners' files


AISIMULATE = """traffic:
  source: {type: synthetic, input_tokens: 2048, output_tokens: 128}
  load: {type: concurrency, concurrency: 16}
engine:
  mode: aggregated
  model: Qwen/Qwen3-32B-FP8
  hardware: h200_sxm
  backend: vllm
  context_length: 8192
  workers:
    aggregated:
      parallelism: {replicas: 2, tensor: 4, pipeline: 1, attention_data: 1, moe_tensor: 1, moe_expert: 1}
      scheduler: {max_batched_tokens: 8192, max_sequences: 256}
      kv_cache:
        capacity: {type: default, memory_fraction: 0.9}
"""

EXPERIMENT = """exps:
  - second
first:
  mode: "patch"
  serving_mode: "agg"
  model_path: "Qwen/Qwen3-8B"
  total_gpus: 8
  system_name: "h200_sxm"
second:
  serving_mode: "agg" # required
  model_path: "Qwen/Qwen3-235B-A22B"
  total_gpus: 16
  system_name: "h100_sxm"
  backend_name: "trtllm"
  isl: 4000
  osl: 1000
  ttft: 1000.0  # in ms
  tpot: 40.0
  config:
    worker_config:
      gemm_quant_mode: "fp8_block"
      kvcache_quant_mode: "fp8"
      tp_list: [4]
      pp_list: [1, 2]
      moe_ep_list: [4]
"""


def spec_of(text: str) -> tuple[dict[str, str], str]:
    found = read_text(text)
    spec = to_spec(found.launches, Hardware(), notes=found.notes)
    wrong = [one for one in check_source(spec.source).diagnostics if one.code.startswith(("KC0", "KC1"))]
    assert wrong == []
    return {".".join(path[i] for i in (0, -1)): value for path, value in spec.paths.items()}, spec.source.text


def test_aisimulate_as_a_spec() -> None:
    values, _ = spec_of(AISIMULATE)
    # two replicas of tp 4: eight cards in one node
    assert values["hardware.gpus"] == "8 * h200-sxm"
    assert (values["sla.concurrency"], values["sla.prompt"], values["sla.completion"]) == ("16", "2048", "128")
    assert values["sla.context"] == "2176"
    assert (values["serve.replicas"], values["serve.tp"]) == ("2", "4")
    assert (values["serve.max_model_len"], values["serve.max_num_batched_tokens"]) == ("8192", "8192")
    assert values["serve.gpu_memory_utilization"] == "0.9"


def test_an_aiconfigurator_experiment_as_a_spec() -> None:
    values, text = spec_of(EXPERIMENT)
    assert values["model.id"] == '"Qwen/Qwen3-235B-A22B"' and values["model.weights"] == "fp8-block"
    # 16 cards are two nodes of eight
    assert (values["hardware.nodes"], values["hardware.gpus"]) == ("2", "8 * h100-sxm")
    assert (values["sla.ttft"], values["sla.itl"]) == ("1000ms", "40ms")
    assert values["serve.tp"] == "4" and values["serve.ep"] == "on" and values["serve.kv_cache"] == "fp8"
    assert "serve.pp" not in values, "a list of several is a search"
    assert "the backend trtllm was read as vllm" in text
