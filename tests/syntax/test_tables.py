"""Prebuilt tables: the same parser, used only where they fit; and what of lark's inside the recovery relies on."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kcluster.source import Source
from kcluster.syntax import tables
from kcluster.syntax.parser import parse

from .reading import EXAMPLE, ROOT, read, sound, specs, trees


@pytest.fixture(scope="module")
def grammar() -> str:
    return tables.grammar_path().read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def prebuilt(grammar: str) -> bytes:
    return tables.dump(grammar)


def test_a_checkout_reads_its_own_grammar() -> None:
    assert tables.grammar_path() == ROOT / "grammar" / "kcluster.lark"


def test_both_ways_give_equal_trees(prebuilt: bytes, grammar: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [
        EXAMPLE,
        *(path.read_text(encoding="utf-8") for path in specs()),
        "a { x = = 3, y: 4\n z = [1, \n}",
        '"\x00é\u200b',
    ]
    live = [parse(Source("t", text)) for text in texts]
    loaded = tables.load(prebuilt, grammar)
    assert loaded is not None
    for module in ("tokens", "recovery"):
        monkeypatch.setattr(f"kcluster.syntax.{module}.parser", lambda: loaded)
    for text, (file, found) in zip(texts, live, strict=True):
        again, found_again = parse(Source("t", text))
        assert trees(again) == trees(file)
        assert [one.sort_key() for one in found_again] == [one.sort_key() for one in found]


def test_tables_of_another_grammar_or_lark_are_not_used(
    prebuilt: bytes, grammar: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tables.load(prebuilt, grammar + "\n// changed") is None
    assert tables.load(b"", grammar) is None
    monkeypatch.setattr("lark.__version__", "9.9.9")
    assert tables.load(prebuilt, grammar) is None


def test_tables_beside_the_module_are_used(
    prebuilt: bytes, grammar: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kcluster.lark").write_text(grammar)
    (tmp_path / "tables.bin").write_bytes(prebuilt)
    monkeypatch.setattr(tables, "_HERE", tmp_path)
    monkeypatch.setattr(tables, "build", lambda grammar: pytest.fail("built the tables though they were there"))
    assert tables.parser.__wrapped__().parse_interactive("") is not None
    (tmp_path / "tables.bin").write_bytes(prebuilt.replace(b"lark 1.", b"lark 0."))
    with pytest.raises(pytest.fail.Exception):
        tables.parser.__wrapped__()


def hook_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_build_hook_adds_the_tables_to_wheels_only(grammar: str) -> None:
    pytest.importorskip("hatchling", reason="the build backend is a dependency of development")
    hook = hook_module().ParserTables(str(ROOT), {}, None, None, "", "wheel")
    data: dict[str, Any] = {"force_include": {}}
    hook.initialize("editable", data)
    assert data == {"force_include": {}}
    hook.initialize("standard", data)
    ((path, target),) = data["force_include"].items()
    assert target == "kcluster/syntax/tables.bin"
    assert tables.load(Path(path).read_bytes(), grammar) is not None
    hook.finalize("standard", data, "")
    assert not Path(path).exists()


def test_what_recovery_relies_on_in_lark() -> None:
    """`recovery._rewind` reaches into the parser's stacks and table; should lark change them, this says so first."""
    from lark.parsers.lalr_analysis import Shift

    state = tables.parser().parse_interactive("").parser_state
    assert len(state.state_stack) == 1
    assert state.value_stack == []
    start = state.parse_conf.states[state.state_stack[-1]]
    assert start["ERROR"][0] is Shift
    assert start["WORD"][0] is Shift
    assert "EQUAL" not in start
    file, found = read("a {\n  b = 1\n  c = = 2 3\n  d = 4\n}\ne { }\n")
    assert len(found) == 1
    assert trees(file) == [("a", [], [("b", "=", 1), ("c", "=", 2), ("d", "=", 4)]), ("e", [], [])]


def test_lexer_is_total() -> None:
    sound("")
    read("".join(map(chr, range(1, 0x300))))
