"""Launches as a `.kcluster` spec, with the way back from each attribute to the place in the command that it comes from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from kcluster.catalog.formats import checkpoint_suffix
from kcluster.importers.defaults import cut_defaults, limit_defaults
from kcluster.importers.machines import Hardware, card_of, write_hardware
from kcluster.importers.models import Identified, identify
from kcluster.importers.words import Launch, Setting, count_of, size_of
from kcluster.importers.writing import Line, Path, Writer, quote, walk
from kcluster.source import Source, Span
from kcluster.spec.flags import ENGINE, PARALLEL, PLACEMENT, SWITCHES
from kcluster.spec.stretching import stretched_positions
from kcluster.spec.text import SCRIPTS_OWN, refusal
from kcluster.syntax.formatter import format_source
from kcluster.syntax.parser import parse
from kcluster.values import evolve, frozen

_KV: Final = {
    "auto": "auto", "bfloat16": "bf16", "float16": "fp16", "fp8": "fp8", "fp8_e4m3": "fp8", "nvfp4": "nvfp4",
    "fp8_e5m2": "fp8", "fp8_inc": "fp8", "fp8_ds_mla": "fp8",
}  # fmt: skip
_DTYPES: Final = {
    "bfloat16": "bfloat16", "float16": "float16", "half": "float16", "float32": "float32", "float": "float32",
}  # fmt: skip
_DRAFTS: Final = {"ngram": "ngram", "eagle": "eagle", "eagle3": "eagle", "draft_model": "draft"}
_DEFAULT_CONTEXT: Final = 8192
"""The SLA's context where none is written."""
_SECRET: Final = re.compile(r"TOKEN|SECRET|PASSWORD|API_KEY|CREDENTIAL")
_NUMBER: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?[kKmM]?")


@frozen
class Imported:
    """A spec made from launches.

    Attributes:
        source: the formatted text.
        origins: places in the text, outermost first, with the place in the command that each comes from.
        paths: each attribute's value as text, by the words that lead to it.
        given: for each of those, the flag that said it.
        known: whether the catalog knows every model.
    """

    source: Source
    launches: tuple[Launch, ...]
    origins: tuple[tuple[Span, Span], ...]
    paths: dict[Path, str]
    given: dict[Path, Setting | None]
    known: bool


def to_spec(
    launches: tuple[Launch, ...],
    hardware: Hardware,
    *,
    version: str = "",
    notes: tuple[str, ...] = (),
    path: str = "imported.kcluster",
    load: bool = True,
) -> Imported:
    """A spec that says what launches say, in canonical layout.

    Args:
        launches: at least one.
        hardware: what the caller knows of the machines.
        version: the engine's; without it the image's tag, else the newest.
        notes: what could not be seen, written as comments at the top.
        load: whether the SLA takes the longest request for its context; without it the SLA is as good as empty, for judging the
            command and not what it is to serve.
    """
    writer = Writer()
    models = [identify(launch) for launch in launches]
    names = _names(launches, models)
    described = any(launch.gpus for launch in launches)
    writer.comments(
        [
            "Imported from the description of another planner." if described else "Imported from a launch command.",
            *notes,
        ]
    )
    for launch, model, name in zip(launches, models, names, strict=True):
        _model(writer, launch, model, name)
    write_hardware(writer, launches, hardware)
    for launch, model, name in zip(launches, models, names, strict=True):
        _sla(writer, launch, model, name, load)
    for launch, model, name in zip(launches, models, names, strict=True):
        _serve(writer, launch, model, name, version, len(launches) > 1, hardware, load)
    source = Source(path, format_source(Source(path, "\n".join(writer.text) + "\n")))
    file, _ = parse(source)
    origins, paths = [], {}
    for where, span, value in walk(file):
        if value is not None:
            paths[where] = source.slice(value)
        if where in writer.origin:
            origins.append((span, writer.origin[where]))
    return Imported(
        source, launches, tuple(origins), paths, writer.given, all(model.match is not None for model in models)
    )


def _names(launches: tuple[Launch, ...], models: list[Identified]) -> list[str]:
    names: list[str] = []
    for launch, model in zip(launches, models, strict=True):
        base = launch.name or model.id.rstrip("/").rpartition("/")[2]
        slug = re.sub(r"[^a-z0-9.]+", "-", base.lower()).strip("-.")[:60] or "model"
        slug = slug if slug[0].isalpha() else f"m-{slug}"
        names.append(slug if slug not in names else f"{slug}-{len(names) + 1}")
    return names


def _model(writer: Writer, launch: Launch, model: Identified, name: str) -> None:
    at = launch.model.span if launch.model is not None else launch.span
    text = launch.model.text if launch.model is not None else ""
    notes = [model.note] if model.note else []
    if not text:
        notes.append("the command names no model")
    elif launch.model is not None and launch.model.unset:
        notes.append(f"nothing sets {', '.join(launch.model.unset)} here: --set NAME=VALUE does")
    writer.comments(notes)
    lines = [Line("id", quote(_id(model.id)), at)]
    if text and text not in (model.id, _id(model.id)) and _id(text) == text:
        lines.append(Line("checkpoint", quote(text), at))
    quantization = launch.setting("--quantization")
    if model.weights and quantization is not None and not model.quantization_used:
        writer.comments(
            [f"the command says --quantization {quantization.text}; the name of the checkpoint says {model.weights}"]
        )
    if launch.config:
        lines.append(Line("config", quote(launch.config), at))
    revision = launch.setting("--revision")
    if revision is not None and revision.values and not revision.unset:
        lines.append(Line("revision", quote(revision.text), revision.span, revision))
    if launch.weights and not model.weights and checkpoint_suffix(model.id)[1] is None:
        lines.append(Line("weights", launch.weights, at))
    if model.weights:
        setting = launch.setting("--quantization") if model.quantization_used else None
        lines.append(Line("weights", model.weights, setting.span if setting else at, setting))
    path: Path = ("model", name)
    writer.open(path, f"model {name}", at)
    for line in lines:
        writer.line(path, line)
    draft = _draft(launch)
    if draft:
        writer.block((*path, "draft"), "draft", draft, draft[0].origin)
    writer.text.append("}")


def _id(text: str) -> str:
    """An id that the language takes: a path or `owner/name`, with everything else replaced."""
    if text.startswith("/"):
        return (
            text
            if re.fullmatch(r"[A-Za-z0-9._/-]+", text)
            else "/" + re.sub(r"[^A-Za-z0-9._/-]+", "-", text).strip("/-")
        )
    parts = [re.sub(r"[^A-Za-z0-9._-]+", "-", part).strip("-.") for part in text.split("/")]
    return "/".join([part for part in parts if part][-2:]) or "unknown"


def _drafted(launch: Launch) -> dict[str, object]:
    """`--speculative-config` with its dotted keys as read; empty where it is not given or no JSON object."""
    setting = launch.setting("--speculative-config")
    try:
        config = json.loads(setting.text) if setting is not None and not setting.unset else {}
    except (ValueError, RecursionError):
        return {}
    if not isinstance(config, dict):
        return {}
    dotted = {one.key: one.text for one in launch.settings if one.flag == "--speculative-config" and one.key}
    return {
        **config,
        **{key: int(text) if text.isdecimal() and len(text) < 6 else text for key, text in dotted.items()},
    }


def _draft(launch: Launch) -> list[Line]:
    """`--speculative-config` as a `draft` block; empty where it has none that a block can say."""
    config = _drafted(launch)
    setting = next((one for one in reversed(launch.settings) if one.flag == "--speculative-config"), None)
    if setting is None:
        return []
    method, model, tokens = config.get("method"), config.get("model"), config.get("num_speculative_tokens")
    word = (
        "mtp"
        if isinstance(method, str) and method.endswith("mtp")
        else _DRAFTS.get(str(method), "draft" if model else "")
    )
    if not word:
        return []
    lines = [Line("method", word, setting.span, setting)]
    if isinstance(model, str) and word != "mtp":
        lines.append(Line("id", quote(model), setting.span, setting))
    if isinstance(tokens, int) and 0 < tokens <= 64:
        lines.append(Line("tokens", str(tokens), setting.span, setting))
    return lines


# SLA


def _context(launch: Launch, model: Identified) -> tuple[str, Setting | None]:
    """The longest request: as said, else the model's positions, which the engine takes; empty where neither is known."""
    setting = launch.setting("--max-model-len")
    if setting is not None and _NUMBER.fullmatch(setting.text):
        return setting.text, setting
    if setting is not None and (setting.unset or setting.text in ("-1", "auto")):
        return "", None  # nothing says it, or the engine takes what fits
    positions = model.match.architecture.max_positions if model.match is not None else None
    raw = {f"{one.flag}.{one.key}" if one.key else one.flag: one.text for one in launch.settings if not one.unset}
    positions = stretched_positions(positions, raw)
    return (str(positions), None) if positions else ("", None)


def _sla(writer: Writer, launch: Launch, model: Identified, name: str, load: bool) -> None:
    context, setting = _context(launch, model)
    if launch.load:
        given = dict(launch.load)
        rest = [] if "concurrency =" in given else [Line("concurrency", "1", comment="not said: set what you expect")]
        said = [Line(key.partition(" ")[0], value, sign=key.partition(" ")[2]) for key, value in launch.load]
        writer.block(("sla", name), f"sla {name}", [*rest, *said])
        return
    lines = [Line("concurrency", "1", comment="a command does not say its load: set what you expect")]
    if context and ((load and setting is not None) or ((size_of(context) or _DEFAULT_CONTEXT + 1) <= _DEFAULT_CONTEXT)):
        lines.append(Line("context", context, setting.span if setting else launch.span, setting))
    writer.block(("sla", name), f"sla {name}", lines)


# Serve


def _serve(
    writer: Writer,
    launch: Launch,
    model: Identified,
    name: str,
    version: str,
    several: bool,
    hardware: Hardware,
    load: bool,
) -> None:
    """The serve of a launch, with the sequences that the engine takes on such cards where the command says nothing; without `load` also
    the tokens of a step."""
    path: Path = ("serve", name)
    writer.comments([*launch.notes, *(problem.message for problem in launch.problems), *_unseen(launch)])
    writer.open(path, f"serve {name}", launch.span)
    for key, value in (("model", name), ("hardware", "machine"), ("sla", name)):
        writer.line(path, Line(key, value))
    if several and launch.indices:
        writer.line(path, Line("gpus", f"[{', '.join(map(str, sorted(set(launch.indices))))}]"))
    if hardware.listen:
        writer.block((*path, "router", "nginx"), "router nginx", [Line("listen", str(hardware.listen))])
    elif not launch.open and launch.replicas == 1:
        writer.line(path, Line("router", "off"))
    writer.block(
        (*path, "parallel"),
        "parallel",
        [*_parallel(launch), *(() if launch.open else cut_defaults(launch, model))],
        launch.span,
    )
    engine: Path = (*path, "engine", "vllm")
    writer.open(engine, "engine vllm", launch.span)
    written = version or launch.version
    if written:
        writer.line(engine, Line("version", quote(written)))
    used: set[str] = set()
    for line in _engine(launch, model):
        writer.line(engine, line)
        if line.setting is not None:
            used.add(line.setting.flag)
    if several and not load and not launch.image and launch.setting("--port") is None:
        # Two servers of one machine that name no port both take this one.
        writer.line(engine, Line("port", "8000", launch.span))
    for line in limit_defaults(launch, model, card_of(hardware), version):
        if not load:
            writer.line(engine, line)
        elif line.key == "max_num_seqs" and not launch.load:
            writer.line(engine, evolve(line, comment="not given: the engine's own; left out, it follows the SLA"))
    arguments = list(_arguments(launch, model, used))
    if arguments:
        writer.block((*engine, "args"), "args", arguments, launch.span)
    env = [
        Line(key, quote(word.text), word.span)
        for key, word in launch.env
        if refusal(key, "environment name") is None and not word.unset and not _SECRET.search(key)
    ]
    env = [line for line in env if not line.key.endswith("VISIBLE_DEVICES")]
    if env:
        writer.block((*engine, "env"), "env", env, launch.span)
    writer.text += ["}", "}"]


def _unseen(launch: Launch) -> Iterator[str]:
    for setting in launch.settings:
        if setting.unset:
            yield f"{setting.flag} is {setting.text}, which nothing sets here"
    left = sorted(_drafted(launch).keys() - {"method", "model", "num_speculative_tokens"}) if _draft(launch) else []
    if left:
        yield f"--speculative-config: the draft block has no word for {', '.join(left)}"
    secrets = [key for key, word in launch.env if _SECRET.search(key)]
    if secrets or launch.setting("--api-key") is not None:
        yield f"secrets are not carried over: {', '.join([*secrets, *(['--api-key'] if launch.setting('--api-key') else [])])}"
    taken = sorted(key for key, _ in launch.env if key in SCRIPTS_OWN)
    if taken:
        yield f"variables that the start scripts use themselves are not carried over: {', '.join(taken)}"
    dropped = sorted({setting.flag for setting in launch.settings if setting.flag in PLACEMENT})
    if dropped:
        yield f"the plan places ranks itself: {', '.join(dropped)} left out"


def _parallel(launch: Launch) -> Iterator[Line]:
    if not launch.open:
        yield Line("replicas", str(launch.replicas))
    for flag, key in PARALLEL.items():
        setting = launch.setting(flag)
        if setting is not None and setting.unset:
            continue
        if setting is not None and count_of(setting.text) is not None:
            yield Line(key, setting.text, setting.span, setting)
        elif (
            key in ("tp", "pp")
            and not launch.open
            and not any(note.endswith("nothing sets it here") for note in launch.notes)
        ):
            yield Line(key, "1", launch.span)
    for flag, key in (("--enable-expert-parallel", "ep"), ("--enable-eplb", "eplb")):
        setting = launch.setting(flag)
        if setting is not None:
            yield Line(key, "on" if setting.on else "off", setting.span, setting)


def _engine(launch: Launch, model: Identified) -> Iterator[Line]:
    for flag, key in ENGINE.items():
        setting = launch.setting(flag)
        if key == "max_model_len":
            context, said = _context(launch, model)
            if context and (said or not launch.open):
                comment = "" if said else "not given: the engine takes the model's own"
                yield Line(key, context, said.span if said else launch.span, said, comment)
            continue
        if setting is None or setting.unset or not setting.values:
            continue
        value, comment = _value(key, setting.text)
        if value:
            yield Line(key, value, setting.span, setting, comment)
    for flag, key in SWITCHES.items():
        setting = launch.setting(flag)
        if setting is not None:
            yield Line(key, "on" if setting.on else "off", setting.span, setting)
    setting = launch.setting("--api-key")
    if setting is not None:
        yield Line("api_key", 'env("VLLM_API_KEY")', setting.span, setting)


def _value(key: str, text: str) -> tuple[str, str]:
    """A flag's value as the language writes it, with a remark; empty where the language has no word for it."""
    if key == "kv_cache":
        word = _KV.get(text, "")
        return word, f"the command says {text}" if word == "fp8" and not text.startswith(
            ("fp8_e4m3",)
        ) and text != "fp8" else ""
    if key == "dtype":
        return _DTYPES.get(text, ""), ""
    if key == "executor":
        return text if text in ("mp", "ray") else "", ""
    if key == "host":
        return quote(text), ""
    if key == "port":
        return text if count_of(text) is not None else "", ""
    return text if _NUMBER.fullmatch(text) else "", ""


def _arguments(launch: Launch, model: Identified, used: set[str]) -> Iterator[Line]:
    """Every other flag as it is; one given twice counts once more as a list where the engine takes lists, else its last."""
    used = (
        used
        | set(PARALLEL)
        | set(PLACEMENT)
        | {"--enable-expert-parallel", "--enable-eplb", "--revision", "--max-model-len", "--config"}
    )
    if _draft(launch):
        used.add("--speculative-config")
    if model.weights:
        used.add("--quantization")
    auto = {
        flag for flag in ("--kv-cache-dtype", "--dtype") if (s := launch.setting(flag)) is not None and s.text == "auto"
    }
    last: dict[str, Setting] = {}
    for setting in launch.settings:
        if setting.flag not in used | auto and not setting.unset:
            last[f"{setting.flag}.{setting.key}" if setting.key else setting.flag] = setting
    for flag, setting in last.items():
        values = [_argument(word.text) for word in setting.values]
        if not setting.on:
            value = "off"
        elif not values:
            value = "on"
        else:
            value = values[0] if len(values) == 1 else f"[{', '.join(values)}]"
        yield Line(quote(flag), value, setting.span, setting)


def _argument(text: str) -> str:
    return text if re.fullmatch(r"0|[1-9][0-9]{0,15}|[0-9]{1,9}\.[0-9]{1,9}", text) else quote(text)
