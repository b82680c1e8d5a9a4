"""Prebuilt tables: the same as those built on the spot, used only where they fit; and the automaton that runs on them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kcluster.catalog import rows
from kcluster.syntax import tables, tokens
from kcluster.syntax.automaton import Automaton, Node, RefusedError

from .reading import ROOT, read, sound


@pytest.fixture(scope="module")
def grammar() -> str:
    return tables.grammar_path().read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def prebuilt(grammar: str) -> ModuleType:
    module = ModuleType("kcluster.syntax.prebuilt")
    exec(tables.dump(grammar), module.__dict__)
    return module


def test_a_checkout_reads_its_own_grammar() -> None:
    assert tables.grammar_path() == ROOT / "grammar" / "kcluster.lark"


def test_both_ways_give_the_same_tables(prebuilt: ModuleType, grammar: str) -> None:
    assert tables.load(prebuilt, grammar) == tables.build(grammar)


@pytest.mark.parametrize("seed", ["1", "2"])
def test_tables_are_the_same_whatever_the_seed_of_hashes(seed: str, grammar: str) -> None:
    """Otherwise no two wheels of one commit would be equal."""
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'compiler')!r}); from kcluster.syntax import tables;"
        "sys.stdout.write(tables.dump(tables.grammar_path().read_text(encoding='utf-8')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"},
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.decode() == tables.dump(grammar)


def test_tables_of_another_grammar_or_format_are_not_used(
    prebuilt: ModuleType, grammar: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tables.load(prebuilt, grammar + "\n// changed") is None
    monkeypatch.setattr(prebuilt, "FORMAT", tables.FORMAT - 1)
    assert tables.load(prebuilt, grammar) is None


def test_tables_beside_the_module_are_used(prebuilt: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tables.origin() == "grammar"
    monkeypatch.setitem(sys.modules, "kcluster.syntax.prebuilt", prebuilt)
    assert tables.origin() == "prebuilt"
    monkeypatch.setattr(tables, "build", lambda grammar: pytest.fail("built the tables though they were there"))
    assert tables.tables.__wrapped__().pattern
    monkeypatch.setattr(prebuilt, "GRAMMAR", "start: ")
    with pytest.raises(pytest.fail.Exception):
        tables.tables.__wrapped__()


def test_the_automaton_gives_the_trees_of_lark(grammar: str) -> None:
    """The generator's own parser, on texts whose brackets hold no new lines: token by token the same tree."""
    from lark import Lark, Token, Tree

    def plain(tree: object) -> object:
        if isinstance(tree, Tree):
            return (str(tree.data), [plain(child) for child in tree.children])
        assert isinstance(tree, Token)
        return (tree.type, str(tree))

    def ours(tree: object) -> object:
        if isinstance(tree, Node):
            return (tree.data, [ours(child) for child in tree.children])
        assert isinstance(tree, tokens.Token)
        return tree[:2]

    lark = Lark(grammar, parser="lalr", lexer="basic", maybe_placeholders=False)
    texts = [
        "",
        "\n\n",
        'import "a"\nb "c" d { e = 1, f >= 2.5 GB/s\n g { }\n}, h = [1, 2..3, 4 * x, 5 * y(6)], i {}',
        "a=b(c,d=1%)",
        'x y "z" import { "k" <= [] }\nk = import()',
    ]
    for text in texts:
        automaton = Automaton(tables.tables())
        state = lark.parse_interactive("")
        for token in [*(one for one in tokens.lex(text) if one.type != "BLANK"), tokens.Token(tokens.END, "", 0, 0)]:
            tree, expected = automaton.feed(token), state.feed_token(Token(token.type, token.text))
        assert tree is not None
        assert ours(tree) == plain(expected)


def test_refused_tokens_leave_the_automaton_where_it_was() -> None:
    automaton = Automaton(tables.tables())
    for token in tokens.lex("a { b"):
        if token.type != "BLANK":
            automaton.feed(token)
    assert automaton.takes("EQUAL")
    assert not automaton.takes("COMMA")
    with pytest.raises(RefusedError):
        automaton.feed(tokens.put_in("COMMA", 5))
    automaton.feed(tokens.put_in("EQUAL", 5))
    automaton.rewind("ERROR")
    assert automaton.takes("WORD")
    automaton.feed(tokens.put_in("RBRACE", 5))
    tree = automaton.feed(tokens.Token(tokens.END, "", 5, 5))
    assert tree is not None
    assert [child.data for child in tree.children] == ["block"]


@pytest.mark.parametrize(
    ("grammar", "option"),
    [
        ('start: A\nA: "a"i\n', "flags"),
        ('start: WORD | "if"\nWORD: /[a-z]+/\n', "words"),
        ('!start: "a"\n', "every token"),
    ],
)
def test_a_grammar_that_asks_for_more_is_refused(grammar: str, option: str) -> None:
    with pytest.raises(ValueError, match=option):
        tables.build(grammar)


def hook_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_build_hook_adds_what_is_prebuilt_to_wheels_only(grammar: str) -> None:
    hook = hook_module().Prebuilt(str(ROOT), {}, None, None, "", "wheel")
    data: dict[str, Any] = {"force_include": {}}
    hook.initialize("editable", data)
    assert data == {"force_include": {}}
    hook.initialize("standard", data)
    paths = {target: Path(path) for path, target in data["force_include"].items()}
    assert sorted(paths) == ["kcluster/catalog/prebuilt.py", "kcluster/syntax/prebuilt.py"]
    assert paths["kcluster/syntax/prebuilt.py"].read_text(encoding="utf-8") == tables.dump(grammar)
    assert paths["kcluster/catalog/prebuilt.py"].read_text(encoding="utf-8") == rows.dump(rows.DATA)
    hook.finalize("standard", data, "")
    assert not any(path.exists() for path in paths.values())


def test_lexer_is_total() -> None:
    sound("")
    read("".join(map(chr, range(1, 0x300))))
