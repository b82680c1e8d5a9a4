"""Findings of a spec that was made from a command, as findings on the command; and the command with fixes made."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Final

from kcluster.catalog.gpus import find_gpu
from kcluster.diagnostics import Diagnostic, in_order
from kcluster.diagnostics.types import Label, Severity
from kcluster.importers.documents import Found
from kcluster.importers.own import findings
from kcluster.importers.specs import ENGINE, PARALLEL, SWITCHES, Hardware, Imported, to_spec
from kcluster.importers.words import Setting
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
        for finding in concerning(imported, hardware, assumed, check)(imported.source.text)
    ]
    own: list[Diagnostic] = []
    blind = not imported.known or any(finding.code in ("KC103", "KC107") for finding in kept)
    for launch in found.launches:
        own += findings(launch, command, hardware, version, blind=blind)
    return Judged(imported, in_order(_once([*own, *kept])), assumed)


def concerning(
    imported: Imported, hardware: Hardware, assumed: bool, check: Check
) -> Callable[[str], tuple[Diagnostic, ...]]:
    """A check of the spec's text, as it is or with fixes made, that gives what concerns the command.

    Advice about limits that the engine took by itself is not about the command.
    """

    def judged(text: str) -> tuple[Diagnostic, ...]:
        source = Source(imported.source.path, text)
        file, _ = parse(source)
        taken = tuple(span for path, span, _ in walk(file) if path[-1] in _LIMITS and imported.given.get(path) is None)
        return tuple(
            finding
            for finding in check(source)
            if _relevant(finding, hardware, assumed)
            and (finding.severity == "error" or not any(span.contains(finding.span) for span in taken))
        )

    return judged


_LIMITS: Final = ("max_num_seqs", "max_num_batched_tokens")


def _relevant(finding: Diagnostic, hardware: Hardware, assumed: bool) -> bool:
    """Whether a finding of the spec is one of the command: not of the load, the links or the card that stand in for what is not
    known."""
    code = finding.code
    if code.startswith(_NOT_SAID) or (assumed and not code.startswith(_WITHOUT_CARD)):
        return False
    if code == "KC402":
        return bool(hardware.bus)
    return bool(hardware.network) if code in ("KC401", "KC403", "KC404") else True


def _once(findings: list[Diagnostic]) -> Iterator[Diagnostic]:
    """Each finding once by place and code, the first of several: the flags' own comes before the spec's."""
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
