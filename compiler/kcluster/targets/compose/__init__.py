"""Compose: one file for all hosts, whose profiles say what runs where."""

from __future__ import annotations

from typing import Final

from kcluster.planner.types import Plan
from kcluster.targets.compose.services import dockerfiles, engines, project, routers, volumes
from kcluster.targets.header import comment_header
from kcluster.targets.types import Artifact, target
from kcluster.targets.yaml import Noted, Yaml, document

FILE: Final = "compose/compose.yaml"


@target("compose")
def emit(plan: Plan) -> tuple[Artifact, ...]:
    """`compose/compose.yaml`, with a profile for every host of a serve with `runtime = compose`, and a Dockerfile for a
    router that has no image."""
    services: dict[str, Yaml] = {**dict(engines(plan)), **dict(routers(plan))}
    if not services:
        return ()
    content: dict[str, Yaml] = {
        "name": Noted(project(plan), "containers and volumes of this spec are called so"),
        "services": services,
    }
    kept = volumes(plan)
    if kept:
        content["volumes"] = {name: {} for name in kept}
    head = comment_header(plan, f"On each host: docker compose -f {FILE} --profile HOST up -d")
    return (
        Artifact(FILE, head + document(content)),
        *(
            Artifact(f"compose/{name}", comment_header(plan, "The vLLM Router and the NGINX before it") + text)
            for name, text in dockerfiles(plan)
        ),
    )
