"""The project around a spec: its root, and its settings in `kcluster.toml` or `[tool.kcluster]` of `pyproject.toml`."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal

from kcluster.diagnostics import CODES, Diagnostic, Severity, code_of
from kcluster.diagnostics.wording import listed, shown, suggestions
from kcluster.reads import MARKS, ROOT, SUFFIX, Reads, nearest_root
from kcluster.source import Source, Span
from kcluster.values import evolve, frozen

_MARKS: Final = MARKS
_MAX_BYTES: Final = 2**20
_SETTINGS: Final = re.compile(rb"""tool["']?\s*(\.\s*["']?kcluster|\]|=)""")
"""What a `pyproject.toml` with a `tool.kcluster` in it has somewhere; without it there is no need to parse the file."""
_SEVERITIES: Final = ("error", "warning", "note", "off")
_KEYS: Final = ("select", "ignore", "severity", "per-file-ignores", "targets", "paths", "compile")
_COMPILE_KEYS: Final = ("output", "outputs")
SYNTAX: Final = "KC0"
"""Codes that no setting can soften or leave out: nothing said about a text that was not understood can be relied on."""


@frozen
class Project:
    """Settings of a project.

    Attributes:
        severities: code → what its findings count as; "off" leaves them out.
        select: codes and beginnings of codes that are reported; empty for all.
        ignore: codes and beginnings of codes that are not.
        per_file: pattern of files (`*` stands for any text, `/` too; without a `/` of the name alone) → codes and beginnings of
            codes that are not reported in them.
        targets: the targets that `compile` writes; None where it decides.
        paths: what commands read where no path is given, relative to `root`; empty for the working folder.
        output: where `compile` writes, relative to `root`; `{path}` stands for the spec's path without its suffix, `{name}` for
            the last part of that; empty where it must be told.
        outputs: spec → folder, both relative to `root`, for specs that `output` does not suit.
        file: the settings' file as findings name it; empty where there is none.
    """

    root: Path
    severities: tuple[tuple[str, Severity | Literal["off"]], ...] = ()
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    targets: tuple[str, ...] | None = None
    paths: tuple[str, ...] = ()
    file: str = ""
    output: str = ""
    outputs: tuple[tuple[str, str], ...] = ()
    per_file: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def severity(self, code: str, default: Severity) -> Severity | Literal["off"]:
        """What a finding of a code counts as here."""
        return dict(self.severities).get(code, default)

    def wants(self, code: str) -> bool:
        """Whether findings of a code are reported at all."""
        chosen = not self.select or code.startswith(self.select)
        return chosen and not (self.ignore and code.startswith(self.ignore))

    def leaves_out(self, code: str, path: str) -> bool:
        """Whether findings of a code are not reported in a file; `path` is relative to the working folder, or absolute."""
        if not self.per_file:
            return False
        from fnmatch import fnmatchcase

        own = os.path.relpath(os.path.abspath(path), os.path.abspath(self.root)).replace(os.sep, "/")
        return any(
            code.startswith(codes) and fnmatchcase(own if "/" in pattern else own.rpartition("/")[2], pattern)
            for pattern, codes in self.per_file
            if codes
        )

    def graded(self, found: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
        """Findings with the severities of this project, those that are off left out."""
        if not self.severities:
            return tuple(found)
        result = []
        for one in found:
            severity = self.severity(one.code, one.severity)
            if severity != "off":
                result.append(one if severity == one.severity else evolve(one, severity=severity))
        return tuple(result)

    def output_of(self, spec: Path) -> Path | None:
        """The folder that a spec is compiled into; None where no setting says."""
        path = os.path.relpath(spec, self.root).replace(os.sep, "/")
        folder = dict(self.outputs).get(path, self.output)
        if not folder:
            return None
        whole = path.removesuffix(SUFFIX)
        return self.root / folder.replace("{path}", whole).replace("{name}", whole.rpartition("/")[2])


def find_root(path: Path, trace: Reads | None = None) -> Path:
    """The nearest folder, from the path upwards, with a `kcluster.toml`, a `pyproject.toml` or a `.git`; else the path's own
    folder."""
    start = os.path.abspath(path)
    if trace is not None:
        trace.look(ROOT, start)
    return Path(nearest_root(start, _MARKS))


def load_project(root: Path, *, shown: str = "", trace: Reads | None = None) -> tuple[Project, tuple[Diagnostic, ...]]:
    """The settings in a folder: those of `kcluster.toml`, else of `[tool.kcluster]` in `pyproject.toml`, else none.

    Unknown keys, wrong values and files that are not TOML are findings; the rest of the settings holds. `shown` is the folder
    as findings name it, empty for the working folder.
    """
    for name in ("kcluster.toml", "pyproject.toml"):
        place = root / name
        data = _read(place)
        if trace is not None:
            trace.file(str(place), data)
            if (data is None and os.path.lexists(place)) or (data is not None and len(data) > _MAX_BYTES):
                trace.untold()
        if data is None or (name == "pyproject.toml" and not _SETTINGS.search(data)):
            continue
        return _parse(root, name, f"{shown}/{name}" if shown else name, data)
    return Project(root), ()


def _read(place: Path) -> bytes | None:
    """The file's bytes, one more than allowed where it is too long; None where there is none to read."""
    try:
        if not stat.S_ISREG(place.stat().st_mode):
            return None
        with place.open("rb") as file:
            return file.read(_MAX_BYTES + 1)
    except OSError:
        return None


class _Settings:
    """One file's settings being read."""

    def __init__(self, source: Source, prefix: str) -> None:
        self.source = source
        self.prefix = prefix
        self.found: list[Diagnostic] = []

    def report(self, code: str, message: str, key: str, help: tuple[str, ...] = ()) -> None:
        self.found.append(Diagnostic(code, message, self.source, self.span(key), CODES[code].severity, help=help))

    def span(self, key: str) -> Span:
        """Where a key or value stands: TOML's reader does not say, so its first mention in the table's part of the text."""
        text = self.source.text
        start = max(0, text.find("[tool.kcluster")) if self.prefix else 0
        match = re.compile(rf"(?<![A-Za-z0-9_-]){re.escape(key)}(?![A-Za-z0-9_-])").search(text, start)
        return Span(*match.span()) if match is not None else Span(start, start)


def _parse(root: Path, name: str, path: str, data: bytes) -> tuple[Project, tuple[Diagnostic, ...]]:
    import tomllib

    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        source = Source(path, data.decode("utf-8", errors="replace"))
        return Project(root), (Diagnostic("KC004", f"{name} is not UTF-8", source, Span(0, 0), "error"),)
    source = Source(path, text)
    if len(data) > _MAX_BYTES:
        message = f"{name} is larger than {_MAX_BYTES:,} bytes"
        return Project(root), (Diagnostic("KC007", message, source, Span(0, 0), "error"),)
    try:
        table: Any = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        message = f"{name} is not TOML: {re.sub(r' [(]at .*', '', str(error))[:120].lower()}"
        return Project(root), (Diagnostic("KC001", message, source, _error_span(source, str(error)), "error"),)
    prefix = "tool.kcluster" if name == "pyproject.toml" else ""
    if prefix:
        tool = table.get("tool", {})
        table = tool.get("kcluster") if isinstance(tool, dict) else None
        if table is None:
            return Project(root), ()
    settings = _Settings(source, prefix)
    if not isinstance(table, dict):
        settings.report("KC103", f"`{prefix}` is a table", "kcluster")
        return Project(root, file=path), tuple(settings.found)
    return _project(root, path, table, settings)


def _error_span(source: Source, text: str) -> Span:
    match = re.search(r"at line (\d+), column (\d+)", text)
    start = source.offset(int(match[1]), int(match[2])) if match is not None else len(source.text)
    return Span(start, start)


def _project(
    root: Path, path: str, table: dict[str, Any], settings: _Settings
) -> tuple[Project, tuple[Diagnostic, ...]]:
    for key in table:
        if key not in _KEYS:
            near = suggestions(key, _KEYS)
            help_ = (f"did you mean {listed(near)}?",) if near else (f"settings are {listed(_KEYS, 'and')}",)
            settings.report("KC102", f"there is no setting `{shown(key)}`", key, help_)
    targets = _texts(table, "targets", settings)
    output, outputs = _outputs(table, settings)
    project = Project(
        root,
        severities=_severities(table, settings),
        select=_codes(table, "select", settings),
        ignore=_codes(table, "ignore", settings),
        targets=targets,
        paths=tuple(path for path in _texts(table, "paths", settings) or () if _inside(path, settings)),
        file=path,
        output=output,
        outputs=outputs,
        per_file=_per_file(table, settings),
    )
    return project, tuple(settings.found)


def _texts(table: dict[str, Any], key: str, settings: _Settings) -> tuple[str, ...] | None:
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        settings.report("KC103", f"`{key}` is a list of strings", key)
        return None
    return tuple(value)


def _inside(path: str, settings: _Settings) -> bool:
    normal = os.path.normpath(path)
    if "\0" not in path and not os.path.isabs(normal) and normal.split(os.sep)[0] != "..":
        return True
    settings.report("KC103", f"the path `{shown(path)}` leads out of the project", path)
    return False


def _outputs(table: dict[str, Any], settings: _Settings) -> tuple[str, tuple[tuple[str, str], ...]]:
    """`[compile] output = "deploy/{name}"`, and `[compile.outputs]` for single specs."""
    value = table.get("compile")
    if value is None:
        return "", ()
    if not isinstance(value, dict):
        settings.report("KC103", '`compile` is a table such as `output = "deploy/{name}"`', "compile")
        return "", ()
    for key in value:
        if key not in _COMPILE_KEYS:
            near = suggestions(key, _COMPILE_KEYS)
            help_ = (f"did you mean {listed(near)}?",) if near else (f"settings are {listed(_COMPILE_KEYS, 'and')}",)
            settings.report("KC102", f"there is no setting `compile.{shown(key)}`", key, help_)
    output = value.get("output", "")
    if not isinstance(output, str):
        settings.report("KC103", "`output` is a folder", "output")
        output = ""
    elif output and not _inside(output, settings):
        output = ""
    single = value.get("outputs", {})
    if not isinstance(single, dict) or not all(isinstance(folder, str) for folder in single.values()):
        settings.report("KC103", '`outputs` is a table such as `"chat.kcluster" = "deploy/chat"`', "outputs")
        single = {}
    kept = {spec: folder for spec, folder in single.items() if _inside(spec, settings) and _inside(folder, settings)}
    return output, tuple(sorted((os.path.normpath(spec).replace(os.sep, "/"), kept[spec]) for spec in kept))


def _codes(table: dict[str, Any], key: str, settings: _Settings) -> tuple[str, ...]:
    """Codes and beginnings of codes; an unknown one would silently select nothing."""
    found = []
    for text in _texts(table, key, settings) or ():
        known = code_of(text)
        upper = text.strip().upper()
        if known is not None:
            found.append(known.code)
        elif len(upper) >= 3 and any(code.startswith(upper) for code in CODES):
            found.append(upper)
        else:
            settings.report("KC106", f"`{key}` names `{shown(text)}`, which is no code", text, _near_code(text))
    return tuple(found)


def _per_file(table: dict[str, Any], settings: _Settings) -> tuple[tuple[str, tuple[str, ...]], ...]:
    value = table.get("per-file-ignores")
    if value is None:
        return ()
    if not isinstance(value, dict):
        message = '`per-file-ignores` is a table such as `"drafts/*" = ["KC5"]`'
        settings.report("KC103", message, "per-file-ignores")
        return ()
    return tuple((pattern, _codes(value, pattern, settings)) for pattern in value)


def _severities(table: dict[str, Any], settings: _Settings) -> tuple[tuple[str, Severity | Literal["off"]], ...]:
    value = table.get("severity")
    if value is None:
        return ()
    if not isinstance(value, dict):
        settings.report("KC103", '`severity` is a table such as `KC203 = "error"`', "severity")
        return ()
    found: dict[str, Any] = {}
    for text, severity in value.items():
        known = code_of(text)
        if known is None:
            settings.report("KC106", f"`severity` names `{shown(text)}`, which is no code", text, _near_code(text))
        elif severity not in _SEVERITIES:
            settings.report("KC103", f"the severity of `{text}` is {listed(_SEVERITIES)}", text)
        elif known.code.startswith(SYNTAX) and severity != "error":
            settings.report("KC103", f"`{text}` is an error everywhere: what is not understood cannot be judged", text)
        else:
            found[known.code] = severity
    return tuple(sorted(found.items()))


def _near_code(text: str) -> tuple[str, ...]:
    near = suggestions(text.strip().upper(), CODES) or suggestions(text, [code.name for code in CODES.values()])
    return (f"did you mean {listed(near)}?",) if near else ()
