"""What the engine's version takes of flags (KC801, KC802)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.diagnostics import Diagnostic, Edit, Fix
from kcluster.diagnostics.wording import plain_slip
from kcluster.physics.cut import ENGINE_NAMES
from kcluster.physics.kv import default_prefix_caching
from kcluster.planner.case import engine_of, pins_of
from kcluster.planner.types import Plan, ServePlan
from kcluster.rules.finding import Mark, Place, finding, place_of, written
from kcluster.rules.registry import rule
from kcluster.rules.words import quoted, version_text
from kcluster.source import Span
from kcluster.spec.flags import ATTRIBUTE_OF_FLAG, BLOCK_OF_ATTRIBUTE, PLACEMENT
from kcluster.spec.removing import remove
from kcluster.spec.types import ArgumentValue, EngineSpec, ServeSpec, Spec, Value


def version_mark(engine: EngineSpec) -> Mark | None:
    return Mark(place_of(engine.version), "this version") if engine.version.written else None


@rule("KC801", stage="spec")
def unknown_flag(spec: Spec) -> Iterator[Diagnostic]:
    """
    What it checks
    Each flag of `args` is one that the engine's version has, with a value that it takes, and that it takes beside this model. A version outside those that
    are known is pointed out: it is judged by the nearest one.

    Why
    An engine refuses an unknown flag before it loads anything; flags come and go with every release, and a command copied from a thread of last year has
    some that are gone.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm {
        version = "0.33"
        args { "--swap-space" = 4 }   #! KC801
      }
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm {
        version = "0.33"
        args { "--stream-interval" = 4 }
      }
    }
    ```

    Fix
    The nearest name, or what took the flag's place; the message says in which versions it is known.

    Source
    The flag tables of `kcluster catalog list engines`, made from the real argument parsers of vLLM 0.11, 0.32 and 0.33; vLLM 0.33,
    `v1/core/kv_cache_planning.py` ("Failed to promote local KV cache specs") and `config/vllm.py` (validate_mamba_block_size).
    """
    from kcluster.catalog.engines import flag_table

    for serve in spec.serves:
        engine = serve.engine
        yield from _version_beyond(engine)
        table = flag_table(engine.name.value, engine.version.value) if engine.args else None
        if table is None:
            continue
        for name, value in engine.args:
            for problem in table.judge(name.value, value.value):
                about_value = problem.kind in ("choice", "value", "hint") and value.written
                yield finding(
                    "KC801",
                    _ticked(problem.message, name.value),
                    place_of(value) if about_value else _key(name),
                    severity="note" if problem.kind in ("uncertain", "deprecated") else "error",
                    marks=(version_mark(engine),),
                    help=(f"{quoted(problem.nearest)} is near",) if problem.nearest else (),
                    fixes=_rename(name, problem.nearest) if problem.kind == "unknown" else (),
                )
            match = table.match(name.value)
            because = _not_for_this_model(serve, match.canonical, value.value) if match is not None else ""
            if because:
                yield finding(
                    "KC801",
                    f"`{name.value}` {because}",
                    _key(name),
                    help=("leave the flag out",),
                    fixes=_left_out(name),
                )


def _version_beyond(engine: EngineSpec) -> Iterator[Diagnostic]:
    """A version before the oldest or after the newest whose flags are known; a figure of it is one of that neighbour."""
    from kcluster.catalog.engines import engine_versions

    known = engine_versions(engine.name.value)
    if not engine.version.written or not known:
        return
    version = engine.version.value[: len(known[0])]
    older, newer = version < known[0], version > known[-1]
    if older or newer:
        nearest = version_text(known[0] if older else known[-1])
        yield finding(
            "KC801",
            f"{ENGINE_NAMES[engine.name.value]} {version_text(engine.version.value)} is {'older' if older else 'newer'} than the versions "
            f"known here, and is judged by {nearest}",
            place_of(engine.version),
            severity="warning" if older else "note",
        )


def _not_for_this_model(serve: ServeSpec, flag: str, value: ArgumentValue) -> str:
    """Why the engine refuses a flag that it has, beside this model; empty where it does not."""
    architecture = serve.model.architecture.value
    if value is False or serve.engine.name.value != "vllm" or not architecture.recurrent:
        return ""
    if flag == "--disable-hybrid-kv-cache-manager" and architecture.attention is not None:
        return "is refused here: recurrent states and attention cannot be laid out as one kind"
    if flag == "--mamba-block-size":
        caching = pins_of(serve).prefix_caching
        version = engine_of(serve)
        if not (default_prefix_caching(architecture, version) if caching is None else caching):
            return "is refused without prefix caching, which keeps the states that it sizes"
    return ""


def _ticked(message: str, name: str) -> str:
    """The message with the flag in back-quotes."""
    return message.replace(name, f"`{name}`", 1) if f"`{name}`" not in message else message


def _key(name: Value[str]) -> Place:
    """The flag itself, rather than the whole attribute."""
    return Place(name.origin.source, name.origin.span, True)


def _rename(name: Value[str], nearest: tuple[str, ...]) -> tuple[Fix, ...]:
    if len(nearest) != 1:
        return ()
    source, span = name.origin.source, name.origin.span
    text = source.slice(span)
    at = text.find(name.value)
    if at < 0:
        return ()
    edit = Edit(Span(span.start + at, span.start + at + len(name.value)), nearest[0])
    # Flags are a fixed vocabulary, as attributes are: one letter off a long name means nothing else.
    return (Fix(f"write `{nearest[0]}`", (edit,), "safe" if plain_slip(name.value, nearest[0]) else "unsafe"),)


COMPILED: Final = ("tp", "pp", "dp", "ep", "dcp", "eplb", "host", "port", "executor")
"""Attributes whose flags are written by the plan whether or not the spec has them."""


@rule("KC802", stage="plan")
def flag_conflict(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    No flag of `args` says what an attribute or the plan says already, and none switches off the check that the memory budget rests on.

    Why
    Of two values for one setting the engine takes the last, and the plan judged the other. `--kv-cache-memory-bytes` gives the KV cache a size of its own:
    the engine then neither profiles nor holds to `gpu_memory_utilization`.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm {
        max_model_len = 8K
        args { "--max-model-len" = 4096 }   #! KC802
      }
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm { max_model_len = 8K }
    }
    ```

    Fix
    Write the attribute and leave the flag out.

    Source
    argparse keeps the last of two values; vLLM 0.33, `v1/worker/gpu_worker.py`: `--kv-cache-memory-bytes` skips the sizing by utilization (seen in vLLM issue 49878).
    """
    from kcluster.catalog.engines import flag_table

    for serve in plan.serves:
        engine = serve.serve.engine
        table = flag_table(engine.name.value, engine.version.value) if engine.args else None
        for name, value in engine.args:
            known = table.find(name.value) if table is not None else None
            flag = known.name if known is not None else name.value.replace("_", "-")
            yield from _conflict(serve, flag, name, value)


def _conflict(plan: ServePlan, flag: str, name: Value[str], value: Value[ArgumentValue]) -> Iterator[Diagnostic]:
    serve = plan.serve
    at = place_of(value) if value.written else place_of(name)
    if flag == "--kv-cache-memory-bytes":
        yield finding(
            "KC802",
            f"`{name.value}` sizes the KV cache by itself: the engine no longer holds to `gpu_memory_utilization`",
            at,
            marks=(attribute_mark(serve, "gpu_memory_utilization", "has no effect then"),),
            help=("leave it out, and set `gpu_memory_utilization`",),
            fixes=_left_out(name),
        )
        return
    if flag in PLACEMENT:
        yield finding(
            "KC802",
            f"`{name.value}` says where a rank sits, which the plan decides and each node's script says for itself",
            at,
            help=("leave it out",),
            fixes=_left_out(name),
        )
        return
    attribute = ATTRIBUTE_OF_FLAG.get(flag)
    if attribute is None:
        return
    place = written(serve, attribute)
    block = BLOCK_OF_ATTRIBUTE.get(attribute, "engine")
    if place is not None:
        yield finding(
            "KC802",
            f"`{name.value}` gives `{_as_written(value.value)}` where `{attribute}` is given already",
            at,
            marks=(Mark(place, "given here"),),
            help=(f"leave the flag out and keep `{attribute}`",),
            fixes=_left_out(name),
        )
    elif attribute in COMPILED:
        yield finding(
            "KC802",
            f"`{name.value}` fights the plan, which writes this flag from `{attribute}`",
            at,
            help=(f"write `{attribute}` in `{block}` and leave the flag out",),
        )


def _left_out(name: Value[str]) -> tuple[Fix, ...]:
    """A fix that takes the flag out, which changes what the engine is told."""
    if name.attribute is None:
        return ()
    return remove("leave the flag out", name.origin.source, name.attribute, "unsafe")


def _as_written(value: ArgumentValue) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return ", ".join(str(item) for item in value) if isinstance(value, tuple) else str(value)


def attribute_mark(serve: ServeSpec, subject: str, text: str) -> Mark | None:
    place = written(serve, subject)
    return Mark(place, text) if place is not None else None
