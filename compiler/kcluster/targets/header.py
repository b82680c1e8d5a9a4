"""The lines at the head of every file: which spec and version it came from, and that it is not edited by hand."""

from __future__ import annotations

from hashlib import sha256

from kcluster.planner.types import Plan
from kcluster.targets.shell import one_line
from kcluster.version import VERSION

MARK = "Written by kcluster"
"""How a file of a previous compile is known where no `plan.toml` names it."""


def spec_name(plan: Plan) -> str:
    """The spec's file name, without folders, so that the same spec gives the same bytes wherever it lies."""
    return one_line(plan.spec.source.path.replace("\\", "/").rstrip("/").rpartition("/")[2]) or "<text>"


def spec_sha256(plan: Plan) -> str:
    """The hash of the spec's text, by which a folder is known to be of it."""
    return text_sha256(plan.spec.source.text)


def text_sha256(text: str) -> str:
    """The hash of a text as it is written, in UTF-8."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def header_lines(plan: Plan, what: str) -> tuple[str, str]:
    """The two sentences, without comment signs: `what` says what the file is or needs."""
    return (
        f"{one_line(what)}.",
        f"{MARK} {VERSION} from {spec_name(plan)}: change the spec and compile again, not this file.",
    )


def comment_header(plan: Plan, what: str) -> str:
    """The head of a file whose comments start with `#`, with its line ends."""
    return "".join(f"# {line}\n" for line in header_lines(plan, what))
