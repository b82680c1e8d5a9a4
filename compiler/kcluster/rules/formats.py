"""Formats that card, version and checkpoint agree on, and the choice of version (KC803–KC806)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.diagnostics import Diagnostic
from kcluster.physics.cut import ENGINE_NAMES
from kcluster.physics.formats import WeightFormat
from kcluster.physics.support import BF16_CAPABILITY
from kcluster.planner.types import Plan, ServePlan
from kcluster.rules import ways
from kcluster.rules.broken import reported
from kcluster.rules.engine import attribute_mark, version_mark
from kcluster.rules.finding import Mark, blame, finding, gpus_of, place_of, rewrite, written
from kcluster.rules.registry import rule
from kcluster.rules.words import version_text
from kcluster.spec.types import ServeSpec, Spec

QUANTIZATION_METHODS: Final = {
    "bnb": ("bitsandbytes",),
    "gguf": ("gguf",),
    "awq": ("awq", "auto_awq", "awq_marlin"),
    "gptq": ("gptq", "auto_gptq", "gptq_marlin"),
    "nvfp4": ("modelopt_fp4", "compressed-tensors"),
    "mxfp4": ("mxfp4", "gpt_oss_mxfp4"),
    "fp8": ("fp8", "compressed-tensors"),
    "int8": ("compressed-tensors", "experts_int8"),
}
"""The engine's quantization methods that load a family of formats; a version without any of them cannot."""


KV_VALUES: Final = {
    "bf16": ("bfloat16", "auto"),
    "fp16": ("float16", "auto"),
    "fp8": ("fp8", "fp8_e4m3"),
    "nvfp4": ("nvfp4",),
}


@rule("KC803", stage="plan")
def unsupported_format(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    The card and the engine's version have the weight format, the KV format and the activations' type (errors), and compute in the format rather than unpacking
    it to 16 bits (note).

    Why
    A format that the card lacks ends the start with a message about compute capability. One that is only unpacked saves memory and bandwidth and gives none of
    the arithmetic that its name promises: FP8 weights on an Ampere card prefill no faster than 16-bit ones.

    Example
    ```kcluster bad
    model llama {
      id      = "meta-llama/Llama-3.1-8B-Instruct"
      weights = fp8   #! KC803
    }
    hardware box { gpus = 1 * a100-80gb-sxm }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = fp8 }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    ```

    Fix
    A format that the card has, or the knowledge that only memory is saved.

    Source
    vLLM 0.33: each quantization method names its least compute capability (fp8 7.5, native from 8.9; mxfp4 8.0; nvfp4 native from 10.0), below which Marlin
    multiplies unpacked weights (`quantization/utils/marlin_utils.py`); MXFP4 takes bfloat16 activations alone; `config/model.py` casts bfloat16 to
    float16 on older cards since 0.9, unless `dtype` says bfloat16.
    """
    yield from reported(
        plan,
        "KC803",
        "note",
        marks=lambda serve, violation: (Mark(gpus_of(serve.serve.hardware), "this card"),),
    )
    for serve in plan.serves:
        yield from _version_lacks(serve)
        yield from _asked_for_bf16(serve)


def _asked_for_bf16(plan: ServePlan) -> Iterator[Diagnostic]:
    """A `dtype` of bfloat16 on cards without it: what the engine would cast by itself it refuses where it is told not to."""
    dtype = plan.serve.engine.dtype
    cards = [card for node in plan.serve.cluster.nodes for card in node.cards]
    lacking = [card for card in cards if (card.compute_capability or BF16_CAPABILITY) < BF16_CAPABILITY]
    if dtype is not None and dtype.written and dtype.value == "bfloat16" and lacking:
        yield finding(
            "KC803",
            f"`dtype = bfloat16` is refused: {lacking[0].name} has no bfloat16",
            place_of(dtype),
            marks=(Mark(gpus_of(plan.serve.hardware), "this card"),),
            help=("`dtype = float16`, or leave it out",),
        )


def _version_lacks(plan: ServePlan) -> Iterator[Diagnostic]:
    """Formats that the engine's version does not list at all."""
    from kcluster.catalog.engines import flag_table

    engine = plan.serve.engine
    table = flag_table(engine.name.value, engine.version.value)
    if table is None:
        return
    called = f"{ENGINE_NAMES[engine.name.value]} {version_text(engine.version.value)}"
    fmt = plan.serve.model.weights.value
    methods = _methods(fmt)
    flag = table.find("--quantization")
    listed = {*flag.values_hint, *(flag.choices or ())} if flag is not None else set()
    if methods and listed and not listed & set(methods):
        yield finding(
            "KC803",
            f"{called} has no quantization method for `{fmt.name}` weights",
            blame(plan.serve, "weights", "checkpoint", "id"),
            marks=(version_mark(engine),),
            help=("a checkpoint in another format, or a version that lists one",),
        )
    kv = engine.kv_cache
    flag = table.find("--kv-cache-dtype")
    values = {*flag.values_hint, *(flag.choices or ())} if flag is not None else set()
    wanted = KV_VALUES.get(kv.value, ()) if kv is not None else ()
    if kv is not None and wanted and values and not values & set(wanted):
        yield finding("KC803", f"{called} has no `{kv.value}` KV cache", place_of(kv), marks=(version_mark(engine),))


def _methods(fmt: WeightFormat) -> tuple[str, ...]:
    return next(
        (methods for family, methods in QUANTIZATION_METHODS.items() if fmt.quantized and fmt.name.startswith(family)),
        (),
    )


@rule("KC804", stage="spec")
def format_mismatch(spec: Spec) -> Iterator[Diagnostic]:
    """
    What it checks
    The checkpoint's name and its `quantization_config` say the same format as `weights`.

    Why
    The engine loads what the checkpoint holds, whatever the spec says. Planned with 1 byte a parameter and loaded with 2, the weights are twice what the
    budget has.

    Example
    ```kcluster bad
    model llama {
      id         = "meta-llama/Llama-3.1-8B-Instruct"
      checkpoint = "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic"
      weights    = bf16   #! KC804
    }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    ```

    ```kcluster good
    model llama {
      id         = "meta-llama/Llama-3.1-8B-Instruct"
      checkpoint = "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic"
      weights    = fp8
    }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    ```

    Fix
    Correct the one of the two that is wrong; `weights` left out follows the checkpoint.

    Source
    `quantization_config` of the checkpoint's `config.json`; the usual suffixes of re-uploads (`-FP8-dynamic`, `-AWQ`, `-GPTQ-Int4`, `-NVFP4`).
    """
    from kcluster.catalog.formats import format_of_checkpoint

    seen: set[int] = set()
    for model in (serve.model for serve in spec.serves):
        if id(model) in seen or not model.weights.written:
            continue
        seen.add(id(model))
        says = format_of_checkpoint(model.quantization, model.checkpoint.value)
        own = model.weights.value.name
        if says is not None and says != own and not _same_family(says, own):
            at = place_of(model.checkpoint)
            yield finding(
                "KC804",
                f"`weights` says `{own}`, and the checkpoint `{model.checkpoint.value}` is `{says}`",
                place_of(model.weights),
                marks=(Mark(at, f"`{says}`"),),
                help=(f"`weights = {says}`, or a checkpoint in `{own}`",),
                fixes=rewrite(model.weights, says),
            )


def _same_family(one: str, other: str) -> bool:
    """Formats that a name does not tell apart: the 16-bit kinds, fp8 with or without blocks, and groups of one size or another."""
    grouped = tuple((name, f"{name}-g64", f"{name}-g32") for name in ("awq-int4", "gptq-int4", "w4a16"))
    families = (("bf16", "fp16"), ("fp8", "fp8-block"), *grouped)
    return any(one in family and other in family for family in families)


@rule("KC805", stage="plan")
def kv_dtype(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    A KV cache in 16 bits is in the model's own 16-bit kind.

    Why
    The engine refuses `float16` KV for a `bfloat16` model and the reverse. `auto` is the model's own, and what nearly everybody means.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm { kv_cache = fp16 }   #! KC805
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 2, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm { kv_cache = fp8 }
    }
    ```

    Fix
    `kv_cache = auto`, or `fp8` to halve it.

    Source
    vLLM 0.33, `config/vllm.py`: an explicit 16-bit KV type that differs from the model's is refused.
    """
    for serve in plan.serves:
        kv = serve.serve.engine.kv_cache
        own = _own_kind(serve.serve)
        if kv is not None and kv.value in ("bf16", "fp16") and own is not None and kv.value != own:
            yield finding(
                "KC805",
                f"a `{kv.value}` KV cache for a model that runs in `{own}`",
                place_of(kv),
                marks=(attribute_mark(serve.serve, "dtype", "the model runs in this"),),
                help=("`kv_cache = auto`, or `fp8`",),
                fixes=rewrite(kv, "auto"),
            )


def _own_kind(serve: ServeSpec) -> str | None:
    """The 16-bit kind that the model runs in on this engine, None where it is neither."""
    dtype = serve.engine.dtype.value if serve.engine.dtype is not None else serve.model.architecture.value.dtype
    return {"bfloat16": "bf16", "bf16": "bf16", "float16": "fp16", "fp16": "fp16", "half": "fp16"}.get(dtype)


@rule("KC806", stage="plan")
def starts_only_here(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    A plan that starts on the engine version of the spec would also start on the newest one.

    Why
    The budget changes between versions: since 0.21 an estimate of the CUDA graphs is taken from it, before they came on top (for dense models on top again from 0.25 to 0.28). The same flags that started before
    an upgrade may not after, and the upgrade is when nobody has time for it.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.3-70B-Instruct", weights = fp8 }
    hardware box { gpus = 2 * l40s }
    sla team { concurrency = 1, context = 32K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      parallel { tp = 2 }
      engine vllm {
        version                = "0.19"   #! KC806
        gpu_memory_utilization = 0.92
        max_num_seqs           = 128      #! KC207
      }
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.3-70B-Instruct", weights = fp8 }
    hardware box { gpus = 2 * h100-sxm }
    sla team { concurrency = 1, context = 32K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      parallel { tp = 2 }
      engine vllm { version = "0.19" }
    }
    ```

    Fix
    A little less `max_model_len`, or fewer sequences, so that the upgrade is one.

    Source
    vLLM 0.21 release notes (`VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS=1` by default); flags that stopped fitting: vLLM issue 50780, gpustack/runner pull request 251.
    """
    from kcluster.catalog.engines import engine_versions

    for serve in plan.serves:
        engine = serve.serve.engine
        versions = engine_versions(engine.name.value)
        if not versions or engine.version.value[:2] >= versions[-1] or serve.chosen.fits != "yes":
            continue
        newest = ways.refused_by(serve, versions[-1])
        if newest:
            yield finding(
                "KC806",
                f"starts on {ENGINE_NAMES[engine.name.value]} {version_text(engine.version.value)} and {newest}",
                written(serve.serve, "version") or blame(serve.serve, "max_model_len", "context"),
                help=("leave room before an upgrade: a shorter `max_model_len`, or fewer sequences",),
            )
