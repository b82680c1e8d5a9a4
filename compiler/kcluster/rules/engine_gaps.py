"""What engines other than vLLM have no counterpart for (KC605): never dropped in silence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.diagnostics import Diagnostic
from kcluster.physics.cut import ENGINE_NAMES, Cut
from kcluster.planner.types import ServePlan
from kcluster.rules.engine import version_mark
from kcluster.rules.finding import blame, finding, place_of, written
from kcluster.rules.words import counted, listed, version_text
from kcluster.spec.types import ServeSpec

_ROUTER_KEY: Final = ("`api_key` in the `router`: NGINX and HAProxy check it in front of the engine",)
_NO_COUNTERPART: Final[dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]]] = {
    "sglang": (("executor", "it always uses processes of its own", ()),),
    "trtllm": (
        ("api_key", "its server checks no key", _ROUTER_KEY),
        ("dtype", "it takes the checkpoint's", ()),
        ("executor", "it always uses processes of its own", ()),
    ),
    "triton": (
        ("api_key", "its OpenAI front checks no key", _ROUTER_KEY),
        ("executor", "what starts it joins no Ray", ()),
    ),
}
"""Engine → attributes that it has no counterpart for, why, and what to do instead."""
_ONE_NODE: Final = {
    "trtllm": "it spans nodes by MPI, which starts its own processes",
    "triton": "its vLLM backend starts no other nodes",
}


_DRAFTS_SINCE: Final = (0, 15)
"""vLLM drafts by a model of its own from here on: 0.11.0 and 0.14.0 refuse it (config/speculative.py), vLLM's pull request 24322
brought it."""


_SPANS_SINCE: Final = (0, 12)
"""vLLM 0.11.0 packs each data-parallel rank on one node of Ray (v1/engine/utils.py)."""


def vllm_needs(plan: ServePlan) -> Iterator[Diagnostic]:
    """What this version of vLLM does not do, though it has the flags."""
    from kcluster.targets.vllm.environment import spanning

    serve = plan.serve
    draft, version = serve.model.draft, serve.engine.version
    called = f"vLLM {version_text(version.value)}"
    if draft is not None and draft.method.value == "draft" and version.value < _DRAFTS_SINCE:
        yield finding(
            "KC605",
            f"{called} does not draft with another model: it does from {version_text(_DRAFTS_SINCE)} on",
            place_of(draft.method),
            marks=(version_mark(serve.engine),),
            help=("a later `version`", "`method = eagle`, `mtp` or `ngram`"),
        )
    if version.value < _SPANS_SINCE and spanning(plan):
        yield finding(
            "KC605",
            f"{called} over Ray keeps each data-parallel rank on one node, and here one needs several",
            blame(serve, "dp", "pp", "tp"),
            marks=(version_mark(serve.engine),),
            help=("a later `version`", f"`replicas = {plan.chosen.cut.dp}` instead of `dp`"),
        )


def engine_needs(plan: ServePlan) -> Iterator[Diagnostic]:
    """What a serve asks for and its engine cannot be told."""
    serve, cut = plan.serve, plan.chosen.cut
    engine = serve.engine.name.value
    called = ENGINE_NAMES[engine]
    for subject, why, help in _NO_COUNTERPART.get(engine, ()):
        place = written(serve, subject)
        if place is not None:
            yield finding("KC605", f"{called} has no counterpart of `{subject}`: {why}", place, help=help)
    if engine in _ONE_NODE and any(len(one.nodes) > 1 for one in plan.chosen.placement):
        yield finding(
            "KC605",
            f"no files are written for {called} on several nodes: {_ONE_NODE[engine]}",
            blame(serve, "pp", "tp", "dp"),
            help=("`engine vllm` or `engine sglang`", "replicas that each fit a node"),
        )
    if engine == "sglang":
        yield from _sglang_nodes(plan)
    if engine == "triton" and serve.engine.kv_offload is not None:
        yield finding(
            "KC605",
            f"`kv_offload` needs a newer vLLM inside of {called} than 0.11, which has no `--kv-offloading-size`",
            blame(serve, "kv_offload"),
            severity="note",
        )
    yield from _unwatched(plan)
    if engine == "trtllm":
        yield from _trtllm_cut(serve, cut)
        yield from _trtllm_drafter(serve)
    balance = serve.parallel.balance
    if engine != "vllm" and cut.dp > 1 and balance is not None and balance.value != "internal":
        yield finding(
            "KC605", f"{called} balances its own ranks: it has no counterpart of `balance`", blame(serve, "balance")
        )


def _sglang_nodes(plan: ServePlan) -> Iterator[Diagnostic]:
    """Cuts that SGLang cannot lay over nodes: copies of a dense model keep to one node (`arg_groups/validation_hook.py`), and a
    node has whole stages, or a stage whole nodes (`entrypoints/engine.py`)."""
    serve, cut = plan.serve, plan.chosen.cut
    nodes = max((len(one.nodes) for one in plan.chosen.placement), default=1)
    if nodes == 1:
        return
    if serve.model.architecture.value.moe is None and cut.dp > 1:
        yield finding(
            "KC605",
            "SGLang runs the copies of a dense model (`dp`) on one node only",
            blame(serve, "dp"),
            help=(f"`replicas = {cut.dp}`: the same copies, behind the router",),
        )
    if cut.pp % nodes and nodes % cut.pp:
        yield finding(
            "KC605",
            f"SGLang gives a node whole stages, or a stage whole nodes: {counted(cut.pp, 'stage')} do not go over {nodes} nodes",
            blame(serve, "pp"),
            help=(f"`pp = {nodes}`, or a multiple of it",),
        )


def _trtllm_cut(serve: ServeSpec, cut: Cut) -> Iterator[Diagnostic]:
    """Cuts that TensorRT-LLM's mapping of ranks has no words for: its attention is data parallel over all cards of a stage, or
    over none (`Mapping.dp_size`), and its context parallelism is another kind."""
    called = ENGINE_NAMES["trtllm"]
    if cut.dp > 1 and serve.model.architecture.value.moe is None:
        yield finding(
            "KC605",
            f"{called} has no counterpart of `dp` for a dense model: its ranks would share one set of weights",
            blame(serve, "dp"),
            help=(f"`replicas = {cut.dp}`: the same copies, behind the router",),
        )
    elif cut.dp > 1 and cut.tp > 1:
        yield finding(
            "KC605",
            f"{called} has no counterpart of `tp` {cut.tp} in each of {cut.dp} ranks: its attention is data parallel over all cards",
            blame(serve, "tp", "dp"),
            help=(f"`tp = 1, dp = {cut.tp * cut.dp}`", f"`tp = {cut.tp * cut.dp}` alone"),
        )
    for attribute, asked in (("dcp", cut.dcp > 1), ("eplb", cut.eplb)):
        if asked:
            yield finding("KC605", f"no files with `{attribute}` are written for {called}", blame(serve, attribute))


def _trtllm_drafter(serve: ServeSpec) -> Iterator[Diagnostic]:
    """Drafters that the PyTorch backend of TensorRT-LLM does not have, or names otherwise in every line."""
    draft = serve.model.draft
    if draft is None:
        return
    third = draft.id is not None and "eagle3" in draft.id.value.lower()
    if draft.method.value == "draft" or (draft.method.value == "eagle" and not third):
        yield finding(
            "KC605",
            f"no files with this drafter are written for {ENGINE_NAMES['trtllm']}",
            place_of(draft.method),
            help=("`method = mtp`, `ngram`, or `eagle` with an EAGLE-3 head",),
        )


def _unwatched(plan: ServePlan) -> Iterator[Diagnostic]:
    """What alerts and dashboard leave out, since the engine does not count it."""
    from kcluster.targets.monitoring.metrics import metrics_of

    serve, metrics = plan.serve, metrics_of(plan)
    if not serve.monitor.enabled:
        return
    called = f"{ENGINE_NAMES[serve.engine.name.value]} {version_text(serve.engine.version.value)}".removesuffix(" 0")
    # HAProxy counts answers itself, and may be what a shared router is.
    in_front = serve.route is not None or (serve.router is not None and serve.router.kind.value == "haproxy")
    counts = {"kv_usage": metrics.kv_usage, "queue": metrics.queue, "errors": metrics.outcomes or in_front}
    for name, threshold in serve.monitor.thresholds:
        if not counts.get(name, True):
            yield finding("KC605", f"{called} does not count what `{name}` is a bound of", place_of(threshold))
    left_out = {"KV use": metrics.kv_usage, "waiting requests": metrics.waiting, "preemptions": metrics.preemptions}
    if metrics.kv_usage is None:
        missing = listed([name for name, metric in left_out.items() if metric is None])
        yield finding(
            "KC605",
            f"{called} does not count {missing}: there are no alerts and panels of them",
            blame(serve, "version"),
            severity="note",
        )
