"""Whether the links carry the cut (KC4xx)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kcluster.diagnostics import Diagnostic
from kcluster.planner.types import Plan, ServePlan, Violation
from kcluster.rules.broken import cut_marks, reported
from kcluster.rules.finding import Mark, Place, blame, bus_of, finding, head_of, place_of, written
from kcluster.rules.registry import rule
from kcluster.rules.words import shown
from kcluster.units import given


def _network_mark(serve: ServePlan) -> Mark | None:
    network = serve.serve.hardware.network
    if network is None:
        return Mark(head_of(serve.serve.hardware), "no `network` is given")
    value = network.value
    rdma = "RDMA" if value.rdma else "no RDMA"
    return Mark(place_of(network), f"{shown(value.bandwidth)} a link as reached, {rdma}")


def _bus_mark(serve: ServePlan) -> Mark | None:
    nodes = serve.serve.hardware.nodes
    if not nodes:
        return None
    bus = nodes[0].bus.value
    peers = "" if bus.kind != "pcie" else ", peer to peer" if bus.peer_to_peer else ", no peer-to-peer"
    return Mark(bus_of(serve.serve.hardware), f"{shown(bus.bandwidth)} a card, one way{peers}")


def _step_note(serve: ServePlan) -> Iterator[str]:
    performance = serve.chosen.performance
    talk = serve.chosen.communication
    if performance is not None and talk is not None:
        step = performance.step
        parts = " · ".join(f"{name} {shown(figure)}" for name, figure in step.parts if figure.value > 0)
        yield f"a token at a batch of {performance.batch.value:,.0f} takes {shown(step.total)}: {parts}"
        if talk.allreduce_bytes_per_step.value > 0 and talk.tp_path:
            yield (
                f"all-reduces move {shown(talk.allreduce_bytes_per_step)} a step over {talk.tp_path} in "
                f"{shown(talk.allreduce_seconds_per_step)}"
            )


def _tp_notes(serve: ServePlan, violation: Violation) -> Iterable[str]:
    return _step_note(serve)


@rule("KC401", stage="plan")
def tensor_parallel_across_nodes(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    A tensor-parallel group stays inside one node. Across nodes it is an error without RDMA and a warning with it; the figures say what a token then
    takes.

    Why
    Tensor parallel talks twice a layer and token. Inside a node that is microseconds, over sockets between nodes tens to hundreds of them, 160 times for each
    token of a 70B model. A pipeline over the same wire sends one small message.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
    hardware rack { nodes = 2, gpus = 4 * l40s, network = ethernet(25GbE), hosts = ["10.0.0.21", "10.0.0.22"] }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = rack, sla = team
      parallel { tp = 8 }   #! KC401
      engine vllm { api_key = env("VLLM_API_KEY") }
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
    hardware rack { nodes = 2, gpus = 4 * l40s, network = ethernet(25GbE), hosts = ["10.0.0.21", "10.0.0.22"] }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = rack, sla = team
      engine vllm { api_key = env("VLLM_API_KEY") }
    }
    ```

    Fix
    tp up to the cards of one node, and pp or replicas across nodes.

    Source
    Llama 3.1 405B on 16 × H100 without InfiniBand: tp 8 × pp 2 is 6.6 times as fast as tp 16 (vLLM blog, July 2024); with InfiniBand they are similar.
    """
    yield from reported(
        plan,
        "KC401",
        "warning",
        at=lambda serve, _: blame(serve.serve, "tp"),
        marks=lambda serve, _: (_network_mark(serve), *cut_marks(serve, "tp")),
        notes=_tp_notes,
        help=_inside_node,
        figure="communication.allreduce_seconds_per_step",
    )


def _inside_node(serve: ServePlan, violation: Violation) -> Iterable[str]:
    largest = max((len(node.cards) for node in serve.serve.cluster.nodes), default=1)
    cut = serve.chosen.cut
    if largest < cut.tp and cut.tp % largest == 0:
        yield f"`tp = {largest}` with `pp = {cut.pp * cut.tp // largest}`, or with replicas where the model fits a node"
    else:
        yield f"`tp` of at most {largest}, and pp or replicas across nodes"


@rule("KC402", stage="plan")
def tensor_parallel_beyond_bus(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    All-reduces do not take a large share of a token's time, which they do where tensor parallel goes beyond what the bus pays for: PCIe beyond four cards,
    cards without peer-to-peer, shared lanes.

    Why
    More cards read the weights faster and wait for each other longer. On PCIe with many requests at once, tp 4 is often slower than tp 2, and always
    slower than two replicas.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
    hardware box { gpus = 8 * l40s, bus = pcie(4, x8, p2p = off) }
    sla team { concurrency = 64, context = 4K, prompt = 1K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      parallel { tp = 8 }   #! KC402 KC308
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
    hardware box { gpus = 8 * l40s, bus = pcie(4, x8, p2p = off) }
    sla team { concurrency = 64, context = 4K, prompt = 1K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm { api_key = env("VLLM_API_KEY") }
    }
    ```

    Fix
    A smaller tp with replicas, or a pipeline where the model does not fit; cards with NVLink.

    Source
    4 × RTX 3090 on PCIe 3: at 16 and more requests tp 4 gives 0.6 of tp 2 (4x3090-llm-benchmarks); vLLM's own all-reduce is off for more than two cards
    without NVLink (0.33, `custom_all_reduce.py`).
    """
    yield from reported(
        plan,
        "KC402",
        "warning",
        at=lambda serve, _: blame(serve.serve, "tp", "bus"),
        marks=lambda serve, _: (_bus_mark(serve), *cut_marks(serve, "tp")),
        notes=_tp_notes,
        help=_smaller_tp,
        figure="communication.allreduce_seconds_per_step",
    )


def _smaller_tp(serve: ServePlan, violation: Violation) -> Iterable[str]:
    if written(serve.serve, "tp") is not None:
        yield "leave `tp` out, and the planner weighs replicas and stages against it"


@rule("KC403", stage="plan")
def pipeline_boundary(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    The activations that a burst of prefill sends over a pipeline's boundary take little time on that link, computed from chunk, width and link.

    Why
    In decode a boundary carries a few kilobytes a token. In prefill it carries every token of the chunk, `tokens × hidden × 2` bytes: 2.1 GB for 32
    prompts of 4,096 tokens of a 70B model, which is two seconds on 10 GbE.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-405B-Instruct", weights = fp8 }
    hardware rack {
      nodes   = 2
      gpus    = 4 * rtx-pro-6000-blackwell-server
      bus     = pcie(5, x16, p2p = on)
      network = ethernet(1GbE)   #! KC403
      hosts   = ["10.0.0.21", "10.0.0.22"]
    }
    sla team { concurrency = 4, context = 8K, prompt = 6K, completion = 500 }
    serve chat {
      model = llama, hardware = rack, sla = team
      parallel {
        tp = 4
        pp = 2
      }
      engine vllm { api_key = env("VLLM_API_KEY") }
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-405B-Instruct", weights = fp8 }
    hardware rack {
      nodes   = 2
      gpus    = 4 * rtx-pro-6000-blackwell-server
      bus     = pcie(5, x16, p2p = on)
      network = roce(100GbE)
      hosts   = ["10.0.0.21", "10.0.0.22"]
    }
    sla team { concurrency = 4, context = 8K, prompt = 6K, completion = 500 }
    serve chat {
      model = llama, hardware = rack, sla = team
      parallel {
        tp = 4
        pp = 2
      }
      engine vllm { api_key = env("VLLM_API_KEY") }
    }
    ```

    Fix
    A faster network, prefix caching, or a cut that stays inside a node.

    Source
    A boundary carries the hidden state, `tokens × hidden × 2` bytes in 16 bits: PHYSICS of this project, section 4. 100 Gb links reach 12 GB/s (nccl-tests issues
    29 and 119).
    """
    yield from reported(
        plan,
        "KC403",
        "warning",
        at=lambda serve, _: blame(serve.serve, "network", "pp"),
        marks=lambda serve, _: cut_marks(serve),
        help=lambda *_: ("a faster `network`, or replicas inside nodes where the model fits one",),
        figure="communication.prefill_pipeline_bytes",
    )


@rule("KC404", stage="plan")
def expert_all_to_all(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    Sending tokens to their experts and back takes little of a token's time on the link of the expert group.

    Why
    With expert parallel every token travels to `experts_per_token` experts and back in every layer, most of them on other cards. Over PCIe or Ethernet
    that is most of the time of a token.

    Example
    ```kcluster bad
    model qwen { id = "Qwen/Qwen3-30B-A3B", weights = bf16 }
    hardware rack { nodes = 2, gpus = 4 * l40s, network = ethernet(10GbE), hosts = ["10.0.0.21", "10.0.0.22"] }
    sla team { concurrency = 32, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = qwen, hardware = rack, sla = team
      parallel {
        tp = 1
        dp = 8
        ep = on   #! KC404
      }
      engine vllm { api_key = env("VLLM_API_KEY") }
    }
    ```

    ```kcluster good
    model qwen { id = "Qwen/Qwen3-30B-A3B", weights = bf16 }
    hardware node { gpus = 4 * h100-sxm }
    sla team { concurrency = 32, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = qwen, hardware = node, sla = team
      parallel {
        tp = 4
        ep = on
      }
    }
    ```

    Fix
    Keep the expert group inside a node with NVLink, or leave `ep` off and let tensor parallel cut the experts.

    Source
    Qwen3.5-397B over PCIe with expert parallel: 1.4 to 2.6 tokens a second, 50 with tensor parallel on the same box (rtx6kpro knowledge base, 2026).
    """
    yield from reported(
        plan,
        "KC404",
        "warning",
        at=lambda serve, _: blame(serve.serve, "ep", "dp", "network"),
        marks=lambda serve, _: (
            _network_mark(serve) if len(serve.serve.cluster.nodes) > 1 else _bus_mark(serve),
            *cut_marks(serve),
        ),
        notes=_all_to_all_notes,
        help=lambda *_: ("`ep = off`, or an expert group inside one node",),
        figure="communication.alltoall_bytes_per_step",
    )


def _all_to_all_notes(serve: ServePlan, violation: Violation) -> Iterable[str]:
    talk = serve.chosen.communication
    if talk is not None and talk.ep_path:
        yield (
            f"experts' traffic is {shown(talk.alltoall_bytes_per_step)} a step over {talk.ep_path}, "
            f"{shown(talk.alltoall_seconds_per_step)}"
        )
    yield from _step_note(serve)


@rule("KC405", stage="plan")
def router_link_and_load_time(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    How long a node takes to read the model from the given `storage`, where that is minutes; and whether the streamed answers of all replicas fit the
    router's link.

    Why
    Every restart, every new replica and every failover waits for the model, and time-outs around the engine (health checks, start limits, a router that
    waits for all its workers) must be longer. A streamed token is a JSON object of a few hundred bytes, so that many fast requests fill a slow link.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-70B-Instruct", weights = bf16 }
    hardware box {
      gpus    = 4 * h100-sxm
      storage = 200 MB/s   #! KC405
    }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-70B-Instruct", weights = bf16 }
    hardware box { gpus = 4 * h100-sxm, storage = 5 GB/s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    ```

    Fix
    A local copy on fast storage (`model_path`), a smaller format, or time-outs that are longer than the figure.

    Source
    bytes of the checkpoint ÷ rate of the storage. The vLLM router ends when its workers are not up within 600 s (0.1.17, `--help`).
    """
    for serve in plan.serves:
        yield from _load_time(serve)
        yield from _router_link(serve)


SLOW_LOAD = 300.0
"""Seconds of reading, from which on a start is worth a note: half of what routers and units wait by default."""


def _load_time(serve: ServePlan) -> Iterator[Diagnostic]:
    storage = serve.serve.hardware.storage
    if storage is None or storage.value <= 0:
        return
    from kcluster.physics.startup import load_seconds
    from kcluster.physics.weights import weight_bytes

    model = serve.serve.model
    whole = weight_bytes(model.architecture.value, model.weights.value)
    if model.exact_weight_bytes is not None:
        whole = given("checkpoint", model.exact_weight_bytes.value, "bytes", "its index")
    seconds = load_seconds(whole, storage.value)
    if seconds.value > SLOW_LOAD:
        yield finding(
            "KC405",
            f"reading the model takes {shown(seconds)} at every start",
            place_of(storage),
            marks=(_weights_place(serve),),
            help=("a local copy on faster storage, and time-outs around the engine that are longer",),
        )


BUSY_LINK = 0.5
"""Share of the router's link that streamed answers may take."""


def _router_link(serve: ServePlan) -> Iterator[Diagnostic]:
    network = serve.serve.hardware.network
    performance = serve.chosen.performance
    if network is None or performance is None or len(serve.serve.cluster.nodes) < 2 or serve.chosen.cut.replicas < 2:
        return
    from kcluster.physics.startup import streamed_rate

    rate = streamed_rate(performance.throughput)
    if rate.value > BUSY_LINK * network.value.bandwidth.value:
        yield finding(
            "KC405",
            f"streamed answers are {shown(rate)} through the router, whose link carries {shown(network.value.bandwidth)}",
            place_of(network),
            help=("a faster link for the router's node, or several routers",),
        )


def _weights_place(serve: ServePlan) -> Mark | None:
    place: Place | None = written(serve.serve, "weights", "checkpoint", "id")
    return Mark(place, "what is read") if place is not None else None
