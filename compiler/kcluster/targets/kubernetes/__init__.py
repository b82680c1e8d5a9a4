"""Kubernetes: a kustomize folder for serves that run as pods, with llm-d's endpoint picker before several replicas."""

from __future__ import annotations

from collections.abc import Iterator

from kcluster.planner.types import Plan, ServePlan
from kcluster.targets.header import comment_header
from kcluster.targets.kubernetes.monitors import monitors
from kcluster.targets.kubernetes.names import namespace_of, object_names, pods_of
from kcluster.targets.kubernetes.network import picker_name, policies, pool, route, service
from kcluster.targets.kubernetes.picker import CONFIG, config, picker
from kcluster.targets.kubernetes.pods import shape_of
from kcluster.targets.kubernetes.workloads import workload
from kcluster.targets.routing import front_of
from kcluster.targets.types import Artifact, target
from kcluster.targets.yaml import Noted, Yaml, document

__all__ = ["emit", "shape_of"]

FOLDER = "kubernetes"
Objects = list[dict[str, Yaml]]


@target("kubernetes")
def emit(plan: Plan) -> tuple[Artifact, ...]:
    """`kubernetes/`: a kustomization over the files of every serve in Kubernetes, and one with the monitors of a Prometheus
    operator, which is applied by itself. (It lists files, since kubectl before 1.21 takes no folders.)"""
    names = object_names(plan)
    found: list[Artifact] = []
    watched: list[Artifact] = []
    settings: list[Yaml] = []
    for serve_plan in pods_of(plan):
        name = names[serve_plan.name]
        files = tuple(_serve(plan, serve_plan, name))
        if not files:
            continue
        found += files
        watched += _watched(plan, serve_plan, name)
        if any(artifact.path.endswith(f"/{CONFIG}") for artifact in files):
            config_file: Yaml = [f"{CONFIG}={name}/{CONFIG}"]
            settings.append({"name": picker_name(name), "namespace": namespace_of(serve_plan), "files": config_file})
    if not found:
        return ()
    listed = [artifact.path.removeprefix(f"{FOLDER}/") for artifact in found if not artifact.path.endswith(CONFIG)]
    found.insert(0, _kustomization(plan, FOLDER, listed, f"Apply: kubectl apply -k {FOLDER}", settings))
    if watched:
        names_ = [artifact.path.rpartition("/")[2] for artifact in watched]
        what = f"For a Prometheus operator. Apply: kubectl apply -k {FOLDER}/monitoring"
        found += [*watched, _kustomization(plan, f"{FOLDER}/monitoring", names_, what, [])]
    return tuple(found)


def _serve(plan: Plan, serve_plan: ServePlan, name: str) -> Iterator[Artifact]:
    shape = shape_of(plan, serve_plan)
    if isinstance(shape, str):
        return
    folder = f"{FOLDER}/{name}"
    front = front_of(plan, serve_plan)
    front = front if front is not None and front.kind == "llm-d" else None
    files: dict[str, tuple[str, Objects]] = {
        "engine.yaml": ("The engines", list(workload(plan, serve_plan, name, shape))),
        "network.yaml": (
            "Who reaches the engines",
            [service(serve_plan, name), *policies(serve_plan, name, front)],
        ),
    }
    if front is not None:
        own = next(each for each in front.routes if each.serve is serve_plan)
        files["pool.yaml"] = (
            "The pool of replicas and its route",
            [pool(serve_plan, name), route(front, own, name)],
        )
        files["picker.yaml"] = (
            "llm-d's endpoint picker",
            list(picker(serve_plan, front, name)),
        )
    for file, (what, objects) in files.items():
        yield Artifact(f"{folder}/{file}", _documents(plan, f"{what} of serve {serve_plan.name}", objects))
    if front is not None:
        head = comment_header(plan, f"Which replica of serve {serve_plan.name} a request goes to")
        yield Artifact(f"{folder}/{CONFIG}", head + config(serve_plan, front))


def _watched(plan: Plan, serve_plan: ServePlan, name: str) -> Iterator[Artifact]:
    if not serve_plan.serve.monitor.enabled:
        return
    front = front_of(plan, serve_plan)
    objects = list(monitors(serve_plan, name, front if front is not None and front.kind == "llm-d" else None))
    text = _documents(plan, f"What is scraped of serve {serve_plan.name}", objects)
    yield Artifact(f"{FOLDER}/monitoring/{name}.yaml", text)


def _documents(plan: Plan, what: str, objects: Objects) -> str:
    return comment_header(plan, what) + "".join(f"---\n{document(one)}" for one in objects)


def _kustomization(plan: Plan, folder: str, resources: list[str], what: str, settings: list[Yaml]) -> Artifact:
    content: dict[str, Yaml] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": list(resources),
    }
    if settings:
        content["configMapGenerator"] = Noted(settings, "named by its content, so that a change replaces the picker")
    return Artifact(f"{folder}/kustomization.yaml", comment_header(plan, what) + document(content))
