"""Changes of specs as text, as Markdown for a pull request's comment, and as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from kcluster.changes import Changes, Difference, FindingChange, ServeChange
from kcluster.diagnostics import Diagnostic
from kcluster.version import VERSION

SCHEMA: Final = "kcluster.diff/1"
_COLOR: Final = {"better": "32", "worse": "31", "": "0", "new": "31", "gone": "32", "bold": "1"}
_FOLDED: Final = ("flags", "environment")
_KIND: Final = {"changed": "", "new": " (new)", "gone": " (gone)"}
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>#|~@!])")


def title(change: Changes) -> str:
    """The paths, once where they are the same."""
    if not change.before:
        return f"{change.after} (new)"
    if not change.after:
        return f"{change.before} (gone)"
    return change.after if change.before == change.after else f"{change.before} → {change.after}"


def as_text(found: Sequence[Changes], *, color: bool = False) -> str:
    """For a terminal: each spec with its serves, old and new beside each other; one line where nothing differs."""
    parts = ["\n".join(_spec_lines(change, color)) for change in found if change.any]
    return "\n\n".join(parts) + "\n" if parts else "nothing changes\n"


def _paint(text: str, kind: str, color: bool) -> str:
    return f"\x1b[{_COLOR[kind]}m{text}\x1b[0m" if color and _COLOR[kind] != "0" else text


def _spec_lines(change: Changes, color: bool) -> Iterable[str]:
    yield _paint(title(change), "bold", color)
    for serve in change.serves:
        yield f"{serve.name}{_KIND[serve.kind]}"
        yield from _rows(serve, color)
    for finding in change.findings:
        sign, kind = _sign(finding)
        yield _paint(f"{sign} {_line(finding.finding)}", kind, color)


def _rows(serve: ServeChange, color: bool) -> Iterable[str]:
    rows = _told(serve)
    widths = [max(map(len, texts)) for texts in zip(*((row.name, row.before, row.after) for row in rows), strict=True)]
    for one in rows:
        if serve.kind == "changed":
            mark = "lost" if one.lost else one.sense
            line = f"  {one.name:<{widths[0]}}  {one.before:<{widths[1]}}  →  {one.after:<{widths[2]}}  {mark}"
        else:
            line = f"  {one.name:<{widths[0]}}  {one.after if serve.kind == 'new' else one.before}"
        yield _paint(line.rstrip(), one.sense, color)


def _told(serve: ServeChange) -> list[Difference]:
    """All that differs; of a serve that only one version has, what it is rather than each of its flags."""
    return [one for one in serve.differences if serve.kind == "changed" or one.part not in _FOLDED]


def _sign(one: FindingChange) -> tuple[str, str]:
    if one.before is None:
        return "+", "new"
    return ("-", "gone") if one.after is None else ("~", "")


def _line(one: Diagnostic) -> str:
    return f"{one.severity}[{one.code}]: {one.message}"


def as_markdown(found: Sequence[Changes]) -> str:
    """For a comment: a table a serve, what matters most in front, flags folded away. Nothing of a spec is Markdown in it."""
    changed = [change for change in found if change.any]
    if not changed:
        return "**kcluster**: no cut, figure or finding changes.\n"
    worse = [_plain(title(change)) for change in changed if change.worse]
    head = f"**kcluster**: this makes worse: {', '.join(worse)}." if worse else "**kcluster**: what this changes."
    return "\n".join([head, "", *(line for change in changed for line in _markdown(change))])


def _markdown(change: Changes) -> Iterable[str]:
    yield f"### {_plain(title(change))}"
    yield ""
    for serve in change.serves:
        yield from _serve_markdown(serve)
    if change.findings:
        yield "| | finding | |"
        yield "|---|---|---|"
        for finding in change.findings:
            one = finding.finding
            word = {"+": "new", "-": "gone", "~": "now"}[_sign(finding)[0]]
            yield f"| {word} | {one.severity} {one.code} | {_plain(one.message)} |"
        yield ""


def _serve_markdown(serve: ServeChange) -> Iterable[str]:
    yield f"**{_plain(serve.name)}**{_KIND[serve.kind]}"
    yield ""
    told = _told(serve)
    folded = [one for one in told if one.part in _FOLDED]
    shown = [one for one in told if one.part not in _FOLDED]
    if shown:
        yield from _table(shown, serve.kind)
    if folded:
        yield f"<details><summary>{len(folded)} of the engine's flags and variables</summary>"
        yield ""
        yield from _table(folded)
        yield "</details>"
        yield ""


def _table(rows: Sequence[Difference], kind: str = "changed") -> Iterable[str]:
    if kind != "changed":
        # What only one version has stands in one column.
        yield "| | |"
        yield "|---|---|"
        yield from (f"| {_plain(one.name)} | {_plain(one.after if kind == 'new' else one.before)} |" for one in rows)
        yield ""
        return
    yield "| | before | after | |"
    yield "|---|---|---|---|"
    for one in rows:
        mark = "**lost**" if one.lost else one.sense
        yield f"| {_plain(one.name)} | {_plain(one.before)} | {_plain(one.after)} | {mark} |"
    yield ""


def _plain(text: str) -> str:
    """Text that Markdown and HTML leave alone: no markup, no mention, no line end."""
    flat = " ".join(text.split())
    return (
        _SPECIAL.sub(r"\\\1", flat.replace("&", "&amp;"))
        .replace("\\<", "&lt;")
        .replace("\\>", "&gt;")
        .replace("\\@", "@\u200b")
        .replace("://", ":\u200b//")
    )


def as_json(found: Sequence[Changes]) -> dict[str, Any]:
    """The public object: one entry a spec, also where nothing differs."""
    from kcluster.render.json_ import diagnostic_object

    def finding(one: FindingChange) -> dict[str, Any]:
        return {
            "before": diagnostic_object(one.before) if one.before is not None else None,
            "after": diagnostic_object(one.after) if one.after is not None else None,
        }

    def serve(one: ServeChange) -> dict[str, Any]:
        return {
            "name": one.name,
            "kind": one.kind,
            "differences": [
                {
                    "part": row.part,
                    "name": row.name,
                    "before": row.before,
                    "after": row.after,
                    "sense": row.sense or None,
                    "lost": row.lost,
                }
                for row in one.differences
            ],
        }

    return {
        "schema": SCHEMA,
        "kcluster_version": VERSION,
        "worse": any(change.worse for change in found),
        "specs": [
            {
                "before": change.before or None,
                "after": change.after or None,
                "worse": change.worse,
                "errors": {"before": change.errors[0], "after": change.errors[1]},
                "serves": [serve(one) for one in change.serves],
                "findings": [finding(one) for one in change.findings],
            }
            for change in found
        ],
    }


# Compiled folders


def files_as_json(changed: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    """The public object for two compiled folders: each file that differs (path, `new`, `gone` or `changed`, unified diff)."""
    files = [{"path": path, "change": kind, "diff": text} for path, kind, text in changed]
    return {"schema": SCHEMA, "kcluster_version": VERSION, "worse": False, "specs": [], "files": files}


def files_as_markdown(changed: Sequence[tuple[str, str, str]]) -> str:
    """For a comment: the files that differ, each folded away, in a fence that its text cannot close."""
    if not changed:
        return "**kcluster**: the compiled files are the same.\n"
    lines = [f"**kcluster**: {len(changed)} compiled file{'' if len(changed) == 1 else 's'} differ.", ""]
    for path, kind, text in changed:
        longest = max((len(run) for run in re.findall("`+", text)), default=0)
        fence = "`" * max(3, longest + 1)
        lines += [
            f"<details><summary>{kind}: {_plain(path)}</summary>",
            "",
            f"{fence}diff",
            text.rstrip("\n"),
            fence,
            "",
            "</details>",
            "",
        ]
    return "\n".join(lines)
