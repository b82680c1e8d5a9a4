"""Write the files that start the cluster. Nothing is written while errors stand; warnings do not stop it. What counts as an
error is what `lint` says: suppressions and the project's settings (kcluster.toml) hold here too.

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
from kcluster.cli.linting import Settings, checked
from kcluster.diagnostics import Diagnostic
from kcluster.project import Project
from kcluster.reads import Reads
from kcluster.targets.types import Artifact


def configure(parser: argparse.ArgumentParser) -> None:
    add_paths(parser)
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="the folder to write into (default: `[compile] output` of the settings)"
    )
    parser.add_argument(
        "--target",
        metavar="NAME",
        action="append",
        help="only these targets (default: what the spec asks for)",
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
    settings = Settings((), (), Reads())
    projects = [settings.project(one.folder) for one in read]
    if settings.found:
        _report(tuple(settings.found), arguments)
        sys.stderr.write("nothing was written: the settings have mistakes\n")
        return FINDINGS
    folders = [Path(arguments.output)] if arguments.output is not None else _folders(read, projects)
    return max(
        _compile(one, folder, arguments, settings, _targets(arguments.target, project))
        for one, folder, project in zip(read, folders, projects, strict=True)
    )


def _compile(
    one: Input, folder: Path, arguments: argparse.Namespace, settings: Settings, targets: tuple[str, ...] | None
) -> int:
    spec = checked(one, settings)
    _report(spec.diagnostics, arguments)
    if spec.errors or spec.plan is None:
        number = len(spec.errors)
        why = f"{number} error{'s' if number != 1 else ''}" if number else "there is no plan of it"
        sys.stderr.write(f"{one.path}: nothing was written: {why}\n")
        return FINDINGS
    from kcluster.targets import emit

    artifacts = emit(spec.plan, targets)
    if arguments.check:
        return _check(folder, artifacts)
    return _write(folder, artifacts, force=arguments.force)


def _folders(read: tuple[Input, ...], projects: list[Project]) -> list[Path]:
    """Where the projects' settings say that the specs are compiled to; two specs never into one folder."""
    folders: dict[Path, str] = {}
    for one, project in zip(read, projects, strict=True):
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


def _report(found: tuple[Diagnostic, ...], arguments: argparse.Namespace) -> None:
    """Findings go to standard error, so that what is written can be piped."""
    from kcluster.render import render

    live = tuple(finding for finding in found if not finding.suppressed)
    if live:
        sys.stderr.write(
            render("pretty", live, color=wants_color(sys.stderr, arguments.color), width=width_of(sys.stderr))
        )


def _targets(wanted: list[str] | None, project: Project) -> tuple[str, ...] | None:
    """Those of the command line, else of the project's settings, else None for what the spec asks for."""
    if wanted is None and project.targets is None:
        return None
    from kcluster.targets import target_names

    if wanted is not None:
        place, names = "", tuple(name for entry in wanted for name in entry.split(",") if name)
    else:
        place, names = f"{project.file}: ", project.targets or ()
    unknown = [name for name in names if name not in target_names()]
    if unknown:
        from kcluster.diagnostics.wording import listed, suggestions

        near = suggestions(unknown[0], target_names())
        rest = f"did you mean {listed(near)}?" if near else f"there are: {', '.join(sorted(target_names()))}"
        raise UsageError(f"{place}there is no target `{unknown[0]}` ({rest})")
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
    start = "".join(f"; start with {folder / one.path}" for one in artifacts if one.path == "README.md")
    say(f"{folder}: {changed} files written{removed}, {unchanged} unchanged{start}")
    return OK
