"""`verify`: what a real engine wrote, and logs in the forms of other versions, against compiled plans."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kcluster
from kcluster.cli.main import run
from kcluster.render.verification import as_json, as_text
from kcluster.verify.against_log import against_log
from kcluster.verify.against_metrics import against_metrics
from kcluster.verify.checks import Check, Report
from kcluster.verify.exposition import Measured, histogram, read_exposition
from kcluster.verify.logs import read_log
from kcluster.verify.planned import Planned, Unreadable, read_plan

DATA = Path(__file__).parent.parent / "data" / "engine"
START = (DATA / "vllm-0.32.0-start.log").read_text()
REFUSAL = (DATA / "vllm-0.32.0-refusal.log").read_text()
METRICS = (DATA / "vllm-0.32.0-metrics.txt").read_text()

LLAMA = """
model m { id = "meta-llama/Llama-3.1-8B-Instruct" }
hardware h { gpus = 1 * l40s }
sla s { concurrency = 8, context = 8K, prompt = 2K, completion = 500, ttft <= 2s, percentile = p95 }
serve chat {
  model = m
  hardware = h
  sla = s
  engine vllm {
    version = "0.32"
    max_model_len = 8192
    gpu_memory_utilization = 0.9
    kv_cache = fp8
    max_num_seqs = 64
  }
}
"""


def plan_of(text: str, path: str = "test.kcluster") -> tuple[str, Planned]:
    toml = next(one.text for one in kcluster.compile_(text, path=path) if one.path == "plan.toml")
    return toml, read_plan(toml)[0]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled folder of the spec whose engines wrote the data."""
    top = tmp_path_factory.mktemp("tiny")
    shutil.copytree(DATA / "tiny", top / "tiny")
    shutil.copy(DATA / "tiny.kcluster", top)
    out = top / "out"
    assert run(["compile", str(top / "tiny.kcluster"), "-o", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def llama() -> Planned:
    return plan_of(LLAMA)[1]


def by_name(report: Report) -> dict[str, Check]:
    assert len({check.name for check in report.checks}) == len(report.checks)
    return {check.name: check for check in report.checks}


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = run(["verify", *words, "--format", "json"])
    found = json.loads(capsys.readouterr().out)
    schema = json.loads((files("kcluster") / "schemas" / "verify.schema.json").read_text("utf-8"))
    jsonschema.validate(found, schema)
    return code, found


# What a real vLLM 0.32 wrote.


def test_a_real_start_is_as_planned(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """64 MiB at 2 × 4 layers × 4 heads × 32 × 2 bytes = 2 KiB a token are 32,768 tokens: 32 requests of 1,024."""
    code, found = answer(capsys, str(tiny), "--log", str(DATA / "vllm-0.32.0-start.log"))
    rows = {row["name"]: row for row in found["checks"]}
    assert (code, found["verdict"], found["first"], found["refusal"]) == (0, "as planned", None, None)
    assert rows["memory.kv_cache_tokens"]["real"] == rows["memory.kv_cache_tokens"]["planned"] == 32768
    assert rows["memory.max_concurrency"]["real"] == 32 and rows["engine.version"]["real"] == "0.32.0"
    assert rows["--max-model-len"]["spec"] == "max_model_len"
    # A CPU build does not say what the weights take.
    assert {name for name, row in rows.items() if row["verdict"] != "as planned"} == {"memory.weights_gib"}


def test_a_real_refusal_is_explained(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = answer(capsys, str(tiny), "--log", str(DATA / "vllm-0.32.0-refusal.log"))
    assert (code, found["verdict"], found["first"]) == (1, "refused", "--kv-cache-memory-bytes")
    assert found["refusal"].startswith("To serve at least one request")
    start = found["checks"][-1]
    assert start["name"] == "start" and start["spec"] == "max_model_len"
    assert "384 tokens would fit" in start["why"]
    assert any("--kv-cache-memory-bytes" in reason and "67108864" in reason for reason in start["why"])
    assert run(["verify", str(tiny), "--log", str(DATA / "vllm-0.32.0-refusal.log")]) == 1
    text = capsys.readouterr().out
    assert text.startswith("chat: the engine refused to start\n") and "in the spec: `args`" in text


def test_real_metrics(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """About 200 requests came at once to 8 places: the wait for one is named as what made the first token late. The SLA is
    held: of 202 first tokens half were within 0.25 s."""
    code, found = answer(capsys, str(tiny), "--metrics", str(DATA / "vllm-0.32.0-metrics.txt"))
    rows = {row["name"]: row for row in found["checks"]}
    assert (code, found["first"]) == (1, "performance.ttft_s")
    assert any("waiting for a place among max_num_seqs = 8" in reason for reason in rows["performance.ttft_s"]["why"])
    for name in (
        "model",
        "--kv-cache-memory-bytes",
        "memory.kv_cache_tokens",
        "memory.max_concurrency",
        "preemptions",
        "sla.ttft",
        "sla.itl",
    ):
        assert rows[name]["verdict"] == "as planned", rows[name]
    assert rows["memory.kv_cache_tokens"]["real"] == 32768


CHANGED = {
    name: log
    for name, _, log in (part.partition("\n") for part in (DATA / "vllm-0.32.0-changed.txt").read_text().split("=== ")[1:])
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "first", "attribute", "follows"),
    [
        ("length", "--max-model-len", "max_model_len", {"memory.max_concurrency": 64}),
        ("model", "model", "checkpoint", {"memory.kv_cache_tokens": 16384, "memory.max_concurrency": 16}),
        ("graphs", "--enforce-eager", "args", {}),
        ("kv", "--kv-cache-memory-bytes", "args",
         {"memory.kv_cache_gib": 0.03, "memory.kv_cache_tokens": 16384, "memory.max_concurrency": 16}),
        ("utilization", "--gpu-memory-utilization", "gpu_memory_utilization",
         {"--kv-cache-memory-bytes": None, "memory.kv_cache_tokens": 2068992, "memory.max_concurrency": 2020.5}),
        ("dtype", "--dtype", "dtype", {"memory.kv_cache_tokens": 16384, "memory.max_concurrency": 16}),
        ("fp8", "--kv-cache-dtype", "kv_cache", {"memory.kv_cache_tokens": 65536, "memory.max_concurrency": 64}),
        ("tp", "--tensor-parallel-size", "tp", {"memory.kv_cache_tokens": 65536, "memory.max_concurrency": 64}),
        ("ngram", "--speculative-config", "draft", {}),
        ("seqs", "--max-num-seqs", "max_num_seqs", {}),
        ("prefix", "--enable-prefix-caching", "prefix_caching", {}),
        ("hf", "--hf-overrides", "args", {"memory.kv_cache_tokens": 65536, "memory.max_concurrency": 64}),
    ],
)  # fmt: skip
def test_a_real_start_with_one_thing_changed(
    tiny: Path, name: str, first: str, attribute: str, follows: dict[str, Any]
) -> None:
    """What was changed is named first, and what came of it points at it: twice the layers are half the tokens, half the ranks
    or half the bytes twice as many."""
    (plan,) = read_plan((tiny / "plan.toml").read_text())
    report = against_log(plan, read_log(CHANGED[name]), name)
    assert report.first is not None and (report.first.name, report.first.attribute) == (first, attribute)
    differing = {check.name: check for check in report.checks if check.verdict == "differs"}
    assert {key: check.real for key, check in differing.items() if key != first} == follows
    for key, check in differing.items():
        assert not key.startswith("memory.") or any(f"`{first}` is " in why for why in check.why)


def test_metrics_of_a_server(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Engine(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there = self.path == "/metrics"
            self.send_response(200 if there else 302)
            self.send_header("Location", "/metrics")
            self.end_headers()
            self.wfile.write(METRICS.encode() if there else b"")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Engine) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        _, found = answer(capsys, str(tiny / "plan.toml"), "--metrics", f"{url}/metrics")
        assert found["source"] == {"kind": "metrics", "path": f"{url}/metrics"}
        # Where a server points to is not asked.
        assert run(["verify", str(tiny), "--metrics", f"{url}/elsewhere"]) == 2
        server.shutdown()
    assert run(["verify", str(tiny), "--metrics", f"{url}/metrics"]) == 2
    assert "cannot read" in capsys.readouterr().err


# Logs of other versions: their lines, around the figures of a plan for one L40S.


def summary(card: float) -> str:
    """The last line of a worker's start, as 0.32 writes it where the pool is not given in bytes."""
    return (
        f"Free memory on device ({card - 0.5:.2f}/{card:.2f} GiB) on startup. Desired GPU memory utilization is (0.9, {card * 0.9:.2f} "
        "GiB). Actual usage is 15.4 GiB for consumed memory (weights + non-torch), 1.25 GiB for peak activation, and 0.5 GiB for "
        "CUDAGraph memory. Replace gpu_memory_utilization config with `--kv-cache-memory=1` (0.0 GiB) to fit into requested memory"
    )


def log_of(plan: Planned, version: str = "0.32.0", older: bool = False, **changed: Any) -> str:
    """A start of the plan in the lines of its version, with some arguments or figures (`weights`, `kv`, `tokens`, `times`) changed."""
    memory = plan.memory
    figures = {
        "weights": memory["weights_gib"], "kv": memory["kv_cache_gib"], "tokens": int(memory["kv_cache_tokens"]) // 16 * 16,
        "times": memory["max_concurrency"], "card": memory["gpu_memory_gib"],
    }  # fmt: skip
    figures.update({key: changed.pop(key) for key in list(changed) if key in figures})
    args = {
        name.lstrip("-").replace("-", "_"): value
        for name, value in plan.args.items()
        if name not in ("--host", "--port")
    }
    args.update(changed)
    said = {key: value for key, value in args.items() if value is not None}
    head = (
        "(APIServer pid=7) INFO 11-24 10:24:15 [api_utils.py:286]"
        if not older
        else "INFO 09-04 01:00:00 [utils.py:326]"
    )
    worker = "(Worker_TP0 pid=9) INFO 11-24 10:24:46" if not older else "INFO 09-04 01:00:20"
    tokens = f"GPU KV cache size: {figures['tokens']:,} tokens"
    times = f"Maximum concurrency for {said['max_model_len']:,} tokens per request: {figures['times']:.2f}x"
    took = f"Model loading took {figures['weights']:.4f} GiB" + (
        " and 8.5 seconds" if older else " memory and 8.5 seconds"
    )
    return "\n".join(
        [
            f"{head} vLLM API server version {version}",
            f"{head} non-default args: {said!r}",
            f"{worker} [gpu_model_runner.py:2338] {took}",
            f"{worker} [gpu_worker.py:466] Available KV cache memory: {figures['kv']:.2f} GiB",
            *([f"{worker} [kv.py:1] {tokens}", f"{worker} [kv.py:2] {times}"] if older else [f"{worker} [kv.py:1] {tokens}, {times}"]),
            f"{worker} [gpu_model_runner.py:1] Graph capturing finished in 20 secs, took {memory['cuda_graph_gib']:.2f} GiB",
            *([] if older else [f"{worker} [gpu_worker.py:1066] {summary(figures['card'])}"]),
            "INFO:     Application startup complete.",
        ]
    )  # fmt: skip


@pytest.mark.parametrize("older", [False, True])
def test_a_start_with_the_plans_own_figures(llama: Planned, older: bool) -> None:
    log = read_log(log_of(llama, older=older))
    assert log.ready and log.length == 8192 and len(log.weights) == len(log.tokens) == len(log.concurrency) == 1
    report = against_log(llama, log, "x")
    assert report.verdict == "as planned"
    parts = {"memory.cuda_graph_gib"} if older else {"memory.cuda_graph_gib", "memory.activation_gib"}
    assert {check.name for check in report.checks if check.verdict != "as planned"} == parts


@pytest.mark.parametrize(
    ("changed", "first", "attribute", "figures", "explains"),
    [
        ({"gpu_memory_utilization": 0.5, "kv": 2.0, "tokens": 32000, "times": 3.9}, "--gpu-memory-utilization", "gpu_memory_utilization",
         {"memory.kv_cache_gib", "memory.kv_cache_tokens", "memory.max_concurrency"}, "`--gpu-memory-utilization` is 0.5"),
        ({"max_model_len": 4096, "times": 900.0}, "--max-model-len", "max_model_len", {"memory.max_concurrency"}, "`--max-model-len` is 4096"),
        ({"kv_cache_dtype": "auto", "tokens": 100_000, "times": 12.2}, "--kv-cache-dtype", "kv_cache",
         {"memory.kv_cache_tokens", "memory.max_concurrency"}, "`--kv-cache-dtype` is auto and was planned as fp8"),
        ({"quantization": "fp8", "weights": 8.5}, "--quantization", "weights", {"memory.weights_gib"}, "`--quantization` is fp8 and was planned as not given"),
        ({"model": "meta-llama/Llama-3.2-1B", "weights": 2.4}, "model", "checkpoint", {"memory.weights_gib"}, "`model` is meta-llama/Llama-3.2-1B"),
        ({"enforce_eager": True}, "--enforce-eager", "args", set(), ""),
        ({"max_num_seqs": None}, "--max-num-seqs", "max_num_seqs", set(), ""),
        ({"kv": 1.0}, "memory.kv_cache_gib", "", {"memory.kv_cache_gib"}, "other processes on the card"),
        ({"kv": 1.0, "tokens": 16_000}, "memory.kv_cache_gib", "", {"memory.kv_cache_gib", "memory.kv_cache_tokens"}, "other processes on the card"),
        ({"weights": 30.0}, "memory.weights_gib", "", {"memory.weights_gib"}, "another checkpoint or format"),
        ({"tensor_parallel_size": 2, "weights": 7.5, "kv": 32.0, "tokens": 1_000_000, "times": 122.0}, "--tensor-parallel-size", "tp",
         {"memory.weights_gib", "memory.kv_cache_gib", "memory.kv_cache_tokens", "memory.max_concurrency"},
         "`--tensor-parallel-size` is 2 and was planned as 1"),
        ({"card": 23.5, "kv": 4.0, "tokens": 64_000, "times": 7.8}, "memory.gpu_memory_gib", "gpus",
         {"memory.kv_cache_gib", "memory.kv_cache_tokens", "memory.max_concurrency"}, "`memory.gpu_memory_gib` is 23.5"),
        ({"speculative_config": {"method": "ngram"}}, "--speculative-config", "draft", set(), ""),
    ],
)  # fmt: skip
def test_the_first_difference_is_named_and_explains_the_figures(
    llama: Planned, changed: dict[str, Any], first: str, attribute: str, figures: set[str], explains: str
) -> None:
    report = against_log(llama, read_log(log_of(llama, **changed)), "x")
    rows = by_name(report)
    assert report.first is not None and (report.first.name, report.first.attribute) == (first, attribute)
    differ = {name for name, check in rows.items() if check.verdict == "differs"}
    assert differ - {first} == figures - {first}
    for name in sorted(figures):
        reasons = rows[name].why
        assert reasons and (
            any(explains in reason for reason in reasons) or reasons == ("it follows from `memory.kv_cache_gib`",)
        )


def test_another_version_is_first(llama: Planned) -> None:
    report = against_log(llama, read_log(log_of(llama, version="0.11.0", gpu_memory_utilization=0.5)), "x")
    assert report.first is not None and (report.first.name, report.first.real) == ("engine.version", "0.11.0")
    assert against_log(llama, read_log(log_of(llama, version="0.32.1+cu129")), "x").first is None


def test_a_default_that_is_not_said_is_the_versions_own(llama: Planned) -> None:
    """0.32 takes 0.92 of the card by itself, where 0.11 takes 0.9: a log that does not name the flag means that."""
    differs = by_name(against_log(llama, read_log(log_of(llama, gpu_memory_utilization=None)), "x"))
    assert (differs["--gpu-memory-utilization"].real, differs["--gpu-memory-utilization"].verdict) == (0.92, "differs")
    same = by_name(against_log(llama, read_log(log_of(llama, version="0.11.0", gpu_memory_utilization=None)), "x"))
    assert (same["--gpu-memory-utilization"].real, same["--gpu-memory-utilization"].verdict) == (0.9, "as planned")


def test_the_worst_worker_counts(llama: Planned) -> None:
    text = log_of(llama) + "\n(Worker_TP1 pid=10) INFO Model loading took 99.00 GiB memory and 2 seconds\n"
    check = by_name(against_log(llama, read_log(text), "x"))["memory.weights_gib"]
    assert (check.real, check.verdict) == (99.0, "differs")


def test_of_several_starts_the_last_counts(llama: Planned) -> None:
    log = read_log(REFUSAL + log_of(llama))
    assert log.refusal is None and log.ready and log.version == "0.32.0"
    assert (log.args or {})["max_model_len"] == 8192
    assert read_log(log_of(llama) + "\n" + REFUSAL).refusal is not None


def test_secrets_of_a_log_go_nowhere(llama: Planned) -> None:
    report = against_log(llama, read_log(log_of(llama, api_key=["hunter2"], hf_token="hunter2")), "x")
    assert "hunter2" not in repr(report)


@pytest.mark.parametrize(
    ("line", "kind", "needed", "available", "longest"),
    [
        ("ValueError: To serve at least one request with the models's max seq len (131072), (10.18 GiB KV cache is needed, which is larger "
         "than the available KV cache memory (7.25 GiB). Based on the available memory, the estimated maximum model length is 93,344.",
         "kv-too-small", 10.18, 7.25, 93344),
        ("ValueError: The model's max seq len (131072) is larger than the maximum number of tokens that can be stored in KV cache (81536). Try",
         "kv-too-small", None, None, 81536),
        ("ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.",
         "no-kv", None, None, None),
        ("ValueError: Free memory on device cuda:0 (12.18/44.39 GiB) on startup is less than desired GPU memory utilization (0.92, 40.84 GiB).",
         "memory-taken", 40.84, 12.18, None),
        ("ValueError: Free memory on device (21.05/44.4 GiB) on startup is less than desired GPU memory utilization (0.52, 23.09 GiB)",
         "memory-taken", 23.09, 21.05, None),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 396.00 MiB.", "out-of-memory", None, None, None),
        ("ValueError: Total number of attention heads (28) must be divisible by tensor parallel size (8).", "heads", None, None, None),
        ("  Value error, User-specified max_model_len (999999) is greater than the derived max_model_len (max_position_embeddings=8192)",
         "length", None, None, None),
        ("  Value error, World size (8) is larger than the number of available GPUs (4) in this node. If this is intentional and you are using:",
         "cards", None, None, None),
        ("ValueError: The quantization method fp8 is not supported for the current GPU. Minimum capability: 75. Current capability: 70.",
         "capability", None, None, None),
        ("  Value error, max_num_batched_tokens (2048) is smaller than max_model_len (8192). This effectively limits the maximum",
         "batch", None, None, None),
        ("KeyError: 'model.layers.0.weird'", "error", None, None, None),
    ],
)  # fmt: skip
def test_refusals(
    llama: Planned, line: str, kind: str, needed: float | None, available: float | None, longest: float | None
) -> None:
    text = log_of(llama).rpartition("\n")[0] + f"\n(EngineCore pid=3) ERROR 11-24 10:28:47 [core.py:1510] {line}\n"
    text += "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}\n"
    refusal = read_log(text).refusal
    assert refusal is not None
    assert (refusal.kind, refusal.needed, refusal.available, refusal.longest) == (kind, needed, available, longest)
    report = against_log(llama, read_log(text), "x")
    assert report.verdict == "refused" and report.first is not None and report.first.name == "start"
    assert any("nothing that was started differs" in reason for reason in report.first.why)


def test_a_refusal_on_another_card_names_the_card(llama: Planned) -> None:
    """An RTX 3090 where an L40S was planned: what is free is little because the card is small."""
    line = (
        "ValueError: Free memory on device cuda:0 (23.18/23.56 GiB) on startup is less than desired GPU memory utilization "
        "(0.99, 23.32 GiB)."
    )
    text = log_of(llama).partition("Worker_TP0")[0] + f") ERROR 11-24 10:28:47 [core.py:1510] {line}\n"
    report = against_log(llama, read_log(text), "x")
    assert report.first is not None and (report.first.name, report.first.attribute) == ("memory.gpu_memory_gib", "gpus")
    assert "`memory.gpu_memory_gib` is 23.56 and was planned as 44.39" in report.checks[-1].why


def test_v0_lines() -> None:
    """What engines before V1 said, on one line."""
    found = read_log(
        "INFO 01-10 10:00:00 llm_engine.py:234] Initializing an LLM engine (v0.6.6) with config: model='x/y', max_seq_len=4096, tensor_parallel_size=2\n"
        "INFO worker.py:241] the current vLLM instance can use total_gpu_memory (79.10GiB) x gpu_memory_utilization (0.90) = 71.19GiB\n"
        "INFO worker.py:241] model weights take 14.99GiB; non_torch_memory takes 0.08GiB; PyTorch activation peak memory takes 5.55GiB; "
        "the rest of the memory reserved for KV Cache is 50.36GiB.\n"
    )
    assert (found.version, found.weights, found.available) == ("0.6.6", (14.99,), (50.36,))
    assert (found.activation, found.non_torch, found.config["max_seq_len"]) == ((5.55,), (0.08,), "4096")
    assert found.cards == (79.10,)


def test_arguments_that_are_no_literals() -> None:
    log = read_log(
        "non-default args: {'port': 1, 'optimization_level': <OptimizationLevel.O2: 2>, 'mode': <Mode.A: 'a'>}"
    )
    assert log.args == {"port": 1, "optimization_level": 2, "mode": "a"}
    assert read_log("non-default args: {'port': object(), 'x': 1}").args == {"port": "object()", "x": 1}
    assert read_log("non-default args: {'port': 1").args is None


# Metrics.


def exposed(
    preemptions: float = 0,
    usage: float = 0.2,
    waiting: float = 0,
    within: float = 1000,
    model: str = "meta-llama/Llama-3.1-8B-Instruct",
) -> str:
    """Metrics of 1,000 requests, of which some had their first token within 2.5 s and the others within 5 s."""
    name = f'{{engine="0",model_name="{model}"}}'
    return "\n".join(
        [
            f"vllm:num_preemptions_total{name} {preemptions}", f"vllm:kv_cache_usage_perc{name} {usage}",
            f"vllm:num_requests_waiting{name} {waiting}", f"vllm:num_requests_running{name} 3",
            f'vllm:time_to_first_token_seconds_bucket{{le="1.0",engine="0"}} {0 if within < 1000 else 1000}',
            f'vllm:time_to_first_token_seconds_bucket{{le="2.5",engine="0"}} {within}',
            'vllm:time_to_first_token_seconds_bucket{le="5.0",engine="0"} 1000', 'vllm:time_to_first_token_seconds_bucket{le="+Inf",engine="0"} 1000',
            "vllm:time_to_first_token_seconds_count 1000", "vllm:time_to_first_token_seconds_sum 900",
        ]
    )  # fmt: skip


def checked(plan: Planned, text: str) -> dict[str, Check]:
    return by_name(against_metrics(plan, read_exposition(text), "x"))


def test_the_sla_at_its_percentile(llama: Planned) -> None:
    """p95 of 2 s: 1,000 within 1 s are within; 949 of 1,000 within 2.5 s put the 950th between 2.5 and 5 s, above it; the
    960 of 1,000 put it between 1 and 2.5 s, where the bound itself lies."""
    assert llama.sla[0]["percentile"] == "p95"
    assert checked(llama, exposed())["sla.ttft"].verdict == "as planned"
    assert checked(llama, exposed(within=949))["sla.ttft"].verdict == "differs"
    between = checked(llama, exposed(within=960))["sla.ttft"]
    assert (between.verdict, between.real) == ("not judged", "1 to 2.5")


def test_load(llama: Planned) -> None:
    assert {checked(llama, exposed())[name].verdict for name in ("preemptions", "kv_usage", "waiting", "model")} == {
        "as planned"
    }
    assert checked(llama, exposed(preemptions=3))["preemptions"].verdict == "differs"
    assert checked(llama, exposed(usage=0.97))["kv_usage"].verdict == "differs"
    assert checked(llama, exposed(waiting=40))["waiting"].verdict == "differs"
    assert checked(llama, exposed(model="other"))["model"].verdict == "differs"


def test_cache_config_info(llama: Planned) -> None:
    tokens = int(llama.memory["kv_cache_tokens"]) // 16
    good = f'vllm:cache_config_info{{gpu_memory_utilization="0.9",cache_dtype="fp8",block_size="16",num_gpu_blocks="{tokens}"}} 1.0\n'
    found = checked(llama, exposed() + "\n" + good)
    assert {
        found[name].verdict for name in ("--gpu-memory-utilization", "--kv-cache-dtype", "memory.kv_cache_tokens")
    } == {"as planned"}
    for label, real, attribute in (
        ("enable_prefix_caching", "False", "prefix_caching"), ("kv_offloading_size", "16.0", "kv_offload"),
        ("cache_dtype", "auto", "kv_cache"), ("num_gpu_blocks_override", "512", "args"),
    ):  # fmt: skip
        name = "--kv-cache-dtype" if label == "cache_dtype" else "--" + label.replace("_", "-")
        rows = checked(llama, f'vllm:cache_config_info{{{label}="{real}"}} 1.0')
        assert (rows[name].verdict, rows[name].real, rows[name].attribute) == ("differs", real, attribute)
    bad = checked(llama, exposed() + "\n" + good.replace('"0.9"', '"0.5"').replace(f'"{tokens}"', '"2000"'))
    assert bad["memory.kv_cache_tokens"].why == (
        "`--gpu-memory-utilization` is 0.5 and was planned as 0.9 (`gpu_memory_utilization` in the spec)",
    )


def test_exposition() -> None:
    text = '# HELP x y\nx{a="b\\"}, \\\\n\\n"} 1e3 1700000000\nx 2 # {trace="1"} 3\nx_bucket{le="+Inf"} 4\nnonsense\nx{} NaN\nx zero\n'
    found = read_exposition(text)
    assert [(one.name, one.labels) for one in found[:3]] == [
        ("x", {"a": 'b"}, \\n\n'}),
        ("x", {}),
        ("x_bucket", {"le": "+Inf"}),
    ]
    assert len(found) == 3
    assert histogram(found, "y") is None
    real = histogram(read_exposition(METRICS), "vllm:time_to_first_token_seconds")
    assert real is not None and real.count == 202 and real.within(0.5) == (0.1, 0.25)
    assert Measured(0, 0, ()).within(0.5) == (0.0, 0.0)


# The command.


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["{tiny}", "--log", "{tiny}/README.md"], "no line of a vLLM start"),
        (["{tiny}", "--metrics", "{tiny}/README.md"], "no metrics of vllm"),
        (["{tiny}", "--log", "{tiny}/none"], "cannot read"),
        (["{tiny}/README.md", "--log", "-"], "not TOML"),
        (["{tiny}", "--log", "{start}", "--serve", "other"], "there is no serve `other` (there are: chat)"),
        (["{tiny}", "--metrics", "http:///metrics"], "names no host"),
    ],
)
def test_usage(words: list[str], says: str, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", *(word.format(tiny=tiny, start=DATA / "vllm-0.32.0-start.log") for word in words)]) == 2
    assert says in capsys.readouterr().err


def test_the_serve_is_found_by_its_model(tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (tiny / "plan.toml").read_text()
    row = (
        text[text.index("[[serves]]") : text.index("[[files]]")]
        if "[[files]]" in text
        else text[text.index("[[serves]]") :]
    )
    other = row.replace('name = "chat"', 'name = "docs"').replace("/models/tiny", "/models/other")
    (tmp_path / "plan.toml").write_text(text.replace(row, other + row))
    _, found = answer(capsys, str(tmp_path), "--log", str(DATA / "vllm-0.32.0-start.log"))
    assert (found["serve"], found["verdict"]) == ("chat", "as planned")
    (tmp_path / "plan.toml").write_text(text.replace(row, row.replace('name = "chat"', 'name = "docs"') + row))
    assert run(["verify", str(tmp_path), "--log", str(DATA / "vllm-0.32.0-start.log")]) == 2
    assert "which serve is it? --serve docs, chat" in capsys.readouterr().err


def test_logs_of_other_engines_are_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toml, _ = plan_of(
        LLAMA.replace('engine vllm {\n    version = "0.32"', 'engine sglang {\n    version = "0.5.23"').replace(
            "kv_cache = fp8", ""
        )
    )
    (tmp_path / "plan.toml").write_text(toml)
    assert run(["verify", str(tmp_path), "--log", str(DATA / "vllm-0.32.0-start.log")]) == 2
    assert "runs sglang" in capsys.readouterr().err


def test_the_vllm_inside_of_triton(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Triton prints what its engine says, which starts without vLLM's own server: no arguments, its configuration alone."""
    toml, plan = plan_of(
        LLAMA.replace('engine vllm {\n    version = "0.32"', 'engine triton {\n    version = "25.10"').replace(
            "max_num_seqs = 64", "max_num_seqs = 64\n    prefix_caching = off"
        )
    )
    assert plan.args["--no-enable-prefix-caching"] is True and plan.args["--kv-cache-dtype"] == "fp8"
    (tmp_path / "plan.toml").write_text(toml)
    config = (
        "(EngineCore pid=3) INFO 11-24 14:13:02 [core.py:77] Initializing a V1 LLM engine (v0.11.0) with config: "
        "model='meta-llama/Llama-3.1-8B-Instruct', dtype=torch.bfloat16, max_seq_len={length}, tensor_parallel_size=1, "
        "enforce_eager=False, kv_cache_dtype=fp8, enable_prefix_caching=False, chunked_prefill_enabled=True\n"
    )
    rest = log_of(plan, max_model_len=8192).partition("(Worker_TP0")[2]
    for length, code, first in ((8192, 0, None), (4096, 1, "--max-model-len")):
        (tmp_path / "log").write_text(config.format(length=length) + rest)
        ended, found = answer(capsys, str(tmp_path), "--log", str(tmp_path / "log"))
        assert (ended, found["first"]) == (code, first)
        rows = {row["name"]: row for row in found["checks"]}
        assert rows["engine.version"]["verdict"] == "not judged" and rows["engine.version"]["real"] == "0.11.0"
        assert rows["--enable-prefix-caching"]["verdict"] == rows["--kv-cache-dtype"]["verdict"] == "as planned"


PIECES = (
    *START.splitlines()[7:40], *REFUSAL.splitlines()[55:64], *METRICS.splitlines()[200:240], "non-default args: {'a': [", "non-default args: 1",
    "non-default args: " + "[" * 400, "GPU KV cache size: , tokens", "GPU KV cache size: " + "9" * 5000 + " tokens",
    "Maximum concurrency for 9,,9 tokens per request: 1e9x", "Maximum concurrency for 1 tokens per request: ,5x",
    "Free memory on device (1.2.3/4 GiB) on startup is less than desired GPU memory utilization (0.9, 1.2.3 GiB)", "x NaN", 'x{le="',
    'vllm:cache_config_info{num_gpu_blocks="nan",block_size="inf",kv_cache_size_tokens="-1"} 1', "vllm:num_requests_waiting +Inf",
    'vllm:time_to_first_token_seconds_bucket{le="nan"} 1', "vllm:time_to_first_token_seconds_count 3", "vllm:num_requests_waiting -1",
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=30), max_size=12), st.integers(0, 200))
def test_nothing_of_a_broken_text_escapes(llama: Planned, lines: list[str], cut: int) -> None:
    """A cut, mixed or hostile text is read for what is in it, and the answer is JSON."""
    text = "\n".join(lines)
    text = text[: max(0, len(text) - cut)]
    for report in (against_log(llama, read_log(text), "x"), against_metrics(llama, read_exposition(text), "x")):
        json.dumps(as_json(report, "plan.toml"), allow_nan=False)
        assert as_text(report).endswith("\n")


@pytest.mark.parametrize(
    "text",
    ["", "schema = 1", 'schema = "kcluster.plan.toml/1"', 'schema = "kcluster.plan.toml/1"\nserves = [{}]', "\x00"],
)
def test_what_is_no_plan(text: str) -> None:
    with pytest.raises(Unreadable):
        read_plan(text)


def test_metrics_of_another_engine_have_its_names() -> None:
    """SGLang's retractions are its preemptions, and its first bounds above 0.1 s are 0.2 and 0.4."""
    text = LLAMA.replace('engine vllm {\n    version = "0.32"', 'engine sglang {\n    version = "0.5.23"')
    _, plan = plan_of(text.replace("kv_cache = fp8", ""))
    found = checked(
        plan,
        "sglang:num_queue_reqs 0\nsglang:num_running_reqs 2\nsglang:token_usage 0.5\nsglang:num_retracted_requests_total 4\n"
        'sglang:time_to_first_token_seconds_bucket{le="2.0"} 10\nsglang:time_to_first_token_seconds_bucket{le="4.0"} 100\n'
        "sglang:time_to_first_token_seconds_count 100\nsglang:time_to_first_token_seconds_sum 300\n",
    )
    assert found["preemptions"].verdict == "differs" and found["kv_usage"].real == 0.5
    assert (found["sla.ttft"].verdict, found["sla.ttft"].real) == ("differs", "2 to 4")
