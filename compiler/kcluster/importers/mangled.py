"""JSON values that a shell, a template or one escape too many has spoilt, and what was meant."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from kcluster.catalog.engines import FlagTable
from kcluster.importers.versions import JSON_LIMITS_SINCE
from kcluster.importers.words import Launch, Problem, Setting
from kcluster.source import Source, Span

_SHOWN: Final = 60


def mangled(
    launch: Launch, command: Source, table: FlagTable, version: tuple[int, ...] | None = None
) -> Iterator[Problem]:
    """Flags that take JSON with a value that is none, though what was meant can be read from it.

    Args:
        version: of the engine, None where nothing says it.
    """
    for setting in launch.settings:
        match = table.match(setting.flag)
        if (
            match is None
            or match.flag.type not in ("json", "object", "json-or-str")
            or setting.key
            or not setting.values
        ):
            continue
        text = setting.text
        if setting.unset or _is_json(text) or (match.flag.type == "json-or-str" and not text.lstrip().startswith("{")):
            continue
        pairs = _pairs(text) != text
        if pairs and version is not None and version < JSON_LIMITS_SINCE:
            continue
        found = _meant(setting, command)
        if found is None:
            if match.flag.type == "json-or-str":
                yield Problem("KC801", f"{setting.flag} takes JSON, and gets `{_short(text)}`", setting.span)
            continue
        span, value, why, help = found
        yield Problem(
            "KC801",
            f"{setting.flag} takes JSON, and gets `{_short(text)}`: {why}",
            setting.span.cover(span),
            "warning" if pairs and version is None else "error",
            help=help,
            fix=(span, value) if value and not _listed(command) else None,
        )


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _meant(setting: Setting, command: Source) -> tuple[Span, str, str, str] | None:
    """Where the value stands, what it should be there, why it is spoilt, and what to do."""
    word = setting.values[0]
    written = _balanced(command.text, word.span.start)
    if written is not None and _is_json(command.slice(written)):
        quoted = f"'{command.slice(written)}'" if "'" not in command.slice(written) else ""
        return written, quoted, "the shell takes the quotes out of it", "put the value in single quotes"
    text = word.text
    for meant, why, help in (
        (
            text.replace('\\"', '"'),
            "the backslashes are part of it",
            'inside single quotes write `"` without a backslash',
        ),
        (
            text.replace("{{", "{").replace("}}", "}"),
            "its braces are doubled",
            "one brace each: doubling belongs to templates",
        ),
        (text.strip("'\""), "the quotes are part of it", "leave the inner quotes out"),
        (_pairs(text), "it is in the form of older versions", "write it as JSON"),
        (text.replace("'", '"'), "JSON has double quotes", "write `\"` for `'` inside, and single quotes around"),
    ):
        if meant != text and _is_json(meant) and "'" not in meant:
            return word.span, f"'{meant}'", why, help
    return None


def _pairs(text: str) -> str:
    """`image=1,video=0` as JSON; the text itself where it is not of that form."""
    if not re.fullmatch(r"\w+=\d+(,\w+=\d+)*", text):
        return text
    return json.dumps({name: int(value) for name, _, value in (pair.partition("=") for pair in text.split(","))})


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _listed(command: Source) -> bool:
    """Whether the text is a list of YAML, in which a shell's quotes would be part of the item."""
    return any(line.lstrip().startswith("- ") for line in command.text.splitlines())


def _balanced(text: str, start: int) -> Span | None:
    """The object that begins at a place as it is written, to its closing brace; None where none begins or it does not end."""
    if text[start : start + 1] != "{":
        return None
    depth, quote = 0, False
    for at in range(start, min(len(text), start + 4096)):
        if text[at] == '"':
            quote = not quote
        elif not quote:
            depth += (text[at] == "{") - (text[at] == "}")
            if depth == 0:
                return Span(start, at + 1)
    return None
