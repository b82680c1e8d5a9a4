"""One serve as the planner sees it: numbers only, with what the author pinned apart from what is open."""

from __future__ import annotations

from typing import Final, Literal, TypeVar

from kcluster.catalog.constants import memory_constants, time_constants
from kcluster.physics.architecture import Architecture, Layer, shared
from kcluster.physics.cut import EngineVersion, KvFormat, Load, StateMode
from kcluster.physics.formats import WeightFormat
from kcluster.physics.hardware import Cluster
from kcluster.physics.memory import MemoryConstants
from kcluster.physics.time_constants import TimeConstants
from kcluster.spec.stretching import stretched_positions
from kcluster.spec.types import ArgumentValue, Bound, DraftSpec, EngineSpec, ServeSpec, SlaSpec, Value
from kcluster.values import evolve, frozen

DEFAULT_LOAD: Final = Load(concurrency=8, context=8192, prompt=2048, completion=512)
"""What a serve without an SLA is judged at: a handful of users in a chat. KC506 says that it is a guess."""

T = TypeVar("T")

_SUFFIXES: Final = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}


@frozen
class Pins:
    """What the author fixed; None is open. Raw flags count where the attribute of the same meaning is not written."""

    replicas: int | None = None
    tp: int | None = None
    pp: int | None = None
    dp: int | None = None
    ep: bool | None = None
    dcp: int | None = None
    layers: tuple[int, ...] | None = None
    eplb: bool = False
    redundant_experts: int = 0
    kv_format: KvFormat | None = None
    max_model_len: int | None = None
    fitted_length: bool = False
    """Whether the engine is told to take the longest length that its pool holds (`--max-model-len auto`)."""
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    utilization: float | None = None
    prefix_caching: bool | None = None
    chunked_prefill: bool = True
    eager: bool = False
    kv_cache_memory_bytes: int | None = None
    block_size: int | None = None
    gpu_blocks: int | None = None
    async_scheduling: bool = True
    hybrid_manager: bool = True
    state_mode: StateMode | None = None
    conv_bytes: int = 2
    ssm_bytes: int | None = None
    language_model_only: bool = False
    video: bool = True
    sampler: Literal["", "sorted", "flashinfer"] = ""
    executor: Literal["mp", "ray"] | None = None


@frozen(eq=False)
class Case:
    """Everything that a candidate is judged by. Equal cases give equal plans.

    `dtype`: the KV format that the engine takes by itself, the model's own 16 bits. `draft_bytes`: bytes of a drafter's
    weights before tensor parallel divides them, 0 without one. `survive`: what the SLA wants to lose without an outage.
    """

    architecture: Architecture
    weights: WeightFormat
    cluster: Cluster
    load: Load
    engine: EngineVersion
    pins: Pins
    bounds: tuple[Bound, ...]
    survive: Literal["replica", "host"] | None
    dtype: KvFormat
    default_utilization: float
    exact_weight_bytes: int | None
    draft_bytes: float
    speculative_tokens: int
    speculative_acceptance: float
    memory_constants: MemoryConstants
    time_constants: TimeConstants
    neighbours: float = 0.0
    """The share of a card that other serves of the spec take of it."""
    mtp: bool = True
    """Whether drafting is by the model's own multi-token-prediction layers."""
    draft_layers: tuple[Layer, ...] = ()
    """The layers of a drafter of its own, whose KV lives in the same pool."""


def case_of(serve: ServeSpec, neighbours: float = 0.0) -> Case:
    """The case of a serve. Values that cannot be (a prompt of no tokens) are taken as the least that can; the rules report
    them from the spec."""
    architecture = serve.model.architecture.value
    if (
        serve.engine.dtype is not None
    ):  # the engine casts the model, and a 16-bit KV cache must be of what it is cast to
        architecture = evolve(architecture, dtype=serve.engine.dtype.value)
    positions = stretched_positions(architecture.max_positions, flags_of(serve.engine))
    if positions != architecture.max_positions:
        architecture = evolve(architecture, max_positions=positions)
    draft = serve.model.draft
    architecture = shared(architecture)
    engine = engine_of(serve)
    return Case(
        architecture=architecture,
        weights=serve.model.weights.value,
        cluster=serve.cluster,
        load=load_of(serve.sla),
        engine=engine,
        pins=pins_of(serve),
        bounds=serve.sla.bounds if serve.sla else (),
        survive=serve.sla.survive_loss.value if serve.sla and serve.sla.survive_loss else None,
        dtype=_own_format(architecture.dtype, serve.engine),
        default_utilization=default_utilization(engine),
        exact_weight_bytes=serve.model.exact_weight_bytes.value if serve.model.exact_weight_bytes else None,
        draft_bytes=_draft_bytes(draft),
        speculative_tokens=max(0, draft.tokens.value) if draft else 0,
        speculative_acceptance=min(1.0, max(0.0, draft.acceptance.value)) if draft else 0.0,
        memory_constants=memory_constants(),
        time_constants=time_constants(),
        neighbours=neighbours,
        mtp=draft is None or draft.method.value == "mtp",
        draft_layers=draft.architecture.layers if draft and _own_drafter(draft) and draft.architecture else (),
    )


def released(case: Case) -> Case:
    """The case with the cut open; lengths, formats and shares stay as written."""
    pins = evolve(
        case.pins,
        replicas=None,
        tp=None,
        pp=None,
        dp=None,
        ep=None,
        dcp=None,
        layers=None,
        eplb=False,
        redundant_experts=0,
    )
    return evolve(case, pins=pins)


def engine_of(serve: ServeSpec) -> EngineVersion:
    """The engine and version that a serve asks for."""
    return EngineVersion(serve.engine.name.value, serve.engine.version.value)


def load_of(sla: SlaSpec | None) -> Load:
    """The load that an SLA describes, or the default one."""
    if sla is None:
        return DEFAULT_LOAD
    return Load(
        concurrency=max(1, sla.concurrency.value),
        context=max(1, sla.context.value),
        prompt=max(1, sla.prompt.value),
        completion=max(1, sla.completion.value),
        prefix_share=min(1.0, max(0.0, sla.prefix_share.value)),
    )


LARGER_SHARE_SINCE: Final = (0, 20)
"""vLLM takes 0.92 of a card unasked since this release, by a log of 0.20.1 whose command names no share; 0.9 before."""


def default_utilization(engine: EngineVersion) -> float:
    """The share of a card that the engine takes when nobody says: its own default by version; where its table has none,
    0.9."""
    from kcluster.catalog.engines import flag_table

    if engine.name == "vllm" and not engine.at_least(*LARGER_SHARE_SINCE):
        return 0.9
    table = flag_table(engine.name, engine.version)
    flag = table.find("--gpu-memory-utilization") if table else None
    try:
        return float(flag.default) if flag and flag.default else 0.9
    except ValueError:
        return 0.9


def pins_of(serve: ServeSpec) -> Pins:
    """What `parallel`, `engine` and its raw flags fix."""
    parallel, engine = serve.parallel, serve.engine
    arguments = flags_of(engine)
    layers = _value(parallel.layers)
    fitted = engine.max_model_len is None and arguments.get("--max-model-len") in ("auto", -1, "-1")
    return Pins(
        replicas=_size(parallel.replicas),
        tp=_size(parallel.tp),
        pp=_size(parallel.pp) if parallel.pp or not layers else len(layers),
        dp=_size(parallel.dp),
        ep=_value(parallel.ep),
        dcp=_size(parallel.dcp),
        layers=layers,
        eplb=parallel.eplb.value if parallel.eplb else False,
        redundant_experts=_redundant_experts(arguments),
        kv_format=_kv_format(engine, arguments),
        max_model_len=None if fitted else _number(engine.max_model_len, arguments, "--max-model-len"),
        fitted_length=fitted,
        max_num_seqs=_number(engine.max_num_seqs, arguments, "--max-num-seqs"),
        max_num_batched_tokens=_number(engine.max_num_batched_tokens, arguments, "--max-num-batched-tokens"),
        utilization=_share(engine.gpu_memory_utilization, arguments.get("--gpu-memory-utilization")),
        prefix_caching=_switch(engine.prefix_caching, arguments.get("--enable-prefix-caching")),
        chunked_prefill=_switch(engine.chunked_prefill, arguments.get("--enable-chunked-prefill")) is not False,
        eager=arguments.get("--enforce-eager") is True,
        kv_cache_memory_bytes=_count(arguments.get("--kv-cache-memory-bytes")),
        block_size=_count(arguments.get("--block-size")),
        gpu_blocks=_count(arguments.get("--num-gpu-blocks-override")),
        async_scheduling=_schedules_ahead(serve.model.draft, arguments.get("--async-scheduling")),
        hybrid_manager=_hybrid_manager(engine, arguments.get("--disable-hybrid-kv-cache-manager")),
        state_mode=_state_mode(arguments.get("--mamba-cache-mode")),
        conv_bytes=_VALUE_BYTES.get(str(arguments.get("--mamba-cache-dtype")), 2),
        ssm_bytes=_VALUE_BYTES.get(str(arguments.get("--mamba-ssm-cache-dtype"))),
        language_model_only=arguments.get("--language-model-only") is True,
        video=_takes_video(arguments),
        sampler=_sampler(engine),
        executor=_value(engine.executor),
    )


def flags_of(engine: EngineSpec) -> dict[str, ArgumentValue]:
    """The raw flags under their full names, as the version's own parser reads them: `--no-x` is `--x` off, beginnings and
    underscores are spelt out. What the version does not know stays as it was written."""
    if not engine.args:
        return {}
    from kcluster.catalog.engines import flag_table

    table = flag_table(engine.name.value, engine.version.value)
    found: dict[str, ArgumentValue] = {}
    for name, value in engine.args:
        match = table.match(name.value) if table else None
        if match is None:
            found[name.value] = value.value
        elif match.key:
            found[f"{match.flag.name}.{match.key}"] = value.value
        else:
            found[match.flag.name] = value.value is not True if match.negated else value.value
    return found


def _sampler(engine: EngineSpec) -> Literal["", "sorted", "flashinfer"]:
    """Which sampler the engine is told to take, by its variable; otherwise a build from before 0.11.2 takes what is installed."""
    for name, value in engine.env:
        if name.value == "VLLM_USE_FLASHINFER_SAMPLER":
            return "flashinfer" if value.value.lower() in ("1", "true") else "sorted"
    return ""


def _switch(attribute: Value[bool] | None, raw: ArgumentValue | None) -> bool | None:
    """A switch as its attribute has it, else the raw flag; None where neither is written."""
    if attribute is not None:
        return attribute.value
    return raw if isinstance(raw, bool) else None


def _schedules_ahead(draft: DraftSpec | None, raw: ArgumentValue | None) -> bool:
    """Whether batches overlap: unless it is switched off, or the drafter looks up the prompt on the host (vLLM, `config/vllm.py`)."""
    return raw is not False and (draft is None or draft.method.value != "ngram")


CONNECTORS_SHARE_SINCE: Final = (0, 23)
"""Before, any connector for KV switched the hybrid manager off unless it was asked for; the engine's own offloading takes it."""


def _hybrid_manager(engine: EngineSpec, raw: ArgumentValue | None) -> bool:
    if isinstance(raw, bool):
        return not raw
    return engine.kv_offload is None or engine.version.value >= CONNECTORS_SHARE_SINCE


def _state_mode(raw: ArgumentValue | None) -> StateMode | None:
    return raw if raw in ("none", "align", "all") else None  # type: ignore[return-value]


_VALUE_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2}


def _value(value: Value[T] | None) -> T | None:
    return value.value if value is not None else None


def _size(value: Value[int] | None) -> int | None:
    """A size of at least one; what is less is reported from the spec."""
    return max(1, value.value) if value is not None else None


def _number(attribute: Value[int] | None, arguments: dict[str, ArgumentValue], flag: str) -> int | None:
    """An attribute's count, else the raw flag's."""
    return attribute.value if attribute is not None else _count(arguments.get(flag))


def _count(value: ArgumentValue | None) -> int | None:
    """A count as flags write it (`8192`, `8k`, `8K`); None for anything else."""
    if isinstance(value, bool | tuple) or value is None:
        return None
    if isinstance(value, int | float):
        return int(value) if value == value and abs(value) < 2**63 else None
    text = value.strip()
    factor = _SUFFIXES.get(text[-1:], 0)
    try:
        return int(float(text[:-1]) * factor) if factor else int(text)
    except (ValueError, OverflowError):
        return None


def _share(attribute: Value[float] | None, raw: ArgumentValue | None) -> float | None:
    if attribute is not None:
        return attribute.value
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return float(raw)
    return None


def _redundant_experts(arguments: dict[str, ArgumentValue]) -> int:
    """`num_redundant_experts` of the raw EPLB configuration, 0 without."""
    dotted = _count(arguments.get("--eplb-config.num_redundant_experts"))
    if dotted is not None:
        return max(0, dotted)
    whole = arguments.get("--eplb-config")
    if not isinstance(whole, str):
        return 0
    import json

    try:
        read = json.loads(whole)
    except ValueError:
        return 0
    return max(0, _count(read.get("num_redundant_experts")) or 0) if isinstance(read, dict) else 0


def _takes_video(arguments: dict[str, ArgumentValue]) -> bool:
    """Whether `--limit-mm-per-prompt` leaves videos in: JSON, the older `image=1,video=0`, or a dotted flag."""
    flag = "--limit-mm-per-prompt"
    whole, dotted = arguments.get(flag), arguments.get(f"{flag}.video")
    if dotted is not None:
        return _count(dotted) != 0
    if not isinstance(whole, str):
        return True
    import json

    try:
        read = json.loads(whole)
    except ValueError:
        return "video=0" not in whole.replace(" ", "").split(",")
    return not (isinstance(read, dict) and read.get("video") == 0)


def _kv_format(engine: EngineSpec, arguments: dict[str, ArgumentValue]) -> KvFormat | None:
    written = engine.kv_cache.value if engine.kv_cache else None
    if written is not None:
        return None if written == "auto" else written
    raw = arguments.get("--kv-cache-dtype")
    if not isinstance(raw, str):
        return None
    names: dict[str, KvFormat] = {"bfloat16": "bf16", "float16": "fp16", "nvfp4": "nvfp4"}
    return "fp8" if raw.startswith("fp8") else names.get(raw)


def _own_format(dtype: str, engine: EngineSpec) -> KvFormat:
    """The 16-bit format of the model on this engine: `dtype` where it is written, else the checkpoint's (32-bit checkpoints
    run in fp16, as engines cast them)."""
    written = engine.dtype.value if engine.dtype else "auto"
    name = dtype if written == "auto" else written
    return "bf16" if name in ("bfloat16", "bf16") else "fp16"


def _own_drafter(draft: DraftSpec) -> bool:
    """Whether the drafter is a model beside the model, rather than its own layers or a look-up in the prompt."""
    return draft.method.value not in ("mtp", "ngram")


def _draft_bytes(draft: DraftSpec | None) -> float:
    """Bytes of a drafter's own weights; multi-token-prediction layers belong to the model's."""
    from kcluster.physics.weights import weight_bytes

    if draft is None or draft.architecture is None or not _own_drafter(draft):
        return 0.0
    weights = draft.weights.value if draft.weights else WeightFormat("bf16", 2.0, quantized=False)
    return weight_bytes(draft.architecture, weights).value
