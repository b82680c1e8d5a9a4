"""Launches as specs, and findings of specs as findings of commands."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcluster.cli.main import run
from kcluster.diagnostics import Diagnostic
from kcluster.fixes import fix
from kcluster.importers.correcting import corrected
from kcluster.importers.documents import read_text
from kcluster.importers.judge import Judged, concerning, judge
from kcluster.importers.machines import Hardware
from kcluster.importers.specs import Imported, to_spec
from kcluster.pipeline import check_source
from kcluster.source import Source
from kcluster.syntax.formatter import format_source
from kcluster.syntax.parser import parse

LLAMA = "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic"
BOX = Hardware("4 * rtx-5090")


def imported(text: str, hardware: Hardware = BOX) -> Imported:
    found = read_text(text)
    return to_spec(found.launches, hardware, notes=found.notes)


def check(source: Source) -> tuple[Diagnostic, ...]:
    return check_source(source).diagnostics


def judged(text: str, hardware: Hardware = BOX, version: str = "") -> Judged:
    return judge(Source("cmd", text), read_text(text), hardware, check, version=version)


def places(text: str, hardware: Hardware = BOX) -> list[tuple[str, str, str]]:
    return [(one.code, one.severity, text[one.span.start : one.span.end]) for one in judged(text, hardware).findings]


def value(spec: Imported, *path: str) -> str | None:
    return next((text for where, text in spec.paths.items() if where[-len(path) :] == path), None)


def test_variables_that_the_start_scripts_use_are_left_out_and_named() -> None:
    spec = imported(f"args=x UID=3 http_proxy=http://p:1 vllm serve {LLAMA}")
    assert value(spec, "env", "http_proxy") == '"http://p:1"'
    assert value(spec, "env", "args") is None and value(spec, "env", "UID") is None
    assert "not carried over: args" in spec.source.text
    assert [one for one in check(spec.source) if one.code.startswith(("KC0", "KC1"))] == []


def test_flags_become_attributes_and_the_rest_arguments() -> None:
    spec = imported(
        f"A=1 HF_TOKEN=secret vllm serve {LLAMA} -tp 4 --max-model-len 32K --kv-cache-dtype fp8_e4m3 --no-enable-prefix-caching "
        "--enforce-eager --served-model-name a b --whatever 7 --api-key hunter2"
    )
    assert value(spec, "model", "llama-3.3-70b-instruct-fp8-dynamic", "id") == f'"{LLAMA}"'
    assert value(spec, "parallel", "tp") == "4"
    assert value(spec, "engine", "vllm", "max_model_len") == "32K"
    assert value(spec, "kv_cache") == "fp8"
    assert value(spec, "prefix_caching") == "off"
    assert value(spec, "args", "--enforce-eager") == "on"
    assert value(spec, "args", "--served-model-name") == '["a", "b"]'
    assert value(spec, "args", "--whatever") == "7"
    assert value(spec, "env", "A") == '"1"'
    assert value(spec, "api_key") == 'env("VLLM_API_KEY")'
    assert "secret" not in spec.source.text.replace("secrets", "") and "hunter2" not in spec.source.text
    assert [one for one in check(spec.source) if one.code.startswith(("KC0", "KC1"))] == []


def test_the_length_that_is_not_given_is_the_models_own() -> None:
    # Llama 3.3 has 131,072 positions, which vLLM takes for --max-model-len where it is left out.
    spec = imported(f"vllm serve {LLAMA}")
    assert value(spec, "max_model_len") == "131072"
    # Nor may the sequences follow a load that nobody has said: vLLM takes 256 on cards of less than 70 GiB, 1,024 above.
    assert value(spec, "max_num_seqs") == "256"
    assert value(imported(f"vllm serve {LLAMA}", Hardware("2 * h100-sxm")), "max_num_seqs") == "1024"
    assert value(imported(f"vllm serve {LLAMA} --max-num-seqs 12"), "max_num_seqs") == "12"


def test_a_path_is_known_by_its_name_and_says_so() -> None:
    spec = imported("vllm serve /models/Llama-3.3-70B-Instruct-FP8-dynamic -tp 4")
    assert value(spec, "checkpoint") == '"/models/Llama-3.3-70B-Instruct-FP8-dynamic"'
    assert value(spec, "weights") == "fp8"
    assert "is taken as" in spec.source.text


def test_speculative_decoding_becomes_a_draft() -> None:
    spec = imported(
        """vllm serve Qwen/Qwen3-32B --speculative-config '{"method":"ngram","num_speculative_tokens":4}'"""
    )
    assert value(spec, "draft", "method") == "ngram"
    assert value(spec, "draft", "tokens") == "4"


def test_two_servers_on_one_machine() -> None:
    spec = imported(
        "CUDA_VISIBLE_DEVICES=0,1 vllm serve Qwen/Qwen3-32B -tp 2 --port 8000 &\n"
        "CUDA_VISIBLE_DEVICES=2,3 vllm serve Qwen/Qwen3-8B -tp 2 --port 8001 &\n",
        Hardware("rtx-5090"),
    )
    assert value(spec, "machine", "gpus") == "4 * rtx-5090"
    assert (value(spec, "serve", "qwen3-32b", "gpus"), value(spec, "serve", "qwen3-8b", "gpus")) == ("[0, 1]", "[2, 3]")
    assert [one for one in check(spec.source) if one.code.startswith(("KC0", "KC1"))] == []


def test_what_could_not_be_seen_is_in_comments() -> None:
    text = imported("vllm serve $MODEL -tp $TP $EXTRA", Hardware()).source.text
    for expected in ("# nothing sets MODEL here", "# $EXTRA may hold flags", "# --tensor-parallel-size is $TP", '# the command does not say which cards'):  # fmt: skip
        assert expected in text


WORDS = st.sampled_from(
    ["--max-model-len", "--max-model-len=8k", "-tp", "2", "x", "--port", "99999", "{", '"', "--a.b", "--served-model-name", "\u202e", "é", "\n",
     "$X", "--kv-cache-dtype", "fp8", "-O3", "--", "-", "--dtype=half", "--speculative-config", '{"method": "mtp"}', "--revision"]
)  # fmt: skip


@given(st.sampled_from(["Qwen/Qwen3-8B", "", "/a b/c", "../x", "$M", "1-2"]), st.lists(WORDS, max_size=6))
@settings(max_examples=120, deadline=None)
def test_what_is_imported_parses_and_is_formatted(model: str, rest: list[str]) -> None:
    found = read_text(shlex.join(["vllm", "serve", model, *rest]))
    spec = to_spec(found.launches, BOX).source
    _, findings = parse(spec)
    assert findings == ()
    assert format_source(spec) == spec.text


# Findings on the command


def test_findings_stand_on_the_flags() -> None:
    text = f"vllm serve {LLAMA} -tp 3 --swap-space 4"
    found = places(text, Hardware("3 * h100"))
    assert ("KC301", "error", "-tp 3") in found
    assert ("KC801", "warning", "--swap-space 4") in found


def test_the_command_is_corrected() -> None:
    text = f"vllm serve {LLAMA} -tp 4 --max_model_len 128K --gpu-memory-util=0.8"
    one = judged(text)
    assert "KC202" in {finding.code for finding in one.findings if finding.severity == "error"}
    fixed = fix(one.imported.source, concerning(one.imported, BOX, False, check), unsafe=True)
    better = corrected(Source("cmd", text), one.imported, fixed.text)
    assert better is not None and better != text
    assert better.startswith(f"vllm serve {LLAMA} -tp 4 --max_model_len ") and better.endswith(" --gpu-memory-util=0.8")
    assert "KC202" not in {finding.code for finding in judged(better).findings if finding.severity == "error"}


def test_what_was_quoted_stays_quoted() -> None:
    text = 'services:\n a:\n  image: vllm/vllm-openai\n  command:\n  - --model\n  - Qwen/Qwen3-8B\n  - --max-model-len\n  - "999999"\n'
    spec = imported(text, Hardware("1 * h100"))
    better = corrected(Source("cmd", text), spec, spec.source.text.replace("999999", "40960"))
    assert better == text.replace("999999", "40960")


def test_without_cards_only_what_needs_none_is_judged() -> None:
    one = judged(f"vllm serve {LLAMA} -tp 3", Hardware())
    assert one.assumed
    assert {finding.code for finding in one.findings if finding.severity == "error"} == {"KC301"}


def test_an_unknown_model_leaves_the_flags_to_judge() -> None:
    found = places("vllm serve nobody/knows --temperature 0.8 --host 0.0.0.0")
    assert ("KC801", "error", "--temperature 0.8") in found
    assert ("KC701", "warning", "--host 0.0.0.0") in found
    assert [severity for code, severity, _ in found if code == "KC107"] == ["warning"]


@pytest.mark.parametrize(
    ("text", "code", "at"),
    [
        ("docker run vllm/vllm-openai:latest serve Qwen/Qwen3-8B", "KC801", "serve"),
        ("vllm serve Qwen/Qwen3-8B --compilation-config '{{\"level\": 3}}'", "KC801", "--compilation-config '{{\"level\": 3}}'"),
        ("vllm serve Qwen/Qwen3-8B --speculative-config {method:mtp}", "KC801", "--speculative-config {method:mtp}"),
        ("GLOO_SOCKET_IFNAME=^lo vllm serve Qwen/Qwen3-8B", "KC801", "^lo"),
        ("services:\n a:\n  image: vllm/vllm-openai\n  command:\n  - --model Qwen/Qwen3-8B\n", "KC801", "--model Qwen/Qwen3-8B"),
    ],
)  # fmt: skip
def test_what_only_the_command_can_be_wrong_in(text: str, code: str, at: str) -> None:
    assert (code, "error", at) in places(text, Hardware("1 * h100"))


def test_what_the_checkpoint_contradicts() -> None:
    found = places("vllm serve Qwen/Qwen3-32B-AWQ --quantization gptq", Hardware("1 * h100"))
    assert ("KC804", "error", "--quantization gptq") in found
    for agrees in ("awq", "awq_marlin", "auto_round", "compressed-tensors"):
        text = f"vllm serve Qwen/Qwen3-32B-AWQ --quantization {agrees}"
        assert not [one for one in places(text, Hardware("1 * h100")) if one[:2] == ("KC804", "error")], agrees


def test_shared_memory_of_a_container() -> None:
    text = "docker run {} vllm/vllm-openai:latest --model Qwen/Qwen3-32B -tp 2"
    two = Hardware("2 * h100")
    assert ("KC707", "warning", "-tp 2") in places(text.format("--gpus 2"), two)
    for enough in ("--ipc=host", "--shm-size 8g", "-v /dev/shm:/dev/shm"):
        assert "KC707" not in {code for code, _, _ in places(text.format(enough), two)}


def test_ranks_beyond_a_node_without_a_back_end() -> None:
    text = "vllm serve meta-llama/Llama-3.3-70B-Instruct --tensor-parallel-size 8"
    two = Hardware("4 * gb200", nodes=2)
    assert ("KC303", "error", "--tensor-parallel-size 8") in places(text, two)
    assert "KC303" not in {code for code, _, _ in places(text + " --distributed-executor-backend ray", two)}
    assert [one.severity for one in judged(text, two, "0.7").findings if one.code == "KC303"] == ["warning"]


# The commands


def test_import_and_lint_on_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: object) -> None:
    command = ["--", "vllm", "serve", LLAMA, "-tp", "4", "--max-model-len", "16K"]
    assert run(["import", "--gpus", "rtx-5090", *command]) == 0
    assert "gpus = 4 * rtx-5090" in capsys.readouterr().out
    assert run(["lint", "--gpus", "4 * rtx-5090", *command]) == 0
    assert run(["lint", "--gpus", "4 * rtx-5090", "--format", "concise", "--", "vllm", "serve", LLAMA, "-tp", "3"]) == 1
    assert "<command>:1:" in capsys.readouterr().out
    assert run(["import", "--", "echo", "hello"]) == 2
    assert run(["import", "--gpus", "4 * rtx-5090\n}", *command]) == 2
