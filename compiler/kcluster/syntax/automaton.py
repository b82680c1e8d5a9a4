"""The parser: an LALR(1) automaton over prebuilt tables, fed one token at a time, that can be taken back."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from kcluster.syntax.tables import Tables
from kcluster.syntax.tokens import END, Token


class Node(NamedTuple):
    """A node of the tree: the rule's name and its children, nodes and tokens."""

    data: str
    children: list[Any]


class RefusedError(Exception):
    """The grammar takes no such token here. The automaton has made the reductions before it and is as good as before."""


class Automaton:
    """One pass over a text. States and values are stacks of the same reading, the first state below every value."""

    def __init__(self, tables: Tables) -> None:
        self._actions: Final = tables.actions
        self._rules: Final = tables.rules
        self._end: Final = tables.end
        self._states = [tables.start]
        self._values: list[Any] = []

    def feed(self, token: Token) -> Node | None:
        """Take a token; gives the tree once the end was fed.

        Raises:
            RefusedError: the grammar takes no such token here.
        """
        states, values = self._states, self._values
        while True:
            action = self._actions[states[-1]].get(token.type)
            if action is None:
                raise RefusedError(token.type)
            if action >= 0:
                states.append(action)
                values.append(token)
                return None
            self._reduce(-1 - action)
            if token.type == END and states[-1] == self._end:
                tree: Node = values[-1]
                return tree

    def takes(self, kind: str) -> bool:
        """Whether a token of this kind would not be refused at once."""
        return kind in self._actions[self._states[-1]]

    def rewind(self, kind: str) -> None:
        """Drop what was fed last, up to where a token of this kind can be taken in as it is."""
        while self._actions[self._states[-1]].get(kind, -1) < 0:
            self._states.pop()
            self._values.pop()

    def _reduce(self, number: int) -> None:
        rule = self._rules[number]
        states, values = self._states, self._values
        first = len(values) - rule.length
        taken = values[first:]
        del states[len(states) - rule.length :], values[first:]
        children: list[Any] = []
        for place, inline in rule.kept:
            if inline and not children:
                # A list grows by reduction after reduction: what it has is taken over, since copying it would cost its square.
                children = taken[place].children
            elif inline:
                children += taken[place].children
            else:
                children.append(taken[place])
        values.append(children[0] if rule.bare and len(children) == 1 else Node(rule.name, children))
        states.append(self._actions[states[-1]][rule.origin])
