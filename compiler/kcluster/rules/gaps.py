"""What a target needs and the spec does not say, or this version does not write (KC605)."""

from __future__ import annotations

from collections.abc import Iterator

from kcluster.diagnostics import Diagnostic
from kcluster.physics.cut import ENGINE_NAMES
from kcluster.planner.types import Plan, ServePlan
from kcluster.rules.finding import Mark, Place, blame, finding, head_of, place_of
from kcluster.rules.registry import rule
from kcluster.rules.router_gaps import router_needs
from kcluster.rules.routing import router_of
from kcluster.spec.types import ServeSpec


@rule("KC605", stage="plan")
def target_needs_more(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    What the chosen runtime, router or engine cannot be written without is in the spec, and nothing is in it that they have no counterpart for: llm-d
    runs on Kubernetes only, and other routers not there; a manifest needs to know the namespace and the volume that holds the weights; containers keep
    an engine and its Ray apart; NGINX and HAProxy do not look into prompts, and NGINX not into bodies; the vLLM Router stands before one model; and this
    version of the engine has a flag for what is asked.

    Why
    A compiler that filled the gap with a guess would write files that are accepted and do not run; one that left it out in silence would write a cluster
    without its router.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      runtime = kubernetes   #! KC605
      engine vllm { api_key = env("VLLM_API_KEY") }
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm { api_key = env("VLLM_API_KEY") }
    }
    ```

    Fix
    Add what the message names, or choose a target that does without.

    Source
    The targets' own documentation: llm-d's guides are Kustomize overlays for Kubernetes; SGLang, TensorRT-LLM and Triton name their settings
    in their command line's `--help`.
    """
    told: set[int] = set()
    for serve in plan.serves:
        yield from _kubernetes(plan, serve)
        yield from _containers(plan, serve)
        yield from _engine_gaps(plan, serve)
        router = router_of(plan.spec, serve.serve)
        if router is not None:
            yield from router_needs(plan, serve, router, first=id(router) not in told)
            told.add(id(router))


def _containers(plan: Plan, serve: ServePlan) -> Iterator[Diagnostic]:
    """What stands against containers for a serve."""
    spec = serve.serve
    engine = spec.engine.name
    if spec.runtime.value == "compose":
        from kcluster.targets.compose.services import writable

        why = writable(serve)
        if why is not None:
            yield finding(
                "KC605",
                f"no container can be written for `{serve.name}`: {why}",
                blame(spec, "executor", "version") if serve.distribution == "ray" else place_of(spec.runtime),
                marks=(Mark(place_of(spec.runtime), "Compose"),),
                help=(
                    "`executor = mp` (vLLM 0.32 and later), or `runtime = systemd`"
                    if serve.distribution == "ray"
                    else '`image = "…"` in the engine',
                ),
            )
    elif spec.runtime.value == "kubernetes" and engine.value != "vllm":
        yield finding(
            "KC605",
            f"pods are written for vLLM, and not for {ENGINE_NAMES[engine.value]}",
            place_of(engine) if engine.written else head_of(spec),
            marks=(Mark(place_of(spec.runtime), "Kubernetes"),),
            help=("`engine vllm`, or another `runtime`",),
        )


def _kubernetes(plan: Plan, serve: ServePlan) -> Iterator[Diagnostic]:
    spec = serve.serve
    if spec.runtime.value != "kubernetes":
        return
    at = place_of(spec.runtime) if spec.runtime.written else head_of(spec)
    if spec.kubernetes is None:
        yield finding(
            "KC605",
            "a Kubernetes manifest needs a namespace and the volume claim that holds the weights",
            at,
            help=('`kubernetes { namespace = "llm", claim = "models" }`',),
        )
        return
    block = Place(spec.source, spec.kubernetes.block, True)
    if spec.kubernetes.namespace is None:
        yield finding(
            "KC605", "a Kubernetes manifest needs a namespace", block, help=('`namespace = "llm"` in the block',)
        )
    yield from _claim(spec, block)
    if spec.engine.name.value == "vllm":
        from kcluster.targets.kubernetes import shape_of

        shape = shape_of(plan, serve)
        if isinstance(shape, str):
            place = blame(spec, "executor", "balance", "version", "pp", "tp", "dp")
            yield finding("KC605", f"no pods can be written for `{serve.name}`: {shape}", place)


def _claim(spec: ServeSpec, block: Place) -> Iterator[Diagnostic]:
    folder = spec.hardware.model_path
    where = folder.value if folder is not None else spec.model.checkpoint.value
    if where.startswith("/") and spec.kubernetes is not None and spec.kubernetes.claim is None:
        yield finding(
            "KC605",
            f"the model is inside a volume that no claim names: `{where}`",
            block,
            help=('`claim = "models"` in the `kubernetes` block',),
        )


def _engine_gaps(plan: Plan, serve_plan: ServePlan) -> Iterator[Diagnostic]:
    """Settings that the chosen engine, or this version of it, has no counterpart for."""
    serve = serve_plan.serve
    if serve.engine.name.value == "vllm":
        yield from _lacking_flags(plan, serve_plan)
        if serve.model.draft is not None or serve_plan.distribution == "ray":
            from kcluster.rules.engine_gaps import vllm_needs

            yield from vllm_needs(serve_plan)
    else:
        from kcluster.rules.engine_gaps import engine_needs

        yield from engine_needs(serve_plan)


def _lacking_flags(plan: Plan, serve_plan: ServePlan) -> Iterator[Diagnostic]:
    """What the plan asks for and this version of vLLM has no flag for. The newest version with a table has them all."""
    from kcluster.catalog.engines import engine_versions

    version = serve_plan.serve.engine.version.value
    if version >= max(engine_versions("vllm")):
        return
    from kcluster.spec.flags import ATTRIBUTE_OF_FLAG
    from kcluster.targets.layout import processes_of
    from kcluster.targets.vllm import doubtful, lacking

    number = ".".join(str(part) for part in version)
    found: dict[str, str] = {}
    for process in processes_of(plan, serve_plan):
        found.update((argument.flag, "has no") for argument in lacking(plan, process))
        # What the compiler takes by itself (`--nnodes`) it takes by version; what the spec asks for may be newer.
        asked = (one.flag for one in doubtful(plan, process) if one.flag in ATTRIBUTE_OF_FLAG)
        found.update((flag, "may have no") for flag in asked)
    for flag, has in found.items():
        attribute = ATTRIBUTE_OF_FLAG.get(flag)
        yield finding(
            "KC605",
            f"vLLM {number} {has} `{flag}`, which {f'`{attribute}`' if attribute else 'this plan'} needs",
            blame(serve_plan.serve, *((attribute,) if attribute else ()), "version"),
            severity=None if has == "has no" else "note",
            help=("a later `version`",),
        )
