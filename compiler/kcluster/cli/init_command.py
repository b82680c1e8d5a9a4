"""Write a first spec from a few answers: asked on a terminal, given by options elsewhere.

The spec is checked before it is written, and what lint and plan make of it is said. Exit codes: 0 written, 1 written but with errors
(the model does not fit, a bound is out of reach), 2 wrong usage."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from kcluster.cli.common import FINDINGS, OK, UsageError, replace_file, say, wants_color, width_of
from kcluster.diagnostics import Diagnostic
from kcluster.pipeline import Checked, check_source
from kcluster.source import Source
from kcluster.values import frozen

FILE: Final = "cluster.kcluster"
TRIES: Final = 5
"""Answers to one question that are taken before giving up."""


@frozen
class Question:
    """One thing to know: where it stands in the spec, how it is asked, and what holds where the answer is empty.

    `form`: how an answer stands in the spec. `needed`: there is no spec without it. `several`: asked of several nodes alone.
    """

    name: str
    block: str
    key: str
    ask: str
    default: str = ""
    form: Literal["value", "text", "texts"] = "value"
    needed: bool = False
    several: bool = False
    operator: str = "="


QUESTIONS: Final = (
    Question(
        "model", "model", "id", "Which model? A Hugging Face id, such as Qwen/Qwen3-32B", form="text", needed=True
    ),
    Question("checkpoint", "model", "checkpoint", "Another checkpoint of it, such as Qwen/Qwen3-32B-FP8?", form="text"),
    Question("nodes", "hardware", "nodes", "How many nodes?", default="1"),
    Question("gpus", "hardware", "gpus", "Which cards has each node? Such as 4 * rtx-5090", needed=True),
    Question(
        "network",
        "hardware",
        "network",
        "What joins them? ethernet(25GbE), roce(100GbE), infiniband(ndr)",
        several=True,
    ),
    Question(
        "hosts", "hardware", "hosts", "Their addresses, one for each, separated by commas?", form="texts", several=True
    ),
    Question("concurrency", "sla", "concurrency", "How many requests are in flight at peak?", default="8"),
    Question("context", "sla", "context", "The longest prompt with its answer, in tokens?", default="8K"),
    Question("prompt", "sla", "prompt", "A typical prompt, in tokens?", default="2K"),
    Question("completion", "sla", "completion", "A typical answer, in tokens?", default="500"),
    Question("ttft", "sla", "ttft", "The longest wait for the first token? Such as 2s; empty for none", operator="<="),
    Question(
        "tokens-per-second",
        "sla",
        "tokens_per_second",
        "How many tokens a second must each request get? Empty for none",
        operator=">=",
    ),
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", nargs="?", default=FILE, metavar="FILE", help=f"the spec to write (default: {FILE})")
    for question in QUESTIONS:
        parser.add_argument(f"--{question.name}", metavar="VALUE", default=None, help=question.ask)
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    parser.add_argument("--yes", action="store_true", help="ask nothing: take the defaults for what is not given")


def run(arguments: argparse.Namespace) -> int:
    place = Path(arguments.path)
    _writable(place, arguments.force)
    given = {one.name: getattr(arguments, one.name.replace("-", "_")) for one in QUESTIONS}
    answers = {name: value.strip() for name, value in given.items() if value is not None}
    for name, value in answers.items():
        problem = wrong(_question(name), value, answers, place.parent)
        if problem:
            raise UsageError(f"--{name}: {problem}")
    if sys.stdin.isatty() and not arguments.yes:
        answers = _asked(answers, place.parent)
    missing = [one.name for one in QUESTIONS if one.needed and not answers.get(one.name)]
    if missing:
        raise UsageError("without a terminal to ask on, say " + " and ".join(f"--{name}" for name in missing))
    text = spec(answers)
    checked = check_source(Source(place.as_posix(), text), folder=place.parent)
    _write(place, text)
    _told(place, checked)
    return FINDINGS if checked.errors else OK


def _question(name: str) -> Question:
    return next(one for one in QUESTIONS if one.name == name)


def _writable(place: Path, force: bool) -> None:
    if place.is_dir():
        raise UsageError(f"{place} is a folder: name the file")
    if place.exists() and not force:
        raise UsageError(f"{place} exists: --force replaces it")
    if not place.parent.is_dir():
        raise UsageError(f"there is no folder {place.parent.as_posix()}")


def _asked(answers: dict[str, str], folder: Path) -> dict[str, str]:
    """The answers with those of the terminal. An empty one takes the default."""
    answers = dict(answers)
    for question in QUESTIONS:
        if question.name in answers or (question.several and not _several(answers)):
            continue
        answers[question.name] = _answer(question, answers, input, folder)
    return answers


def _several(answers: dict[str, str]) -> bool:
    return answers.get("nodes", "1") not in ("", "1")


def _answer(question: Question, answers: dict[str, str], ask: Callable[[str], str], folder: Path) -> str:
    """One answer, asked again where it cannot be."""
    shown = f" [{question.default}]" if question.default else ""
    for _ in range(TRIES):
        try:
            text = ask(f"{question.ask}{shown} ").strip()
        except EOFError:
            raise UsageError("the answers ended before the questions: nothing was written") from None
        if not text and question.needed:
            continue
        problem = wrong(question, text, answers, folder) if text else ""
        if not problem:
            return text
        sys.stdout.write(f"  {problem}\n")
    raise UsageError(f"no answer to `{question.name}` that could be used: nothing was written")


def wrong(question: Question, answer: str, answers: dict[str, str], folder: Path | None = None) -> str:
    """What is wrong with an answer, in the words of lint; empty where nothing is. An answer is one value and nothing more.

    Args:
        folder: of the spec, whose project may have a catalog of its own.
    """
    if not answer:
        return ""
    shown = value(question, answer)
    source = Source("answer", spec({**_SOUND, **answers, question.name: answer}))
    if not _is_one_value(shown):
        example = question.ask.partition("uch as ")[2].partition(";")[0].rstrip("?")
        return "this is not one value" + (f"; write it like {example}" if example else "")
    start = source.text.find(f"{question.key} ")
    line = source.position(start).line
    for finding in check_source(source, folder=folder).diagnostics:
        place = finding.source.position(finding.span.start).line
        if (
            finding.source == source
            and place == line
            and finding.severity == "error"
            and finding.code[:3] in ("KC0", "KC1")
        ):
            return _said(finding)
    return ""


_SOUND: Final = {"model": "Qwen/Qwen3-8B", "gpus": "1 * h100"}
"""Answers around one that is judged."""


def _is_one_value(text: str) -> bool:
    from kcluster.syntax.ast import Attribute
    from kcluster.syntax.parser import parse

    file, findings = parse(Source("answer", f"x = {text}\n"))
    items = file.items
    return not findings and len(items) == 1 and isinstance(items[0], Attribute) and not file.comments


def _said(finding: Diagnostic) -> str:
    return "; ".join((finding.message, *finding.help))


def value(question: Question, answer: str) -> str:
    """An answer as the spec has it."""
    if question.form == "value":
        return answer
    texts = [answer] if question.form == "text" else [part.strip() for part in answer.split(",")]
    quoted = [json.dumps(text, ensure_ascii=not text.isprintable()) for text in texts]
    return quoted[0] if question.form == "text" else f"[{', '.join(quoted)}]"


def spec(answers: dict[str, str]) -> str:
    """The spec that answers make, in canonical layout."""
    from kcluster.syntax.formatter import format_source

    several = _several(answers)
    parts = ["# Written by kcluster init. What is left out, the compiler decides: kcluster plan says what and why."]
    for block, name in (("model", "llm"), ("hardware", "machines"), ("sla", "load")):
        parts.append(f"{block} {name} {{")
        for one in QUESTIONS:
            answer = answers.get(one.name) or one.default
            if one.block == block and answer and not (one.several and not several):
                parts.append(f"  {one.key} {one.operator} {value(one, answer)}")
        parts += ["}", ""]
    parts += [
        "serve chat {",
        "  model = llm",
        "  hardware = machines",
        "  sla = load",
        '  engine vllm { api_key = env("VLLM_API_KEY") }',
        "}",
        "",
    ]
    text = "\n".join(parts)
    return format_source(Source("answer", text))


def _write(place: Path, text: str) -> None:
    if place.exists():
        replace_file(place, text.encode())
        return
    try:
        place.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {place}: {error.strerror or error}") from None


def _told(place: Path, checked: Checked) -> None:
    """What lint and plan say, and what to do next."""
    from kcluster.render import render
    from kcluster.render.plan_text import plan_text

    color, width = wants_color(sys.stdout), width_of(sys.stdout)
    say(f"{place.as_posix()} is written\n\n")
    standing = tuple(one for one in checked.diagnostics if one.severity != "note" and not one.suppressed)
    if standing:
        say(render("pretty", standing, color=color, width=width) + "\n")
    if checked.plan is not None:
        say(plan_text(checked.plan, color=color, width=width) + "\n")
    name = place.as_posix()
    say(
        f"next: kcluster compile {name} -o {place.with_suffix('').as_posix()}\n"
        if not checked.errors
        else f"next: mend {name}, then kcluster lint {name}\n"
    )
