"""What only a command can be wrong in: how its words are written, its container, and what its version alone decides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from kcluster.catalog.engines import FlagValue
from kcluster.catalog.formats import WEIGHT_FORMATS, checkpoint_suffix
from kcluster.catalog.models import known_format
from kcluster.diagnostics import Diagnostic
from kcluster.diagnostics.types import Severity
from kcluster.importers.defaults import version_of
from kcluster.importers.launches import table_of
from kcluster.importers.machines import Hardware, card_of, degree, world
from kcluster.importers.mangled import mangled
from kcluster.importers.models import contradiction, identify
from kcluster.importers.sizes import too_large
from kcluster.importers.versions import BEFORE_TABLES, old_version
from kcluster.importers.words import Launch, Problem, Setting, count_of
from kcluster.physics.capacity import default_limits
from kcluster.physics.constraints import ITEM_FLOOR_SINCE
from kcluster.physics.cut import EngineVersion
from kcluster.source import Source, Span
from kcluster.spec.flags import PARALLEL

_UNSAID: Final = (*PARALLEL, "--max-model-len", "--max-num-seqs", "--max-num-batched-tokens", "--port")
"""Flags that a spec leaves out where their value is not one, so that the spec's rules do not see them."""

BLACKWELL_KERNELS_SINCE: Final = (0, 9, 2)
"""Images and wheels before hold no kernels for compute capability 12 (vLLM issue 18995, pull request 19794)."""
SINKS_SINCE: Final = (0, 10, 2)
"""From about vLLM 0.10.2 the engine takes Triton's attention by itself where FlashAttention 3 is not to be had (its gpt-oss recipe)."""
_OFFICIAL: Final = re.compile(r"(^|/)vllm/vllm-openai(:|@|$)")


def problems_of(launch: Launch, command: Source, hardware: Hardware, version: str) -> tuple[Problem, ...]:
    """What is wrong with the command's own words.

    Args:
        hardware: the cards as given, or those that stand in for them.
        version: the engine's where the caller knows it.
    """
    asked = version_of(launch, version)
    spoilt = list(mangled(launch, command, table_of(asked), asked))
    outside = [
        problem
        for problem in launch.problems
        if not any(one.span != problem.span and one.span.contains(problem.span) for one in spoilt)
    ]
    return (
        *spoilt,
        *outside,
        *_format(launch),
        *_dtype(launch, hardware),
        *_shared_memory(launch),
        *_nodes(launch, hardware, version),
        *_kernels(launch, hardware, version),
        *_sinks(launch, hardware, version),
        *_item(launch, hardware, version),
        *_group(launch),
        *_packed(launch),
        *too_large(launch, hardware),
        *_captured(launch),
    )


def findings(
    launch: Launch, command: Source, problems: tuple[Problem, ...], version: str, *, blind: bool
) -> Iterator[Diagnostic]:
    """Problems of the command's own words as findings, and what the version's flag table says.

    Args:
        blind: whether the spec could not be judged because a model or a value of it is not known.
    """
    for problem in problems:
        yield _found(problem, command)
    yield from _flags(launch, command, version, everything=blind)
    if blind:
        yield from _open(launch, command)


def _found(problem: Problem, command: Source) -> Diagnostic:
    help = (problem.help,) if problem.help else ()
    notes = (problem.note,) if problem.note else ()
    return Diagnostic(problem.code, problem.message, command, problem.span, problem.severity, notes=notes, help=help)


def _cut_place(launch: Launch) -> Span:
    """The flag that says over how many cards, else the whole command."""
    at = launch.setting("--tensor-parallel-size") or launch.setting("--pipeline-parallel-size")
    return at.span if at is not None else _place(launch)


def _place(launch: Launch) -> Span:
    return launch.model.span if launch.model is not None else Span(launch.span.start, launch.span.start + 1)


def _format(launch: Launch) -> Iterator[Problem]:
    quantization, method = launch.setting("--quantization"), contradiction(launch)
    if quantization is not None and method:
        yield Problem(
            "KC804",
            f"`--quantization {quantization.text}` contradicts the checkpoint, whose name says {method}",
            quantization.span,
            help="leave `--quantization` out: the engine reads it from the checkpoint",
        )

    dtype = launch.setting("--dtype")
    if dtype is None or quantization is None or quantization.text not in ("awq", "gptq"):
        return
    if dtype.text in ("bfloat16", "float32", "float"):
        yield Problem(
            "KC803",
            f"`--quantization {quantization.text}` runs in float16 alone, not in {dtype.text}",
            dtype.span,
            help=f"`--quantization {quantization.text}_marlin`, or leave it out: the engine chooses the kernel",
        )


def _dtype(launch: Launch, hardware: Hardware) -> Iterator[Problem]:
    """bfloat16 on a card that has none, for a model that is not known (the spec's rule says so of one that is)."""
    dtype, found = launch.setting("--dtype"), card_of(hardware)
    if dtype is None or dtype.text != "bfloat16" or found is None or identify(launch).match is not None:
        return
    capability = found.compute_capability
    if capability is not None and capability < (8, 0) and found.vendor == "nvidia":
        yield Problem(
            "KC803",
            f"{found.name} has no bfloat16: its compute capability is {'.'.join(map(str, capability))}, and 8.0 has it",
            dtype.span,
            help="`--dtype half`",
        )


def _shared_memory(launch: Launch) -> Iterator[Problem]:
    if launch.small_shm and world(launch) > 1:
        yield Problem(
            "KC707",
            f"{world(launch)} ranks share a container's 64 MiB of shared memory",
            _cut_place(launch),
            "warning",
            help="`--ipc=host` or `--shm-size 8g`; in Kubernetes a volume of medium Memory at /dev/shm",
        )


def _nodes(launch: Launch, hardware: Hardware, version: str) -> Iterator[Problem]:
    """More ranks than a node has cards, and nothing that says how the engine reaches the others."""
    text = hardware.gpus.partition("*")[0].strip()
    per_node = (count_of(text) or 0) if "*" in hardware.gpus else 0
    said = launch.setting("--distributed-executor-backend") or launch.setting("--nnodes")
    alone = degree(launch, "--data-parallel-size") == 1
    if per_node and hardware.nodes > 1 and world(launch) > per_node and said is None and alone:
        asked = version_of(launch, version)
        yield Problem(
            "KC303",
            f"{world(launch)} ranks on a node of {per_node} cards, and nothing says how the engine reaches the others",
            _cut_place(launch),
            "warning" if asked is not None and asked[:2] < (0, 11) else "error",
            note="before 0.11 the engine fell back to Ray where one was running; from 0.11 on it refuses",
            help="`--distributed-executor-backend ray`, or `--nnodes`, `--node-rank` and `--master-addr` on each node",
        )


def _kernels(launch: Launch, hardware: Hardware, version: str) -> Iterator[Problem]:
    """A published build that is older than the card, or an image whose tag does not say how old it is."""
    found = card_of(hardware)
    capability = found.compute_capability if found is not None else None
    if found is None or capability is None or capability[0] < 12 or found.vendor != "nvidia":
        return
    asked = version_of(launch, version)
    official = _OFFICIAL.search(launch.image) is not None
    since = ".".join(map(str, BLACKWELL_KERNELS_SINCE))
    shown = ".".join(map(str, capability))
    if asked is None and official:
        yield Problem(
            "KC803",
            f"the tag of `{launch.image}` says no version: images before {since} hold no kernels for {found.name}",
            _place(launch),
            "note",
            note=f'they end with "no kernel image is available for execution on the device" at compute capability {shown}',
            help=f"name a version, such as `vllm/vllm-openai:v{_newest()}`, and pull it anew",
        )
    elif asked is not None and asked < BLACKWELL_KERNELS_SINCE:
        yield Problem(
            "KC803",
            f"vLLM {'.'.join(map(str, asked))} as published holds no kernels for {found.name} (compute capability {shown})",
            _place(launch),
            "error" if official else "warning",
            note="" if official else "a build from source for this card has them",
            help=f"vLLM {since} or newer",
        )


def _sinks(launch: Launch, hardware: Hardware, version: str) -> Iterator[Problem]:
    """Attention sinks (gpt-oss) before every back end had them."""
    match, found = identify(launch).match, card_of(hardware)
    asked = version_of(launch, version)
    capability = found.compute_capability if found is not None else None
    if match is None or match.architecture.model_type != "gpt_oss" or asked is None or asked >= SINKS_SINCE:
        return
    chosen = launch.setting("--attention-backend") is not None or any(
        name == "VLLM_ATTENTION_BACKEND" for name, _ in launch.env
    )
    if found is not None and capability is not None and capability[0] not in (9, 10) and not chosen:
        yield Problem(
            "KC803",
            f"attention sinks need Hopper or B200 before vLLM {'.'.join(map(str, SINKS_SINCE))}, unless another back end is chosen; "
            f"{found.name} has compute capability {'.'.join(map(str, capability))}",
            _place(launch),
            "warning",
            help="VLLM_ATTENTION_BACKEND=TRITON_ATTN_VLLM_V1, or a newer version",
        )


def _captured(launch: Launch) -> Iterator[Problem]:
    """Graphs captured for fewer tokens than a step of all sequences with their drafts has."""
    size, sequences = launch.setting("--max-cudagraph-capture-size"), launch.setting("--max-num-seqs")
    drafts = _drafts(launch)
    if size is None or sequences is None or not drafts:
        return
    captured, most = count_of(size.text), count_of(sequences.text)
    step = (most or 0) * (drafts + 1)
    if captured is not None and captured < step:
        yield Problem(
            "KC310",
            f"graphs are captured for {size.text} tokens, and {sequences.text} sequences with {drafts} drafts each decode {step:,} a step",
            size.span,
            "warning",
            help=f"`--max-cudagraph-capture-size {step}`, or fewer sequences",
        )


def _drafts(launch: Launch) -> int:
    """`num_speculative_tokens`, 0 where none are said."""
    import json

    setting = launch.setting("--speculative-config")
    try:
        read = json.loads(setting.text) if setting is not None else {}
    except (ValueError, RecursionError):
        return 0
    tokens = read.get("num_speculative_tokens") if isinstance(read, dict) else None
    return tokens if isinstance(tokens, int) and 0 < tokens <= 64 else 0


def _newest() -> str:
    from kcluster.catalog.engines import engine_versions

    numbers = engine_versions("vllm")[-1]
    return ".".join(map(str, (*numbers, 0)[:3]))


def _item(launch: Launch, hardware: Hardware, version: str) -> Iterator[Problem]:
    """A step that older versions do not size for an item that is taken whole, where nothing says the version."""
    match, found = identify(launch).match, card_of(hardware)
    stated = launch.setting("--max-num-batched-tokens") or launch.setting("--language-model-only")
    limited = launch.setting("--limit-mm-per-prompt") is not None
    if match is None or found is None or stated is not None or limited or version_of(launch, version) is not None:
        return
    item = match.architecture.item_tokens
    before = EngineVersion("vllm", (0, ITEM_FLOOR_SINCE[1] - 1))
    step = default_limits(match.architecture, found, before)[1]
    if item > step:
        yield Problem(
            "KC209",
            f"before vLLM {'.'.join(map(str, ITEM_FLOOR_SINCE))} the default step of {step:,} tokens cannot hold one item of "
            f"{item:,}, and the engine refuses to start",
            _place(launch),
            "warning",
            note="the command does not say its version: newer ones size the step themselves",
            help=f"`--max-num-batched-tokens {-(-item // 1024) * 1024}`",
        )


def _packed(launch: Launch) -> Iterator[Problem]:
    """What must hold of a packed checkpoint whose model is not known, said because it could not be judged."""
    tp, setting = degree(launch, "--tensor-parallel-size"), launch.setting("--tensor-parallel-size")
    if setting is None or tp == 1 or launch.model is None or identify(launch).match is not None:
        return
    name = launch.model.text.rstrip("/").rpartition("/")[2]
    packed = WEIGHT_FORMATS.get(known_format(launch.model.text) or checkpoint_suffix(name)[1] or "")
    size = max(packed.block) if packed is not None and packed.block else packed.group if packed is not None else 0
    if size and size >= SMALLEST_JUDGED:
        whole = launch.setting("--enable-expert-parallel") is not None
        yield Problem(
            "KC306",
            f"weights in {'blocks' if packed is not None and packed.block else 'groups'} of {size} are cut by tp {tp} only where every "
            f"width is a multiple of {size * tp:,}, and the widths of this model are not known here",
            setting.span,
            "note",
            note="experts are often narrower" if not whole else "experts stay whole with --enable-expert-parallel",
            help=""
            if whole
            else "`--enable-expert-parallel` keeps experts whole; the model's config.json says its widths",
        )


SMALLEST_JUDGED: Final = 64
"""Groups below this divide nearly every width."""


def _group(launch: Launch) -> Iterator[Problem]:
    """A group size that hardly any model's heads divide by, for a model that is not known."""
    tp = degree(launch, "--tensor-parallel-size")
    setting = launch.setting("--tensor-parallel-size")
    if setting is None or tp & (tp - 1) == 0 or identify(launch).match is not None:
        return
    yield Problem(
        "KC301",
        f"tp {tp} must divide the model's attention heads, and the usual 16, 32, 64 and 128 do not divide by {tp}",
        setting.span,
        "warning",
        note="the model is not known here; few have 24, 40, 48 or 96 heads",
        help=f"tp {1 << (tp.bit_length() - 1)}, or the rest of the cards by `--pipeline-parallel-size`",
    )


def _value(setting: Setting) -> FlagValue:
    return tuple(word.text for word in setting.values) if len(setting.values) > 1 else setting.text or setting.on


def _flags(launch: Launch, command: Source, version: str, *, everything: bool) -> Iterator[Diagnostic]:
    """What the version's flag table says: of every flag where the spec could not be judged, else of those that a spec leaves out
    when their value is none."""
    table = table_of(version_of(launch, version))
    for setting in launch.settings:
        if setting.unset or not (everything or setting.flag in _UNSAID):
            continue
        name = f"{setting.flag}.{setting.key}" if setting.key else setting.flag
        if table.match(name) is None and not name.startswith("-"):
            continue
        for problem in table.judge(name, _value(setting)):
            if not everything and problem.kind not in ("value", "choice"):
                continue
            # What a list does not hold a plug-in or a neighbouring version may.
            asked = version_of(launch, version)
            older = asked is None and ("last seen in" in problem.message or setting.flag in BEFORE_TABLES)
            untold = problem.kind == "unknown" and old_version(launch, version)
            severity: Severity = "warning" if problem.kind == "hint" or older or untold else "error"
            severity = "note" if problem.kind in ("uncertain", "deprecated") else severity
            help = (f"`{problem.nearest[0]}` is near",) if problem.nearest else ()
            yield Diagnostic("KC801", problem.message, command, setting.span, severity, help=help)


def _open(launch: Launch, command: Source) -> Iterator[Diagnostic]:
    """A listener on all interfaces without a key, for a command whose spec could not be judged."""
    host = launch.setting("--host")
    keyed = launch.setting("--api-key") is not None or any(name == "VLLM_API_KEY" for name, _ in launch.env)
    if host is not None and host.text in ("0.0.0.0", "::", "[::]") and not keyed:  # noqa: S104
        yield Diagnostic(
            "KC701",
            f"the engine listens on all interfaces ({host.text}) without a key",
            command,
            host.span,
            "warning",
            help=("`--host 127.0.0.1` behind a router, or `--api-key`",),
        )
