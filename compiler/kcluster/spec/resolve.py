"""From tree to resolved spec.

    file → with its imports → every block against the schema → blocks by kind and name → models, hardware, SLAs → serves

Whatever can be built is built, so that one mistake does not hide what else there is to say; and what follows only from a
mistake already reported is not reported again.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from kcluster.diagnostics import Diagnostic, Label, in_order
from kcluster.diagnostics.wording import listed
from kcluster.reads import Reads
from kcluster.source import Source, Span
from kcluster.spec.broken import Broken
from kcluster.spec.cards import CardShelf, build_card
from kcluster.spec.engines import build_router
from kcluster.spec.files import Files, ReadFile
from kcluster.spec.findings import Findings
from kcluster.spec.hardware import build_hardware
from kcluster.spec.imports import Loaded, load
from kcluster.spec.models import build_model
from kcluster.spec.own_catalog import OwnCatalog
from kcluster.spec.reader import Context, Fields, read_item
from kcluster.spec.schema import SERVE, SPEC
from kcluster.spec.serves import Shelf, Shelves, build_serves, unused
from kcluster.spec.slas import build_sla
from kcluster.spec.suppressions import suppressions_of
from kcluster.spec.types import ServeSpec, Spec
from kcluster.syntax.ast import Attribute, Block, File
from kcluster.values import define, field

MAX_BLOCKS: Final = 1000
"""Blocks of one word in one spec, its imports included."""


def resolve(
    file: File,
    *,
    folder: Path | None = None,
    root: Path | None = None,
    read: ReadFile | None = None,
    syntax: tuple[Diagnostic, ...] = (),
    trace: Reads | None = None,
    typed: Mapping[str, bytes] | None = None,
) -> tuple[Spec | None, tuple[Diagnostic, ...]]:
    """Resolve a parsed file with everything that it imports.

    Args:
        file: the tree; it need not be complete.
        folder: the folder that paths in the file start from; None where the text has no place on a disk, and then nothing is
            read but through `read`.
        root: the folder that imports must stay in; None for the nearest project root above `folder`.
        read: reads a path (that of a file, joined to `folder`) in place of the disk.
        syntax: what parsing the file found, so that what only follows from it is not reported again; asked of the parser where
            it is not given. It is not part of the findings returned; what parsing imported files finds is.
        trace: told of everything that is read from disk.
        typed: contents by real path that come before the disk's.

    Returns:
        The spec with every block that could be built, and the findings in order; None for a file of which nothing could be
        understood. It raises for no mistake of a user.
    """
    findings = Findings()
    if not file.complete and not syntax:
        syntax = _syntax_of(file)
    broken = Broken(syntax)
    if folder is None and root is not None:
        folder = root
    shown = posixpath.dirname(file.source.path)
    files = Files(folder, root, read, shown, trace, typed)
    loaded = load(file, files, findings)
    broken.learn(findings.found)
    own = len(findings.found)
    suppressions = tuple(found for one in loaded.files for found in suppressions_of(one))
    gathered = _gather(loaded, broken, findings)
    shelves, cards = _shelve(gathered, broken, files, findings)
    serves = _serves(gathered, shelves, cards, findings)
    found = in_order((*findings.found[:own], *broken.without_echoes(findings.found[own:])))
    if not file.items and not file.complete:
        return None, found
    spec = Spec(
        source=file.source,
        models=tuple(shelves.models.built.values()),
        hardware=tuple(shelves.hardware.built.values()),
        slas=tuple(shelves.slas.built.values()),
        serves=serves,
        routers=tuple(shelves.routers.built.values()),
        suppressions=suppressions,
        sources=tuple(one.source for one in loaded.files),
    )
    return spec, found


def _syntax_of(file: File) -> tuple[Diagnostic, ...]:
    from kcluster.syntax.parser import parse

    return parse(file.source)[1]


# Blocks by kind


@define(eq=False)
class _Gathered:
    """The blocks of all files by word, in order. `own`: those of the file asked for; `bases`: where a block's paths start;
    `strays`: names that stand on blocks with an unknown word."""

    loaded: Loaded
    blocks: dict[str, list[Fields]] = field(factory=dict)
    own: dict[str, list[Fields]] = field(factory=dict)
    bases: dict[int, str] = field(factory=dict)
    strays: set[str] = field(factory=set)
    switch: Any = None

    def of(self, word: str) -> list[Fields]:
        return self.blocks.get(word, [])


def _gather(loaded: Loaded, broken: Broken, findings: Findings) -> _Gathered:
    gathered = _Gathered(loaded)
    tops: dict[int, Fields] = {}
    counts: Counter[str] = Counter()
    after_stray = False
    for piece in loaded.pieces:
        source = piece.file.source
        top = tops.get(id(piece.file))
        if top is None:
            everything = Span(0, len(source.text))
            torn = broken.inside(source, everything)
            top = tops[id(piece.file)] = Fields(SPEC, source, everything, Span(0, 0), torn=torn)
        if isinstance(piece.item, Block) and _beyond(piece.item, source, counts, findings):
            continue
        before = len(top.blocks)
        stray = isinstance(piece.item, Attribute) and SPEC.attribute(piece.item.key.text) is None
        # Several attributes outside a block in a row are one mistake: the block around them is missing.
        read_item(piece.item, top, Context(source, Findings() if stray and after_stray else findings, broken))
        after_stray = stray
        new = top.blocks[before:]
        if isinstance(piece.item, Block) and SPEC.block(piece.item.keyword.text) is None:
            gathered.strays |= {piece.item.keyword.text, *(label.text for label in piece.item.labels)}
        for fields in new:
            word = fields.schema.word
            gathered.blocks.setdefault(word, []).append(fields)
            gathered.bases[id(fields)] = piece.base
            gathered.strays.update(fields.extra)
            if piece.own and not fields.guessed:
                gathered.own.setdefault(word, []).append(fields)
    gathered.switch = next((top.get("monitor") for top in tops.values() if top.get("monitor") is not None), None)
    for word in gathered.blocks:
        _once(word, gathered, findings)
    return gathered


def _beyond(block: Block, source: Source, counts: Counter[str], findings: Findings) -> bool:
    """Whether there are too many blocks of this word already; the first one too many is a finding."""
    word = block.keyword.text
    if SPEC.block(word) is None:
        return False
    counts[word] += 1
    if counts[word] == MAX_BLOCKS + 1:
        findings.add("KC007", f"more than {MAX_BLOCKS:,} `{word}` blocks in one spec", source, block.head)
    return counts[word] > MAX_BLOCKS


def _once(word: str, gathered: _Gathered, findings: Findings) -> None:
    """Drop blocks whose name is taken by an earlier one of their kind (KC104), in whatever file; a block whose word was
    guessed gives way without a word."""
    first: dict[str, Fields] = {}
    kept = []
    written = {fields.name for fields in gathered.blocks[word] if not fields.guessed}
    for fields in gathered.blocks[word]:
        if fields.guessed and fields.name in written:
            continue
        key = fields.name if fields.schema.label in ("name", "kind and name") else "the only one"
        earlier = first.get(key)
        if earlier is None or not key:
            first.setdefault(key, fields)
            kept.append(fields)
            continue
        other = earlier.source if earlier.source is not fields.source else None
        labels = (Label(earlier.head, "given here first", other),)
        called = f"the {word} `{key}`" if fields.name else f"`{word}`"
        findings.add("KC104", f"{called} is given twice", fields.source, fields.head, labels=labels)
    gathered.blocks[word] = kept


# Shelves


_REFERRED: Final = ("model", "hardware", "sla", "router")


def _shelve(gathered: _Gathered, broken: Broken, files: Files, findings: Findings) -> tuple[Shelves, CardShelf]:
    own = OwnCatalog(files, findings)
    cards = CardShelf(own)
    for fields in gathered.of("gpu"):
        card = build_card(fields)
        if card is None or not fields.name:
            cards.broken.add(fields.name)
        else:
            cards.own[fields.name] = (card, fields)
    shelves = {word: Shelf(word, hidden=_hidden(word, gathered, broken)) for word in _REFERRED}

    def put(word: str, fields: Fields, built: Any) -> None:
        shelf = shelves[word]
        if not fields.name:
            shelf.nameless = True
        if built is None:
            shelf.broken.add(fields.name)
        else:
            shelf.built[fields.name] = built

    for fields in gathered.of("model"):
        put("model", fields, build_model(fields, files, gathered.bases[id(fields)], findings, own))
    for fields in gathered.of("hardware"):
        put("hardware", fields, build_hardware(fields, cards, findings))
    for fields in gathered.of("sla"):
        put("sla", fields, build_sla(fields))
    for fields in gathered.of("router"):
        put("router", fields, build_router(fields) if fields.kind != "none" else None)
    monitor = gathered.of("monitor")
    return (
        Shelves(
            models=shelves["model"],
            hardware=shelves["hardware"],
            slas=shelves["sla"],
            routers=shelves["router"],
            monitor=monitor[0] if monitor else None,
            monitor_switch=gathered.switch,
        ),
        cards,
    )


def _hidden(word: str, gathered: _Gathered, broken: Broken) -> Any:
    """Whether a name may belong to a block that was not understood: one with an unknown word, or text that did not parse
    and in which the name stands more often than in references to it."""

    @cache
    def hidden(name: str) -> bool:
        if any(stray.endswith(name) for stray in gathered.strays):
            return True
        return any(
            not file.complete and (name == word or broken.begins(file.source, word) or _heads(word, name, file))
            for file in gathered.loaded.files
        )

    return hidden


def _heads(word: str, name: str, file: File) -> bool:
    """Whether a name stands in a file other than as the value of an attribute of that word."""
    text = file.source.text
    start = text.find(name)
    while start >= 0:
        before = text[max(0, start - 80) : start].rstrip(' \t"')
        if not before.endswith("=") or not before[:-1].rstrip().endswith(word):
            return True
        start = text.find(name, start + 1)
    return False


# What is served


def _serves(gathered: _Gathered, shelves: Shelves, cards: CardShelf, findings: Findings) -> tuple[ServeSpec, ...]:
    """The serves that are written, else the implied one; and what no serve comes to."""
    loaded = gathered.loaded
    blocks = gathered.of("serve")
    implied = _implied(gathered, shelves) if not blocks else None
    if implied is not None:
        serves = build_serves([implied], shelves, findings, implied=True)
    else:
        serves = build_serves(blocks, shelves, findings)
    if not blocks and implied is None:
        _nothing_served(gathered, findings)
    elif loaded.complete and not gathered.strays:
        _unused(gathered, shelves, cards, findings)
    return serves


def _implied(gathered: _Gathered, shelves: Shelves) -> Fields | None:
    """The serve that nobody wrote: where model, hardware and SLA occur once each."""
    files = gathered.loaded.files
    if gathered.strays or any(not file.complete and "serve" in file.source.text for file in files):
        return None
    if any(len(gathered.of(word)) != 1 for word in ("model", "hardware", "sla")):
        return None
    whole = all(shelf.built for shelf in (shelves.models, shelves.hardware, shelves.slas))
    for shelf in (shelves.models, shelves.hardware, shelves.slas):
        shelf.missed = not whole  # nothing is unused only because something else is broken
    model = gathered.of("model")[0]
    return Fields(SERVE, model.source, model.span, model.head, name=model.name or "serve")


def _nothing_served(gathered: _Gathered, findings: Findings) -> None:
    """A file with models and hardware and no serve may be a library for others to import: that is worth a word, no more,
    unless it has all three kinds, of which one has several."""
    models, hardware, slas = (gathered.own.get(word, []) for word in ("model", "hardware", "sla"))
    if not models or not hardware or not gathered.loaded.complete or gathered.strays:
        return
    counts = [(word, len(blocks)) for word, blocks in (("model", models), ("hardware", hardware), ("sla", slas))]
    several = [word for word, count in counts if count > 1]
    if not slas:
        message = "nothing is served: without an `sla` no `serve` is implied"
        help_ = ("write `sla NAME { … }`, or `serve NAME { … }` for one without bounds",)
    else:
        message = f"nothing is served: with several of {listed(several, 'and')} no `serve` is implied"
        help_ = ("write `serve NAME { model = …, hardware = …, sla = … }`",)
    at = models[0]
    findings.add("KC105", message, at.source, at.head, severity="warning" if slas else "note", help=help_)


def _unused(gathered: _Gathered, shelves: Shelves, cards: CardShelf, findings: Findings) -> None:
    kinds = {
        "model": shelves.models,
        "hardware": shelves.hardware,
        "sla": shelves.slas,
        "router": shelves.routers,
    }
    for serve in gathered.own.get("serve", ()):  # also one that gave way to another of its name
        for word, shelf in kinds.items():
            shelf.used.add(serve.value(word) or "")
    unused(kinds, gathered.own, findings)
    gpus = Shelf("gpu", built=dict(cards.own), used=cards.used)
    unused({"gpu": gpus}, gathered.own, findings)
