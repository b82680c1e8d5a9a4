"""Show what a change of a spec changes: cut, flags, memory, predictions, bounds kept or lost, findings.

OLD and NEW are specs, folders of specs, folders that kcluster compiled, or REV:path of git. Exit codes: 0 nothing gets worse,
1 an error more or a bound lost, 2 wrong usage."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from kcluster.changes import Side, changes
from kcluster.cli.common import FINDINGS, OK, Input, UsageError, add_color, difference, inputs, say, wants_color
from kcluster.cli.revisions import Version, at_revision, compiled_at_revision, is_revision
from kcluster.reads import Reads, specs_below

PLAN = "plan.toml"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", metavar="OLD", help="a spec, a folder, or REV:path of git")
    parser.add_argument("new", metavar="NEW", help="the same, of what it becomes")
    parser.add_argument("--format", choices=("text", "markdown", "json"), default="text")
    add_color(parser)


def run(arguments: argparse.Namespace) -> int:
    files = [_compiled(path) for path in (arguments.old, arguments.new)]
    if files[0] is not None and files[1] is not None:
        return _folders(files[0], files[1], Path(arguments.new).as_posix(), arguments.format)
    old, new = _version(arguments.old), _version(arguments.new)
    found = [changes(_side(old, before), _side(new, after)) for before, after in _pairs(old, new)]
    if arguments.format == "json":
        import json

        from kcluster.render.changes import as_json

        say(json.dumps(as_json(found), indent=2, ensure_ascii=False))
    elif arguments.format == "markdown":
        from kcluster.render.changes import as_markdown

        say(as_markdown(found))
    else:
        from kcluster.render.changes import as_text

        say(as_text(found, color=wants_color(sys.stdout, arguments.color)))
    return FINDINGS if any(change.worse for change in found) else OK


def _pairs(old: Version, new: Version) -> list[tuple[str, str]]:
    """The specs of both sides by name; what only one side has is paired where it was moved: the same text, else the only one of its
    file name."""
    pairs = [(key, key) for key in old.specs.keys() & new.specs.keys()]
    gone = {key: one for key, one in old.specs.items() if key not in new.specs}
    come = {key: one for key, one in new.specs.items() if key not in old.specs}
    for mark in (_content, _file_name):
        marks = [[mark(key, one) for key, one in side.items()] for side in (gone, come)]
        for before in list(gone):
            wanted = mark(before, gone[before])
            after = next((key for key, one in come.items() if mark(key, one) == wanted), None)
            if after is not None and marks[0].count(wanted) == marks[1].count(wanted) == 1:
                pairs.append((before, after))
                del gone[before], come[after]
    return sorted([*pairs, *((key, key) for key in (*gone, *come))], key=lambda pair: pair[1])


def _content(key: str, one: Input) -> object:
    del key
    return one.data


def _file_name(key: str, one: Input) -> object:
    del one
    return key.rpartition("/")[2]


def _compiled(path: str) -> dict[str, str] | None:
    """The files of a compiled folder, on disk or at a revision; None where it is none."""
    if is_revision(path):
        return compiled_at_revision(path, PLAN)
    if not os.path.isfile(os.path.join(path, PLAN)) or specs_below(path):
        return None
    return {name: _text(Path(path) / name) for name in _files(Path(path))}


def _version(text: str) -> Version:
    """The specs of an argument, by their path below it; a file by the empty name, so that it pairs with any other file."""
    if is_revision(text):
        return at_revision(text)
    if os.path.isdir(text):
        return Version({os.path.relpath(one.path, text): one for one in inputs([text])})
    if not os.path.exists(text) and text != "-":
        raise UsageError(
            f"cannot read {text}: No such file or directory (a revision of git is REV:path, such as HEAD:specs)"
        )
    (one,) = inputs([text])
    return Version({"": one})


def _side(version: Version, key: str) -> Side | None:
    one = version.specs.get(key)
    return None if one is None else _judged(one, version)


def _judged(one: Input, version: Version) -> Side:
    from kcluster.cli.linting import Settings
    from kcluster.pipeline import check_source
    from kcluster.syntax.parser import decode

    source, before = decode(one.data, one.path)
    checked = check_source(source, folder=one.folder, before=before, read=version.read)
    settings = Settings((), (), Reads())
    return Side(one.path, checked.plan, settings.graded(one, checked.diagnostics))


def _folders(old: dict[str, str], new: dict[str, str], shown: str, form: str) -> int:
    """Two compiled folders, file by file."""
    changed = []
    for name in sorted({*old, *new}):
        before, after = old.get(name, ""), new.get(name, "")
        if before != after or (name in old) != (name in new):
            kind = "new" if name not in old else "gone" if name not in new else "changed"
            changed.append((name, kind, difference(name, before, after, shown)))
    if form == "json":
        import json

        from kcluster.render.changes import files_as_json

        say(json.dumps(files_as_json(changed), indent=2, ensure_ascii=False))
    elif form == "markdown":
        from kcluster.render.changes import files_as_markdown

        say(files_as_markdown(changed))
    else:
        say("".join(text for _, _, text in changed) or "nothing changes\n")
    return OK


def _files(folder: Path) -> list[str]:
    return [
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()
    ]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
