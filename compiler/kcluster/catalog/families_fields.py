"""Typed, bounded reading of a config.json: every field is checked before anything is computed from it.

A config is text from a stranger. `Fields` answers with a value of the asked type inside the asked range, or notes a problem under
the field's name and answers with a harmless value, so that one reading finds all that is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from kcluster.catalog.class_defaults import class_defaults
from kcluster.values import frozen

MAX_LAYERS: Final = 2_000
MAX_HEADS: Final = 10_000
MAX_WIDTH: Final = 1_000_000
MAX_EXPERTS: Final = 10_000
MAX_VOCAB: Final = 10_000_000
MAX_POSITIONS: Final = 1_000_000_000

T = TypeVar("T", int, str)


class _Required:
    """The default of a field that must be there."""


REQUIRED: Final = _Required()


@frozen
class ConfigProblem:
    """What is wrong with one field of a config.json; `field` is its dotted name."""

    field: str
    message: str


def shown(value: object) -> str:
    """A value of a config as a message quotes it: short whatever it is."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) < 10**18 else "a number beyond 10^18"
    if isinstance(value, str):
        printable = "".join(char if char.isprintable() else "?" for char in value[:40])
        return f'"{printable}{"…" if len(value) > 40 else ""}"'
    if isinstance(value, float):
        return f"{value:g}"
    return "a table" if isinstance(value, Mapping) else "a list" if isinstance(value, list | tuple) else "another kind"


class Fields:
    """The fields of a config: those of the language model first, those around it where it lacks one.

    `tables` holds (prefix, table) in order of precedence; problems are appended to the shared list.
    """

    def __init__(
        self,
        tables: Sequence[tuple[str, Mapping[str, object]]],
        problems: list[ConfigProblem],
        kind: str = "",
        defaults: Mapping[str, object] | None = None,
        *,
        nested: bool = False,
        untold: bool = True,
    ) -> None:
        self.tables = tuple(tables)
        self.problems = problems
        self.kind = kind
        """The `model_type` that chose the family."""
        self.defaults = defaults or {}
        self.untold = untold
        """Whether what no table states is what the class takes."""
        self.nested = nested
        """Whether they stand inside another config. A published inner config leaves out whatever equals its class's default,
        sizes included; a whole config.json that lacks what its family needs is broken."""

    def with_defaults(self, kind: str, **defaults: object) -> Fields:
        """The same fields for another family, with what its class takes where a config says nothing."""
        return Fields(
            self.tables, self.problems, kind, {**self.defaults, **defaults}, nested=self.nested, untold=self.untold
        )

    def problem(self, field: str, message: str) -> None:
        self.problems.append(ConfigProblem(field, message))

    def find(self, *names: str) -> tuple[str, object]:
        """The first of these fields that has a value, with its dotted name, else what the class takes for one that no table has: a
        null is none. The first name (with its table, where there is one alone) and None where there is nothing."""
        for prefix, table in self.tables:
            for name in names:
                value = table.get(name)
                if value is not None:
                    return prefix + name, value
        for name in names:
            if name in self.defaults and not any(name in table for _, table in self.tables):
                return name, self.defaults[name]
        prefix = self.tables[0][0] if len(self.tables) == 1 else ""
        return prefix + names[0], None

    def has(self, *names: str) -> bool:
        """Whether a table states one of these fields, or the class has a default for one."""
        return self.find(*names)[1] is not None

    def states(self, *names: str) -> bool:
        """Whether a table states one of these fields."""
        return any(table.get(name) is not None for _, table in self.tables for name in names)

    def _missing(self, name: str) -> None:
        self.problem(name, "is missing")

    def integer(
        self,
        *names: str,
        default: int | _Required = REQUIRED,
        low: int = 1,
        high: int = MAX_WIDTH,
    ) -> int:
        """A whole number in [low, high]; `names` are spellings of one field."""
        name, value = self.find(*names)
        if isinstance(default, _Required):
            if value is None or not (self.nested or self.states(*names)):
                self._missing(name)
                return max(low, 1)
        elif value is None:
            return default
        return self._whole(name, value, low, high)

    def _whole(self, name: str, value: object, low: int, high: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            self.problem(name, f"must be a whole number, not {shown(value)}")
        elif not low <= value <= high:
            self.problem(name, f"must be from {low} to {high}, not {shown(value)}")
        else:
            return value
        return max(low, 1)

    def flag(self, *names: str, default: bool = False) -> bool:
        name, value = self.find(*names)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.problem(name, f"must be true or false, not {shown(value)}")
            return default
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """A finite number in [low, high]."""
        name, value = self.find(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.problem(name, f"must be a number, not {shown(value)}")
        elif (isinstance(value, float) and not math.isfinite(value)) or not low <= value <= high:
            self.problem(name, f"must be from {low:g} to {high:g}, not {shown(value)}")
        else:
            return float(value)
        return default

    def text(self, *names: str, default: str = "") -> str:
        name, value = self.find(*names)
        if value is None:
            return default
        if not isinstance(value, str) or len(value) > 1000:
            self.problem(name, f"must be a short text, not {shown(value)}")
            return default
        return value

    def table(self, name: str, defaults: Mapping[str, object] | None = None) -> Fields | None:
        """A nested table as fields of its own, None where it is absent."""
        path, value = self.find(name)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            self.problem(path, f"must be a table, not {shown(value)}")
            return None
        return Fields(((path + ".", value),), self.problems, self.kind, defaults, nested=True)

    def tower(self, name: str, kind: str = "", *, optional: bool = False) -> Fields | None:
        """The nested config of a tower, with what its class takes for fields that it does not have.

        `kind`: the `model_type` of a tower that states none. A family that has a class of its own for it builds that tower also
        where a nested config does not speak of it, unless it is `optional`.
        """
        suffix = "_" + name.removesuffix("_config")
        own = class_defaults(self.kind + suffix) or class_defaults(f"{self.kind}{suffix}_model")
        if self.nested and own and not optional and not any(name in table for _, table in self.tables):
            return Fields(((f"{name}.", {}),), self.problems, self.kind, own, nested=True)
        inner = self.table(name)
        if inner is None or not self.untold:
            return inner
        kind = inner.text("model_type", default=kind or self.kind)
        found = own if kind == self.kind else class_defaults(kind + suffix) or class_defaults(kind)
        return self.table(name, found or own)

    def _items(self, name: str, value: object) -> list[object] | None:
        """The items of a list, or of the run-length form `{"rle": [[value, count], …]}` of this catalog's rows."""
        if isinstance(value, Mapping) and "rle" in value:
            runs = value["rle"]
            if not isinstance(runs, list) or len(runs) > MAX_LAYERS:
                self.problem(name, "must be a list of [value, count] runs")
                return None
            items: list[object] = []
            for run in runs:
                if not isinstance(run, list) or len(run) != 2:
                    self.problem(name, "must be a list of [value, count] runs")
                    return None
                items += [run[0]] * self._whole(name, run[1], 0, MAX_LAYERS)
                if len(items) > MAX_LAYERS:
                    break
            value = items
        if not isinstance(value, list | tuple):
            self.problem(name, f"must be a list, not {shown(value)}")
            return None
        if len(value) > MAX_LAYERS:
            self.problem(name, f"has more than {MAX_LAYERS} entries")
            return None
        return list(value)

    def integers(self, *names: str, low: int = 0, high: int = MAX_WIDTH) -> tuple[int, ...] | None:
        """A list of whole numbers, None where the field is absent."""
        name, value = self.find(*names)
        items = None if value is None else self._items(name, value)
        return None if items is None else tuple(self._whole(f"{name}[]", item, low, high) for item in items)

    def texts(self, *names: str) -> tuple[str, ...] | None:
        """A list of texts, None where the field is absent."""
        name, value = self.find(*names)
        items = None if value is None else self._items(name, value)
        if items is None:
            return None
        for item in items:
            if not isinstance(item, str):
                self.problem(name, f"must be a list of texts, not of {shown(item)}")
                return None
        return tuple(str(item) for item in items)

    def one_each(self, name: str, items: tuple[T, ...] | None, count: int, default: tuple[T, ...]) -> tuple[T, ...]:
        """A list that has one entry a layer; `default` where it is absent or of another length (a problem)."""
        if items is None:
            return default
        if len(items) < count:
            self.problem(name, f"has {len(items)} entries for {count} layers")
            return default
        return items[:count]
