"""Axes that only some models have: experts, shared context, drafts (KC305, KC307, KC310)."""

from __future__ import annotations

from collections.abc import Iterator

from kcluster.diagnostics import Diagnostic
from kcluster.physics.architecture import LatentAttention
from kcluster.planner.types import Plan, ServePlan
from kcluster.rules import ways
from kcluster.rules.axes import heads_text, model_mark
from kcluster.rules.broken import cut_marks, reported
from kcluster.rules.finding import blame, finding, place_of, written
from kcluster.rules.registry import rule
from kcluster.rules.words import count, counted, listed
from kcluster.spec.types import DraftSpec


@rule("KC305", stage="plan")
def expert_parallel(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    Expert parallel is asked of a model with experts; with the expert balancer, experts and redundant ones divide by the ranks (errors). Without it,
    uneven experts are pointed out (note). Whether the link carries the experts' traffic is KC404's question.

    Why
    With expert parallel each rank holds whole experts and tokens travel to them. A dense model has none, and a link that makes a token wait longer
    than its experts take gives the gain away.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 2 * l40s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      parallel {
        tp = 2
        ep = on   #! KC305
      }
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
    Leave `ep` at `auto`; with `eplb`, as many redundant experts as the message names.

    Source
    vLLM 0.33, `config/model.py` ("number of experts must be greater than 0"), `fused_moe/expert_map_manager.py` (the first ranks get one more) and
    `fused_moe/layer.py` (with the balancer the sum must divide).
    """
    yield from reported(
        plan,
        "KC305",
        "note",
        at=lambda serve, violation: blame(serve.serve, violation.subject, "ep", "eplb"),
        marks=lambda serve, _: (model_mark(serve, _experts_text(serve)), *cut_marks(serve)),
        help=lambda serve, violation: (
            ("leave `ep` out",) if violation.fatal and serve.serve.model.architecture.value.moe is None else ()
        ),
    )


def _experts_text(serve: ServePlan) -> str:
    moe = serve.serve.model.architecture.value.moe
    return f"{count(moe.experts)} experts" if moe is not None else "no experts"


@rule("KC307", stage="plan")
def decode_context_parallel(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    Decode context parallel keeps its constraints: it divides tp, and for grouped heads tp exceeds the KV heads by at least dcp (errors).

    Why
    dcp cuts the KV of a request over ranks that would otherwise hold the same copy. Where there is no copy there is nothing to cut.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 4 * l40s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      parallel {
        tp  = 4
        dcp = 2   #! KC307
      }
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 4 * l40s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      parallel { tp = 4 }
    }
    ```

    Fix
    Leave `dcp` out. It pays for latent attention, and where tp is larger than the KV heads.

    Source
    vLLM 0.33, `config/parallel.py` and `config/model.py` (three distinct refusals for grouped heads); not supported with sliding windows
    (`v1/kv_cache_interface.py`).
    """
    yield from reported(
        plan,
        "KC307",
        "note",
        marks=lambda serve, _: (model_mark(serve, heads_text(serve)), *cut_marks(serve)),
        help=lambda *_: ("leave `dcp` out",),
    )
    for serve in plan.serves:
        sizes = _dcp_that_would_help(serve)
        if sizes:
            cut = serve.chosen.cut
            attention = serve.serve.model.architecture.value.attention
            held = "the whole latent" if isinstance(attention, LatentAttention) else "the same KV head"
            yield finding(
                "KC307",
                f"{counted(cut.tp, 'rank')} hold {held}, and the KV cache is short: `dcp` would share it",
                blame(serve.serve, "tp"),
                severity="note",
                marks=(model_mark(serve, heads_text(serve)),),
                help=(f"`dcp` of {listed((count(size) for size in sizes), 'or')}",),
            )


def _dcp_that_would_help(serve: ServePlan) -> tuple[int, ...]:
    """The sizes by which KV that is held more than once, and short, could be shared."""
    from kcluster.physics.constraints import allowed_dcps

    cut = serve.chosen.cut
    if written(serve.serve, "tp") is None:
        return ()  # left open, the planner has weighed dcp itself
    short = any(violation.code in ("KC203", "KC204") for violation in serve.chosen.violations)
    if not short or cut.dcp > 1:
        return ()
    return ways.shared_contexts(serve, allowed_dcps(serve.serve.model.architecture.value, cut))


@rule("KC310", stage="plan")
def speculative_constraints(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    A draft model runs on one rank or on as many as its target, not on a number between.

    Why
    The engine refuses another tensor-parallel size of the draft when it reads its configuration.

    Example
    ```kcluster bad
    model llama {
      id = "meta-llama/Llama-3.1-70B-Instruct"
      draft {
        id     = "meta-llama/Llama-3.2-1B"
        tokens = 3
        tp     = 2   #! KC310
      }
    }
    hardware node { gpus = 4 * h100-sxm }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = node, sla = team
      parallel { tp = 4 }
    }
    ```

    ```kcluster good
    model llama {
      id = "meta-llama/Llama-3.1-70B-Instruct"
      draft {
        id     = "meta-llama/Llama-3.2-1B"
        tokens = 3
        tp     = 1
      }
    }
    hardware node { gpus = 4 * h100-sxm }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = node, sla = team
      parallel { tp = 4 }
    }
    ```

    Fix
    `tp = 1` or the target's in the `draft` block, or leave it out.

    Source
    vLLM 0.33, `config/speculative.py`: `draft_tensor_parallel_size` is 1 or the target's.
    """
    for serve in plan.serves:
        draft = serve.serve.model.draft
        if draft is not None:
            yield from _draft(serve, draft)


def _draft(serve: ServePlan, draft: DraftSpec) -> Iterator[Diagnostic]:
    cut = serve.chosen.cut
    if draft.tp is not None and draft.tp.value not in (1, cut.tp):
        yield finding(
            "KC310",
            f"the draft's tp {draft.tp.value} is neither 1 nor the target's {cut.tp}",
            place_of(draft.tp),
            marks=cut_marks(serve),
            help=("`tp = 1`" + (f" or `tp = {cut.tp}`" if cut.tp > 1 else ""),),
        )
