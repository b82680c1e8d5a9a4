"""Plan to artifacts, one module or package per target."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Final

from kcluster.planner.types import Plan, ServePlan
from kcluster.targets.types import TARGETS, Artifact, Emitter

_MODULES: Final = {
    "vllm": "kcluster.targets.vllm",
    "sglang": "kcluster.targets.sglang",
    "trtllm": "kcluster.targets.trtllm",
    "triton": "kcluster.targets.triton",
    "ray": "kcluster.targets.ray",
    "nginx": "kcluster.targets.nginx",
    "haproxy": "kcluster.targets.haproxy",
    "vllm-router": "kcluster.targets.vllm_router",
    "monitoring": "kcluster.targets.monitoring",
    "hosts": "kcluster.targets.hosts",
    "systemd": "kcluster.targets.systemd",
    "compose": "kcluster.targets.compose",
    "kubernetes": "kcluster.targets.kubernetes",
    "runbook": "kcluster.targets.runbook",
}
"""Target → the module that registers it, in the order in which files are written. A module is imported when asked for."""

PLAN_FILE: Final = "plan.toml"


def target_names() -> tuple[str, ...]:
    """The names that `compile --target` takes."""
    return tuple(_MODULES)


def emitter(name: str) -> Emitter:
    """The function of one target.

    Raises:
        KeyError: there is no target of that name.
    """
    module = _MODULES[name]
    if name not in TARGETS:
        import_module(module)
    return TARGETS[name]


def engine_arguments(plan: Plan, serve_plan: ServePlan) -> tuple[dict[str, object], dict[str, str]]:
    """The flags and the environment of a serve's engine, as `plan --format json` shows them: those of the first process of
    its first replica; a bare flag is True, several values are a list. Secrets are not among them."""
    from kcluster.targets.layout import processes_of

    first = processes_of(plan, serve_plan)[0]
    engine = serve_plan.serve.engine.name.value
    if engine == "vllm":
        from kcluster.targets.vllm import engine_args, engine_env

        return _listed(engine_args(plan, first)), dict(engine_env(first))
    from kcluster.targets.engine_script import variables

    environment = {item.name: item.value for item in variables(first)}
    if engine == "triton":
        from kcluster.targets.triton import engine_arguments as triton_arguments

        return triton_arguments(plan, first), environment
    module = import_module(f"kcluster.targets.{engine}")
    return _listed((one.flag, one.value) for one in module.arguments(plan, first)), environment


def _listed(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    return {flag: list(value) if isinstance(value, tuple) else value for flag, value in pairs}


def emit(plan: Plan, targets: tuple[str, ...] | None = None) -> tuple[Artifact, ...]:
    """Every file of the output, `plan.toml` last; with `targets`, of those only. A target that the plan does not ask for
    gives no file.

    Raises:
        KeyError: there is no target of that name.
    """
    from kcluster.targets.plan_toml import plan_toml

    wanted = target_names() if targets is None else tuple(dict.fromkeys(targets))
    for name in wanted:
        if name not in _MODULES:
            raise KeyError(name)
    artifacts = tuple(artifact for name in _MODULES if name in wanted for artifact in emitter(name)(plan))
    artifacts += (Artifact(PLAN_FILE, plan_toml(plan, artifacts)),)
    paths = [artifact.path for artifact in artifacts]
    assert len(paths) == len(set(paths)), "two targets write the same file"
    assert all(_safe(path) for path in paths), "a path leaves the folder"
    return artifacts


def _safe(path: str) -> bool:
    parts = path.split("/")
    return path.isprintable() and "\\" not in path and all(part not in ("", ".", "..") for part in parts)
