"""A command with fixes made: those of its spec, as edits of its own text, and those of words that were spoilt."""

from __future__ import annotations

import re
from typing import Final

from kcluster.importers.phrasing import FLAG_OF, flag_text, value_text
from kcluster.importers.specs import Imported
from kcluster.importers.words import Launch, Problem, Setting
from kcluster.importers.writing import Path, walk
from kcluster.source import Source, Span
from kcluster.syntax.parser import parse

_VARIABLE: Final = re.compile(r"\$(?:\{(?P<name>\w+)(?P<default>:?-[^{}]*)?\}|\w+)")
_ITEM: Final = re.compile(r"^\s*- ", re.MULTILINE)

Edits = list[tuple[Span, str]]


def corrected(command: Source, imported: Imported, fixed: str, problems: tuple[Problem, ...] = ()) -> str | None:
    """The command's text once its spec is `fixed`; None where nothing of it changes, or where it cannot be said in that text.

    Args:
        problems: of the command itself; those that say how to mend them are mended.
    """
    file, _ = parse(Source(imported.source.path, fixed))
    after = {path: file.source.slice(value) for path, _, value in walk(file) if value is not None}
    edits: Edits = [problem.fix for problem in problems if problem.fix is not None]
    mended = [span for span, _ in edits]
    for number, launch in enumerate(imported.launches):
        extra: list[str] = []
        for path in dict.fromkeys((*imported.paths, *after)):
            if path[:1] != ("serve",) or (len(imported.launches) > 1 and path[1] != _names(imported)[number]):
                continue
            before, now = imported.paths.get(path), after.get(path)
            if before != now and launch.written:
                edits_of, added = _change(path, now, imported.given.get(path), command)
                edits += [edit for edit in edits_of if not any(_touch(edit[0], span) for span in mended)]
                extra += added
        if extra:
            if _ITEM.search(command.text):
                return None
            end = _end(launch)
            edits.append((Span(end, end), " " + " ".join(extra)))
    text = command.text
    for span, new in sorted(set(edits), key=lambda edit: (edit[0].start, edit[0].end), reverse=True):
        text = text[: span.start] + new + text[span.end :]
    return text if text != command.text else None


def _touch(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end


def _end(launch: Launch) -> int:
    """Where flags may be added: behind the last that stands there."""
    spans = [launch.model.span] if launch.model is not None else []
    return max(span.end for span in (*spans, *(one.span for one in launch.settings), Span(0, launch.span.start)))


def _names(imported: Imported) -> list[str]:
    return list(dict.fromkeys(path[1] for path in imported.paths if path[0] == "serve"))


def _change(path: Path, now: str | None, setting: Setting | None, command: Source) -> tuple[Edits, list[str]]:
    """One attribute's change as edits, or as flags to add."""
    if setting is not None and any(word.unset for word in setting.values):
        return [], []
    if setting is not None and setting.elsewhere:
        # the command's own flag overrides what the other file says
        flag = path[-1] if "args" in path else FLAG_OF.get(path[-1], "")
        return [], [flag_text(flag, now)] if flag and now is not None else []
    if now is None:
        if setting is None:
            return [], []
        start = setting.span.start
        while start > 0 and command.text[start - 1] in " \t":
            start -= 1
        return [(Span(start, setting.span.end), "")], []
    flag = path[-1] if "args" in path else FLAG_OF.get(path[-1], "")
    if not flag:
        return [], []
    if setting is None:
        return [], [flag_text(flag, now)]
    if setting.values and now not in ("on", "off"):
        return [_replaced(setting.values[-1].span, value_text(now), command)], []
    return [(setting.span, flag_text(flag, now))], []


def _replaced(span: Span, text: str, command: Source) -> tuple[Span, str]:
    """A value in place of another: quotes stay, and so does a variable whose default is what was written."""
    variable = _VARIABLE.match(command.text, span.start)
    if variable is not None:
        whole = Span(span.start, max(span.end, variable.end()))
        if variable["default"] is not None:
            mark = variable["default"][: variable["default"].index("-") + 1]
            return whole, f"${{{variable['name']}{mark}{text}}}"
        return whole, text
    mark = command.text[span.start : span.start + 1]
    return span, f"{mark}{text}{mark}" if mark in tuple("\"'") and text.isalnum() else text
