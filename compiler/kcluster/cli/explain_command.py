"""Print the page of a rule: what it checks, why, a bad and a good example, the fix and the source."""

from __future__ import annotations

import argparse

from kcluster.cli.common import OK, UsageError, say
from kcluster.diagnostics import CODES, code_of


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "code", nargs="?", metavar="CODE", help="a code (KC202) or a rule's name (context-does-not-fit)"
    )
    parser.add_argument("--list", action="store_true", help="list every code with its severity and what it catches")
    parser.add_argument("--format", choices=("text", "json", "markdown"), default="text")


def run(arguments: argparse.Namespace) -> int:
    if arguments.list or arguments.code is None:
        say(_list(arguments.format))
        return OK
    code = code_of(arguments.code)
    if code is None:
        near = [one.name for one in CODES.values() if arguments.code.lower() in one.name]
        hint = f"did you mean {' or '.join(near)}?" if near else "kcluster explain --list names them"
        raise UsageError(f"there is no rule `{arguments.code}`; {hint}")
    from kcluster.rules.pages import markdown, page

    if arguments.format == "json":
        import json

        row = {
            "code": code.code,
            "name": code.name,
            "severity": code.severity,
            "summary": code.summary,
            "page": page(code.code),
        }
        say(json.dumps(row, indent=2, ensure_ascii=False))
    else:
        say(markdown(code.code) if arguments.format == "markdown" else page(code.code))
    return OK


def _list(form: str) -> str:
    if form == "json":
        import json

        rows = [{"code": c.code, "name": c.name, "severity": c.severity, "summary": c.summary} for c in CODES.values()]
        return json.dumps(rows, indent=2, ensure_ascii=False)
    if form == "markdown":
        head = "| code | name | severity | what it catches |\n|---|---|---|---|\n"
        return head + "\n".join(f"| {c.code} | {c.name} | {c.severity} | {c.summary} |" for c in CODES.values())
    width = max(len(c.name) for c in CODES.values())
    return "\n".join(f"{c.code}  {c.severity:<7}  {c.name:<{width}}  {c.summary}" for c in CODES.values())
