"""Findings of a spec that was made from a command, as findings on the command; and the command with fixes made."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Final

from kcluster.catalog.engines import FlagValue
from kcluster.catalog.gpus import find_gpu
from kcluster.diagnostics import Diagnostic, in_order
from kcluster.diagnostics.types import Label, Severity
from kcluster.importers.documents import Found
from kcluster.importers.launches import table_of
from kcluster.importers.models import contradiction
from kcluster.importers.specs import ENGINE, PARALLEL, SWITCHES, Hardware, Imported, degree, to_spec, world
from kcluster.importers.words import Launch, Setting
from kcluster.importers.writing import Path, walk
from kcluster.source import Source, Span
from kcluster.syntax.parser import parse
from kcluster.values import evolve, frozen

Check = Callable[[Source], tuple[Diagnostic, ...]]

ASSUMED: Final = "b300"
"""The card that stands in where none is given, for what does not depend on the card."""
_WITHOUT_CARD: Final = (
    "KC0", "KC103", "KC107", "KC206", "KC301", "KC302", "KC304", "KC305", "KC306", "KC307", "KC309", "KC310", "KC701", "KC703",
    "KC801", "KC802", "KC804", "KC805",
)  # fmt: skip
# What hangs on the load, the router or the hosts, of which a command says nothing.
_NOT_SAID: Final = (
    "KC108",
    "KC203",
    "KC204",
    "KC308",
    "KC405",
    "KC5",
    "KC6",
    "KC705",
    "KC706",
)
_FLAG_OF: Final = {
    **{key: flag for flag, key in (*PARALLEL.items(), *ENGINE.items(), *SWITCHES.items())},
    "ep": "--enable-expert-parallel",
    "eplb": "--enable-eplb",
}
_SAID: Final = re.compile(rf"`?\b({'|'.join(sorted(_FLAG_OF, key=len, reverse=True))}) = ([\w.]+)`?")


@frozen
class Judged:
    """A command's spec and the findings on the command. `assumed` where no card was given that the catalog has."""

    imported: Imported
    findings: tuple[Diagnostic, ...]
    assumed: bool


def judge(command: Source, found: Found, hardware: Hardware, check: Check, *, version: str = "") -> Judged:
    """Judge launches as the spec that says the same.

    Args:
        command: the text that `found` was read from.
        check: gives the findings of a spec.
        version: of the engine, as for `to_spec`.
    """
    name = hardware.gpus.rpartition("*")[2].strip().strip('"')
    assumed = not name or find_gpu(name) is None
    if assumed:
        count = hardware.gpus.partition("*")[0].strip() if "*" in hardware.gpus else ""
        hardware = evolve(hardware, gpus=f"{count} * {ASSUMED}" if count else ASSUMED)
    imported = to_spec(found.launches, hardware, version=version, notes=found.notes, load=False)
    kept = [
        _relocated(finding, command, imported)
        for finding in check(imported.source)
        if relevant(finding, hardware, assumed)
    ]
    for launch in found.launches:
        kept += _own(launch, command, hardware, version)
        if not imported.known or any(finding.code in ("KC103", "KC107") for finding in kept):
            kept += [*_flags(launch, command, version), *_open(launch, command)]
    return Judged(imported, in_order(_once(kept)), assumed)


def relevant(finding: Diagnostic, hardware: Hardware, assumed: bool) -> bool:
    """Whether a finding of the spec is one of the command: not of the load, the links or the card that stand in for what is not
    known."""
    code = finding.code
    if code.startswith(_NOT_SAID) or (assumed and not code.startswith(_WITHOUT_CARD)):
        return False
    if code == "KC402":
        return bool(hardware.bus)
    return bool(hardware.network) if code in ("KC401", "KC403", "KC404") else True


def _once(findings: list[Diagnostic]) -> Iterator[Diagnostic]:
    """Each finding once by place and code, the first of several: the spec's comes before the flags' own."""
    seen: set[tuple[str, int, int]] = set()
    for finding in findings:
        key = (finding.code, finding.span.start, finding.span.end)
        if finding.code != "KC801" or key not in seen:
            yield finding
        seen.add(key)


def _relocated(finding: Diagnostic, command: Source, imported: Imported) -> Diagnostic:
    labels, notes = [], list(finding.notes)
    for label in finding.labels:
        at = _origin(label.span, imported) if label.source in (None, imported.source) else None
        if at == _anchor(imported):
            continue
        if at is not None:
            labels.append(Label(at, label.text))
        elif label.source in (None, imported.source):
            notes.append(f"{imported.source.slice(label.span).splitlines()[0]}: {label.text}")
    severity: Severity = finding.severity
    if finding.code == "KC107" and severity == "error":
        severity = "warning"
        notes.append("only what needs no knowledge of the model was judged")
        unset = [name for launch in imported.launches if launch.model is not None for name in launch.model.unset]
        if unset:
            finding = evolve(
                finding,
                message=f"the model is not known: nothing sets {', '.join(unset)} here",
                help=(f"`--set {unset[0]}=OWNER/NAME` does",),
            )
    return evolve(
        finding,
        source=command,
        span=_origin(finding.span, imported) or _anchor(imported),
        severity=severity,
        labels=tuple(labels),
        notes=tuple(notes),
        help=tuple(_SAID.sub(_as_flag, line) for line in finding.help),
        fixes=(),
        figure="",
    )


def _as_flag(match: re.Match[str]) -> str:
    return f"`{_flag_text(match[1], match[2])}`"


def _origin(span: Span, imported: Imported) -> Span | None:
    """The place in the command of the innermost thing in the spec around a place."""
    around = [(where.end - where.start, origin) for where, origin in imported.origins if where.contains(span)]
    if not around:
        around = [(where.end - where.start, origin) for where, origin in imported.origins if span.contains(where)]
    found = min(around, key=lambda pair: pair[0], default=None)
    if found is None:
        return None
    return _anchor(imported) if any(found[1] == launch.span for launch in imported.launches) else found[1]


def _anchor(imported: Imported) -> Span:
    """What a finding about a whole command points at: its model, else where it begins."""
    launch = imported.launches[0]
    return launch.model.span if launch.model is not None else Span(launch.span.start, launch.span.start + 1)


def _own(launch: Launch, command: Source, hardware: Hardware, version: str) -> Iterator[Diagnostic]:
    """What only the command can be wrong in."""
    for problem in launch.problems:
        yield Diagnostic(
            problem.code,
            problem.message,
            command,
            problem.span,
            problem.severity,
            help=(problem.help,) if problem.help else (),
        )
    quantization, method = launch.setting("--quantization"), contradiction(launch)
    if quantization is not None and method:
        yield Diagnostic(
            "KC804",
            f"`--quantization {quantization.text}` contradicts the checkpoint, whose name says {method}",
            command,
            quantization.span,
            "error",
            help=("leave `--quantization` out: the engine reads it from the checkpoint",),
        )
    if launch.small_shm and world(launch) > 1:
        at = launch.setting("--tensor-parallel-size") or launch.setting("--pipeline-parallel-size")
        yield Diagnostic(
            "KC707",
            f"{world(launch)} ranks share a container's 64 MiB of shared memory",
            command,
            at.span if at is not None else launch.span,
            "warning",
            help=("`--ipc=host` or `--shm-size 8g`; in Kubernetes a volume of medium Memory at /dev/shm",),
        )
    text = hardware.gpus.partition("*")[0].strip()
    per_node = int(text) if text.isdigit() and "*" in hardware.gpus else 0
    executor, nodes = launch.setting("--distributed-executor-backend"), launch.setting("--nnodes")
    if (
        per_node
        and hardware.nodes > 1
        and world(launch) > per_node
        and executor is None
        and nodes is None
        and degree(launch, "--data-parallel-size") == 1
    ):
        asked = version or launch.version
        old = bool(asked) and tuple(int(part) for part in re.findall(r"\d+", asked)[:2]) < (0, 11)
        at = launch.setting("--tensor-parallel-size") or launch.setting("--pipeline-parallel-size")
        yield Diagnostic(
            "KC303",
            f"{world(launch)} ranks on a node of {per_node} cards, and nothing says how the engine reaches the others",
            command,
            at.span if at is not None else launch.span,
            "warning" if old else "error",
            notes=("before 0.11 the engine fell back to Ray where one was running; from 0.11 on it refuses",),
            help=(
                "`--distributed-executor-backend ray`, or `--nnodes`, `--node-rank` and `--master-addr` on each node",
            ),
        )


def _flags(launch: Launch, command: Source, version: str) -> Iterator[Diagnostic]:
    """What the version's flag table says, for a command whose model is not known."""
    asked = version or launch.version
    table = table_of(tuple(int(part) for part in re.findall(r"\d+", asked)[:3]) if asked else None)
    for setting in launch.settings:
        if setting.unset:
            continue
        name = f"{setting.flag}.{setting.key}" if setting.key else setting.flag
        value: FlagValue = (
            tuple(word.text for word in setting.values) if len(setting.values) > 1 else setting.text or setting.on
        )
        match = table.match(name)
        if match is None and not name.startswith("-"):
            continue
        for problem in table.judge(name, value):
            # What a list does not hold a plug-in or a neighbouring version may.
            severity: Severity = "warning" if problem.kind == "hint" else "error"
            severity = "note" if problem.kind in ("uncertain", "deprecated") else severity
            yield Diagnostic(
                "KC801",
                problem.message,
                command,
                setting.span,
                severity,
                help=(f"`{problem.nearest[0]}` is near",) if problem.nearest else (),
            )


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


# The command with fixes made


def corrected(command: Source, imported: Imported, fixed: str) -> str | None:
    """The command's text once its spec is `fixed`; None where nothing of it changes, or where it cannot be said in that text."""
    file, _ = parse(Source(imported.source.path, fixed))
    after = {path: file.source.slice(value) for path, _, value in walk(file) if value is not None}
    edits: list[tuple[Span, str]] = []
    for number, launch in enumerate(imported.launches):
        extra: list[str] = []
        for path in dict.fromkeys((*imported.paths, *after)):
            if path[:1] != ("serve",) or (len(imported.launches) > 1 and path[1] != _names(imported)[number]):
                continue
            before, now = imported.paths.get(path), after.get(path)
            if before != now:
                edits_of, added = _change(path, now, imported.given.get(path), command)
                edits += edits_of
                extra += added
        if extra:
            if re.search(r"^\s*- ", command.text, re.MULTILINE):
                return None
            spans = [launch.model.span] if launch.model is not None else []
            end = max(
                span.end
                for span in (*spans, *(setting.span for setting in launch.settings), Span(0, launch.span.start))
            )
            edits.append((Span(end, end), " " + " ".join(extra)))
    text = command.text
    for span, new in sorted(set(edits), key=lambda edit: (edit[0].start, edit[0].end), reverse=True):
        text = text[: span.start] + new + text[span.end :]
    return text if text != command.text else None


def _names(imported: Imported) -> list[str]:
    return list(dict.fromkeys(path[1] for path in imported.paths if path[0] == "serve"))


def _change(
    path: Path, now: str | None, setting: Setting | None, command: Source
) -> tuple[list[tuple[Span, str]], list[str]]:
    """One attribute's change as edits, or as flags to add."""
    if setting is not None and any(word.unset for word in setting.values):
        return [], []
    if now is None:
        if setting is None:
            return [], []
        start = setting.span.start
        while start > 0 and command.text[start - 1] in " \t":
            start -= 1
        return [(Span(start, setting.span.end), "")], []
    flag = path[-1] if "args" in path else _FLAG_OF.get(path[-1], "")
    if not flag:
        return [], []
    if setting is None:
        return [], [_flag_text(flag, now)]
    if setting.values and now not in ("on", "off"):
        span = setting.values[-1].span
        mark = command.text[span.start : span.start + 1]
        text = _value_text(now)
        return [(span, f"{mark}{text}{mark}" if mark in tuple("\"'") and text.isalnum() else text)], []
    return [(setting.span, _flag_text(flag, now))], []


def _flag_text(key: str, value: str) -> str:
    flag = _FLAG_OF.get(key, key)
    if value == "on":
        return flag
    return f"--no-{flag[2:]}" if value == "off" else f"{flag} {_value_text(value)}"


def _value_text(value: str) -> str:
    from shlex import quote

    text = str(json.loads(value)) if value.startswith('"') else value.replace("_", "") if value[:1].isdigit() else value
    return quote({"bf16": "bfloat16", "fp16": "float16"}.get(text, text))
