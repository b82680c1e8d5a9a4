"""Commands as they are pasted: with prompts, quotes of word processors, other shells' continuations, in files that write files."""

from __future__ import annotations

import pytest

from kcluster.importers.documents import Found, read_text
from kcluster.importers.models import identify
from kcluster.importers.words import Launch

# what stands before or around one and the same server: its model, tp 2 and 8,192 tokens
FORMS: dict[str, str] = {
    "second prompt": "$ docker run \\\n>   --gpus all --ipc=host \\\n>   vllm/vllm-openai:v0.11.0 \\\n>   --model {m} -tp 2 --max-model-len 8192\n",
    "powershell": "docker run --gpus all `\n  --ipc=host `\n  vllm/vllm-openai:v0.11.0 `\n  --model {m} -tp 2 --max-model-len 8192\n",
    "cmd": "docker run --gpus all ^\n --ipc=host vllm/vllm-openai:v0.11.0 ^\n --model {m} -tp 2 --max-model-len 8192\n",
    "carriage returns": "vllm serve {m} \\\r\n  -tp 2 \\\r\n  --max-model-len 8192\r\n",
    "no-break spaces": "vllm serve\u00a0{m} -tp\u00a02 --max-model-len 8192",
    "typographic quotes": "vllm serve \u201c{m}\u201d -tp 2 --max-model-len \u20188192\u2019",
    "prose": "I start it with `vllm serve {m} -tp 2 --max-model-len 8192` and it isn't slow.",
    "markdown": "Run:\n\n```bash\nvllm serve {m} -tp 2 --max-model-len 8192\n```\nThen ask it.",
    "sudo": "sudo -E env HF_HOME=/srv CUDA_VISIBLE_DEVICES=0,1 nohup vllm serve {m} -tp 2 --max-model-len 8192 &",
    "module of the command line": "python3 -m vllm.entrypoints.cli.main serve {m} -tp 2 --max-model-len 8192",
    "module": "python -m vllm serve {m} -tp 2 --max-model-len 8192",
    "string": 'OPTS="-tp 2"\nOPTS+=" --max-model-len 8192"\nvllm serve {m} $OPTS',
    "array": 'A=(\n  -tp 2  # two (2) cards\n  # --enforce-eager\n  --max-model-len "8192"\n)\nvllm serve {m} "${{A[@]}}"',
    "array over lines": "A=(-tp 2 \\\n --max-model-len 8192)\nvllm serve {m} ${{A[*]}}",
    "arithmetic": "K=8\nvllm serve {m} -tp $((4/2)) --max-model-len $(( K * 1024 ))",
    "defaults of a function": 'run() {{\n  local len=${{2:-8192}}\n  vllm serve "${{1:-{m}}}" -tp 2 --max-model-len "$len"\n}}\nrun',
    "script written by a script": "cat > run.sh <<'EOF'\n#!/bin/bash\nvllm serve {m} -tp 2 \\\n --max-model-len 8192\nEOF\nbash run.sh",
    "piped script": "ssh node1 bash <<EOF\nvllm serve {m} -tp 2 --max-model-len 8192\nEOF\n",
    "manifest in a script": "cat <<EOF | kubectl apply -f -\napiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - image: vllm/vllm-openai:v0.11.0\n"
    "    args: [--model, {m}, --tensor-parallel-size=2, --max-model-len=8192]\nEOF\n",
    "flags written by a script": "cat > /etc/vllm.yaml <<EOF\nmodel: {m}\ntensor-parallel-size: 2\nmax-model-len: 8192\nEOF\nvllm serve --config /etc/vllm.yaml",
    "flags alone": "# of --config\nhost: 0.0.0.0\nmodel: {m}\ntensor_parallel_size: 2\nmax-model-len: 8192\n",
    "list of a program": 'subprocess.Popen(["vllm", "serve", "{m}", "-tp", str(2),\n  "--max-model-len", "8192"])',
    "text of a program": 'cmd = """\nvllm serve {m} \\\\\n  -tp 2 --max-model-len 8192\n"""\nos.system(cmd)\n',
    "entry point": 'FROM vllm/vllm-openai:v0.11.0\nENTRYPOINT ["vllm", "serve", "{m}", "-tp", "2", "--max-model-len", "8192"]\n',
    "command of an image": 'FROM vllm/vllm-openai:v0.11.0\nCMD ["--model", "{m}", "-tp", "2", "--max-model-len", "8192"]\n',
    "supervisor": "[program:vllm]\ncommand=/opt/venv/bin/vllm serve {m} -tp 2 --max-model-len 8192\nautorestart=true\n",
    "quadlet": "[Container]\nImage=docker.io/vllm/vllm-openai:v0.11.0\nExec=--model {m} -tp 2 --max-model-len 8192\n",
    "arguments in Python": 'AsyncLLMEngine.from_engine_args(AsyncEngineArgs(model="{m}", tensor_parallel_size=2, max_model_len=8192))',
    "Ray Serve": 'LLMConfig(model_loading_config=dict(model_id="q", model_source="{m}"), engine_kwargs={{"tensor_parallel_size": 2, "max_model_len": 8192}})',
    "Ray Serve in YAML": "applications:\n- args:\n    llm_configs:\n    - model_loading_config: {{model_id: q, model_source: {m}}}\n"
    "      engine_kwargs:\n        tensor_parallel_size: 2\n        max_model_len: 8192\n",
}
MODEL = "Qwen/Qwen3-14B-AWQ"


def one(found: Found) -> Launch:
    assert len(found.launches) == 1, found
    return found.launches[0]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_same_server(form: str) -> None:
    launch = one(read_text(form.format(m=MODEL)))
    assert launch.model is not None
    texts = {setting.flag: setting.text for setting in launch.settings}
    assert (launch.model.text, texts["--tensor-parallel-size"], texts["--max-model-len"]) == (MODEL, "2", "8192")
    assert [problem for problem in launch.problems if problem.severity == "error"] == []


def test_what_a_running_shell_would_know_stays_one_word() -> None:
    launch = one(read_text("N=$(nvidia-smi -L | wc -l)\nvllm serve m -tp $N --max-model-len `cat len`"))
    assert [(s.flag, s.text, bool(s.unset)) for s in launch.settings] == [
        ("--tensor-parallel-size", "$(nvidia-smi -L | wc -l)", True),
        ("--max-model-len", "`cat len`", True),
    ]


def test_what_is_unset_in_a_variable_is_unset_where_it_is_used() -> None:
    launch = one(read_text('LEN=${MAX_LEN}\nvllm serve m --max-model-len "$LEN" --port $((PORT+1))'))
    assert [s.unset for s in launch.settings] == [("MAX_LEN",), ("$((PORT+1))",)]


@pytest.mark.parametrize("name", ["\u2014max-model-len", "\u2013-max-model-len", "-max-model-len"])
def test_dashes_that_are_not_two_hyphens(name: str) -> None:
    launch = one(read_text(f"vllm serve m {name} 8192"))
    assert launch.settings[0].text == "8192"
    (problem,) = launch.problems
    assert (problem.code, problem.fix) == ("KC801", (problem.span, "--max-model-len"))


def test_short_names_with_two_hyphens() -> None:
    launch = one(read_text("vllm serve m --tp=2 --pp 3"))
    assert [(s.flag, s.text) for s in launch.settings] == [
        ("--tensor-parallel-size", "2"),
        ("--pipeline-parallel-size", "3"),
    ]
    assert [problem.fix[1] for problem in launch.problems if problem.fix] == ["-tp", "-pp"]


def test_other_services_of_a_compose_file_are_none() -> None:
    text = """
services:
  litellm: {image: ghcr.io/berriai/litellm:main, command: ["--config", "/app/config.yaml", "--port", "4000"]}
  redis: {image: redis:7, command: redis-server --save 60 1}
  own: {image: registry.lan/llm:3, command: --model Qwen/Qwen3-8B --max-model-len 8192}
"""
    assert one(read_text(text)).name == "own"


@pytest.mark.parametrize(
    ("text", "id", "weights"),
    [
        ("vllm serve /models/gpt-oss-120b", "openai/gpt-oss-120b", "mxfp4"),
        ("vllm serve /data/DeepSeek-R1", "deepseek-ai/DeepSeek-R1", "fp8-block"),
        ("vllm serve /data/DeepSeek-R1-AWQ", "deepseek-ai/DeepSeek-R1-AWQ", "awq-int4"),
        ("vllm serve /data/Qwen3-32B-FP8", "Qwen/Qwen3-32B-FP8", "fp8-block"),
        ("vllm serve ~/hub/models/Qwen/Qwen2___5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct", ""),
        ("vllm serve ~/.cache/huggingface/hub/models--Qwen--Qwen3-8B/snapshots/b968", "Qwen/Qwen3-8B", ""),
        ("vllm serve /m/MiniMax-M3-4bit-W4A16/", "MiniMaxAI/MiniMax-M3", "w4a16"),
        (
            "docker run -v /data/Qwen3-8B-AWQ:/model:ro --ipc=host vllm/vllm-openai --model /model",
            "Qwen/Qwen3-8B-AWQ",
            "awq-int4",
        ),
        (
            "docker run --mount type=bind,source=/data,target=/m vllm/vllm-openai --model /m/Qwen3-8B",
            "Qwen/Qwen3-8B",
            "",
        ),
        (
            "services:\n  a:\n    image: vllm/vllm-openai\n    volumes: [/data/Qwen3-8B:/model]\n    command: --model /model",
            "Qwen/Qwen3-8B",
            "",
        ),
        # 704 and 2,112 of Gemma 4 26B are no multiples of 128: only smaller groups can have been packed
        ("vllm serve /m/gemma-4-26b-a4b-awq-4bit", "google/gemma-4-26b-a4b-awq", "awq-int4-g32"),
    ],
)
def test_a_copy_is_known_by_its_path(text: str, id: str, weights: str) -> None:
    found = identify(one(read_text(text)))
    assert found.match is not None
    assert (found.id.lower(), found.weights) == (id.lower(), weights)
