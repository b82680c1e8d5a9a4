"""The language server as an editor sees it: a real client, a process of its own, the protocol over standard input and output."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException
from pygls.lsp.client import LanguageClient

ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / "specs" / "recipe-a.kcluster").read_text()
DEADLINE = 120
T = TypeVar("T")


class Editor:
    """A client with one server; every call runs on its loop to the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loop = asyncio.new_event_loop()
        self.client = LanguageClient("tests", "1")
        self.published: dict[str, lsp.PublishDiagnosticsParams] = {}
        self.versions: dict[str, int] = {}
        self._news = asyncio.Event()

        @self.client.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def published(params: lsp.PublishDiagnosticsParams) -> None:
            self.published[params.uri] = params
            self._news.set()

        async def start() -> lsp.InitializeResult:
            environment = {**os.environ, "PYTHONPATH": str(ROOT / "compiler")}
            await self.client.start_io(sys.executable, "-m", "kcluster", "lsp", env=environment, cwd=folder)
            general = lsp.GeneralClientCapabilities(position_encodings=[lsp.PositionEncodingKind.Utf16])
            asked = lsp.InitializeParams(capabilities=lsp.ClientCapabilities(general=general))
            result = await self.client.initialize_async(asked)
            self.client.initialized(lsp.InitializedParams())
            return result

        self.capabilities = self.run(start()).capabilities

    def run(self, work: Awaitable[T]) -> T:
        async def limited() -> T:
            return await asyncio.wait_for(work, DEADLINE)

        return self.loop.run_until_complete(limited())

    def show(self, name: str, text: str) -> list[lsp.Diagnostic]:
        """Open a text, or change it, and wait for what is found in this version of it."""
        uri = self.uri(name)
        version = self.versions[uri] = self.versions.get(uri, 0) + 1
        if version == 1:
            item = lsp.TextDocumentItem(uri, "kcluster", version, text)
            self.client.text_document_did_open(lsp.DidOpenTextDocumentParams(item))
        else:
            whole: Any = lsp.TextDocumentContentChangeWholeDocument(text)
            changed = lsp.VersionedTextDocumentIdentifier(version, uri)
            self.client.text_document_did_change(lsp.DidChangeTextDocumentParams(changed, [whole]))
        self.wait(lambda: uri in self.published and self.published[uri].version == version)
        return list(self.published[uri].diagnostics)

    def wait(self, there: Callable[[], bool]) -> None:
        async def until() -> None:
            while not there():
                self._news.clear()
                await self._news.wait()

        self.run(until())

    def uri(self, name: str) -> str:
        return (self.folder / name).resolve().as_uri()

    def document(self, name: str) -> lsp.TextDocumentIdentifier:
        return lsp.TextDocumentIdentifier(self.uri(name))

    def stop(self) -> int | None:
        async def leave() -> None:
            await self.client.shutdown_async(None)
            self.client.exit(None)
            await self.client.stop()

        self.run(leave())
        self.loop.close()
        server = self.client._server
        return server.returncode if server is not None else None


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    one = Editor(tmp_path_factory.mktemp("project"))
    yield one
    one.stop()


def position(text: str, word: str, after: int = 0) -> lsp.Position:
    """The place `after` characters into a word (all in the first plane, so characters are units)."""
    offset = text.index(word) + after
    return lsp.Position(text.count("\n", 0, offset), offset - text.rfind("\n", 0, offset) - 1)


def applied(text: str, edits: list[lsp.TextEdit]) -> str:
    """A text with edits made, counted in UTF-16 units as an editor does."""
    lines = text.split("\n")

    def offset(place: lsp.Position) -> int:
        before = sum(len(line) + 1 for line in lines[: place.line])
        head = lines[place.line].encode("utf-16-le")[: 2 * place.character].decode("utf-16-le")
        return before + len(head)

    for edit in sorted(edits, key=lambda one: (one.range.start.line, one.range.start.character), reverse=True):
        start, end = offset(edit.range.start), offset(edit.range.end)
        text = text[:start] + edit.new_text + text[end:]
    return text


def test_it_says_what_it_can(editor: Editor) -> None:
    able = editor.capabilities
    assert able.hover_provider and able.definition_provider and able.references_provider
    assert able.completion_provider and able.document_formatting_provider and able.inlay_hint_provider
    assert able.code_action_provider and able.rename_provider and able.document_symbol_provider


def test_findings_follow_the_text(editor: Editor) -> None:
    found = editor.show("a.kcluster", RECIPE)
    assert [one.code for one in found] == ["KC203", "KC504", "KC207"]
    assert found[0].severity == lsp.DiagnosticSeverity.Warning
    assert found[0].source == "kcluster"
    broken = editor.show("a.kcluster", RECIPE.replace("context     = 8K", "context     = 8GB"))
    assert "KC103" in [one.code for one in broken]
    again = editor.show("a.kcluster", RECIPE)
    assert [one.code for one in again] == ["KC203", "KC504", "KC207"]


def test_columns_are_in_utf16_units(editor: Editor) -> None:
    text = 'model a { id = "x𝄞", wieghts = fp8 }\n'
    found = next(one for one in editor.show("wide.kcluster", text) if "wieghts" in one.message)
    assert found.range.start.character == text.index("wieghts") + 1
    assert found.range.end.character - found.range.start.character == len("wieghts")


def test_hover_definition_references_and_rename(editor: Editor) -> None:
    editor.show("a.kcluster", RECIPE)
    document = editor.document("a.kcluster")
    use = position(RECIPE, "= agents", 3)
    shown = editor.run(editor.client.text_document_hover_async(lsp.HoverParams(document, use)))
    assert shown is not None
    assert isinstance(shown.contents, lsp.MarkupContent)
    assert shown.contents.value.startswith("```kcluster\nsla agents {")
    where = editor.run(editor.client.text_document_definition_async(lsp.DefinitionParams(document, use)))
    assert isinstance(where, lsp.Location)
    assert where.range.start == position(RECIPE, "agents {")
    context = lsp.ReferenceContext(include_declaration=True)
    asked = lsp.ReferenceParams(context, document, use)
    places = editor.run(editor.client.text_document_references_async(asked))
    assert [one.range.start for one in places or []] == [position(RECIPE, "agents {"), position(RECIPE, "= agents", 2)]
    edit = editor.run(editor.client.text_document_rename_async(lsp.RenameParams(document, use, "crew")))
    assert edit is not None
    assert edit.changes is not None
    renamed = applied(RECIPE, list(edit.changes[editor.uri("a.kcluster")]))
    assert renamed == RECIPE.replace("sla agents", "sla crew").replace("= agents", "= crew")
    with pytest.raises(JsonRpcException, match="a name must be"):
        editor.run(editor.client.text_document_rename_async(lsp.RenameParams(document, use, "two words")))


def test_completion_while_typing(editor: Editor) -> None:
    text = RECIPE.replace("    port                   = 8000\n", "    po\n")
    editor.show("a.kcluster", text)
    asked = lsp.CompletionParams(editor.document("a.kcluster"), position(text, "    po\n", 6))
    found = editor.run(editor.client.text_document_completion_async(asked))
    assert isinstance(found, lsp.CompletionList)
    assert "port" in [one.label for one in found.items]
    one = next(item for item in found.items if item.label == "port")
    assert isinstance(one.text_edit, lsp.TextEdit)
    assert "    port = \n" in applied(text, [one.text_edit])


def test_formatting_is_that_of_fmt(editor: Editor) -> None:
    untidy = RECIPE.replace("  gpus  = 4 * rtx-5090", "gpus=4*rtx-5090")
    editor.show("a.kcluster", untidy)
    options = lsp.FormattingOptions(2, True)
    asked = lsp.DocumentFormattingParams(editor.document("a.kcluster"), options)
    edits = editor.run(editor.client.text_document_formatting_async(asked))
    assert applied(untidy, list(edits or [])) == RECIPE
    editor.show("a.kcluster", untidy + "}")
    assert not editor.run(editor.client.text_document_formatting_async(asked)), "a text with syntax errors stays"


def test_code_actions_mend_what_is_found(editor: Editor) -> None:
    slip = RECIPE.replace("throughput  >=", "throughput  =")
    found = editor.show("a.kcluster", slip)
    document = editor.document("a.kcluster")
    whole = lsp.Range(lsp.Position(0, 0), lsp.Position(99, 0))
    asked = lsp.CodeActionParams(document, whole, lsp.CodeActionContext(found))
    offered = editor.run(editor.client.text_document_code_action_async(asked)) or []
    fix = next(one for one in offered if isinstance(one, lsp.CodeAction) and one.is_preferred)
    assert fix.edit is not None
    assert fix.edit.changes is not None
    assert applied(slip, list(fix.edit.changes[editor.uri("a.kcluster")])) == RECIPE
    only = lsp.CodeActionContext(found, only=[lsp.CodeActionKind.SourceFixAll])
    asked = lsp.CodeActionParams(document, whole, only)
    (all_of_it,) = editor.run(editor.client.text_document_code_action_async(asked)) or []
    assert isinstance(all_of_it, lsp.CodeAction)
    assert all_of_it.title == "apply all safe fixes"


def test_inlay_hints_and_the_outline(editor: Editor) -> None:
    editor.show("a.kcluster", RECIPE)
    document = editor.document("a.kcluster")
    whole = lsp.Range(lsp.Position(0, 0), lsp.Position(99, 0))
    hints = editor.run(editor.client.text_document_inlay_hint_async(lsp.InlayHintParams(document, whole))) or []
    assert [str(one.label).startswith(" tp 4: KV ") for one in hints] == [True]
    symbols = editor.run(editor.client.text_document_document_symbol_async(lsp.DocumentSymbolParams(document))) or []
    assert [one.name for one in symbols] == ["model llama-70b", "hardware box", "sla agents", "serve chat"]


def test_an_imported_file_is_followed_and_read_again_when_saved(editor: Editor) -> None:
    shared = editor.folder / "shared.kcluster"
    shared.write_text(RECIPE[: RECIPE.index("serve chat")])
    main = 'import "shared.kcluster"\n\n' + RECIPE[RECIPE.index("serve chat") :]
    assert "KC207" in [one.code for one in editor.show("main.kcluster", main)]
    use = position(main, "= agents", 3)
    asked = lsp.DefinitionParams(editor.document("main.kcluster"), use)
    where = editor.run(editor.client.text_document_definition_async(asked))
    assert isinstance(where, lsp.Location)
    assert where.uri == editor.uri("shared.kcluster")
    jump = lsp.DefinitionParams(editor.document("main.kcluster"), position(main, "shared", 1))
    where = editor.run(editor.client.text_document_definition_async(jump))
    assert isinstance(where, lsp.Location)
    assert where.uri == editor.uri("shared.kcluster")

    shared.write_text(shared.read_text().replace("sla agents", "sla others"))
    editor.client.text_document_did_save(lsp.DidSaveTextDocumentParams(editor.document("main.kcluster")))
    uri = editor.uri("main.kcluster")
    editor.wait(lambda: "KC106" in [one.code for one in editor.published[uri].diagnostics])


def test_settings_of_the_project_hold(editor: Editor) -> None:
    folder = editor.folder / "graded"
    folder.mkdir()
    (folder / "kcluster.toml").write_text('ignore = ["KC207"]\n[severity]\nKC203 = "error"\n')
    found = editor.show("graded/a.kcluster", RECIPE)
    assert [(one.code, one.severity) for one in found] == [
        ("KC203", lsp.DiagnosticSeverity.Error),
        ("KC504", lsp.DiagnosticSeverity.Warning),
    ]


def test_an_imported_file_that_is_open_counts_as_it_is_typed(editor: Editor) -> None:
    parts = RECIPE.index("serve chat")
    (editor.folder / "cards.kcluster").write_text(RECIPE[:parts])
    main = 'import "cards.kcluster"\n\n' + RECIPE[parts:]
    assert "KC207" in [one.code for one in editor.show("whole.kcluster", main)]
    uri = editor.uri("whole.kcluster")
    slip = RECIPE[:parts].replace("context     = 8K", "context     = 8GB")

    # What is wrong in it shows at the import, with the way there, until it is opened itself.
    (editor.folder / "cards.kcluster").write_text(slip)
    editor.client.text_document_did_save(lsp.DidSaveTextDocumentParams(editor.document("whole.kcluster")))
    editor.wait(lambda: "KC103" in [one.code for one in editor.published[uri].diagnostics])
    shown = next(one for one in editor.published[uri].diagnostics if one.code == "KC103")
    assert shown.message.startswith("cards.kcluster:17: ")
    assert shown.range == lsp.Range(lsp.Position(0, 7), lsp.Position(0, 23))
    assert shown.related_information is not None
    assert shown.related_information[0].location.uri == editor.uri("cards.kcluster")
    assert shown.related_information[0].location.range.start == position(slip, "8GB")
    assert "KC103" in [one.code for one in editor.show("cards.kcluster", slip)]
    editor.wait(lambda: not editor.published[uri].diagnostics)

    # What is typed into it counts before it is saved, and a new name is written in both.
    editor.show("cards.kcluster", RECIPE[:parts])
    editor.wait(lambda: "KC207" in [one.code for one in editor.published[uri].diagnostics])
    asked = lsp.RenameParams(editor.document("cards.kcluster"), position(RECIPE, "agents {"), "crew")
    edit = editor.run(editor.client.text_document_rename_async(asked))
    assert edit is not None and edit.changes is not None
    assert applied(main, list(edit.changes[uri])) == main.replace("= agents", "= crew")
    assert applied(RECIPE[:parts], list(edit.changes[editor.uri("cards.kcluster")])) == RECIPE[:parts].replace(
        "sla agents", "sla crew"
    )

    # Closed, the disk's text counts again.
    editor.client.text_document_did_close(lsp.DidCloseTextDocumentParams(editor.document("cards.kcluster")))
    editor.wait(lambda: "KC103" in [one.code for one in editor.published[uri].diagnostics])
    editor.wait(lambda: not editor.published[editor.uri("cards.kcluster")].diagnostics)


def test_odd_places_are_answered(editor: Editor) -> None:
    """Beyond a line and the text, with line ends of Windows and characters beyond the first plane."""
    for text in (
        "",
        "\n",
        RECIPE.replace("\n", "\r\n"),
        "# \U0001f600\n" + RECIPE,
        RECIPE[: len(RECIPE) // 2],
        "model a {\x00}",
    ):
        found = editor.show("odd.kcluster", text)
        document = editor.document("odd.kcluster")
        lines = text.replace("\r\n", "\n").split("\n")
        places = [lsp.Position(line, 2 * len(lines[line]) + 5) for line in range(0, len(lines), 7)]
        for place in (*places, lsp.Position(9999, 3), lsp.Position(0, 2**31 - 1)):
            editor.run(editor.client.text_document_hover_async(lsp.HoverParams(document, place)))
            editor.run(editor.client.text_document_prepare_rename_async(lsp.PrepareRenameParams(document, place)))
            offered = editor.run(editor.client.text_document_completion_async(lsp.CompletionParams(document, place)))
            assert isinstance(offered, lsp.CompletionList)
            for one in offered.items:
                assert isinstance(one.text_edit, lsp.TextEdit)
                end = one.text_edit.range.end
                assert end.line < len(lines)
                assert end.character <= len(lines[end.line].encode("utf-16-le")) // 2
        assert all(one.range.end.line < len(lines) for one in found)


def test_it_ends_when_told(tmp_path: Path) -> None:
    one = Editor(tmp_path)
    assert one.stop() == 0
