"""The page of a rule, from its docstring: for `kcluster explain`, for the docs and for SARIF.

`python -m kcluster.rules.pages DIR` writes every page as Markdown, and an index.

A docstring holds the fixed headings, each on a line of its own with a paragraph below. `Example` holds fenced specs: one tagged
`kcluster bad` whose findings are marked on their lines (`#! KC201`; `#!^ KC201` marks the line above), one tagged
`kcluster good` without this finding, and, where they import, `kcluster file=NAME`.
"""

from __future__ import annotations

import re
import sys
import textwrap
from inspect import cleandoc
from pathlib import Path
from typing import Final, Literal

from kcluster.diagnostics import CODES, Code, code_of
from kcluster.rules import all_rules
from kcluster.values import frozen

HEADINGS: Final = ("What it checks", "Why", "Example", "Fix", "Source")
WIDTH: Final = 100
_FENCE = re.compile(r"^```kcluster (bad|good|file=\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"[ \t]*#!\^?[ \t]*((?:KC\d{3}(?:=\w+)?[ \t]*)+)$", re.MULTILINE)
_ABOVE = re.compile(r"^[ \t]*#!\^.*\n", re.MULTILINE)


@frozen
class Example:
    """A spec of a page. `kind` "file" is one that the others may import, under `name`. `text` holds the marks."""

    kind: Literal["bad", "good", "file"]
    name: str
    text: str

    @property
    def shown(self) -> str:
        """The text for readers: marks become plain comments."""
        return _MARK.sub(lambda found: "   # " + found[1].strip(), _ABOVE.sub("", self.text)).rstrip()


@frozen
class Page:
    """A rule's page in parts; each but `examples` is one paragraph or a few."""

    code: Code
    what: str
    why: str
    examples: tuple[Example, ...]
    fix: str
    source: str

    @property
    def bad(self) -> Example:
        return next(example for example in self.examples if example.kind == "bad")

    @property
    def good(self) -> Example:
        return next(example for example in self.examples if example.kind == "good")


def sections(docstring: str) -> dict[str, str]:
    """The text under each heading of a docstring, by heading, in order.

    Raises:
        ValueError: a heading is missing, repeated or out of order (a mistake of whoever wrote the rule).
    """
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in cleandoc(docstring).splitlines():
        if line in HEADINGS:
            if line in found:
                raise ValueError(f"heading {line!r} stands twice")
            current = found[line] = []
        elif current is not None:
            current.append(line)
        elif line.strip():
            raise ValueError(f"text before the first heading: {line!r}")
    if tuple(found) != HEADINGS:
        raise ValueError(f"headings are {tuple(found)}, not {HEADINGS}")
    return {heading: "\n".join(lines).strip() for heading, lines in found.items()}


def parse_page(code: Code, docstring: str) -> Page:
    """A page from a rule's docstring.

    Raises:
        ValueError: its headings or examples are not as they must be.
    """
    parts = sections(docstring)
    examples = []
    for tag, text in _FENCE.findall(parts["Example"] + "\n"):
        if tag in ("bad", "good"):
            examples.append(Example(tag, f"{tag}.kcluster", text))
        else:
            examples.append(Example("file", tag.removeprefix("file="), text))
    page = Page(code, parts["What it checks"], parts["Why"], tuple(examples), parts["Fix"], parts["Source"])
    for kind in ("bad", "good"):
        if sum(example.kind == kind for example in examples) != 1:
            raise ValueError(f"{code.code} needs one {kind} example")
    if not all((page.what, page.why, page.fix, page.source)):
        raise ValueError(f"{code.code} has an empty heading")
    return page


def page_of(code: str) -> Page | None:
    """The page of a code (`KC201`) or name (`weights-do-not-fit`), None where there is no such rule."""
    found = code_of(code)
    if found is None:
        return None
    rule = all_rules().get(found.code)
    return parse_page(found, rule.page) if rule is not None else None


def _paragraphs(text: str, width: int, indent: str) -> str:
    blocks = re.split(r"\n\s*\n", text)
    return "\n\n".join(
        textwrap.fill(
            " ".join(block.split()),
            width,
            initial_indent=indent,
            subsequent_indent=indent,
            break_on_hyphens=False,
            break_long_words=False,
        )
        for block in blocks
    )


def _title(example: Example) -> str:
    if example.kind == "bad":
        return "This draws it:"
    return "This does not:" if example.kind == "good" else f"where {example.name} holds:"


def page(code: str) -> str:
    """The page as plain text for a terminal; empty where there is no such rule."""
    found = page_of(code)
    if found is None:
        return ""
    lines = [f"{found.code.code} {found.code.name} ({found.code.severity})", ""]
    for heading, text in (("What it checks", found.what), ("Why", found.why)):
        lines += [heading, _paragraphs(text, WIDTH, "  "), ""]
    lines.append("Example")
    for example in found.examples:
        lines += [f"  {_title(example)}", "", textwrap.indent(example.shown, "    "), ""]
    for heading, text in (("Fix", found.fix), ("Source", found.source)):
        lines += [heading, _paragraphs(text, WIDTH, "  "), ""]
    return "\n".join(lines)


def markdown(code: str) -> str:
    """The page as Markdown; empty where there is no such rule."""
    found = page_of(code)
    if found is None:
        return ""
    lines = [f"# {found.code.code}: {found.code.name}", "", f"Default severity: {found.code.severity}.", ""]
    for heading, text in (("What it checks", found.what), ("Why", found.why)):
        lines += [f"## {heading}", "", _paragraphs(text, 120, ""), ""]
    lines += ["## Example", ""]
    for example in found.examples:
        lines += [_title(example), "", "```kcluster", example.shown, "```", ""]
    for heading, text in (("Fix", found.fix), ("Source", found.source)):
        lines += [f"## {heading}", "", _paragraphs(text, 120, ""), ""]
    return "\n".join(lines).rstrip() + "\n"


def index() -> str:
    """The table of all rules as Markdown."""
    lines = [
        "# Rules",
        "",
        "Written by `python -m kcluster.rules.pages docs/rules` from the rules themselves.",
        "",
        "| code | name | severity | what it catches |",
        "|---|---|---|---|",
    ]
    for code in all_rules():
        row = CODES[code]
        lines.append(f"| [{code}]({code}.md) | {row.name} | {row.severity} | {row.summary} |")
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """Every file of the docs' folder by name."""
    files = {f"{code}.md": markdown(code) for code in all_rules()}
    files["README.md"] = index()
    return files


def write(folder: Path) -> None:
    """Write every page into a folder and remove pages of rules that are no more."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = pages()
    for name, text in wanted.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    for path in folder.glob("KC*.md"):
        if path.name not in wanted:
            path.unlink()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
