"""SGLang: a start script for every engine process, with the plan in its words.

Flags and their meaning were read from the wheel of 0.5.23 (`catalog/data/engines/sglang.tsv`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.catalog.engines import flag_table
from kcluster.planner.types import Plan
from kcluster.targets.engine_script import address, location, overlaid, raw, script
from kcluster.targets.layout import Process, processes, served_names
from kcluster.targets.types import Artifact, target
from kcluster.targets.vllm.arguments import MASTER_PORT, Argument, load_time_quantization
from kcluster.units import human

COMMAND: Final = ("python3", "-m", "sglang.launch_server")
_DTYPES: Final = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
_KV: Final = {"fp8": "fp8_e4m3", "bf16": "bf16", "nvfp4": "nvfp4"}


@target("sglang")
def emit(plan: Plan) -> tuple[Artifact, ...]:
    """`nodes/<host>/serve-<name>.sh` for every process of SGLang."""
    return tuple(
        Artifact(f"{process.path}.sh", script(plan, process, COMMAND, arguments(plan, process)), executable=True)
        for process in processes(plan)
        if process.serve.serve.engine.name.value == "sglang" and process.serve.serve.runtime.value != "kubernetes"
    )


def arguments(plan: Plan, process: Process) -> tuple[Argument, ...]:
    """Every flag of one process with the reason of its figure."""
    table = flag_table("sglang", process.serve.serve.engine.version.value)
    assert table is not None, "SGLang has a flag table"
    given = raw(process)
    same = {argument.flag: match.flag.name for argument in given if (match := table.match(argument.flag)) is not None}
    return overlaid(_planned(plan, process), given, same)


def _planned(plan: Plan, process: Process) -> Iterator[Argument]:
    model = process.serve.serve.model
    yield Argument("--model-path", location(process))
    if model.revision and location(process) == model.checkpoint.value:
        yield Argument("--revision", model.revision.value, "pinned: what was planned is what is loaded")
    yield Argument("--served-model-name", served_names(process.serve)[-1], "what clients name")
    method = load_time_quantization(process)
    if method:
        yield Argument(
            "--quantization",
            method,
            f"the checkpoint is in 16 bits and becomes {model.weights.value.name} while it loads",
        )
    dtype = process.serve.serve.engine.dtype
    if dtype:
        yield Argument("--dtype", _DTYPES.get(dtype.value, dtype.value), "as the spec says")
    yield from _cut(process)
    yield from _limits(process)
    yield from _features(process)
    yield from _speculative(process)
    bind, why = address(plan, process)
    yield Argument("--host", bind, why)
    yield Argument("--port", process.port or process.serve.ports[process.replica].http)
    yield Argument("--enable-metrics", True, "off by itself; Prometheus reads them")


def _attention_groups(process: Process) -> int:
    """Groups of ranks with their own requests inside of one set of weights: those of a mixture of experts. Ranks of a dense
    model are copies of it, which share nothing."""
    return process.serve.chosen.cut.dp if process.serve.serve.model.architecture.value.moe is not None else 1


def _cut(process: Process) -> Iterator[Argument]:
    cut = process.serve.chosen.cut
    path = process.serve.chosen.communication.tp_path if process.serve.chosen.communication else ""
    groups = _attention_groups(process)
    ranks = cut.tp * groups
    # Its tensor parallel size counts every card of a stage; attention that is data parallel divides them.
    why = f"{ranks} cards share every layer" + (f" over {path}" if path else "")
    yield Argument("--tp-size", ranks, why if ranks > 1 else "every layer is whole on its card")
    if groups > 1:
        yield Argument(
            "--attn-dp-size", groups, f"attention in {groups} groups, each with its own requests and KV cache"
        )
    elif cut.dp > 1:
        yield Argument("--dp-size", cut.dp, f"{cut.dp} copies of the model, each with its own requests and KV cache")
    if cut.pp > 1:
        yield Argument("--pp-size", cut.pp, f"{cut.pp} stages")
    if cut.ep:
        yield Argument("--ep-size", cut.ep_size, f"{cut.ep_size} cards share the experts, each whole on its card")
    if cut.dcp > 1:
        yield Argument("--dcp-size", cut.dcp, "ranks that would repeat the KV cache share it instead")
    if cut.eplb:
        yield Argument("--enable-eplb", True, "busy experts are copied to even out the cards")
    if process.nodes > 1:
        head = process.serve.hosts[process.serve.chosen.placement[process.replica].nodes[0]]
        port = process.serve.ports[process.replica].master or MASTER_PORT
        yield Argument("--nnodes", process.nodes, "nodes that this engine spans")
        yield Argument("--node-rank", process.node_rank, "this node's place among them")
        meeting = f"[{head}]:{port}" if ":" in head else f"{head}:{port}"
        yield Argument("--dist-init-addr", meeting, "where the nodes meet")


def _limits(process: Process) -> Iterator[Argument]:
    from kcluster.physics.fractions import running_requests, static_fraction, step_tokens

    chosen, groups = process.serve.chosen, _attention_groups(process)
    limits, memory = chosen.limits, chosen.memory
    yield Argument("--context-length", limits.max_model_len, "tokens of the longest request")
    if memory is not None and memory.kv_cache.value > 0:
        fraction = static_fraction(memory, process.serve.serve.cluster.reserved)
        held = f"weights {human(memory.weights.value, 'bytes')} + KV {human(memory.kv_cache.value, 'bytes')}"
        yield Argument(
            "--mem-fraction-static",
            fraction.value,
            f"{held} of what is free before loading; not vLLM's share, which counts everything",
        )
    yield Argument(
        "--max-running-requests",
        int(running_requests(limits.max_num_seqs, groups).value),
        f"requests decoded at a time; the SLA has {process.serve.load.concurrency} in flight",
    )
    yield Argument(
        "--chunked-prefill-size",
        int(step_tokens(limits.max_num_batched_tokens, groups).value) if limits.chunked_prefill else -1,
        "tokens of prompts that are read in one step" if limits.chunked_prefill else "a prompt is one step",
    )
    written = process.serve.serve.engine.kv_cache
    if limits.kv_format in ("fp8", "nvfp4") or (written and written.value != "auto"):
        per_token = f"; {human(memory.kv_bytes_per_token.value, 'bytes')} a token" if memory else ""
        yield Argument("--kv-cache-dtype", _KV.get(limits.kv_format, "auto"), f"format of the KV cache{per_token}")
    if limits.block_size is not None:
        yield Argument("--page-size", limits.block_size, "tokens of one block of the KV cache")


def _features(process: Process) -> Iterator[Argument]:
    limits = process.serve.chosen.limits
    if not limits.prefix_caching:
        yield Argument("--disable-radix-cache", True, "nothing repeats")
    offload = process.serve.serve.engine.kv_offload
    if offload:
        yield Argument("--enable-hierarchical-cache", True, "host memory behind the KV cache")
        from kcluster.physics.fractions import host_cache_share

        size = host_cache_share(offload.value, process.serve.chosen.cut)
        yield Argument(
            "--hicache-size", int(size.value), "GB of host memory a card, a share of what the spec gives the engine"
        )


def _speculative(process: Process) -> Iterator[Argument]:
    draft = process.serve.serve.model.draft
    if draft is None:
        return
    third = draft.id is not None and "eagle3" in draft.id.value.lower()
    algorithm = {"eagle": "EAGLE3" if third else "EAGLE", "mtp": "NEXTN", "ngram": "NGRAM", "draft": "STANDALONE"}
    method = draft.method.value
    yield Argument("--speculative-algorithm", algorithm[method], "how tokens are drafted")
    if draft.id:
        yield Argument("--speculative-draft-model-path", draft.id.value, "the drafter")
    if method != "ngram":
        yield Argument("--speculative-num-steps", draft.tokens.value, "tokens drafted one after another")
        yield Argument("--speculative-eagle-topk", 1, "one chain, as it was planned")
        yield Argument(
            "--speculative-num-draft-tokens", draft.tokens.value + 1, "checked in one step, the next one with them"
        )
    else:
        yield Argument("--speculative-num-draft-tokens", draft.tokens.value, "tokens drafted a step")
