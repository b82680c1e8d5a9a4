"""Between kcluster's offsets and what the protocol says: positions in the units that client and server agreed on."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Container, Iterable, Sequence
from typing import Final

from lsprotocol import types as lsp
from pygls.workspace import PositionCodec

from kcluster.diagnostics import Diagnostic, Edit, Severity
from kcluster.editor.completion import Proposal, ProposalKind
from kcluster.editor.outline import Entry
from kcluster.lsp.documents import Document, uri_of
from kcluster.render.places import url
from kcluster.source import Source, Span
from kcluster.syntax.ast import Import

SEVERITY: Final[dict[Severity, lsp.DiagnosticSeverity]] = {
    "error": lsp.DiagnosticSeverity.Error,
    "warning": lsp.DiagnosticSeverity.Warning,
    "note": lsp.DiagnosticSeverity.Information,
}
KINDS: Final[dict[ProposalKind, lsp.CompletionItemKind]] = {
    "attribute": lsp.CompletionItemKind.Property,
    "block": lsp.CompletionItemKind.Struct,
    "value": lsp.CompletionItemKind.EnumMember,
    "name": lsp.CompletionItemKind.Reference,
    "gpu": lsp.CompletionItemKind.Constant,
    "model": lsp.CompletionItemKind.Constant,
    "constructor": lsp.CompletionItemKind.Constructor,
    "argument": lsp.CompletionItemKind.Variable,
    "unit": lsp.CompletionItemKind.Unit,
    "flag": lsp.CompletionItemKind.Field,
    "code": lsp.CompletionItemKind.Value,
}


class Places:
    """Positions of one source in the client's units."""

    def __init__(self, source: Source, codec: PositionCodec) -> None:
        self.source = source
        self._codec = codec

    def offset(self, position: lsp.Position) -> int:
        """The offset of a position; one beyond a line or the text counts as its end."""
        line = min(position.line, self.source.lines - 1) + 1
        text = self.source.line(line)
        if position.line >= self.source.lines:
            return len(self.source.text)
        here = lsp.Position(0, min(position.character, self._codec.client_num_units(text)))
        column = self._codec.position_from_client_units([text], here).character if text else 0
        return self.source.offset(line, column + 1)

    def position(self, offset: int) -> lsp.Position:
        place = self.source.position(offset)
        head = self.source.line(place.line)[: place.column - 1]
        return lsp.Position(place.line - 1, self._codec.client_num_units(head))

    def range(self, span: Span) -> lsp.Range:
        return lsp.Range(self.position(span.start), self.position(span.end))

    def span(self, where: lsp.Range) -> Span:
        return Span(self.offset(where.start), self.offset(where.end))

    def edit(self, edit: Edit) -> lsp.TextEdit:
        return lsp.TextEdit(self.range(edit.span), edit.text)

    def edits(self, edits: Iterable[Edit]) -> list[lsp.TextEdit]:
        return [self.edit(one) for one in edits]


def diagnostics(document: Document, codec: PositionCodec, opened: Container[str] = ()) -> list[lsp.Diagnostic]:
    """A document's findings: those of its own text, and at its imports those of files that are not among the `opened`."""
    own = document.source.path
    made = [_diagnostic(one, document, codec) for one in document.findings if one.source.path == own]
    away = [one for one in document.findings if one.source.path != own and one.source.path not in opened]
    return [*made, *(_of_import(one, document, codec) for one in away)]


def _of_import(finding: Diagnostic, document: Document, codec: PositionCodec) -> lsp.Diagnostic:
    """A finding of another file, where this one brings that in, with the place that it is about."""
    path, folder = finding.source.path, posixpath.dirname(document.source.path)
    imports = [one for one in document.file.items if isinstance(one, Import)]
    direct = [one for one in imports if posixpath.normpath(posixpath.join(folder, one.path.text)) == path]
    span = (direct or imports)[0].path.span if imports else Span(0, 0)
    shown = _diagnostic(finding, document, codec)
    there = lsp.DiagnosticRelatedInformation(lsp.Location(uri_of(finding.source, document), shown.range), "here")
    line = finding.source.position(finding.span.start).line
    shown.message = f"{os.path.relpath(path, folder or '.')}:{line}: {shown.message}"
    shown.related_information = [there, *(shown.related_information or ())]
    shown.range = Places(document.source, codec).range(span)
    return shown


def _diagnostic(finding: Diagnostic, document: Document, codec: PositionCodec) -> lsp.Diagnostic:
    message = "\n".join((finding.message, *finding.notes, *(f"help: {line}" for line in finding.help)))
    related = [
        lsp.DiagnosticRelatedInformation(
            lsp.Location(
                uri_of(label.source or finding.source, document),
                Places(label.source or finding.source, codec).range(label.span),
            ),
            label.text,
        )
        for label in finding.labels
    ]
    page = url(finding.code)
    return lsp.Diagnostic(
        range=Places(finding.source, codec).range(finding.span),
        message=message,
        severity=SEVERITY[finding.severity],
        code=finding.code,
        code_description=lsp.CodeDescription(page) if page else None,
        source="kcluster",
        related_information=related or None,
    )


def completion(proposal: Proposal, places: Places, number: int, *, snippets: bool) -> lsp.CompletionItem:
    """A proposal as the client takes it; `snippets`: whether it can fill places in."""
    snippet = bool(proposal.snippet) and snippets
    quoted = places.source.slice(proposal.span).startswith('"')  # an editor filters by what it replaces
    return lsp.CompletionItem(
        label=proposal.label,
        kind=KINDS[proposal.kind],
        detail=proposal.detail or None,
        documentation=lsp.MarkupContent(lsp.MarkupKind.Markdown, proposal.doc) if proposal.doc else None,
        sort_text=f"{number:04}",
        filter_text=f'"{proposal.label}' if quoted else proposal.label,
        insert_text_format=lsp.InsertTextFormat.Snippet if snippet else lsp.InsertTextFormat.PlainText,
        text_edit=lsp.TextEdit(places.range(proposal.span), proposal.snippet if snippet else proposal.text),
    )


def symbols(entries: Sequence[Entry], places: Places) -> list[lsp.DocumentSymbol]:
    """The outline, each block with its label behind its word."""
    return [
        lsp.DocumentSymbol(
            name=f"{entry.word} {entry.name}".strip(),
            kind=lsp.SymbolKind.Class if entry.name else lsp.SymbolKind.Struct,
            range=places.range(entry.span),
            selection_range=places.range(entry.head),
            children=symbols(entry.inner, places),
        )
        for entry in entries
    ]
