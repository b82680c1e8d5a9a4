"""The public JSON object of a checked spec: the plan's own figures with what the targets know (flags, routers, files)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kcluster.pipeline import Checked
from kcluster.planner.types import Plan, ServePlan


def plan_object_of(checked: Checked) -> dict[str, Any]:
    """`plan --format json` of one path, also where the spec has errors or nothing to plan."""
    from kcluster.planner.types import Plan as PlanType
    from kcluster.render.plan_json import plan_object
    from kcluster.spec.types import Spec
    from kcluster.targets import emit

    plan = checked.plan
    if plan is None:
        # The same object without serves: tools find the findings where they always are.
        nothing = Spec(checked.source, (), (), (), (), (), ())
        return plan_object(PlanType(nothing, ()), checked.diagnostics)
    artifacts = () if checked.errors else emit(plan)

    def engine(serve: ServePlan) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        return _engine(plan, serve)

    def router(serve: ServePlan) -> Mapping[str, Any] | None:
        return _router(plan, serve)

    return plan_object(plan, checked.diagnostics, artifacts, engine, router=router)


def _engine(plan: Plan, serve: ServePlan) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """Flags and environment of the first process of a serve; a bare flag is True, a repeated one a list."""
    if not serve.chosen.placement:
        return {}, {}
    from kcluster.targets import engine_arguments

    return engine_arguments(plan, serve)


def _router(plan: Plan, serve: ServePlan) -> Mapping[str, Any] | None:
    if not serve.chosen.placement:
        return None
    from kcluster.targets.routing import front_of

    front = front_of(plan, serve)
    if front is None:
        return None
    route = next(route for route in front.routes if route.serve is serve)
    return {
        "kind": front.kind,
        "host": front.host,
        "listen": front.listen,
        "policy": front.policy,
        "tls": front.tls is not None,
        "timeout_s": front.timeout,
        "max_body_bytes": front.body,
        "backends": [backend.endpoint for backend in route.backends],
    }
