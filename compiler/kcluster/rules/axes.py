"""Whether the cut is one: heads, layers, widths and blocks against tp, pp and the number of cards (KC3xx)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kcluster.diagnostics import Diagnostic
from kcluster.physics.architecture import LatentAttention
from kcluster.planner.types import Plan, ServePlan, Violation
from kcluster.rules import ways
from kcluster.rules.broken import CUT, cut_marks, reported
from kcluster.rules.finding import Mark, blame, finding, gpus_of, written
from kcluster.rules.registry import rule
from kcluster.rules.words import count, counted, listed, quoted


def model_mark(serve: ServePlan, text: str) -> Mark | None:
    """On the model's line: the size of it that the cut meets."""
    place = written(serve.serve, "id", "checkpoint")
    return Mark(place, text) if place is not None else None


def heads_text(serve: ServePlan) -> str:
    attention = serve.serve.model.architecture.value.attention
    if attention is None:
        return ""
    if isinstance(attention, LatentAttention):
        return f"{count(attention.heads)} heads over one latent"
    return f"{count(attention.heads)} heads, {count(attention.kv_heads)} KV heads"


def _gpus_mark(serve: ServePlan) -> Mark:
    return Mark(gpus_of(serve.serve.hardware), f"{counted(serve.serve.cluster.gpus, 'card')} for this serve")


def _allowed_tp(serve: ServePlan) -> tuple[int, ...]:
    """Tensor-parallel sizes that this model and format take on the largest node."""
    from kcluster.physics.constraints import allowed_tps

    model = serve.serve.model
    largest = max((len(node.cards) for node in serve.serve.cluster.nodes), default=1)
    return allowed_tps(model.architecture.value, model.weights.value, serve.chosen.cut, max(1, largest))


def _tp_help(serve: ServePlan, violation: Violation) -> Iterable[str]:
    sizes = _allowed_tp(serve)
    starting = ways.starting(serve, "tp", sizes)
    if starting:
        yield f"`tp` of {listed((count(size) for size in starting), 'or')} on these nodes"
    else:
        if sizes:
            yield f"{listed((count(size) for size in sizes), 'or')} would divide, and the model does not fit so"
        yield from ways.smallest(serve)
    cards = serve.serve.cluster.gpus
    pipeline = serve.serve.model.architecture.value.pipeline
    odd = serve.chosen.cut.tp > 1 and cards in ODD_COUNTS and cards not in sizes
    if violation.fatal and odd and pipeline and ways.pipeline_starts(serve, cards):
        yield f"`pp = {cards}` with `tp = 1` uses all {cards} cards"


ODD_COUNTS = (3, 5, 6, 7)
"""Counts of cards that heads rarely divide by, and that a pipeline takes."""


@rule("KC301", stage="plan")
def heads_not_divisible(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    Tensor parallel divides the attention heads.

    Why
    Each rank computes whole heads. 64 heads go to 2, 4 or 8 cards, never to 3, 5, 6 or 7, however much memory those have together; a pipeline cuts by layers
    and takes any number.

    Example
    ```kcluster bad
    model qwen { id = "Qwen/Qwen3-4B" }
    hardware box { gpus = 3 * l40s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = qwen, hardware = box, sla = team
      parallel { tp = 3 }   #! KC301
    }
    ```

    ```kcluster good
    model qwen { id = "Qwen/Qwen3-4B" }
    hardware box { gpus = 3 * l40s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = qwen, hardware = box, sla = team
      parallel { pp = 3 }
    }
    ```

    Fix
    A size that the message lists, or `pp` for the number of cards that does not divide.

    Source
    `num_attention_heads` of `config.json`; vLLM 0.33, `config/model.py`: "total number of attention heads must be divisible by tensor parallel size".
    """
    yield from reported(
        plan,
        "KC301",
        "error",
        marks=lambda serve, _: (model_mark(serve, heads_text(serve)), _gpus_mark(serve)),
        help=_tp_help,
    )


@rule("KC302", stage="plan")
def kv_heads(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    Of KV heads and tp one divides the other (error). Where tp is larger, or attention is of the latent kind, every rank holds KV that others hold too
    (note, where tp is pinned: left open, the planner has weighed it).

    Why
    Six KV heads over four ranks pass the engine's own configuration check, and every worker dies a minute later with an assertion without text. KV heads
    fewer than ranks are copied, and a latent is one for all heads: more tp then adds no KV, while decode context parallel or data-parallel
    attention does.

    Example
    ```kcluster bad
    model phi { id = "microsoft/phi-4" }
    hardware box { gpus = 4 * l40s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = phi, hardware = box, sla = team
      parallel { tp = 4 }   #! KC302
    }
    ```

    ```kcluster good
    model phi { id = "microsoft/phi-4" }
    hardware box { gpus = 4 * l40s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = phi, hardware = box, sla = team
      parallel {
        tp       = 2
        replicas = 2
      }
      engine vllm { api_key = env("VLLM_API_KEY") }
    }
    ```

    Fix
    A size that the message lists; where KV is held more than once, `dcp`, or `dp` with `ep` for a mixture of experts.

    Source
    vLLM 0.33, `layers/linear.py` (`QKVParallelLinear`) and `distributed/utils.py` (`divide`); tp raised to gain KV on a latent-attention model: vLLM issue
    51454.
    """
    yield from reported(
        plan,
        "KC302",
        "note",
        unless=("KC301",),
        skip=lambda serve: serve.chosen.fits != "no" and written(serve.serve, "tp") is None,
        marks=lambda serve, _: (model_mark(serve, heads_text(serve)), *cut_marks(serve, "tp")),
        help=_kv_heads_help,
    )


def _kv_heads_help(serve: ServePlan, violation: Violation) -> Iterable[str]:
    if violation.fatal:
        yield from _tp_help(serve, violation)
        return
    from kcluster.physics.constraints import allowed_dcps

    architecture = serve.serve.model.architecture.value
    latent = isinstance(architecture.attention, LatentAttention)
    sizes = ways.shared_contexts(serve, allowed_dcps(architecture, serve.chosen.cut))
    if sizes:
        what = "the latent" if latent else "the copies"
        yield f"`dcp` of {listed((count(size) for size in sizes), 'or')} shares {what}"
    if latent and architecture.moe is not None:
        yield "`dp` with `ep = on` gives each rank requests of its own"


@rule("KC303", stage="plan")
def card_count(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    replicas × dp × tp × pp is the number of cards: none is idle (warning), and there are no fewer than it needs (error).

    Why
    An idle card is paid for and holds no KV. More cards than there are is an engine that waits for a placement that never comes.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 2 * l40s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      parallel { tp = 4 }   #! KC303
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 2 * l40s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      parallel { tp = 2 }
    }
    ```

    Fix
    Leave `replicas` at `auto`, and what the cut leaves over becomes replicas; or narrow the serve to the cards that it wants (`gpus = [0..3]`).

    Source
    vLLM refuses a world size above the visible GPUs without `--nnodes` or Ray (0.33, `config/parallel.py`); a Ray placement group above what there is
    stays pending for ever.
    """
    yield from reported(
        plan,
        "KC303",
        "warning",
        marks=lambda serve, violation: (_gpus_mark(serve), *cut_marks(serve, violation.subject)),
        help=_count_help,
    )


def _count_help(serve: ServePlan, violation: Violation) -> Iterable[str]:
    if violation.fatal:
        yield from ways.enough_cards(serve)
        return
    more = ways.more_replicas(serve)
    if more is not None:
        what = f"`replicas = {more.replicas}`" if written(serve.serve, "tp") is not None else ways.shape(more)
        yield f"{what} would use {counted(more.gpus, 'card')}"
    else:
        yield "narrow the serve with `gpus = […]` so that another one can have them"


@rule("KC304", stage="plan")
def pipeline_layers(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    Pipeline parallel divides the layers (warning, with the partition that results), does not exceed them, and the model's class supports it (errors).

    Why
    The stage with more layers takes longer for every token and holds less KV, and all others wait for it. An engine with more stages than
    layers passes its configuration check and dies at start.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 3 * l40s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      parallel {
        tp = 1
        pp = 3   #! KC304
      }
      engine vllm { api_key = env("VLLM_API_KEY") }
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 2 * l40s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      parallel {
        tp = 1
        pp = 2
      }
      engine vllm { api_key = env("VLLM_API_KEY") }
    }
    ```

    Fix
    A `pp` that divides the layers, or a partition by hand: `layers = [11, 11, 10]` puts the smaller share where the head is.

    Source
    vLLM 0.33, `distributed/utils.py` (`get_pp_indices`): the remainder goes to the stages before the last; `config/model.py` for classes without pipeline
    support.
    """
    yield from reported(
        plan,
        "KC304",
        "warning",
        marks=lambda serve, _: (
            model_mark(serve, counted(len(serve.serve.model.architecture.value.layers), "layer")),
            *cut_marks(serve, "pp"),
        ),
        help=_stage_help,
    )


def _stage_help(serve: ServePlan, violation: Violation) -> Iterable[str]:
    layers = len(serve.serve.model.architecture.value.layers)
    cut = serve.chosen.cut
    most = min(layers, serve.serve.cluster.gpus // (cut.tp * cut.dp))
    fitting = tuple(size for size in range(2, most + 1) if layers % size == 0)
    if violation.subject == "pp" and cut.pp > layers:
        yield f"`pp` of at most {count(layers)}"
    elif violation.subject == "pp" and not violation.fatal:
        starting = ways.starting(serve, "pp", fitting)[:6]
        if starting:
            yield f"`pp` of {listed((count(size) for size in starting), 'or')} divides {count(layers)} layers"


@rule("KC306", stage="plan")
def quantization_block(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    What a rank holds of a width is a whole number of the quantization's blocks or groups: 128 × 128 of block FP8, the group of AWQ and GPTQ, the least
    that the Marlin kernel takes.

    Why
    A scale belongs to a block. A shard that ends inside one would need half a scale, and the engine refuses it while loading. The most frequent
    mistake in public launch commands that could be found beforehand: 13 % of them.

    Example
    ```kcluster bad
    model qwen { id = "Qwen/Qwen3-235B-A22B", checkpoint = "Qwen/Qwen3-235B-A22B-FP8", weights = fp8-block }
    hardware node { gpus = 8 * h100-sxm }
    sla api { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = qwen, hardware = node, sla = api
      parallel {
        tp = 8   #! KC306
        ep = off
      }
    }
    ```

    ```kcluster good
    model qwen { id = "Qwen/Qwen3-235B-A22B", checkpoint = "Qwen/Qwen3-235B-A22B-FP8", weights = fp8-block }
    hardware node { gpus = 8 * h100-sxm }
    sla api { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = qwen, hardware = node, sla = api
      parallel {
        tp = 8
        ep = on
      }
    }
    ```

    Fix
    A tp that the message lists, `ep = on` for experts (which stay whole), or a checkpoint in another format.

    Source
    vLLM 0.33, `quantization/utils/fp8_utils.py` (block columns and rows), `distributed/utils.py` (`verify_group_size_divides_partition`) and
    `marlin_utils.py` (output by 64, input by 128).
    """
    yield from reported(
        plan,
        "KC306",
        "error",
        marks=lambda serve, _: (_format_mark(serve), *cut_marks(serve, "tp")),
        help=_block_help,
    )


def _format_mark(serve: ServePlan) -> Mark | None:
    place = written(serve.serve, "weights", "checkpoint", "id")
    fmt = serve.serve.model.weights.value
    if place is None:
        return None
    if fmt.block is not None:
        return Mark(place, f"blocks of {fmt.block[0]} × {fmt.block[1]}")
    return Mark(place, f"groups of {fmt.group}" if fmt.group else fmt.name)


def _block_help(serve: ServePlan, violation: Violation) -> Iterable[str]:
    if "experts" in violation.because and not serve.chosen.cut.ep:
        yield "`ep = on` keeps every expert whole on one rank"
    yield from _tp_help(serve, violation)


@rule("KC308", stage="plan")
def needless_cut(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    A tp or pp that was pinned by hand is not larger than the model needs: with the cut left open, the planner would take another one that fits, meets the
    SLA as well, and is ranked before it.

    Why
    Every doubling of tp adds all-reduces to every layer, and a pipeline does not shorten a token. Replicas of a smaller cut give the same cards more
    throughput, and survive the loss of one.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
    hardware box { gpus = 4 * l40s }
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      parallel { pp = 4 }   #! KC308
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
    hardware box { gpus = 4 * l40s }
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm { api_key = env("VLLM_API_KEY") }
    }
    ```

    Fix
    Leave the number out, or keep it with a suppression that says what it is for (latency of one request, a second serve to come).

    Source
    Llama 3.3 70B AWQ on 2 × RTX 5090 by pipeline: 616 tokens a second, two such replicas on four cards 1,223 (research of this project, benchmark rows of
    `cloudrift-ai/server-benchmark`).
    """
    for serve in plan.serves:
        pinned = [
            name
            for name in ("tp", "pp")
            if written(serve.serve, name) is not None and getattr(serve.chosen.cut, name) > 1
        ]
        if not pinned or serve.chosen.fits != "yes":
            continue
        better = ways.smaller_cut(serve)
        if better is None:
            continue
        # What was pinned and is cut otherwise there: leaving out less than all of it would not lead there.
        apart = [
            name
            for name in CUT
            if written(serve.serve, name) is not None and getattr(serve.chosen.cut, name) != getattr(better, name)
        ]
        if apart and any(getattr(serve.chosen.cut, name) > getattr(better, name) for name in pinned):
            larger = [name for name in apart if name in pinned]
            said = listed(f"{name} {getattr(serve.chosen.cut, name)}" for name in larger)
            yield finding(
                "KC308",
                f"{said} pinned by hand, where {ways.shape(better)} would do",
                blame(serve.serve, *larger),
                severity="note",
                marks=(_gpus_mark(serve),),
                help=(f"leave {quoted(apart, 'and')} out, and the planner cuts",),
            )


@rule("KC309", stage="plan")
def intermediate_not_divisible(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    Tensor parallel divides the width of the feed-forward part; for experts that are not spread whole, tp × dp does.

    Why
    Each rank holds the same number of columns. The engine's configuration check does not look at this width: its workers die with an assertion
    while they load.

    Example
    ```kcluster bad
    model gptoss { id = "openai/gpt-oss-20b" }
    hardware box { gpus = 7 * l40s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = gptoss, hardware = box, sla = team
      parallel { tp = 1, dp = 7, ep = off }   #! KC309
    }
    ```

    ```kcluster good
    model gptoss { id = "openai/gpt-oss-20b" }
    hardware box { gpus = 8 * l40s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = gptoss, hardware = box, sla = team
      parallel { tp = 1, replicas = 8 }
      engine vllm { api_key = env("VLLM_API_KEY") }
    }
    ```

    Fix
    A size that the message lists; for experts, `ep = on`, which keeps them whole.

    Source
    `intermediate_size` and `moe_intermediate_size` of `config.json`; vLLM 0.33, `distributed/utils.py` (`divide`) and `fused_moe/config.py` (experts are cut by
    tp × dp without expert parallel).
    """
    yield from reported(
        plan,
        "KC309",
        "error",
        unless=("KC301",),
        at=lambda serve, _: blame(serve.serve, "tp", "dp"),
        marks=lambda serve, violation: (model_mark(serve, _width_text(violation)), *cut_marks(serve, "tp")),
        help=_block_help,
    )


def _width_text(violation: Violation) -> str:
    return f"{violation.figures[0].name} size {count(violation.figures[0].value)}" if violation.figures else ""
