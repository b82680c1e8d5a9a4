"""What one input is put through. Each of the drives raises on anything that must not happen and is otherwise silent.

Inputs are bounded in size, because what takes long by design (a large cluster planned) is not what is looked for.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from kcluster.catalog.config_json import read_config
from kcluster.diagnostics import Diagnostic, in_order
from kcluster.fixes import MAX_ROUNDS, Check, fix, grade
from kcluster.importers.correcting import corrected
from kcluster.importers.documents import read_text
from kcluster.importers.judge import judge
from kcluster.importers.machines import Hardware
from kcluster.importers.specs import to_spec
from kcluster.pipeline import Checked, check_source, decode_and_check
from kcluster.render import FORMATS, render
from kcluster.render.plan_json import plan_object
from kcluster.render.plan_text import plan_text
from kcluster.rules import run as run_rules
from kcluster.source import Source
from kcluster.spec.resolve import resolve
from kcluster.spec.suppressions import apply_suppressions
from kcluster.syntax.parser import decode, parse
from kcluster.targets import emit

from ..support.spoilt import formats

LARGEST: Final = 4096
"""Bytes of an input."""
CARDS: Final = (
    Hardware(),
    Hardware("4 * rtx-5090"),
    Hardware("8 * h100", network="infiniband(ndr)", nodes=2),
    Hardware("l4"),
)
COMMAND: Final = "<command>"
SPEC: Final = """\
model m { config = "config.json" }
hardware box { gpus = 8 * h100 }
sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500, tokens_per_second >= 20 }
serve chat { parallel { tp = 8 } }
"""


def _sometimes(data: bytes, one_in: int) -> bool:
    """Whether this input gets the dearer part: by its content, so that a replay does the same."""
    return crc32(data) % one_in == 0


def _findings_are_sound(found: tuple[Diagnostic, ...]) -> None:
    """Every place lies in its text, every edit too, and every format can be written."""
    for one in found:
        spans = [(one.source, one.span), *((label.source or one.source, label.span) for label in one.labels)]
        spans += [(one.source, edit.span) for fix_ in one.fixes for edit in fix_.edits]
        for source, span in spans:
            assert 0 <= span.start <= span.end <= len(source.text), (one.code, span, len(source.text))
        assert one.message
        # Words of a command are quoted as they are, line ends included; the formats show them as blanks.
        assert "\n" not in one.message or one.source.path == COMMAND, (one.code, one.message)
    for name in FORMATS:
        render(name, found, color=False, width=80).encode("utf-8")


def _plan_is_sound(checked: Checked) -> None:
    """A plan can be shown in words and as JSON without numbers that are none; without errors, its files can be written."""
    if checked.plan is None:
        return
    plan_text(checked.plan, everything=True)
    json.dumps(plan_object(checked.plan, checked.diagnostics), allow_nan=False)
    if not checked.errors:
        emit(checked.plan, None)


def _check(text: str) -> tuple[Diagnostic, ...]:
    return check_source(Source("t.kcluster", text)).diagnostics


def language(data: bytes) -> None:
    """A spec's bytes, as far as no plan is needed, which is much faster: parsed, resolved, formatted, its mistakes mended."""
    source, before = decode(data[:LARGEST], "t.kcluster")
    found = before + _without_plan(source)
    _findings_are_sound(found)
    formats(source.text)
    if _sometimes(data, 4):
        _fixes_hold(source.text, lambda text: _without_plan(Source("t.kcluster", text)), unsafe=_sometimes(data, 8))


def _without_plan(source: Source) -> tuple[Diagnostic, ...]:
    file, syntax = parse(source)
    spec, named = resolve(file, folder=None, syntax=syntax)
    found = in_order((*syntax, *named, *run_rules(file, spec, None)))
    return in_order(apply_suppressions(file, spec, found))


def _fixes_hold(text: str, check: Check, *, unsafe: bool) -> None:
    """Fixes never make a text worse, end, and a second run changes nothing unless the first ran out of rounds."""
    before = check(text)
    fixed = fix(Source("t.kcluster", text), check, unsafe=unsafe)
    assert fixed.rounds <= MAX_ROUNDS
    assert grade(fixed.left) <= grade(before), (grade(before), grade(fixed.left))
    again = fix(Source("t.kcluster", fixed.text), check, unsafe=unsafe)
    assert fixed.rounds == MAX_ROUNDS or again.text == fixed.text, "a second run changes something"


def lint(data: bytes) -> None:
    """A spec's bytes: judged whole, its findings rendered, formatted where it parses, its fixes made."""
    checked = decode_and_check(data[:LARGEST], "t.kcluster")
    _findings_are_sound(checked.diagnostics)
    text = checked.source.text
    formats(text)
    if _sometimes(data, 4):
        _plan_is_sound(checked)
    if _sometimes(data, 16):
        _fixes_hold(text, _check, unsafe=_sometimes(data, 32))


def command(data: bytes) -> None:
    """A launch command, a script, a Compose file, a manifest or a unit: read, written as a spec, judged, corrected."""
    text = data[:LARGEST].decode("utf-8", "replace").replace("\r\n", "\n")
    found = read_text(text)
    if not found.launches:
        return
    hardware = CARDS[crc32(data) % len(CARDS)]
    imported = to_spec(found.launches[:4], hardware, notes=found.notes)
    assert formats(imported.source.text), "what was imported does not parse"
    if _sometimes(data, 4):
        source = Source(COMMAND, text)
        judged = judge(source, found, hardware, lambda spec: check_source(spec).diagnostics)
        _findings_are_sound(judged.findings)
        fixed = fix(judged.imported.source, _check, unsafe=True)
        corrected(source, judged.imported, fixed.text, judged.problems)


def config(data: bytes) -> None:
    """A config.json's bytes: read as physics reads it, and by a spec that names it."""
    try:
        table: Any = json.loads(data[:LARGEST])
    except (ValueError, RecursionError):
        table = None
    if table is not None:
        architecture, problems = read_config(table)
        assert (architecture is None) == bool(problems)
    if not _sometimes(data, 4):
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "kcluster.toml").write_text("")
        (Path(folder) / "config.json").write_bytes(data[:LARGEST])
        checked = decode_and_check(SPEC.encode(), "t.kcluster", folder=Path(folder))
        _findings_are_sound(checked.diagnostics)
        _plan_is_sound(checked)


DRIVES: Final[dict[str, Callable[[bytes], None]]] = {
    "language": language,
    "lint": lint,
    "command": command,
    "config": config,
}
