"""Commands as people write them: what is an error in each, and that nothing else is called one.

Each states the cards, and every code that may be reported as an error; what `also` names must be found, whatever its severity.
"""

from __future__ import annotations

import pytest

from kcluster.importers.documents import read_text
from kcluster.importers.judge import judge
from kcluster.importers.machines import Hardware
from kcluster.pipeline import check_source
from kcluster.source import Source

# name, cards, nodes, codes that are errors, codes that must be found besides, text
CASES: tuple[tuple[str, str, int, set[str], set[str], str], ...] = (
    ("8b-l4-default", "1 * l4", 1, {"KC202"}, set(), "vllm serve meta-llama/Llama-3.1-8B-Instruct"),
    (
        "70b-awq-2x3090",
        "2 * rtx-3090",
        1,
        {"KC202"},
        set(),
        "vllm serve casperhansen/llama-3.3-70b-instruct-awq --quantization awq_marlin -tp 2 --max-model-len 100k",
    ),
    (
        "t4-bf16",
        "1 * t4",
        1,
        {"KC201", "KC803"},
        {"KC803"},
        "vllm serve Qwen/Qwen2.5-7B-Instruct --dtype bfloat16 --max-model-len 4096",
    ),
    ("t4-half", "1 * t4", 1, set(), set(), "vllm serve Qwen/Qwen2.5-3B-Instruct --dtype half --max-model-len 4096"),
    ("tp3", "3 * l40s", 1, {"KC301"}, set(), "vllm serve Qwen/Qwen3-32B-FP8 --tensor_parallel_size 3"),
    (
        "gone-flag",
        "1 * l40s",
        1,
        {"KC801"},
        set(),
        "docker run --ipc=host vllm/vllm-openai:v0.33.0 --model Qwen/Qwen3-8B --swap-space 4 --disable-log-requests --task generate",
    ),
    (
        "gone-flag-of-no-version",
        "1 * l40s",
        1,
        set(),
        {"KC801"},
        "vllm serve Qwen/Qwen3-8B --swap-space 4 --disable-log-requests --task generate",
    ),
    ("positions", "1 * h100-sxm", 1, {"KC206"}, set(), "vllm serve Qwen/Qwen2.5-7B-Instruct --max-model-len 131072"),
    (
        "fp8-235b-tp8",
        "8 * h100-sxm",
        1,
        {"KC306"},
        set(),
        "vllm serve Qwen/Qwen3-235B-A22B-Instruct-2507-FP8 --tensor-parallel-size 8 --max-model-len 32768",
    ),
    ("gptoss-t4", "1 * t4", 1, {"KC201", "KC803"}, set(), "vllm serve openai/gpt-oss-20b --max-model-len 8192"),
    ("gptoss-half", "1 * l40s", 1, {"KC803"}, {"KC803"}, "vllm serve openai/gpt-oss-20b --dtype float16"),
    (
        "json-unquoted",
        "1 * h100-sxm",
        1,
        {"KC202", "KC801"},
        set(),
        'vllm serve Qwen/Qwen3-32B --speculative-config {"method":"ngram","num_speculative_tokens":4,"prompt_lookup_max":4} --port 8000',
    ),
    (
        "json-escaped",
        "1 * h100-sxm",
        1,
        {"KC202", "KC801"},
        set(),
        "vllm serve Qwen/Qwen3-32B --override-generation-config '{\\\"temperature\\\": 0.6}'",
    ),
    (
        "docker-shm",
        "2 * a100-80gb-sxm",
        1,
        set(),
        {"KC707"},
        "docker run --gpus all -p 8000:8000 vllm/vllm-openai:v0.11.0 --model Qwen/Qwen3-32B -tp 2",
    ),
    (
        "docker-serve",
        "1 * l40s",
        1,
        {"KC801"},
        set(),
        "docker run --gpus all --ipc=host vllm/vllm-openai:v0.11.0 serve Qwen/Qwen3-8B --port 8000",
    ),
    (
        "docker-blackwell-old",
        "1 * rtx-5090",
        1,
        {"KC803"},
        set(),
        "docker run --gpus all --ipc=host vllm/vllm-openai:v0.8.5 --model Qwen/Qwen3-8B",
    ),
    (
        "util",
        "4 * a100-40gb-sxm",
        1,
        set(),
        {"KC205"},
        "vllm serve meta-llama/Llama-3.3-70B-Instruct -tp 4 --gpu-memory-utilization 0.99 --max-model-len 8192",
    ),
    (
        "seqs-above-batched",
        "1 * l40s",
        1,
        {"KC209"},
        set(),
        "vllm serve Qwen/Qwen3-8B --max-num-seqs 512 --max-num-batched-tokens 256",
    ),
    (
        "nochunk",
        "1 * l40s",
        1,
        {"KC209"},
        set(),
        "vllm serve Qwen/Qwen3-8B --no-enable-chunked-prefill --max-model-len 16384 --max-num-batched-tokens 8192",
    ),
    ("noray", "8 * h100-sxm", 2, {"KC303"}, set(), "vllm serve meta-llama/Llama-3.1-405B-Instruct-FP8 -tp 8 -pp 2"),
    ("ep-dense", "2 * h100-sxm", 1, {"KC305"}, set(), "vllm serve Qwen/Qwen3-32B -tp 2 --enable-expert-parallel"),
    (
        "gloo",
        "8 * h100-sxm",
        2,
        {"KC801"},
        set(),
        "GLOO_SOCKET_IFNAME=^lo,docker0 vllm serve Qwen/Qwen3-32B -tp 8 -pp 2 --nnodes 2 --node-rank 0 --master-addr 10.0.0.1",
    ),
    (
        "two-same-port",
        "2 * l40s",
        1,
        {"KC704"},
        set(),
        "CUDA_VISIBLE_DEVICES=0 vllm serve Qwen/Qwen3-8B --port 8000 &\nCUDA_VISIBLE_DEVICES=1 vllm serve Qwen/Qwen3-4B --port 8000 &\nwait",
    ),
    (
        "two-good",
        "3 * rtx-4090",
        1,
        {"KC202"},
        set(),
        "#!/bin/bash\nset -euo pipefail\nPORT=${PORT:-8001}\nCUDA_VISIBLE_DEVICES=0,1 uv run vllm serve Qwen/Qwen3-32B-AWQ -tp 2 --port $PORT > a.log 2>&1 &\nCUDA_VISIBLE_DEVICES=2 uv run --with vllm vllm serve Qwen/Qwen3-8B --port $((PORT+1)) > b.log 2>&1 &\n",
    ),
    (
        "capture",
        "4 * h100-sxm",
        1,
        set(),
        {"KC310", "KC106"},
        'vllm serve Qwen/Qwen3-Next-80B-A3B-Instruct-FP8 -tp 4 --max-num-seqs 256 --max-cudagraph-capture-size 256 --speculative-config \'{"method":"mtp","num_speculative_tokens":2}\'',
    ),
    (
        "k8s",
        "2 * l40s",
        1,
        set(),
        {"KC707"},
        'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: llm}\nspec:\n  template:\n    spec:\n      containers:\n      - name: vllm\n        image: vllm/vllm-openai:v0.11.0\n        command: ["/bin/sh", "-c"]\n        args:\n        - vllm serve mistralai/Mistral-Small-24B-Instruct-2501 --tensor-parallel-size 2 --max-model-len 32768 --api-key $(API_KEY)\n        env:\n        - name: API_KEY\n          valueFrom: {secretKeyRef: {name: s, key: k}}\n        resources: {limits: {nvidia.com/gpu: 2}}\n',
    ),
    (
        "systemd",
        "4 * rtx-4090",
        1,
        set(),
        {"KC701"},
        '[Unit]\nDescription=vLLM\n[Service]\nEnvironment=HF_HOME=/srv/hf\nEnvironment="MODEL=Qwen/Qwen2.5-72B-Instruct-AWQ"\nExecStart=/opt/vllm/bin/vllm serve ${MODEL} --host 0.0.0.0 \\\n  --tensor-parallel-size 4 --max-model-len 32768\n',
    ),
    (
        "module",
        "2 * rtx-4090",
        1,
        {"KC201"},
        set(),
        "python3 -m vllm.entrypoints.openai.api_server --model deepseek-ai/DeepSeek-R1-Distill-Qwen-32B --tensor-parallel 2 --gpu-memory-util 0.95 --max-model-len 65536",
    ),
    ("not-a-flag", "1 * l40s", 1, {"KC801"}, set(), "vllm serve Qwen/Qwen3-8B --temperature 0.7 --top-p 0.9"),
    (
        "list-item",
        "1 * l40s",
        1,
        {"KC801"},
        set(),
        "services:\n  vllm:\n    image: vllm/vllm-openai:v0.11.0\n    ipc: host\n    command:\n      - --model Qwen/Qwen3-8B\n      - --max-model-len 8192\n",
    ),
    (
        "quant-contra",
        "1 * rtx-5090",
        1,
        {"KC202", "KC804"},
        set(),
        "vllm serve Qwen/Qwen3-32B-AWQ --quantization gptq --dtype half",
    ),
    (
        "unknown-model",
        "6 * rtx-3090",
        1,
        set(),
        {"KC107", "KC301"},
        "vllm serve acme/Secret-13B --tensor-parallel-size 6 --max-num-seq 64",
    ),
    (
        "bad-values",
        "2 * l40s",
        1,
        {"KC801"},
        {"KC303"},
        "vllm serve Qwen/Qwen3-8B --max-model-len 32,768 --tensor-parallel-size two --gpu-memory-utilization 90%",
    ),
    (
        "misspelt",
        "2 * l40s",
        1,
        {"KC801"},
        set(),
        "vllm serve Qwen/Qwen3-30B-A3B -tp 2 --enable-expert-paralel --max-modle-len 8192",
    ),
    (
        "dp",
        "8 * h200-sxm",
        1,
        set(),
        set(),
        "vllm serve deepseek-ai/DeepSeek-V3 --data-parallel-size 8 --enable-expert-parallel --max-model-len 16384",
    ),
    (
        "gemma-step",
        "1 * h100-sxm",
        1,
        {"KC209"},
        set(),
        "vllm serve google/gemma-3-27b-it --max-num-batched-tokens 200 --max-num-seqs 8 --max-model-len 8192",
    ),
    (
        "vl",
        "4 * h100-sxm",
        1,
        set(),
        {"KC801"},
        "vllm serve Qwen/Qwen2.5-VL-72B-Instruct -tp 4 --limit-mm-per-prompt image=1,video=0 --max-model-len 32768",
    ),
    (
        "nvfp4-hopper",
        "2 * h100-sxm",
        1,
        {"KC803"},
        {"KC803"},
        "vllm serve nvidia/Llama-3.3-70B-Instruct-NVFP4 -tp 2 --kv-cache-dtype nvfp4",
    ),
    (
        "loop",
        "1 * l40s",
        1,
        set(),
        set(),
        'for M in Qwen/Qwen3-8B Qwen/Qwen3-14B; do\n  vllm serve "$M" --port 8000 --max-model-len 8192\ndone',
    ),
    ("config", "1 * l40s", 1, set(), {"KC107"}, "vllm serve --config /etc/vllm/model.yaml --port 9000"),
    (
        "mllama-pp",
        "2 * l40s",
        1,
        {"KC304"},
        set(),
        "vllm serve meta-llama/Llama-3.2-11B-Vision-Instruct -pp 2 --max-model-len 8192",
    ),
    (
        "kimi-mi300",
        "8 * mi300x",
        1,
        set(),
        set(),
        "vllm serve moonshotai/Kimi-K2-Instruct -tp 8 --trust-remote-code --max-model-len 32768 --block-size 1",
    ),
    ("70b-single-24g", "1 * rtx-4090", 1, {"KC201"}, set(), "vllm serve meta-llama/Llama-3.3-70B-Instruct"),
    (
        "docker-latest-5090",
        "1 * rtx-5090",
        1,
        set(),
        {"KC701", "KC803"},
        "docker run --gpus '\"device=0\"' --ipc=host vllm/vllm-openai:latest --model Qwen/Qwen3-8B --host 0.0.0.0",
    ),
    (
        "compose-vars",
        "2 * l40s",
        1,
        set(),
        {"KC801"},
        'services:\n  llm:\n    image: vllm/vllm-openai:${VLLM_TAG:-v0.19.0}\n    shm_size: 16gb\n    command: >\n      --model ${MODEL:-Qwen/Qwen3-32B-FP8}\n      --tensor-parallel-size ${TP:-2}\n      --max-model-len ${CTX:-131072}\n      --rope-scaling \'{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":32768}\'\n    ports: ["8000:8000"]\n    deploy: {resources: {reservations: {devices: [{driver: nvidia, count: 2, capabilities: [gpu]}]}}}\n',
    ),
)


@pytest.mark.parametrize(
    ("cards", "nodes", "errors", "also", "text"), [one[1:] for one in CASES], ids=[one[0] for one in CASES]
)
def test_what_is_wrong_and_nothing_else(cards: str, nodes: int, errors: set[str], also: set[str], text: str) -> None:
    found = read_text(text)
    assert found.launches
    judged = judge(
        Source("command", text), found, Hardware(cards, nodes=nodes), lambda spec: check_source(spec).diagnostics
    )
    assert {one.code for one in judged.findings if one.severity == "error"} == errors
    assert also <= {one.code for one in judged.findings}
    for one in judged.findings:
        assert 0 <= one.span.start < one.span.end <= len(text)
