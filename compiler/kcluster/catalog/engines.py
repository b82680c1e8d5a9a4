"""Engines: which versions have a flag table, and what a version accepts on its command line.

Tables are tab-separated text (`data/engines/<name>.tsv`), one line a flag over the run of versions in which it did not
change. A version between two tables is judged by both: a flag in neither is unknown, a flag in one is uncertain.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final, Literal

from kcluster.physics.cut import ENGINE_NAMES
from kcluster.values import evolve, field, frozen

Version = tuple[int, ...]
FlagValue = str | int | float | bool | tuple[str | int | float | bool, ...]
FlagKind = Literal[
    "switch", "bare", "bool", "str", "int", "float", "json", "object", "json-or-str", "size", "size-or-auto"
]
"""`switch` takes no value and has a `--no-` form; `bare` takes none and has none; `object` is a JSON object; `size` is a number
with a suffix (`8k` = 8,000, `8K` = 8,192)."""
_JSON: Final = ("json", "object", "json-or-str")

_Line = tuple[Version, Version, list[str]]
"""One line of a table: a flag's columns over a run of versions, the first and the last of them first."""

_SIZE: Final = re.compile(r"\d+(\.\d+)?[kmgt]|\d+[KMGT]?")


@frozen
class Flag:
    """One flag as an engine version takes it.

    Attributes:
        name: the long name, with its dashes.
        type: what values it takes.
        choices: the values that the parser enforces, None for any.
        values_hint: values that the engine lists or checks after parsing, empty where it lists none.
        default: the engine's default as JSON, empty for none.
        nargs: "0" takes no value, "+" one or more, "append" may be given again, "" one value.
        since, until: the first and last version with a table in which the flag is there.
        certain: False where only one of the two tables around a version has it.
        sure_choices: choices that every table around the version has.
        instead: what took its place where it is gone.
    """

    name: str
    aliases: tuple[str, ...]
    type: FlagKind
    choices: tuple[str, ...] | None
    values_hint: tuple[str, ...]
    default: str
    nargs: str
    deprecated: bool
    since: Version
    until: Version
    instead: str = ""
    certain: bool = True
    sure_choices: tuple[str, ...] | None = None

    @property
    def takes_value(self) -> bool:
        return self.nargs != "0"

    @property
    def no_form(self) -> str | None:
        """The `--no-…` form, None where the flag has none."""
        return f"--no-{self.name[2:]}" if self.type == "switch" else None


@frozen
class FlagMatch:
    """What a written flag stands for: `negated` for its off form, `key` the dotted rest (`step_interval` of
    `--eplb-config.step_interval`), `value` what is joined to it (the 2 of `-O2`); both empty without."""

    flag: Flag
    negated: bool = False
    key: str = ""
    value: str = ""

    @property
    def canonical(self) -> str:
        """The full spelling that every version with this flag takes."""
        if self.negated:
            return self.flag.no_form or self.flag.name
        return f"{self.flag.name}.{self.key}" if self.key else self.flag.name


@frozen
class FlagProblem:
    """What is wrong with one flag or its value. `unknown`, `ambiguous`, `choice` and `value` are refused by the engine's
    parser; `hint` by a later check of it; `uncertain` may be refused; `deprecated` is accepted with a warning."""

    kind: Literal["unknown", "ambiguous", "choice", "value", "hint", "uncertain", "deprecated"]
    message: str
    nearest: tuple[str, ...] = ()


@frozen(eq=False)
class FlagTable:
    """The flags of one engine version. `tables` are the versions that it is judged by: one, or the two around it."""

    engine: str
    version: Version
    tables: tuple[Version, ...]
    lines: dict[str, list[_Line]]
    """The lines of each flag that these versions have, oldest first."""
    others: dict[str, list[_Line]]
    """The same of flags that only other versions have."""
    _made: dict[str, Flag] = field(factory=dict, init=False)
    _spelled: dict[str, tuple[str, bool]] = field(factory=dict, init=False)

    def _flag(self, name: str) -> Flag:
        """A flag of these versions, made when it is first asked for: most commands ask for a few of hundreds."""
        found = self._made.get(name)
        if found is None:
            found = self._made[name] = _flag(name, self.lines[name], self.tables)
        return found

    @property
    def flags(self) -> dict[str, Flag]:
        """Every flag of these versions by name."""
        return {name: self._flag(name) for name in self.lines}

    @property
    def gone(self) -> dict[str, Flag]:
        """Flags that only other versions have."""
        return {name: _flag(name, lines, self.tables) for name, lines in self.others.items()}

    @property
    def _spellings(self) -> dict[str, tuple[str, bool]]:
        """Every accepted spelling → (flag, whether it is the off form)."""
        if not self._spelled:
            self._spelled.update(_spelled(self.flags))
        return self._spelled

    @property
    def exact(self) -> bool:
        return self.tables == (self.version[:2],)

    def find(self, text: str) -> Flag | None:
        """The flag that a written one stands for, as the engine's parser takes it; None where unknown or ambiguous."""
        found = self.match(text)
        return found.flag if found else None

    def match(self, text: str) -> FlagMatch | None:
        """Like `find`, with the sense (on or off) and the dotted key. Takes underscores for dashes, aliases, short
        forms, unambiguous beginnings, and dotted keys of JSON flags."""
        candidates = self._candidates(text)
        return candidates[0] if len(candidates) == 1 else None

    def _candidates(self, text: str) -> list[FlagMatch]:
        if not text.startswith("-") or text in ("-", "--"):
            return []
        head, _, key = text.partition(".")
        if head.startswith("--"):
            head = "--" + head[2:].replace("_", "-")
        joined = ""
        if head[:2] == "-O" and head[2:].isdigit():
            joined = head[2:]
            head = "-O" if "-O" in self._spellings else "--optimization-level"
        exact = (head, False) if head in self.lines else self._spellings.get(head)
        if exact is not None:
            spellings = [exact]
        elif head.startswith("--"):
            spellings = [where for spelling, where in self._spellings.items() if spelling.startswith(head)]
        else:
            spellings = []
        found = [FlagMatch(self._flag(name), negated, key, joined) for name, negated in dict.fromkeys(spellings)]
        if key:
            found = [match for match in found if not match.negated and match.flag.type in _JSON]
        return found

    def nearest(self, text: str) -> tuple[str, ...]:
        """Up to three flags whose names are close to a misspelt one, nearest first."""
        from difflib import get_close_matches

        wanted = "--" + text.lstrip("-").partition("=")[0].replace("_", "-")
        return tuple(get_close_matches(wanted, list(self._spellings), n=3, cutoff=0.75))

    def judge(self, text: str, value: FlagValue = True) -> tuple[FlagProblem, ...]:
        """What this version would say to a flag with a value. `True` stands for the bare flag, `False` for its `--no-`
        form, a tuple for several values."""
        candidates = self._candidates(text)
        if not candidates:
            return (self._unknown(text),)
        if len(candidates) > 1:
            names = tuple(sorted({match.flag.name for match in candidates}))
            return (FlagProblem("ambiguous", f"{text} may mean {' or '.join(names[:4])}", names[:4]),)
        match = candidates[0]
        flag = match.flag
        problems = list(_value_problems(match, value))
        if not flag.certain:
            inside = _text(next(v for v in self.tables if flag.since <= v <= flag.until))
            other = _text(next(v for v in self.tables if not flag.since <= v <= flag.until))
            problems.append(FlagProblem("uncertain", f"{self._called} {inside} has {flag.name} and {other} has not"))
        if flag.deprecated:
            problems.append(FlagProblem("deprecated", f"{flag.name} is deprecated in {self._called} {self._versions}"))
        return tuple(problems)

    @property
    def _called(self) -> str:
        return ENGINE_NAMES.get(self.engine, self.engine)

    @property
    def _versions(self) -> str:
        return " and ".join(_text(version) for version in self.tables)

    def _unknown(self, text: str) -> FlagProblem:
        name = "--" + text.lstrip("-").partition(".")[0].replace("_", "-") if text.startswith("--") else text
        gone = self.gone.get(name)
        asked = f"{self._called} {_text(self.version)}"
        if gone is None:
            return FlagProblem("unknown", f"{asked} has no flag {text}", self.nearest(text))
        if gone.until < self.tables[0]:
            message = f"{asked} has no flag {text}: it was last seen in {_text(gone.until)}"
            return FlagProblem("unknown", message, (gone.instead,) if gone.instead else ())
        message = f"{asked} has no flag {text}: it is first seen in {_text(gone.since)}"
        return FlagProblem("unknown", message, self.nearest(text))


def _text(version: Version) -> str:
    return ".".join(str(part) for part in version)


def _value_problems(match: FlagMatch, value: FlagValue) -> tuple[FlagProblem, ...]:
    flag = match.flag
    if not flag.takes_value:
        if not isinstance(value, bool):
            return (FlagProblem("value", f"{flag.name} takes no value, only on or off"),)
        if value is False and flag.no_form is None:
            return (FlagProblem("value", f"{flag.name} has no --no- form: leave it out"),)
        return ()
    if match.key or match.value:
        return ()
    if isinstance(value, tuple) and flag.nargs not in ("+", "append") and flag.type != "json":
        return (FlagProblem("value", f"{flag.name} takes one value"),)
    if isinstance(value, tuple) and not value:
        return (FlagProblem("value", f"{flag.name} needs a value"),)
    if isinstance(value, tuple) and flag.type == "json":
        return ()
    values = value if isinstance(value, tuple) else (value,)
    return tuple(problem for item in values for problem in _one_value(flag, item))


def _one_value(flag: Flag, value: str | int | float | bool) -> tuple[FlagProblem, ...]:
    if isinstance(value, bool) and flag.type != "bool":
        return (FlagProblem("value", f"{flag.name} needs a value"),)
    text = str(value)
    complaint = _complaint(flag.type, text)
    if complaint:
        return (FlagProblem("value", f"{flag.name} takes {complaint}, not {text}"),)
    if flag.choices is not None and text not in flag.choices:
        return (FlagProblem("choice", f"{flag.name} does not take {text}", _near(text, flag.choices)),)
    if flag.sure_choices is not None and text not in flag.sure_choices:
        return (FlagProblem("uncertain", f"only one of the versions around has {flag.name} {text}"),)
    if flag.values_hint and text not in flag.values_hint and "." not in text:
        return (FlagProblem("hint", f"{flag.name} does not list {text}", _near(text, flag.values_hint)),)
    return ()


def _complaint(kind: FlagKind, text: str) -> str:
    """What a flag of this kind takes, where the text is not that; empty where it is."""
    if kind == "int":
        return "" if re.fullmatch(r"[+-]?\d+", text) else "a whole number"
    if kind == "float":
        try:
            float(text)
        except ValueError:
            return "a number"
        return ""
    if kind in ("size", "size-or-auto"):
        if kind == "size-or-auto" and text in ("auto", "-1"):
            return ""
        return "" if _SIZE.fullmatch(text) else "a number such as 8192, 8k or 8K"
    return _json_complaint(kind, text) if kind in ("json", "object") else ""


def _json_complaint(kind: FlagKind, text: str) -> str:
    import json

    wanted = "a JSON object" if kind == "object" else "JSON"
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return wanted
    return wanted if kind == "object" and not isinstance(value, dict) else ""


def _near(text: str, among: tuple[str, ...]) -> tuple[str, ...]:
    from difflib import get_close_matches

    return tuple(get_close_matches(text, among, n=3, cutoff=0.6))


@cache
def _lines(engine: str) -> tuple[tuple[Version, ...], dict[str, list[_Line]]] | None:
    """The versions with a table and the lines of one engine's table by flag; None without a table."""
    path = _table_of(engine)
    if path is None:
        return None
    cells = [line.split("\t") for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    versions = _versions(cells[0])
    lines: dict[str, list[_Line]] = {}
    for since, until, name, *columns in cells[2:]:
        lines.setdefault(name, []).append((versions[since], versions[until], columns))
    return tuple(versions.values()), lines


def _table_of(engine: str) -> Path | None:
    path = Path(__file__).parent / "data" / "engines" / f"{engine}.tsv"
    return path if engine.isalnum() and path.is_file() else None


def _versions(header: list[str]) -> dict[str, Version]:
    return {text: tuple(int(part) for part in text.split(".")) for text in header[1:]}


@cache
def engine_versions(name: str) -> tuple[Version, ...]:
    """The versions of an engine that have a flag table, oldest first; empty where it has none. Reads no more than the head of the
    table: nearly every spec names a version, and few need its flags."""
    path = _table_of(name)
    if path is None:
        return ()
    with path.open(encoding="utf-8") as file:
        header = next(line for line in file if not line.startswith("#"))
    return tuple(_versions(header.rstrip("\n").split("\t")).values())


@cache
def flag_table(name: str, version: Version) -> FlagTable | None:
    """The flags of an engine's version; None for an engine without a table.

    A patch version (0.33.1) is judged by its minor version; one between two tables by both; one beyond the newest by
    the newest, and before the oldest by the oldest.
    """
    found = _lines(name)
    if found is None:
        return None
    versions, flags = found
    minor = version[:2] if len(version) > 1 else (*version, 0)
    below = [known for known in versions if known <= minor]
    above = [known for known in versions if known >= minor]
    tables = tuple(sorted({below[-1] if below else versions[0], above[0] if above else versions[-1]}))
    inside = {key: lines for key, lines in flags.items() if any(_covers(line, tables) for line in lines)}
    others = {key: lines for key, lines in flags.items() if key not in inside}
    return FlagTable(name, version, tables, inside, others)


def _covers(line: _Line, tables: tuple[Version, ...]) -> bool:
    return any(line[0] <= table <= line[1] for table in tables)


def _flag(name: str, lines: list[_Line], tables: tuple[Version, ...]) -> Flag:
    """The flag as the tables have it, the newest line where none does; its span is that of all lines."""
    since, until = min(line[0] for line in lines), max(line[1] for line in lines)
    certain = all(since <= table <= until for table in tables)
    meant = [line for line in lines if _covers(line, tables)] or lines[-1:]
    older, *newer = (_line_flag(name, columns, since, until, certain) for _, _, columns in meant)
    for flag in newer:
        older = _merged(older, flag)
    return older


def _line_flag(name: str, columns: list[str], since: Version, until: Version, certain: bool) -> Flag:
    kind, nargs, default, deprecated, aliases, choices, hint, instead = columns
    return Flag(
        name=name,
        aliases=tuple(aliases.split()),
        type=kind,  # type: ignore[arg-type]
        choices=tuple(choices.split("|")) if choices else None,
        values_hint=tuple(hint.split("|")) if hint else (),
        default=default,
        nargs=nargs,
        deprecated=bool(deprecated),
        since=since,
        until=until,
        instead=instead,
        certain=certain,
    )


def _merged(older: Flag, newer: Flag) -> Flag:
    """One flag of two tables: the newer one's terms, with what either takes and, apart, what both take."""
    choices = sure = None
    if older.choices is not None and newer.choices is not None:
        choices = tuple(dict.fromkeys(older.choices + newer.choices))
        sure = tuple(choice for choice in older.choices if choice in newer.choices)
    elif older.choices is not None or newer.choices is not None:
        sure = older.choices or newer.choices
    aliases = tuple(dict.fromkeys(older.aliases + newer.aliases))
    hints = tuple(dict.fromkeys(older.values_hint + newer.values_hint))
    return evolve(newer, aliases=aliases, choices=choices, sure_choices=sure, values_hint=hints, certain=older.certain)


def _spelled(flags: dict[str, Flag]) -> dict[str, tuple[str, bool]]:
    """Every accepted spelling → (flag, whether it is the off form)."""
    spelled: dict[str, tuple[str, bool]] = {}
    for name in flags:
        spelled[name] = (name, False)
    for name, flag in flags.items():
        opposite = _opposite(name)
        for alias in flag.aliases:
            off = flag.type == "switch" and alias in (f"--no-{name[2:]}", opposite)
            spelled.setdefault(alias, (name, off))
    return spelled


def _opposite(name: str) -> str:
    """`--disable-x` of `--enable-x` and the reverse; empty for other names."""
    if name.startswith("--enable-"):
        return "--disable-" + name[len("--enable-") :]
    return "--enable-" + name[len("--disable-") :] if name.startswith("--disable-") else ""
