"""Flags that a plan has, against the arguments that an engine says it was started with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from kcluster.catalog.engines import FlagTable, flag_table
from kcluster.spec.flags import ATTRIBUTE_OF_FLAG
from kcluster.verify.checks import Check
from kcluster.verify.logs import Started
from kcluster.verify.planned import Planned

OF_A_PROCESS: Final = frozenset(
    {
        "--host", "--port", "--config", "--api-key", "--nnodes", "--node-rank", "--master-addr", "--master-port", "--headless",
        "--data-parallel-size-local", "--data-parallel-start-rank", "--data-parallel-rank", "--data-parallel-address",
        "--data-parallel-rpc-port", "--data-parallel-hybrid-lb", "--data-parallel-external-lb", "--api-server-count",
        "--served-model-name",
    }
)  # fmt: skip
"""Flags that other processes of the same plan have other values of, or that change no figure."""

_SECRET: Final = ("key", "token", "secret", "password")
_RESOLVED: Final = {
    "--max-model-len": "max_seq_len",
    "--tensor-parallel-size": "tensor_parallel_size",
    "--pipeline-parallel-size": "pipeline_parallel_size",
    "--data-parallel-size": "data_parallel_size",
    "--decode-context-parallel-size": "decode_context_parallel_size",
    "--kv-cache-dtype": "kv_cache_dtype",
    "--dtype": "dtype",
    "--quantization": "quantization",
    "--enforce-eager": "enforce_eager",
    "--enable-prefix-caching": "enable_prefix_caching",
    "--enable-chunked-prefill": "enable_chunked_prefill",
}
"""What the engine calls the same in the line that says what it made of its arguments."""

_ATTRIBUTES: Final = {**ATTRIBUTE_OF_FLAG, "--speculative-config": "draft"}
_ORDER: Final = (*_ATTRIBUTES, "--kv-cache-memory-bytes", "--block-size", "--enforce-eager")


def attribute_of(flag: str) -> str:
    """What of the language writes a flag; `args` for one that the spec passes through."""
    return _ATTRIBUTES.get(flag, "args")


def settings(plan: Planned, log: Started) -> tuple[Check, ...]:
    """Version, model, then every flag that the plan or the engine has: those that the language knows first, others by name."""
    found = [_version(plan, log)]
    if log.args is None and not log.config:
        return tuple(found)
    found.append(_model(plan, log))
    table = flag_table("vllm", _numbers(log.version) or plan.version)
    assert table is not None, "vLLM has a flag table"
    planned = dict(_flags(table, plan.args))
    given = dict(_flags(table, {f"--{key.replace('_', '-')}": value for key, value in (log.args or {}).items()}))
    names = sorted({*planned, *given} - OF_A_PROCESS, key=lambda name: (_rank(name), name))
    found += [check for name in names if (check := _flag(name, planned, given, table, log)) is not None]
    return tuple(found)


def _rank(name: str) -> int:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def _numbers(text: str) -> tuple[int, ...]:
    """`0.32.0+cpu`, `0.33.1rc2` → the numbers at its beginning."""
    found = []
    for part in text.split("+")[0].split("."):
        digits = "".join(character for character in part if character.isdigit()) if part[:1].isdigit() else ""
        if not digits or not part.isdigit():
            break
        found.append(int(digits))
    return tuple(found)


def _version(plan: Planned, log: Started) -> Check:
    real = _numbers(log.version)
    if plan.engine != "vllm":
        why = ("the vLLM inside of Triton",) if real else ()
        return Check("engine.version", plan.version_text, log.version or None, "not judged", why=why)
    if not real:
        return Check("engine.version", plan.version_text, log.version or None, "not judged", attribute="version")
    same = real[: len(plan.version)] == plan.version
    return Check(
        "engine.version", plan.version_text, log.version, "as planned" if same else "differs", attribute="version"
    )


def _model(plan: Planned, log: Started) -> Check:
    args = log.args or {}
    real = str(args.get("model") or args.get("model_tag") or log.config.get("model", "")) or None
    if real is None:
        return Check("model", plan.checkpoint, None, "not judged", attribute="checkpoint")
    # A folder of this machine that ends with the checkpoint's name is the checkpoint.
    wanted = plan.checkpoint.strip("/").split("/")
    same = (
        real == plan.checkpoint
        or real.strip("/").split("/")[-len(wanted) :] == wanted
        or _cached(real, plan.checkpoint)
    )
    return Check("model", plan.checkpoint, real, "as planned" if same else "differs", attribute="checkpoint")


def _cached(path: str, checkpoint: str) -> bool:
    """Whether a path is the checkpoint in the hub's cache."""
    return f"/models--{checkpoint.replace('/', '--')}/" in path


def _flags(table: FlagTable, written: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Flags by their full name with their meaning; those with a secret are left out."""
    for name, value in written.items():
        match = table.match(name)
        if name in ("--model", "--model-tag") or any(word in name for word in _SECRET):
            continue
        if match is None:
            yield name, _meaning(value)
        elif match.negated:
            yield match.flag.name, False
        elif match.key:
            yield match.canonical, _meaning(value)
        else:
            yield match.flag.name, _meaning(value)


def _meaning(value: Any) -> Any:
    """A value so that two spellings of the same are equal: JSON read, numbers as numbers, torch's names as the flags have them."""
    if isinstance(value, str):
        if value[:1] in ("{", "["):
            try:
                return json.loads(value)
            except ValueError:
                return value
        if value in ("True", "False"):
            return value == "True"
        if value == "None":
            return None
        try:
            return float(value) if "." in value or "e" in value else int(value)
        except ValueError:
            return value.removeprefix("torch.")
    if isinstance(value, (list, tuple)):
        return [_meaning(one) for one in value]
    return value


def _flag(name: str, planned: dict[str, Any], given: dict[str, Any], table: FlagTable, log: Started) -> Check | None:
    wanted = planned.get(name)
    attribute = attribute_of(name)
    if name in given:
        real = given[name]
    elif _RESOLVED.get(name) in log.config:
        real = _meaning(log.config[_RESOLVED[name]])
    elif log.args is None:
        return None if name not in planned else Check(name, wanted, None, "not judged", attribute=attribute)
    else:
        real = _default(table, name)
    if name not in planned:
        # What the plan leaves to the engine is as planned where it says the default outright.
        return None if real == _default(table, name) else Check(name, None, real, "differs", attribute=attribute)
    return Check(name, wanted, real, "as planned" if _same(wanted, real) else "differs", attribute=attribute)


def _default(table: FlagTable, name: str) -> Any:
    match = table.match(name)
    if match is None or not match.flag.default:
        return None
    try:
        return json.loads(match.flag.default)
    except ValueError:
        return match.flag.default


def _same(wanted: Any, real: Any) -> bool:
    if isinstance(wanted, bool) or isinstance(real, bool):
        return bool(wanted) is bool(real) and wanted is not None
    if isinstance(wanted, (int, float)) and isinstance(real, (int, float)):
        return abs(wanted - real) <= 1e-9 * max(abs(wanted), abs(real))
    if isinstance(wanted, dict) and isinstance(real, dict):
        # The engine fills in what was not said.
        return all(key in real and _same(value, real[key]) for key, value in wanted.items())
    if isinstance(wanted, list) != isinstance(real, list):
        one = wanted if isinstance(wanted, list) else real
        other = real if isinstance(wanted, list) else wanted
        return len(one) == 1 and _same(one[0], other)
    return bool(wanted == real)
