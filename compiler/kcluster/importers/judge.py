"""Findings of a spec that was made from a command, as findings on the command."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from kcluster.diagnostics import Diagnostic, in_order
from kcluster.diagnostics.types import Label
from kcluster.importers.documents import Found
from kcluster.importers.machines import Hardware, card_of
from kcluster.importers.own import findings, problems_of
from kcluster.importers.phrasing import phrased
from kcluster.importers.specs import Imported, to_spec
from kcluster.importers.versions import BEFORE_TABLES, old_version
from kcluster.importers.words import Launch, Problem
from kcluster.importers.writing import walk
from kcluster.source import Source, Span
from kcluster.syntax.parser import parse
from kcluster.values import evolve, frozen

Check = Callable[[Source], tuple[Diagnostic, ...]]

ASSUMED: Final = "b300"
"""The card that stands in where none is given, for what does not depend on the card."""
_WITHOUT_CARD: Final = (
    "KC0", "KC103", "KC107", "KC206", "KC209", "KC301", "KC302", "KC304", "KC305", "KC306", "KC307", "KC309", "KC310", "KC701", "KC703",
    "KC801", "KC802", "KC803", "KC804", "KC805",
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


@frozen
class Judged:
    """A command's spec and the findings on the command. `assumed` where no card was given that the catalog has; `problems`: of
    the command's own words."""

    imported: Imported
    findings: tuple[Diagnostic, ...]
    assumed: bool
    problems: tuple[Problem, ...] = ()


def judge(
    command: Source,
    found: Found,
    hardware: Hardware,
    check: Check,
    *,
    version: str = "",
    path: str = "imported.kcluster",
) -> Judged:
    """Judge launches as the spec that says the same.

    Args:
        path: where that spec would lie, for findings of files beside it.
        command: the text that `found` was read from.
        check: gives the findings of a spec.
        version: of the engine, as for `to_spec`.
    """
    assumed = card_of(hardware) is None
    if assumed:
        count = hardware.gpus.partition("*")[0].strip() if "*" in hardware.gpus else ""
        hardware = evolve(hardware, gpus=f"{count} * {ASSUMED}" if count else ASSUMED)
    imported = to_spec(found.launches, hardware, version=version, notes=found.notes, path=path, load=False)
    kept = [
        _relocated(finding, command, imported, version)
        for finding in concerning(imported, hardware, assumed, check)(imported.source.text)
    ]
    own: list[Diagnostic] = []
    problems: list[Problem] = []
    blind = not imported.known or any(finding.code in ("KC103", "KC107") for finding in kept)
    for launch in found.launches:
        said = problems_of(launch, command, hardware, version)
        problems += said
        own += findings(launch, command, said, version, blind=blind)
    spoilt = [problem.span for problem in problems if problem.fix is not None]
    kept = [finding for finding in kept if not any(span.contains(finding.span) for span in spoilt)]
    return Judged(imported, in_order(_once([*own, *kept])), assumed, tuple(problems))


def concerning(
    imported: Imported, hardware: Hardware, assumed: bool, check: Check
) -> Callable[[str], tuple[Diagnostic, ...]]:
    """A check of the spec's text, as it is or with fixes made, that gives what concerns the command.

    Advice about limits that the engine took by itself is not about the command; that they are refused is.
    """

    def judged(text: str) -> tuple[Diagnostic, ...]:
        source = Source(imported.source.path, text)
        file, _ = parse(source)
        taken = tuple(span for path, span, _ in walk(file) if path[-1] in _LIMITS and imported.given.get(path) is None)
        return tuple(
            finding
            for finding in check(source)
            if _relevant(finding, imported, hardware, assumed)
            and not (
                finding.severity != "error"
                and finding.code not in _FIT
                and finding.figure
                and any(s.contains(finding.span) for s in taken)
            )
        )

    return judged


_LIMITS: Final = ("max_num_seqs", "max_num_batched_tokens")
_FIT: Final = ("KC201", "KC202")
"""Whether it starts: said of whatever limits, also where the range leaves it open."""


def _share(imported: Imported) -> bool:
    """Whether servers say shares of a card that together are at most the card: then they may stand on the same one."""
    shares = [launch.setting("--gpu-memory-utilization") for launch in imported.launches]
    try:
        return sum(float(one.text) for one in shares if one is not None) <= 1 and None not in shares
    except ValueError:
        return False


def _relevant(finding: Diagnostic, imported: Imported, hardware: Hardware, assumed: bool) -> bool:
    """Whether a finding of the spec is one of the command: not of the load, the links or the card that stand in for what is not
    known."""
    code = finding.code
    if code in ("KC112", "KC704") and any(launch.waits for launch in imported.launches[:-1]):
        return False  # one after another, not beside each other
    if code == "KC112" and _share(imported):
        return False
    if code.startswith(_NOT_SAID) or (assumed and not code.startswith(_WITHOUT_CARD)):
        return False
    if code == "KC207" and finding.severity != "error":
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


def _relocated(finding: Diagnostic, command: Source, imported: Imported, version: str) -> Diagnostic:
    """A finding of the spec on the command, in its words; one of another file, such as the project's catalog, as it is."""
    if finding.source != imported.source and finding.source.path != imported.source.path:
        return finding
    finding = _softened(finding, imported)
    doubt = _doubt(finding, imported, version) if finding.severity == "error" else ""
    if doubt:
        finding = evolve(finding, severity="warning", notes=(*finding.notes, doubt))
    place = _origin(finding.span, imported) or _anchor(imported.launches[0])
    anchors = [_anchor(launch) for launch in imported.launches]
    labels, notes = [], list(finding.notes)
    for label in finding.labels:
        at = _origin(label.span, imported) if label.source in (None, imported.source) else None
        if at is not None and (at == place or (len(anchors) == 1 and at in anchors)):
            continue
        if at is not None:
            labels.append(Label(at, phrased(label.text) or label.text))
        elif label.source in (None, imported.source):
            notes.append(f"{imported.source.slice(label.span).splitlines()[0]}: {label.text}")
    return evolve(
        finding,
        source=command,
        span=place,
        message=phrased(finding.message) or finding.message,
        label=phrased(finding.label),
        labels=tuple(labels),
        notes=tuple(filter(None, map(phrased, notes))),
        help=tuple(filter(None, map(phrased, finding.help))),
        fixes=(),
        figure="",
    )


def _doubt(finding: Diagnostic, imported: Imported, version: str) -> str:
    """Why an error may be none: what the command does not say of its version or its checkpoint; empty where nothing is left open."""
    launches = imported.launches
    if finding.code == "KC306":
        if "Marlin" in finding.message:
            return "the engine may take another kernel, which is slower"
        width = _WIDTH.search(finding.message)
        if width is not None and "group" in finding.message and int(width[1]) % LARGEST_GROUP:
            return "the name of the checkpoint does not say in which groups it is packed, nor which matrices are"
    if any(old_version(launch, version) for launch in launches) and _UNKNOWN.search(finding.message):
        return "no table holds the flags of a version as old as this"
    if version or all(launch.version for launch in launches):
        return ""
    limit = finding.code == "KC207" and not any(launch.setting("--max-num-seqs") for launch in launches)
    older = limit or _EARLIER.search(finding.message) or any(flag in finding.message for flag in BEFORE_TABLES)
    return "the command does not say which version it is for: the newest was taken" if older else ""


_WIDTH: Final = re.compile(r"(\d+) / \d+ = ")
_UNKNOWN: Final = re.compile(r"has no flag|does not (?:take|list) |takes JSON, not \w+=")
_EARLIER: Final = re.compile(r"it was last seen in|has no quantization method for|does not list")
LARGEST_GROUP: Final = 128


def _softened(finding: Diagnostic, imported: Imported) -> Diagnostic:
    """What the catalog does not know is no mistake of a command."""
    if finding.code == "KC106" and finding.severity == "error":
        notes = (*finding.notes, "the catalog may not know all of this model")
        return evolve(finding, severity="warning", notes=notes)
    if finding.code != "KC107" or finding.severity != "error":
        return finding
    notes = (*finding.notes, "only what needs no knowledge of the model was judged")
    finding = evolve(finding, severity="warning", notes=notes)
    unset = [name for launch in imported.launches if launch.model is not None for name in launch.model.unset]
    if unset:
        return evolve(
            finding,
            message=f"the model is not known: nothing sets {', '.join(unset)} here",
            help=(f"`--set {unset[0]}=OWNER/NAME` does",),
        )
    if any(launch.model is None for launch in imported.launches):
        return evolve(finding, message="the command names no model that could be read here", help=())
    return finding


def _origin(span: Span, imported: Imported) -> Span | None:
    """The place in the command of the innermost thing in the spec around a place."""
    around = [(where.end - where.start, origin) for where, origin in imported.origins if where.contains(span)]
    if not around:
        around = [(where.end - where.start, origin) for where, origin in imported.origins if span.contains(where)]
    found = min(around, key=lambda pair: pair[0], default=None)
    if found is None:
        return None
    whole = next((launch for launch in imported.launches if launch.span == found[1]), None)
    return _anchor(whole) if whole is not None else found[1]


def _anchor(launch: Launch) -> Span:
    """What a finding about a whole command points at: its model, else where it begins."""
    return launch.model.span if launch.model is not None else Span(launch.span.start, launch.span.start + 1)
