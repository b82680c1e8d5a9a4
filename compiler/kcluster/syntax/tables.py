"""The tables that the lexer and the parser run on, made from the grammar by lark: prebuilt inside a wheel, or on the spot.

lark is the generator and is not needed to run what it generated (`kcluster.syntax.automaton` does): importing it and building
costs several times a bare interpreter's start. A wheel therefore brings a module `prebuilt` along (`hatch_build.py`), which
counts only where it was built from this very grammar; a checkout always parses with the live one.
This module imports nothing of kcluster: the build hook loads it by its path.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

FORMAT: Final = 2
"""Raised whenever `Tables` means something else."""

ONLY_LEXED: Final = (
    "BLANK",
    "COMMENT",
    "BAD_NUMBER",
    "FLAG",
    "SLASH_COMMENT",
    "SINGLE_QUOTED",
    "OPEN_STRING",
    "MISSPELT_OPERATOR",
    "SEMICOLON",
    "JUNK",
)
"""Terminals that no rule takes and that the lexer must give all the same."""

_HERE: Final = Path(__file__).resolve().parent


class Rule(NamedTuple):
    """What reducing by a rule does with the `length` values on top of the stack.

    `kept` are the positions whose values become children, each with whether its children take its place; `bare` that a single
    child stands for the node.
    """

    origin: str
    name: str
    length: int
    kept: tuple[tuple[int, bool], ...]
    bare: bool


class Tables(NamedTuple):
    """A lexer and an LALR(1) parser as data. An action is a state to go to, or, below zero, -1 minus the rule to reduce by."""

    pattern: str
    actions: tuple[dict[str, int], ...]
    rules: tuple[Rule, ...]
    start: int
    end: int


class _KeepAll:
    """lark's hook between lexer and parser, used only to keep the terminals that no rule takes."""

    always_accept = ONLY_LEXED

    def process(self, stream: Any) -> Any:
        return stream


def grammar_path() -> Path:
    """The grammar beside this module (a wheel) or in the checkout's `grammar/`."""
    beside = _HERE / "kcluster.lark"
    return beside if beside.is_file() else _HERE.parents[2] / "grammar" / "kcluster.lark"


def build(grammar: str) -> Tables:
    """The tables of a grammar, built now.

    Raises:
        ValueError: the grammar asks lark for something that `kcluster.syntax.automaton` does not do.
    """
    from lark import Lark
    from lark.parsers.lalr_analysis import Shift

    made: Any = Lark(grammar, parser="lalr", lexer="basic", postlex=_KeepAll(), maybe_placeholders=False)
    lexer, table = made.parser.lexer.lexer, made.parser.parser._parse_table
    terminals = lexer.scanner.terminals
    if lexer.callback or lexer.ignore_types or any(terminal.pattern.flags for terminal in terminals):
        raise ValueError("terminals with flags, ignored ones and keywords that are words are not supported")
    if any(rule.options.keep_all_tokens for rule in made.rules):
        raise ValueError("rules that keep every token are not supported")
    rules = sorted(made.rules, key=lambda rule: (rule.origin.name, [symbol.name for symbol in rule.expansion]))
    numbers = {rule: number for number, rule in enumerate(rules)}
    states = _in_order(table.states, table.start_states["start"])
    places = {state: place for place, state in enumerate(states)}

    def action(found: tuple[Any, Any]) -> int:
        return places[found[1]] if found[0] is Shift else -1 - numbers[found[1]]

    return Tables(
        pattern="|".join(f"(?P<{terminal.name}>{terminal.pattern.to_regexp()})" for terminal in terminals),
        actions=tuple(
            {str(name): action(found) for name, found in sorted(table.states[state].items())} for state in states
        ),
        rules=tuple(_rule(rule) for rule in rules),
        start=places[table.start_states["start"]],
        end=places[table.end_states["start"]],
    )


def _in_order(rows: dict[Any, Any], start: Any) -> list[Any]:
    """States as they are reached from the first one: lark's own numbers differ from run to run."""
    states = [start]
    for state in states:
        reached = (found[1] for _, found in sorted(rows[state].items()) if found[1] in rows)
        states += dict.fromkeys(one for one in reached if one not in states)
    return states


def _rule(rule: Any) -> Rule:
    kept = tuple(
        (place, not symbol.is_term and symbol.name.startswith("_"))
        for place, symbol in enumerate(rule.expansion)
        if not (symbol.is_term and symbol.filter_out)
    )
    bare = rule.options.expand1 and rule.alias is None
    name = str(rule.origin.name)
    return Rule(name, str(rule.alias or name), len(rule.expansion), kept, bare)


def dump(grammar: str) -> str:
    """The text of the module `prebuilt`."""
    made = build(grammar)
    rows = "".join(f"        {actions!r},\n" for actions in made.actions)
    rules = "".join(f"        {tuple(rule)!r},\n" for rule in made.rules)
    return (
        f'"""The tables of kcluster.lark, written by hatch_build.py."""\n\nFORMAT = {FORMAT}\nGRAMMAR = {grammar!r}\n'
        f"TABLES = (\n    {made.pattern!r},\n    (\n{rows}    ),\n    (\n{rules}    ),\n    {made.start},\n    {made.end},\n)\n"
    )


def load(module: Any, grammar: str) -> Tables | None:
    """The tables of a module that `dump` wrote, or None where they belong to another grammar or format."""
    if (FORMAT, grammar) != (module.FORMAT, module.GRAMMAR):
        return None
    pattern, actions, rules, start, end = module.TABLES
    return Tables(pattern, actions, tuple(Rule(*rule) for rule in rules), start, end)


def _stored(grammar: str) -> Tables | None:
    try:
        module = import_module("kcluster.syntax.prebuilt")
    except ModuleNotFoundError:
        return None
    return load(module, grammar)


@cache
def tables() -> Tables:
    """The tables beside this module where they fit, else from the grammar."""
    grammar = grammar_path().read_text(encoding="utf-8")
    found = _stored(grammar)
    return found if found is not None else build(grammar)


def origin() -> str:
    """Where the tables come from here: "prebuilt", or the live "grammar"."""
    return "grammar" if _stored(grammar_path().read_text(encoding="utf-8")) is None else "prebuilt"
