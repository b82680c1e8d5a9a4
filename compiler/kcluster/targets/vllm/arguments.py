"""The command line of one `vllm serve` process: every flag with its value and the reason of its figure.

This is the one place where the plan becomes flags. The start script, the `--config` file and `plan --format json` render the
same values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from kcluster.catalog.engines import FlagTable, FlagValue, engine_versions, flag_table
from kcluster.physics.results import Memory
from kcluster.planner.types import Plan
from kcluster.targets.layout import Process, balance, model_location, served_names, shutdown_seconds
from kcluster.targets.routing import listening
from kcluster.targets.vllm.raw import merged
from kcluster.units import human
from kcluster.values import frozen

SSE_KEEP_ALIVE_SECONDS: Final = 15
RPC_PORT: Final = 29550
MASTER_PORT: Final = 29501
_API_ONLY: Final = frozenset({"--host", "--port", "--sse-keep-alive-interval"})
"""Flags of the HTTP server, which a headless process has not."""
_COMFORT: Final = frozenset({"--sse-keep-alive-interval", "--shutdown-timeout", "--distributed-executor-backend"})
"""Flags that a version may lack without the plan losing anything that it promised."""
_DTYPES: Final = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


@frozen
class Argument:
    """One flag. `True` is the bare flag, a tuple several values; `why` is the reason of its figure, for a comment."""

    flag: str
    value: FlagValue
    why: str = ""


def engine_args(plan: Plan, process: Process) -> tuple[tuple[str, FlagValue], ...]:
    """Every flag and value of one process, `--model` first (on a command line it is the positional argument)."""
    return tuple((argument.flag, argument.value) for argument in arguments(plan, process))


def arguments(plan: Plan, process: Process) -> tuple[Argument, ...]:
    """Like `engine_args`, with reasons. A raw flag of the spec takes the place of the flag that an attribute gave."""
    table = table_of(process)
    own = tuple(argument for argument in _planned(plan, process) if _offered(table, argument.flag))
    raw = tuple((key.value, value.value) for key, value in process.serve.serve.engine.args)
    values = merged(table, tuple((argument.flag, argument.value) for argument in own), raw)
    reasons = {argument.flag: argument.why for argument in own}
    unchanged = {(argument.flag, argument.value) for argument in own}
    return tuple(
        Argument(flag, value, reasons[flag] if (flag, value) in unchanged else "as the spec says (args)")
        for flag, value in values
    )


def lacking(plan: Plan, process: Process) -> tuple[Argument, ...]:
    """What the plan asks for and this version has no flag for; empty where nothing is lost."""
    table = table_of(process)
    return tuple(
        argument
        for argument in _planned(plan, process)
        if argument.flag not in _COMFORT and not _offered(table, argument.flag)
    )


def doubtful(plan: Plan, process: Process) -> tuple[Argument, ...]:
    """What the plan asks for and only one of the two tables around this version has a flag for."""
    table = table_of(process)
    return tuple(
        argument
        for argument in _planned(plan, process)
        if _offered(table, argument.flag) and (flag := table.find(argument.flag)) is not None and not flag.certain
    )


def table_of(process: Process) -> FlagTable:
    """The flag table that the process's version is judged by; the newest for the vLLM inside of another server."""
    engine = process.serve.serve.engine
    version = engine.version.value if engine.name.value == "vllm" else max(engine_versions("vllm"))
    table = flag_table("vllm", version)
    assert table is not None, "vLLM has flag tables"
    return table


def _offered(table: FlagTable, name: str) -> bool:
    flag = table.find(name)
    return flag is not None and (flag.certain or name not in _COMFORT)


def _planned(plan: Plan, process: Process) -> Iterator[Argument]:
    """What the plan asks for, whatever the version."""
    parts = (
        _model(process),
        _cut(process),
        _limits(process),
        _features(process),
        _serving(plan, process),
        _nodes(process),
    )
    for part in parts:
        for argument in part:
            if process.answers or argument.flag not in _API_ONLY:
                yield argument


def _model(process: Process) -> Iterator[Argument]:
    model = process.serve.serve.model
    location = model_location(process.serve)
    yield Argument("--model", location)
    if model.revision and location == model.checkpoint.value:
        yield Argument("--revision", model.revision.value, "pinned: what was planned is what is loaded")
    yield Argument(
        "--served-model-name", served_names(process.serve), "what clients name, and what metrics are labelled with"
    )
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


def load_time_quantization(process: Process) -> str | None:
    """The `--quantization` of a format that the engine makes itself while it loads a 16-bit checkpoint; None where the
    checkpoint says its own format (the engine reads that), or where no format is made so."""
    model = process.serve.serve.model
    online = {"fp8": "fp8", "mxfp8": "mxfp8", "bnb-int4": "bitsandbytes"}.get(model.weights.value.name)
    if online is None or model.checkpoint.value != model.id.value:
        return None
    from kcluster.catalog.formats import format_of_checkpoint

    shipped = format_of_checkpoint(model.quantization, model.checkpoint.value)
    return online if shipped in (None, "bf16", "fp16", "fp32") else None


def _cut(process: Process) -> Iterator[Argument]:
    chosen = process.serve.chosen
    cut = chosen.cut
    path = chosen.communication.tp_path if chosen.communication else ""
    over = f" over {path}" if path else ""
    yield Argument(
        "--tensor-parallel-size",
        cut.tp,
        f"{cut.tp} cards share every layer{over}" if cut.tp > 1 else "every layer is whole on its card",
    )
    if cut.pp > 1:
        layers = " + ".join(str(stage.layers) for stage in chosen.memory.stages) if chosen.memory else ""
        yield Argument(
            "--pipeline-parallel-size", cut.pp, f"stages of {layers} layers" if layers else f"{cut.pp} stages"
        )
    if cut.dcp > 1:
        yield Argument(
            "--decode-context-parallel-size", cut.dcp, "ranks that would repeat the KV cache share it instead"
        )
    if cut.ep:
        yield Argument(
            "--enable-expert-parallel", True, f"{cut.ep_size} cards share the experts, each whole on its card"
        )
    if cut.eplb:
        yield Argument("--enable-eplb", True, "busy experts are copied to even out the cards")
        if cut.redundant_experts:
            value = json.dumps({"num_redundant_experts": cut.redundant_experts})
            yield Argument("--eplb-config", value, "experts kept twice")
    yield from _data_parallel(process)
    if process.serve.distribution == "ray":
        yield Argument(
            "--distributed-executor-backend",
            "ray",
            "its workers are the cards of the Ray that the scripts beside start",
        )
    elif cut.tp * cut.pp > 1:
        yield Argument("--distributed-executor-backend", "mp", "processes of its own, also where a Ray happens to run")


def _data_parallel(process: Process) -> Iterator[Argument]:
    serve_plan = process.serve
    cut = serve_plan.chosen.cut
    if cut.dp == 1:
        return
    head = serve_plan.hosts[serve_plan.chosen.placement[process.replica].nodes[0]]
    kind = balance(serve_plan)
    # Ranks that are servers of their own meet at a port even on one node.
    port = serve_plan.ports[process.replica].dp_rpc or (RPC_PORT + process.replica if kind != "internal" else 0)
    yield Argument("--data-parallel-size", cut.dp, f"{cut.dp} ranks, each with its own requests and KV cache")
    address = Argument("--data-parallel-address", head if process.nodes > 1 else "127.0.0.1", "where the ranks meet")
    meeting = (address, Argument("--data-parallel-rpc-port", port, "where the ranks meet")) if port else (address,)
    if serve_plan.distribution == "ray":
        yield Argument("--data-parallel-backend", "ray", "Ray places the ranks")
        yield Argument("--data-parallel-size-local", len(process.ranks), "ranks on this node")
        yield meeting[0]
    elif serve_plan.distribution == "nnodes":
        # Which ranks a node has follows from its place among the nodes.
        yield from meeting
    elif kind == "external":
        yield Argument(
            "--data-parallel-rank", process.ranks[0], "this server's rank; the router sees one server a rank"
        )
        yield from meeting
    elif kind == "hybrid":
        yield Argument("--data-parallel-hybrid-lb", True, "each node balances its own ranks, the router the nodes")
        yield Argument("--data-parallel-size-local", len(process.ranks), "ranks on this node")
        yield Argument("--data-parallel-start-rank", process.ranks[0], "the first of them")
        yield from meeting
    elif process.nodes > 1:
        yield Argument("--data-parallel-size-local", len(process.ranks), "ranks on this node")
        if process.node_rank:
            yield Argument("--data-parallel-start-rank", process.ranks[0], "the first of them")
        yield from meeting


def _limits(process: Process) -> Iterator[Argument]:
    chosen = process.serve.chosen
    limits, memory = chosen.limits, chosen.memory
    yield Argument("--max-model-len", limits.max_model_len, _length_reason(memory))
    yield Argument(
        "--max-num-seqs",
        limits.max_num_seqs,
        f"requests decoded at a time; the SLA has {process.serve.load.concurrency} in flight",
    )
    batch_reason = f"tokens of one step; activations take {human(memory.activation.value, 'bytes')}" if memory else ""
    yield Argument("--max-num-batched-tokens", limits.max_num_batched_tokens, batch_reason or "tokens of one step")
    yield Argument("--gpu-memory-utilization", limits.utilization, _utilization_reason(memory))
    if limits.kv_cache_memory_bytes is not None:
        yield Argument(
            "--kv-cache-memory-bytes", limits.kv_cache_memory_bytes, "as the spec says; the utilization is not checked"
        )
    if limits.block_size is not None:
        yield Argument("--block-size", limits.block_size, "tokens of one block of the KV cache")
    written = process.serve.serve.engine.kv_cache
    if limits.kv_format in ("fp8", "nvfp4") or (written and written.value != "auto"):
        value = _DTYPES.get(limits.kv_format, limits.kv_format)
        per_token = f"; {human(memory.kv_bytes_per_token.value, 'bytes')} a token" if memory else ""
        yield Argument("--kv-cache-dtype", value, f"format of the KV cache{per_token}")


def _length_reason(memory: Memory | None) -> str:
    if memory is None:
        return "tokens of the longest request"
    held = human(memory.max_concurrency.value, "requests")
    return f"tokens of the longest request; the KV cache holds {human(memory.kv_tokens.value, 'tokens')}, {held} such requests"


def _utilization_reason(memory: Memory | None) -> str:
    if memory is None:
        return "share of a card's memory"
    parts = (
        ("weights", memory.weights),
        ("activations", memory.activation),
        ("graphs", memory.cuda_graph),
        ("other", memory.non_torch),
        ("KV", memory.kv_cache),
    )
    listed = " + ".join(f"{name} {human(figure.value, 'bytes')}" for name, figure in parts if figure.value)
    return f"of {human(memory.total.value, 'bytes')}: {listed}"


def _features(process: Process) -> Iterator[Argument]:
    engine = process.serve.serve.engine
    limits = process.serve.chosen.limits
    if engine.prefix_caching or not process.serve.serve.model.architecture.value.recurrent:
        on = limits.prefix_caching
        flag = "--enable-prefix-caching" if on else "--no-enable-prefix-caching"
        yield Argument(flag, True, "what prompts share is computed once" if on else "nothing repeats")
    if engine.chunked_prefill or not limits.chunked_prefill:
        on = limits.chunked_prefill
        flag = "--enable-chunked-prefill" if on else "--no-enable-chunked-prefill"
        yield Argument(flag, True, "long prompts do not hold up running answers" if on else "a prompt is one step")
    if limits.eager:
        yield Argument("--enforce-eager", True, "no graphs")
    if limits.language_model_only:
        yield Argument("--language-model-only", True, "no vision tower")
    if engine.kv_offload:
        from kcluster.physics.fractions import core_host_cache

        cut = process.serve.chosen.cut
        size = core_host_cache(engine.kv_offload.value, cut).value
        whose = f" of each of {cut.dp} ranks" if cut.dp > 1 else ""
        yield Argument(
            "--kv-offloading-size",
            int(size) if size == int(size) else size,
            f"GiB of host memory behind the KV cache{whose}",
        )
    yield from _speculative(process)


def _speculative(process: Process) -> Iterator[Argument]:
    draft = process.serve.serve.model.draft
    if draft is None:
        return
    config: dict[str, object] = {}
    method = draft.method.value
    if method == "eagle":
        config["method"] = "eagle3" if draft.id and "eagle3" in draft.id.value.lower() else "eagle"
    elif method == "draft":
        config["method"] = "draft_model"
    else:
        config["method"] = method
    if draft.id:
        config["model"] = draft.id.value
    config["num_speculative_tokens"] = draft.tokens.value
    if draft.tp:
        config["draft_tensor_parallel_size"] = draft.tp.value
    yield Argument(
        "--speculative-config", json.dumps(config, ensure_ascii=False), "the drafter, and how far it guesses ahead"
    )


def _serving(plan: Plan, process: Process) -> Iterator[Argument]:
    bind, router_beside = listening_address(plan, process)
    reason = "its router is on this node" if router_beside else "this node's address on the network"
    written = process.serve.serve.engine.host
    yield Argument(
        "--host",
        bind,
        "as the spec says"
        if written
        else "reached from this node only"
        if bind == "127.0.0.1" and not router_beside
        else reason,
    )
    yield Argument("--port", process.port)
    yield Argument(
        "--sse-keep-alive-interval",
        SSE_KEEP_ALIVE_SECONDS,
        "seconds; a stream that waits for its first token is not taken for dead",
    )
    yield Argument(
        "--shutdown-timeout", shutdown_seconds(process.serve), "seconds to finish running answers when it is stopped"
    )


def listening_address(plan: Plan, process: Process) -> tuple[str, bool]:
    """What the process's HTTP server binds, and whether that is because its router is on the same node."""
    bind = listening(plan, process.serve, process.host)
    return bind, bind == "127.0.0.1" and process.serve.serve.engine.host is None


def _nodes(process: Process) -> Iterator[Argument]:
    serve_plan = process.serve
    if serve_plan.distribution == "nnodes" and process.nodes > 1:
        head = serve_plan.hosts[serve_plan.chosen.placement[process.replica].nodes[0]]
        yield Argument("--nnodes", process.nodes, "nodes that this engine spans")
        yield Argument("--node-rank", process.node_rank, "this node's place among them")
        yield Argument("--master-addr", head, "the first of them")
        yield Argument("--master-port", serve_plan.ports[process.replica].master or MASTER_PORT, "where the nodes meet")
    if not process.answers:
        yield Argument("--headless", True, "the first node answers; this one only computes")
