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
from kcluster.cli.revisions import Version, at_revision, is_revision
from kcluster.reads import Reads, specs_below

PLAN = "plan.toml"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", metavar="OLD", help="a spec, a folder, or REV:path of git")
    parser.add_argument("new", metavar="NEW", help="the same, of what it becomes")
    parser.add_argument("--format", choices=("text", "markdown", "json"), default="text")
    add_color(parser)


def run(arguments: argparse.Namespace) -> int:
    if _compiled(arguments.old) and _compiled(arguments.new):
        return _folders(Path(arguments.old), Path(arguments.new), arguments.format)
    old, new = _version(arguments.old), _version(arguments.new)
    found = [changes(_side(old, key), _side(new, key)) for key in sorted({*old.specs, *new.specs})]
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


def _compiled(path: str) -> bool:
    return os.path.isfile(os.path.join(path, PLAN)) and not specs_below(path)


def _version(text: str) -> Version:
    """The specs of an argument, by their path below it; a file by the empty name, so that it pairs with any other file."""
    if is_revision(text):
        return at_revision(text)
    if os.path.isdir(text):
        return Version({os.path.relpath(one.path, text): one for one in inputs([text])})
    if not os.path.exists(text) and text != "-":
        raise UsageError(f"cannot read {text}: No such file or directory")
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


def _folders(old: Path, new: Path, form: str) -> int:
    """Two compiled folders, file by file."""
    kept, now = set(_files(old)), set(_files(new))
    changed = []
    for name in sorted(kept | now):
        before, after = (_text(folder / name) for folder in (old, new))
        if before != after or (name in kept) != (name in now):
            kind = "new" if name not in kept else "gone" if name not in now else "changed"
            changed.append((name, kind, difference(name, before, after, new.as_posix())))
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
