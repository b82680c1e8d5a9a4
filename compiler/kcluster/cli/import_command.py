"""Write a spec from what exists: a launch command behind --, a shell script, a Compose file, a Kubernetes manifest, a systemd unit.

Nothing is executed. What the text does not say is told by --gpus, --bus and --network; what it could not see is told in comments.

Exit codes: 0 fine, 1 errors (with --lint), 2 wrong usage or unreadable input, 3 an internal fault."""

from __future__ import annotations

import argparse
from pathlib import Path

from kcluster.cli.common import OK, UsageError, add_color, replace_file, say
from kcluster.cli.launch_options import add_options, command_of
from kcluster.cli.launching import folder_of, hardware_of, lint_text, read, text_of


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", metavar="FILE", nargs="*", help="the file, or - for standard input; or a command behind --"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write the spec there; an existing file stays unless --force"
    )
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    parser.add_argument("--lint", action="store_true", help="report findings on the command instead")
    add_options(parser)
    add_color(parser)


def run(arguments: argparse.Namespace) -> int:
    from kcluster.importers.project import with_project
    from kcluster.importers.specs import to_spec

    words = command_of(arguments.line)
    source = text_of(words, arguments.paths)
    if arguments.lint:
        return lint_text(source, arguments, form="pretty", strict=False)
    name = Path(arguments.output).as_posix() if arguments.output else "imported.kcluster"
    found, hardware = with_project(
        read(source, arguments), hardware_of(arguments), folder_of(arguments), Path(name).parent
    )
    imported = to_spec(found.launches, hardware, version=arguments.engine_version, notes=found.notes, path=name)
    if not arguments.output:
        say(imported.source.text)
        return OK
    place = Path(arguments.output)
    if place.exists() and not arguments.force:
        raise UsageError(f"{name} exists: --force replaces it")
    if not place.parent.is_dir():
        raise UsageError(f"there is no folder {place.parent.as_posix()}")
    if place.exists():
        replace_file(place, imported.source.text.encode())
    else:
        try:
            place.write_text(imported.source.text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {name}: {error.strerror or error}") from None
    say(f"{name}: {len(found.launches)} server{'' if len(found.launches) == 1 else 's'}")
    return OK
