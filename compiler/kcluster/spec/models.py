"""`model` blocks: the architecture from a config.json, an inner block or the catalog, and what the engine loads."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from kcluster.catalog.formats import WEIGHT_FORMATS, format_of_checkpoint, quantization_of
from kcluster.catalog.models import ModelMatch, find_model
from kcluster.diagnostics import Label
from kcluster.diagnostics.wording import listed, shown
from kcluster.physics.architecture import Architecture
from kcluster.physics.formats import WeightFormat
from kcluster.spec.architectures import build_architecture
from kcluster.spec.files import MAX_CONFIG_BYTES, Files, Unreadable
from kcluster.spec.findings import Findings, replace
from kcluster.spec.own_catalog import OwnCatalog
from kcluster.spec.reader import Fields, missing
from kcluster.spec.types import DraftSpec, ModelSpec, Origin, Value
from kcluster.syntax.strings import quote
from kcluster.values import frozen

_DTYPE_FORMATS: Final = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
_DEFAULT_ACCEPTANCE: Final = 0.7


@frozen(eq=False)
class _Described:
    """An architecture, where it comes from, and the `quantization_config` beside it. `match`: the catalog's row."""

    architecture: Value[Architecture]
    quantization: dict[str, Any] | None
    match: ModelMatch | None = None


def build_model(fields: Fields, files: Files, base: str, findings: Findings, own: OwnCatalog) -> ModelSpec | None:
    """The model of a block; None after a finding where its architecture cannot be known.

    Args:
        base: the folder that the block's paths start from.
        own: the project's catalog.
    """
    named = fields.get("id") or fields.get("checkpoint")
    described = _describe(fields, named, files, base, findings, own)
    if described is None:
        return None
    identifier = fields.get("id") or _implied_id(fields)
    checkpoint = fields.get("checkpoint") or _same(
        fields, identifier, "what `id` names, because no `checkpoint` is given"
    )
    quantization = _quantization(described, identifier.value, checkpoint.value)
    weights = _weights(fields, checkpoint, quantization, described)
    return ModelSpec(
        name=fields.name,
        id=identifier,
        checkpoint=checkpoint,
        revision=fields.get("revision"),
        weights=weights,
        architecture=described.architecture,
        draft=_draft(fields, described.architecture.value, findings, own),
        exact_weight_bytes=_exact_bytes(fields, files, base, findings),
        quantization=quantization,
        block=fields.span,
        head=fields.head,
        source=fields.source,
    )


def _same(fields: Fields, value: Value[str], note: str) -> Value[str]:
    return Value(value.value, Origin("implied", value.origin.source, value.origin.span, note))


def _implied_id(fields: Fields) -> Value[str]:
    checkpoint = fields.get("checkpoint")
    if checkpoint is not None:
        return _same(fields, checkpoint, "what `checkpoint` names, because no `id` is given")
    note = "the block's name, because neither `id` nor `checkpoint` is given"
    return Value(fields.name, fields.origin("implied", note))


# The architecture: config.json, else the inner block, else the catalog


def _describe(
    fields: Fields, named: Value[str] | None, files: Files, base: str, findings: Findings, own: OwnCatalog
) -> _Described | None:
    inner = fields.block("architecture")
    if "config" in fields.tried:
        if inner is not None:
            message = "the architecture is given twice: by `config` and by `architecture`"
            labels = (Label(fields.nodes["config"].span, "the config.json, which is taken"),)
            findings.add("KC104", message, fields.source, inner.head, labels=labels)
        config = fields.get("config")
        return None if config is None else _from_config(config, files, base, findings)
    if inner is not None:
        built = build_architecture(inner, findings)
        origin = Origin("spec", inner.source, inner.head, "the inner `architecture` block")
        return None if built is None else _Described(Value(built, origin, inner.span), None)
    if named is not None:
        return _from_catalog(named, findings, own)
    if not fields.tried & {"id", "checkpoint"}:
        message = f"`model`{f' `{fields.name}`' if fields.name else ''} has no `id`, `config` or `architecture`"
        help_ = ('name the model: `id = "meta-llama/Llama-3.3-70B-Instruct"`',)
        missing(fields, message, findings, label="which model is it?", help=help_)
    return None


def _from_config(config: Value[str], files: Files, base: str, findings: Findings) -> _Described | None:
    import json

    source, span = config.origin.source, config.origin.span
    name = shown(config.value)
    try:
        data = files.bytes_of(files.join(base, config.value), MAX_CONFIG_BYTES)
        read = json.loads(data)
    except Unreadable as error:
        code = "KC106" if str(error) == "does not exist" else "KC107"
        findings.add(code, f"the config `{name}` {error}", source, span)
        return None
    except (ValueError, RecursionError) as error:
        where = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        findings.add("KC103", f"the config `{name}` is not JSON{where}", source, span)
        return None
    from kcluster.catalog.config_json import read_config

    architecture, problems = read_config(read)
    if architecture is None:
        first = problems[0]
        code = "KC107" if first.field.endswith(("model_type", "architectures")) else "KC103"
        notes = tuple(f"`{shown(problem.field)}` {problem.message}" for problem in problems[1:6])
        message = f"the config `{name}` cannot be used: `{shown(first.field)}` {first.message}"
        findings.add(code, message, source, span, notes=notes)
        return None
    origin = Origin("spec", source, span, f"read from {files.display(files.join(base, config.value))}")
    return _Described(Value(architecture, origin, config.attribute), quantization_of(read))


def _from_catalog(named: Value[str], findings: Findings, own: OwnCatalog) -> _Described | None:
    source, span = named.origin.source, named.origin.span
    row = own.model(named.value)
    if row is not None:
        origin = Origin("catalog", source, span, f"{own.note('models')}; {row.source}")
        return _Described(Value(row.architecture, origin), row.quantization)
    match = _find(named.value)
    if match is not None:
        note = f"{match.note}; {match.source}" if match.note else match.source
        return _Described(Value(match.architecture, Origin("catalog", source, span, note)), match.quantization, match)
    if own.explains("models", named.value):
        return None
    from kcluster.catalog.models import model_ids, nearest

    near = () if findings.many else nearest(model_ids(), named.value)
    help_ = [f"did you mean {listed(near)}?"] if near else []
    help_.append('a config.json describes what the catalog lacks: `config = "config.json"`')
    message = f"the catalog has no model `{shown(named.value, 80)}`"
    fixes = (replace(f"write `{near[0]}`", span, quote(near[0]), "unsafe"),) if len(near) == 1 else ()
    findings.add("KC107", message, source, span, help=tuple(help_), fixes=fixes)
    return None


@lru_cache(maxsize=256)
def _find(identifier: str) -> ModelMatch | None:
    """A row is read once, however many blocks name it."""
    return find_model(identifier)


# Weights


def _quantization(described: _Described, identifier: str, checkpoint: str) -> dict[str, Any] | None:
    """The `quantization_config` of what the engine loads: of the config or row itself, or of the checkpoint's own row."""
    if checkpoint == identifier or described.match is None:
        return described.quantization
    match = _find(checkpoint)
    return match.quantization if match is not None and match.id == checkpoint else None


def _weights(
    fields: Fields, checkpoint: Value[str], quantization: dict[str, Any] | None, described: _Described
) -> Value[WeightFormat]:
    written = fields.get("weights")
    if written is not None:
        return Value(WEIGHT_FORMATS[written.value], written.origin, written.attribute)
    own = (
        described.match.id
        if described.match is not None and described.match.id == checkpoint.value
        else checkpoint.value
    )
    name = format_of_checkpoint(quantization, own)
    source, span = checkpoint.origin.source, checkpoint.origin.span
    if name is not None and name in WEIGHT_FORMATS:
        kind = "`quantization_config`" if quantization else "name"
        note = f"{name}, by the checkpoint's {kind}"
        return Value(WEIGHT_FORMATS[name], Origin("catalog" if quantization else "implied", source, span, note))
    name = _DTYPE_FORMATS.get(described.architecture.value.dtype, "bf16")
    note = f"{name}, the model's own dtype, because nothing says that the checkpoint is quantized"
    return Value(WEIGHT_FORMATS[name], Origin("default", source, span, note))


def _exact_bytes(fields: Fields, files: Files, base: str, findings: Findings) -> Value[int] | None:
    index = fields.get("index")
    if index is None:
        return None
    from kcluster.spec.safetensors_index import exact_bytes

    return exact_bytes(index, files, base, findings)


# Drafters


def _draft(fields: Fields, target: Architecture, findings: Findings, own: OwnCatalog) -> DraftSpec | None:
    inner = fields.block("draft")
    if inner is None:
        return None
    identifier = inner.get("id")
    method = inner.get("method") or _method(inner, identifier, target, findings)
    if method is None:
        return None
    needs_id = method.value in ("draft", "eagle")
    if needs_id and "id" not in inner.tried:
        message = f"`draft` has no `id`: method `{method.value}` loads a model of its own"
        missing(inner, message, findings)
        return None
    if needs_id and identifier is None:
        return None
    if method.value == "mtp" and not target.mtp_layers:
        message = "`method = mtp` drafts with the model's own prediction layers, and this model has none"
        findings.add("KC106", message, inner.source, method.origin.span)
        return None
    row = own.model(identifier.value) if identifier is not None and needs_id else None
    match = _find(identifier.value) if identifier is not None and needs_id and row is None else None
    if method.value == "draft" and match is None and row is None and identifier is not None:
        _from_catalog(identifier, findings, own)
        return None
    guess = (1, "one token a prediction layer and step") if method.value == "mtp" else (3, "a usual length of drafts")
    return DraftSpec(
        method=method,
        id=identifier,
        architecture=row.architecture if row is not None else match.architecture if match is not None else None,
        weights=_draft_weights(inner, identifier, match),
        tokens=inner.or_default("tokens", guess[0], f"{guess[1]}, because `tokens` is not given"),
        acceptance=inner.or_default("acceptance", _DEFAULT_ACCEPTANCE, "assumed, because `acceptance` is not given"),
        tp=inner.get("tp"),
        block=inner.span,
        source=inner.source,
    )


def _method(
    inner: Fields, identifier: Value[str] | None, target: Architecture, findings: Findings
) -> Value[Any] | None:
    if identifier is not None:
        name = "eagle" if "eagle" in identifier.value.lower() else "draft"
        return inner.default(name, "by the drafting model's id")
    if target.mtp_layers:
        return inner.default("mtp", "the model has prediction layers of its own")
    if not inner.tried & {"method", "id"}:
        message = "`draft` has no `method`: the model has no prediction layers of its own"
        help_ = ("`method = ngram`, or `id` of a drafting model",)
        missing(inner, message, findings, help=help_)
    return None


def _draft_weights(
    inner: Fields, identifier: Value[str] | None, match: ModelMatch | None
) -> Value[WeightFormat] | None:
    written = inner.get("weights")
    if written is not None:
        return Value(WEIGHT_FORMATS[written.value], written.origin, written.attribute)
    if identifier is None or match is None:
        return None
    name = format_of_checkpoint(match.quantization if match.id == identifier.value else None, identifier.value)
    name = name or _DTYPE_FORMATS.get(match.architecture.dtype, "bf16")
    origin = Origin("implied", identifier.origin.source, identifier.origin.span, f"{name}, by the drafting model's id")
    return Value(WEIGHT_FORMATS[name], origin)
