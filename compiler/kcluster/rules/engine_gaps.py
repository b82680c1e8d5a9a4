"""What engines other than vLLM have no counterpart for (KC605): never dropped in silence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.diagnostics import Diagnostic
from kcluster.physics.cut import ENGINE_NAMES
from kcluster.planner.types import ServePlan
from kcluster.rules.finding import blame, finding, written

_ROUTER_KEY: Final = ("`api_key` in the `router`: NGINX and HAProxy check it in front of the engine",)
_NO_COUNTERPART: Final[dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]]] = {
    "sglang": (("executor", "it always uses processes of its own", ()),),
    "trtllm": (
        ("api_key", "its server checks no key", _ROUTER_KEY),
        ("dtype", "it takes the checkpoint's", ()),
        ("executor", "it always uses processes of its own", ()),
    ),
    "triton": (("api_key", "its OpenAI front checks no key", _ROUTER_KEY),),
}
"""Engine → attributes that it has no counterpart for, why, and what to do instead."""
_ONE_NODE: Final = {
    "trtllm": "it spans nodes by MPI, which starts its own processes",
    "triton": "its vLLM backend starts no other nodes",
}


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
    if engine == "trtllm" and cut.eplb:
        yield finding("KC605", f"no files with `eplb` are written for {called}", blame(serve, "eplb"))
    draft = serve.model.draft
    if engine == "trtllm" and draft is not None and draft.method.value != "mtp":
        yield finding(
            "KC605",
            f"no files with a drafter are written for {called}, only with the model's own layers (`mtp`)",
            blame(serve),
        )
    balance = serve.parallel.balance
    if engine != "vllm" and cut.dp > 1 and balance is not None and balance.value != "internal":
        yield finding(
            "KC605", f"{called} balances its own ranks: it has no counterpart of `balance`", blame(serve, "balance")
        )
