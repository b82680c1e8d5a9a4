"""TensorRT-LLM: a start script of `trtllm-serve` for every process, and its options file.

Flags and keys were read from the source of the line 1.2 (commands/serve.py, llmapi/llm_args.py), since its wheel is not on public
registries; nothing here has been started. The options file beats the command line, so that each thing is said in one place only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.planner.types import Plan
from kcluster.spec.types import DraftSpec
from kcluster.targets.engine_script import address, layers_of_stages, location, overlaid, raw, script
from kcluster.targets.header import comment_header
from kcluster.targets.layout import Process, processes
from kcluster.targets.types import Artifact, target
from kcluster.targets.vllm.arguments import Argument
from kcluster.targets.vllm.files import comment, describe
from kcluster.targets.yaml import Yaml, document
from kcluster.units import human

SAME: Final = {
    "--tensor_parallel_size": "--tp_size",
    "--pipeline_parallel_size": "--pp_size",
    "--moe_expert_parallel_size": "--ep_size",
    "--free_gpu_memory_fraction": "--kv_cache_free_gpu_memory_fraction",
    "--extra_llm_api_options": "--config",
}
"""Spellings that its command line takes for the same option."""


@target("trtllm")
def emit(plan: Plan) -> tuple[Artifact, ...]:
    """`nodes/<host>/serve-<name>.sh` and `.yaml` for every process of TensorRT-LLM."""
    found: list[Artifact] = []
    for process in processes(plan):
        serve = process.serve.serve
        if serve.engine.name.value != "trtllm" or serve.runtime.value == "kubernetes":
            continue
        given = arguments(plan, process)
        command = ("trtllm-serve", "serve", location(process))
        found.append(
            Artifact(f"{process.path}.sh", script(plan, process, command, given, beside=True), executable=True)
        )
        found.append(Artifact(f"{process.path}.yaml", options(plan, process)))
    return tuple(found)


def arguments(plan: Plan, process: Process) -> tuple[Argument, ...]:
    """Every flag of one process with the reason of its figure."""
    return overlaid(_planned(plan, process), raw(process), SAME)


def _planned(plan: Plan, process: Process) -> Iterator[Argument]:
    model = process.serve.serve.model
    if model.revision and location(process) == model.checkpoint.value:
        yield Argument("--revision", model.revision.value, "pinned: what was planned is what is loaded")
    cut = process.serve.chosen.cut
    ranks = cut.tp * cut.dp
    yield Argument(
        "--tp_size", ranks, f"{ranks} cards share every layer" if ranks > 1 else "every layer is whole on its card"
    )
    if cut.pp > 1:
        yield Argument("--pp_size", cut.pp, f"{cut.pp} stages")
    if cut.ep:
        yield Argument("--ep_size", cut.ep_size, f"{cut.ep_size} cards share the experts, each whole on its card")
    yield from _limits(process)
    bind, why = address(plan, process)
    yield Argument("--host", bind, why)
    yield Argument("--port", process.port)
    yield Argument("--config", f"{process.stem}.yaml", "what has no flag; it beats the flags")


def _limits(process: Process) -> Iterator[Argument]:
    from kcluster.physics.fractions import free_fraction

    chosen = process.serve.chosen
    limits, memory = chosen.limits, chosen.memory
    yield Argument("--max_seq_len", limits.max_model_len, "tokens of the longest request")
    yield Argument(
        "--max_batch_size",
        limits.max_num_seqs,
        f"requests decoded at a time; the SLA has {process.serve.load.concurrency} in flight",
    )
    yield Argument("--max_num_tokens", limits.max_num_batched_tokens, "tokens of one step")
    if memory is not None and memory.kv_cache.value > 0:
        yield Argument(
            "--kv_cache_free_gpu_memory_fraction",
            free_fraction(memory, process.serve.serve.cluster.reserved).value,
            f"KV {human(memory.kv_cache.value, 'bytes')} of what weights and buffers leave; not vLLM's share, which counts "
            "everything",
        )


def options(plan: Plan, process: Process) -> str:
    """The options file: what `trtllm-serve` has no flag for."""
    lines = [comment_header(plan, f"{describe(process)}; options of trtllm-serve")]
    for why, key, value in _options(process):
        lines += comment(why, "")
        lines.append(document({key: value}))
    return "".join(lines)


def _options(process: Process) -> Iterator[tuple[str, str, Yaml]]:
    serve = process.serve
    limits, cut, engine = serve.chosen.limits, serve.chosen.cut, serve.serve.engine
    cache: dict[str, Yaml] = {"enable_block_reuse": limits.prefix_caching}
    written = engine.kv_cache
    if limits.kv_format in ("fp8", "nvfp4") or (written and written.value != "auto"):
        cache["dtype"] = {"bf16": "bfloat16", "fp16": "float16"}.get(limits.kv_format, limits.kv_format)
    if limits.block_size is not None:
        cache["tokens_per_block"] = limits.block_size
    if engine.kv_offload:
        from kcluster.physics.fractions import rank_host_cache

        cache["host_cache_size"] = int(rank_host_cache(engine.kv_offload.value, cut).value)
    reuse = "what prompts share is computed once" if limits.prefix_caching else "nothing repeats"
    yield f"the KV cache: {reuse}", "kv_cache_config", cache
    if limits.chunked_prefill:
        yield "long prompts do not hold up running answers", "enable_chunked_prefill", True
    if cut.dp > 1:
        yield f"attention in {cut.dp} groups, each with its own requests and KV cache", "enable_attention_dp", True
    layers = layers_of_stages(process)
    if layers:
        # Its own shares give the remainder to other stages than the plan's.
        yield "layers of each stage", "pp_partition", list(layers)
    if serve.serve.model.draft is not None:
        yield from _speculative(serve.serve.model.draft)
    yield "metrics of requests, for Prometheus", "return_perf_metrics", True
    yield "metrics of the KV cache and the queue", "enable_iter_perf_stats", True


def _speculative(draft: DraftSpec) -> Iterator[tuple[str, str, Yaml]]:
    """What drafts, where it has a counterpart here (`rules/engine_gaps.py` says of the others that they have none)."""
    tokens = draft.tokens.value
    if draft.method.value == "mtp":
        own: dict[str, Yaml] = {"decoding_type": "MTP", "num_nextn_predict_layers": tokens}
        yield "the model's own layers draft", "speculative_config", own
    elif draft.method.value == "ngram":
        matched: dict[str, Yaml] = {"decoding_type": "NGram", "max_draft_len": tokens}
        yield "what was said before drafts", "speculative_config", matched
    elif draft.method.value == "eagle" and draft.id is not None:
        # The line 1.2 takes EAGLE-3 by this name; 1.3 has Eagle3 beside it.
        eagle: dict[str, Yaml] = {
            "decoding_type": "Eagle",
            "max_draft_len": tokens,
            "speculative_model_dir": draft.id.value,
        }
        yield "an EAGLE-3 head drafts", "speculative_config", eagle
