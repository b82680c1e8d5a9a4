"""Show the chosen cut and why: memory per GPU, a token's time, links, the SLA against the prediction, and what was
rejected.

What counts as an error is what `lint` says: suppressions and the project's settings (kcluster.toml) hold here too.
Exit codes: 0 every serve fits, 1 errors stand (the plan is shown all the same where there is one), 2 wrong usage."""

from __future__ import annotations

import argparse
import sys

from kcluster.cli.common import FINDINGS, OK, UsageError, add_color, add_paths, inputs, say, wants_color, width_of
from kcluster.cli.linting import Settings, checked
from kcluster.diagnostics import Diagnostic
from kcluster.pipeline import Checked
from kcluster.reads import Reads


def configure(parser: argparse.ArgumentParser) -> None:
    add_paths(parser)
    parser.add_argument(
        "--why",
        metavar="FIGURE",
        help="print the arithmetic behind a figure (memory, memory.weights_gib, performance.itl_s, …)",
    )
    parser.add_argument("--all", action="store_true", help="every candidate with its verdict")
    parser.add_argument("--format", choices=("text", "json", "toml", "html"), default="text")
    add_color(parser)


def run(arguments: argparse.Namespace) -> int:
    read = inputs(arguments.paths, arguments.stdin_filename)
    if arguments.format == "toml" and len(read) != 1:
        raise UsageError("--format toml takes one spec")
    settings = Settings((), (), Reads())
    specs = [checked(one, settings) for one in read]
    if settings.found:
        _complain(tuple(settings.found), arguments)
    if arguments.why:
        _why(specs, arguments.why)
    elif arguments.format == "json":
        _json(specs)
    elif arguments.format == "toml":
        _toml(specs[0])
    elif arguments.format == "html":
        _html(specs)
    else:
        _text(specs, arguments)
    return FINDINGS if settings.found or any(one.errors for one in specs) else OK


def _complain(found: tuple[Diagnostic, ...], arguments: argparse.Namespace) -> None:
    from kcluster.render import render

    sys.stderr.write(
        render("pretty", found, color=wants_color(sys.stderr, arguments.color), width=width_of(sys.stderr))
    )


def _text(specs: list[Checked], arguments: argparse.Namespace) -> None:
    from kcluster.render.plan_text import plan_text

    color, width = wants_color(sys.stdout, arguments.color), width_of(sys.stdout)
    parts = []
    for one in specs:
        if one.errors:
            _complain(one.errors, arguments)
        if one.plan is not None:
            parts.append(plan_text(one.plan, everything=arguments.all, color=color, width=width))
    say("\n".join(parts))


def _why(specs: list[Checked], figure: str) -> None:
    from kcluster.render.why import UnknownFigure, why

    parts = []
    for one in specs:
        if one.plan is None:
            raise UsageError(f"{one.source.path} has no plan: kcluster lint {one.source.path} says why")
        try:
            parts.append(why(one.plan, figure))
        except UnknownFigure as error:
            raise UsageError(str(error)) from None
    say("\n".join(parts))


def _json(specs: list[Checked]) -> None:
    import json

    from kcluster.cli.plan_objects import plan_object_of

    objects = [plan_object_of(one) for one in specs]
    say(json.dumps(objects[0] if len(objects) == 1 else objects, indent=2, ensure_ascii=False))


def _toml(one: Checked) -> None:
    from kcluster.targets import emit
    from kcluster.targets.plan_toml import plan_toml

    if one.plan is None or one.errors:
        raise UsageError(f"{one.source.path} has errors: kcluster lint {one.source.path} says which")
    artifacts = emit(one.plan, None)
    written = next((artifact.text for artifact in artifacts if artifact.path == "plan.toml"), None)
    say(written if written is not None else plan_toml(one.plan, artifacts))


def _html(specs: list[Checked]) -> None:
    from kcluster.render.plan_html import Planned, plan_html

    say(plan_html([Planned(one.source.path, one.plan, one.diagnostics) for one in specs]))
