"""The server: which request is answered by which function. Texts are taken whole at each change, and judged once for all the
changes that came in together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer
from pygls.workspace import PositionCodec

from kcluster.editor.actions import Action, actions, all_fixed, whole
from kcluster.editor.completion import complete
from kcluster.editor.cursor import cursor_at
from kcluster.editor.decided import hints
from kcluster.editor.hover import hover
from kcluster.editor.names import definition, name_at, rename, uses
from kcluster.editor.outline import outline
from kcluster.editor.tree import spot_at
from kcluster.lsp.convert import Places, completion, diagnostics, symbols
from kcluster.lsp.documents import Document, Documents, uri_of
from kcluster.planner.answers import keep_answers
from kcluster.source import Source
from kcluster.syntax.formatter import format_source
from kcluster.version import VERSION

KEPT: Final = 1000
"""Answers of remedies that are kept: those of the serves of a few open specs."""
FIX_ALL: Final = f"{lsp.CodeActionKind.SourceFixAll.value}.kcluster"


class Server(LanguageServer):
    """The open documents beside the protocol's state."""

    def __init__(self) -> None:
        super().__init__("kcluster", VERSION, text_document_sync_kind=lsp.TextDocumentSyncKind.Full)
        self.documents = Documents()
        self.waiting: set[str] = set()

    @property
    def codec(self) -> PositionCodec:
        return self.workspace.position_codec

    def places(self, source: Source) -> Places:
        return Places(source, self.codec)

    @property
    def snippets(self) -> bool:
        known = self.client_capabilities.text_document
        item = known.completion.completion_item if known and known.completion else None
        return bool(item and item.snippet_support)

    def publish(self, document: Document) -> None:
        opened = {one.source.path for one in self.documents.open.values()}
        found = diagnostics(document, self.codec, opened)
        self.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(document.uri, found, document.version))

    def take(self, uri: str, text: str, version: int | None) -> None:
        """Take over a document's text at once, so that a question right behind it is about this one."""
        document = self.documents.put(uri, text, version)
        self.judge_soon(document)
        self.judge_anew(self.documents.importing(document))

    def judge_anew(self, documents: Iterable[Document]) -> None:
        """Judge documents again: what they read, of the disk or of other open texts, is not what it was."""
        for document in documents:
            document.forget()
            self.judge_soon(document)

    def judge_soon(self, document: Document) -> None:
        """Judge a document when the messages that are in already have been taken: of several keystrokes only the last."""
        if document.uri not in self.waiting:
            self.waiting.add(document.uri)
            asyncio.get_running_loop().call_soon(self._judge, document.uri)

    def _judge(self, uri: str) -> None:
        self.waiting.discard(uri)
        document = self.documents.get(uri)
        if document is not None:
            self.publish(document)


def make_server() -> Server:
    """A server with everything that it answers."""
    keep_answers(KEPT)
    server = Server()
    _texts(server)
    _questions(server)
    _names(server)
    _changes(server)
    return server


def _texts(server: Server) -> None:
    @server.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: lsp.DidOpenTextDocumentParams) -> None:
        item = params.text_document
        server.take(item.uri, item.text, item.version)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: lsp.DidChangeTextDocumentParams) -> None:
        item = params.text_document
        if params.content_changes:  # whole texts are what was agreed on; the last one holds
            server.take(item.uri, params.content_changes[-1].text, item.version)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: lsp.DidCloseTextDocumentParams) -> None:
        uri = params.text_document.uri
        document = server.documents.get(uri)
        others = server.documents.importing(document) if document is not None else ()
        server.documents.drop(uri)
        server.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri, []))
        server.judge_anew(others)

    @server.feature(lsp.TEXT_DOCUMENT_DID_SAVE)
    def saved(params: lsp.DidSaveTextDocumentParams) -> None:
        server.judge_anew(tuple(server.documents.open.values()))

    @server.feature(lsp.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    def files_changed(params: lsp.DidChangeWatchedFilesParams) -> None:
        server.judge_anew(tuple(server.documents.open.values()))


def _questions(server: Server) -> None:
    @server.feature(lsp.TEXT_DOCUMENT_HOVER)
    def hovered(params: lsp.HoverParams) -> lsp.Hover | None:
        document = server.documents.get(params.text_document.uri)
        if document is None:
            return None
        places = server.places(document.source)
        offset = places.offset(params.position)
        found = hover(document.file, document.checked.plan, offset, document.files)
        if found is None:
            return None
        return lsp.Hover(lsp.MarkupContent(lsp.MarkupKind.Markdown, found.text), places.range(found.span))

    @server.feature(
        lsp.TEXT_DOCUMENT_COMPLETION, lsp.CompletionOptions(trigger_characters=['"', "=", " ", "(", "-", "["])
    )
    def completed(params: lsp.CompletionParams) -> lsp.CompletionList | None:
        document = server.documents.get(params.text_document.uri)
        if document is None:
            return None
        places = server.places(document.source)
        cursor = cursor_at(document.source.text, places.offset(params.position))
        spec = document.checked.spec
        engines = [one.engine for one in spec.serves] if spec is not None else []
        versions: dict[str, tuple[int, ...]] = {one.name.value: one.version.value for one in engines}
        found = complete(cursor, document.files, versions)
        items = [completion(one, places, number, snippets=server.snippets) for number, one in enumerate(found)]
        return lsp.CompletionList(is_incomplete=False, items=items)

    @server.feature(lsp.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    def outlined(params: lsp.DocumentSymbolParams) -> list[lsp.DocumentSymbol]:
        document = server.documents.get(params.text_document.uri)
        if document is None:
            return []
        return symbols(outline(document.file), server.places(document.source))

    @server.feature(lsp.TEXT_DOCUMENT_INLAY_HINT)
    def hinted(params: lsp.InlayHintParams) -> list[lsp.InlayHint]:
        document = server.documents.get(params.text_document.uri)
        if document is None:
            return []
        places = server.places(document.source)
        span = places.span(params.range)
        return [
            lsp.InlayHint(
                position=places.position(one.offset),
                label=one.text,
                tooltip=lsp.MarkupContent(lsp.MarkupKind.Markdown, f"```text\n{one.detail}```") if one.detail else None,
            )
            for one in hints(document.file, document.checked.plan)
            if span.start <= one.offset <= span.end
        ]


def _names(server: Server) -> None:
    @server.feature(lsp.TEXT_DOCUMENT_DEFINITION)
    def defined(params: lsp.DefinitionParams) -> lsp.Location | None:
        document = server.documents.get(params.text_document.uri)
        if document is None:
            return None
        offset = server.places(document.source).offset(params.position)
        imported = spot_at(document.file, offset).imported
        if imported is not None and document.folder is not None:
            start = lsp.Position(0, 0)
            return lsp.Location((document.folder / imported.path.text).resolve().as_uri(), lsp.Range(start, start))
        found = name_at(document.file, offset)
        where = definition(found.name, document.files) if found is not None else None
        if where is None:
            return None
        return lsp.Location(uri_of(where.source, document), server.places(where.source).range(where.span))

    @server.feature(lsp.TEXT_DOCUMENT_REFERENCES)
    def referred(params: lsp.ReferenceParams) -> list[lsp.Location]:
        document = server.documents.get(params.text_document.uri)
        if document is None:
            return []
        found = name_at(document.file, server.places(document.source).offset(params.position))
        if found is None:
            return []
        return [
            lsp.Location(uri_of(one.source, document), server.places(one.source).range(one.span))
            for one in uses(found.name, server.documents.files(document))
            if params.context.include_declaration or not one.defines
        ]

    @server.feature(lsp.TEXT_DOCUMENT_PREPARE_RENAME)
    def renamable(params: lsp.PrepareRenameParams) -> lsp.Range | None:
        document = server.documents.get(params.text_document.uri)
        if document is None:
            return None
        places = server.places(document.source)
        found = name_at(document.file, places.offset(params.position))
        if found is None or definition(found.name, document.files) is None:
            return None
        return places.range(found.span)

    @server.feature(lsp.TEXT_DOCUMENT_RENAME, lsp.RenameOptions(prepare_provider=True))
    def renamed(params: lsp.RenameParams) -> lsp.WorkspaceEdit | None:
        document = server.documents.get(params.text_document.uri)
        if document is None:
            return None
        found = name_at(document.file, server.places(document.source).offset(params.position))
        if found is None:
            return None
        edits = rename(found.name, params.new_name, server.documents.files(document))
        if isinstance(edits, str):
            from pygls.exceptions import JsonRpcInvalidParams

            raise JsonRpcInvalidParams(edits)
        return lsp.WorkspaceEdit(
            {uri_of(source, document): server.places(source).edits(changes) for source, changes in edits.items()}
        )


def _changes(server: Server) -> None:
    @server.feature(lsp.TEXT_DOCUMENT_FORMATTING)
    def formatted(params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit]:
        document = server.documents.get(params.text_document.uri)
        if document is None or any(one.code.startswith("KC0") for one in document.checked.diagnostics):
            return []
        edit = whole(document.source, format_source(document.source))
        return [server.places(document.source).edit(edit)] if edit is not None else []

    options = lsp.CodeActionOptions(code_action_kinds=[lsp.CodeActionKind.QuickFix, FIX_ALL])

    @server.feature(lsp.TEXT_DOCUMENT_CODE_ACTION, options)
    def offered(params: lsp.CodeActionParams) -> list[lsp.CodeAction]:
        document = server.documents.get(params.text_document.uri)
        if document is None:
            return []
        places = server.places(document.source)
        only = params.context.only
        made: list[lsp.CodeAction] = []
        if only is None or lsp.CodeActionKind.QuickFix in only:
            found = actions(document.findings, document.source, places.span(params.range))
            made += [_action(one, document, places, server.codec) for one in found]
        if only is not None and any(FIX_ALL.startswith(_text(kind)) for kind in only):
            edit = all_fixed(document.source, document.check)
            if edit is not None:
                changes = lsp.WorkspaceEdit({document.uri: [places.edit(edit)]})
                made.append(lsp.CodeAction("apply all safe fixes", FIX_ALL, edit=changes))
        return made


def _text(kind: Any) -> str:
    return kind.value if isinstance(kind, lsp.CodeActionKind) else str(kind)


def _action(one: Action, document: Document, places: Places, codec: PositionCodec) -> lsp.CodeAction:
    matching = [
        shown
        for shown in diagnostics(document, codec)
        if shown.code == one.finding.code and shown.range == places.range(one.finding.span)
    ]
    return lsp.CodeAction(
        title=one.title,
        kind=lsp.CodeActionKind.QuickFix,
        diagnostics=matching[:1] or None,
        is_preferred=one.preferred or None,
        edit=lsp.WorkspaceEdit({document.uri: places.edits(one.edits)}),
    )
