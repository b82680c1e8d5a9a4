"""Write the files that start the cluster. Nothing is written while errors stand; warnings do not stop it.

Exit codes: 0 written (or, with --check, as it would be written), 1 errors stand or --check differs, 2 wrong usage."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from kcluster.cli.common import (
    FINDINGS,
    OK,
    Input,
    UsageError,
    add_color,
    add_paths,
    inputs,
    say,
    wants_color,
    width_of,
)
from kcluster.pipeline import Checked, decode_and_check
from kcluster.targets.types import Artifact


def configure(parser: argparse.ArgumentParser) -> None:
    add_paths(parser)
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="the folder to write into (default: `[compile] output` of the settings)"
    )
    parser.add_argument(
        "--target", metavar="NAME", action="append", help="only these targets (default: what the spec asks for)"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 with a diff where DIR is not what would be written"
    )
    parser.add_argument("--force", action="store_true", help="overwrite files that kcluster did not write")
    add_color(parser)


def run(arguments: argparse.Namespace) -> int:
    read = inputs(arguments.paths, arguments.stdin_filename)
    if arguments.output is not None and len(read) != 1:
        raise UsageError(
            f"one folder takes one spec, and {' '.join(arguments.paths) or 'this folder'} holds {len(read)}"
        )
    folders = [Path(arguments.output)] if arguments.output is not None else _folders(read)
    return max(_compile(one, folder, arguments) for one, folder in zip(read, folders, strict=True))


def _compile(one: Input, folder: Path, arguments: argparse.Namespace) -> int:
    checked = decode_and_check(one.data, one.path, folder=one.folder)
    _report(checked, arguments)
    if checked.errors or checked.plan is None:
        number = len(checked.errors)
        sys.stderr.write(f"{one.path}: nothing was written: {number} error{'s' if number != 1 else ''}\n")
        return FINDINGS
    from kcluster.targets import emit

    artifacts = emit(checked.plan, _targets(arguments.target))
    if arguments.check:
        return _check(folder, artifacts)
    return _write(folder, artifacts, force=arguments.force)


def _folders(read: tuple[Input, ...]) -> list[Path]:
    """Where the projects' settings say that the specs are compiled to; two specs never into one folder."""
    from kcluster.project import find_root, load_project

    folders: dict[Path, str] = {}
    for one in read:
        project, found = load_project(find_root(one.folder))
        if found:
            raise UsageError(f"{found[0].source.path}: {found[0].message}")
        folder = project.output_of(one.folder / Path(one.path).name) if one.path != "<stdin>" else None
        if folder is None:
            raise UsageError(
                f'{one.path}: where to? give -o DIR, or set `output = "deploy/{{path}}"` under [compile] in kcluster.toml'
            )
        place = Path(os.path.relpath(folder))
        if place in folders:
            raise UsageError(f"{folders[place]} and {one.path} would both be compiled into {place}")
        folders[place] = one.path
    return list(folders)


def _report(checked: Checked, arguments: argparse.Namespace) -> None:
    """Findings go to standard error, so that what is written can be piped."""
    from kcluster.render import render

    live = tuple(finding for finding in checked.diagnostics if not finding.suppressed)
    if live:
        sys.stderr.write(
            render("pretty", live, color=wants_color(sys.stderr, arguments.color), width=width_of(sys.stderr))
        )


def _targets(wanted: list[str] | None) -> tuple[str, ...] | None:
    if wanted is None:
        return None
    from kcluster.targets import target_names

    names = tuple(name for entry in wanted for name in entry.split(",") if name)
    unknown = [name for name in names if name not in target_names()]
    if unknown:
        raise UsageError(f"there is no target `{unknown[0]}` (there are: {', '.join(sorted(target_names()))})")
    return names


def _check(folder: Path, artifacts: tuple[Artifact, ...]) -> int:
    from kcluster.output import check

    difference = check(folder, artifacts)
    if not difference:
        say(f"{folder} is what the spec says ({len(artifacts)} files)")
        return OK
    say(difference)
    return FINDINGS


def _write(folder: Path, artifacts: tuple[Artifact, ...], *, force: bool) -> int:
    from kcluster.output import Refused, write

    try:
        result = write(folder, artifacts, force=force)
    except Refused as refusal:
        raise UsageError(str(refusal)) from None
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or folder}: {error.strerror or error}") from None
    changed = len(result.written)
    unchanged = len(artifacts) - changed
    removed = f", {len(result.removed)} removed" if result.removed else ""
    say(f"{folder}: {changed} files written{removed}, {unchanged} unchanged; start with {folder / 'README.md'}")
    return OK
