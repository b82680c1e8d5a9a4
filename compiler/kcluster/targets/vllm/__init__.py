"""vLLM: a start script and a `--config` file for every engine process."""

from __future__ import annotations

from kcluster.planner.types import Plan
from kcluster.targets.layout import processes
from kcluster.targets.types import Artifact, target
from kcluster.targets.vllm.arguments import Argument, arguments, doubtful, engine_args, lacking
from kcluster.targets.vllm.environment import engine_env
from kcluster.targets.vllm.files import config, script

__all__ = ["Argument", "arguments", "doubtful", "emit", "engine_args", "engine_env", "lacking"]


@target("vllm")
def emit(plan: Plan) -> tuple[Artifact, ...]:
    """`nodes/<host>/serve-<name>.sh` and `.yaml` for every process of vLLM on hosts (not in Kubernetes)."""
    from kcluster.targets.ray import wait_lines

    found: list[Artifact] = []
    for process in processes(plan):
        serve = process.serve.serve
        if serve.engine.name.value != "vllm" or serve.runtime.value == "kubernetes":
            continue
        wait = wait_lines(plan, process) if process.serve.distribution == "ray" else ""
        given = arguments(plan, process)
        found.append(Artifact(f"{process.path}.sh", script(process, plan, given, wait), executable=True))
        found.append(Artifact(f"{process.path}.yaml", config(process, plan, given)))
    return tuple(found)
