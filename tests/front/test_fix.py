"""`lint --fix`: fixes compose, converge, keep what they do not speak of, and never leave a spec worse."""

from __future__ import annotations

import os
import random
from collections import Counter
from functools import lru_cache
from pathlib import Path

import pytest

from kcluster.diagnostics import CODES, Diagnostic, Edit, Fix
from kcluster.fixes import MAX_ROUNDS, apply_edits, fix, grade, usable
from kcluster.pipeline import check_source
from kcluster.rules.pages import page_of
from kcluster.source import Source, Span

from ..rules.test_cases import cases
from ..syntax.mutations import character_mistakes, token_mistakes
from .inprocess import MISSPELT, SOUND, SPECS, Cli

BAD = sorted((SPECS / "bad").glob("*.kcluster"))
SEED = 20261124


@lru_cache(maxsize=4096)
def check(text: str) -> tuple[Diagnostic, ...]:
    """Kept: a text is judged before its fixes, by them and after them, safe and unsafe."""
    return check_source(Source("t.kcluster", text)).diagnostics


def comments(text: str) -> list[str]:
    from kcluster.syntax.parser import parse

    # Without blanks: invisible characters, which read as blanks, are what a fix takes out of a comment too.
    return ["".join(comment.text.split()) for comment in parse(Source("t", text))[0].comments]


def held(text: str, *, unsafe: bool) -> int:
    """Fix a text and hold the result to the promises; gives the rounds."""
    before = check(text)
    fixed = fix(Source("t.kcluster", text), check, unsafe=unsafe)
    assert fixed.rounds <= MAX_ROUNDS
    assert grade(fixed.left) <= grade(before), "never worse"
    assert fixed.left == check(fixed.text) or [str(d) for d in fixed.left] == [str(d) for d in check(fixed.text)]
    again = fix(Source("t.kcluster", fixed.text), check, unsafe=unsafe)
    assert again.text == fixed.text and again.rounds == 0, "a second run changes nothing"
    if not fixed.rounds:
        assert fixed.text == text
    # Suppressions that silence nothing are what a fix deletes of comments; nothing else is.
    lost = Counter(comments(text)) - Counter(comments(fixed.text))
    told = Counter("".join(one.source.slice(one.span).split()) for one in fixed.applied if one.code == "KC111")
    assert not lost - told, lost
    return fixed.rounds


@pytest.mark.parametrize("unsafe", [False, True])
@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_specs(path: Path, unsafe: bool) -> None:
    held(path.read_text(encoding="utf-8"), unsafe=unsafe)


@pytest.mark.parametrize("unsafe", [False, True])
@pytest.mark.parametrize("code", sorted(CODES))
def test_bad_examples_of_the_rules(code: str, unsafe: bool) -> None:
    found = page_of(code)
    assert found is not None
    held(found.bad.text.replace("<U+200B>", "\u200b"), unsafe=unsafe)


CASES = cases()
PARTS = 12


@pytest.mark.parametrize("part", range(PARTS))
def test_cases_of_the_rules(part: int) -> None:
    """Every case file of the rules, safe and unsafe."""
    for case in CASES[part::PARTS]:
        for unsafe in (False, True):
            try:
                held(case.text.replace("<U+200B>", "\u200b"), unsafe=unsafe)
            except AssertionError as error:
                raise AssertionError(f"{case.name}, unsafe={unsafe}") from error


BROKEN = [
    SOUND.replace(name, wrong)
    for name, wrong in (
        ("concurrency", "concurency"),
        ("concurrency = 8", "concurrency: 8"),
        ("context = 8K", "context == 8K"),
        ("hardware box", "hardwear box"),
        ("sla team", "sla team = "),
        ('"meta-llama/Llama-3.1-8B-Instruct"', "'meta-llama/Llama-3.1-8B-Instruct'"),
        ("weights = bf16", "wieghts = bf61"),
        ("completion = 500", "completion = 5e2"),
        ("completion = 500", "completion = 500, ttft = 2sec"),
        ("completion = 500", "completion = 500\u200b"),
        ("serve chat {", "serve chat {;"),
        ("# ", ""),
        ("}\n", "\n"),
        ("1 * l40s", "1 x l40s"),
        ("engine vllm {", 'engine vllm { "--enforce-eager" = on,'),
        ("engine vllm {", "engine vlm { prefix_caching = yes,"),
    )
]


@pytest.mark.parametrize("unsafe", [False, True])
@pytest.mark.parametrize("number", range(len(BROKEN)))
def test_small_mistakes(number: int, unsafe: bool) -> None:
    held(BROKEN[number], unsafe=unsafe)


def test_mutations_at_random() -> None:
    """Most mistakes that have a safe fix are mended whole; none gets worse."""
    rng = random.Random(SEED)
    rounds = [
        held(mutation.text, unsafe=number % 2 == 1)
        for number, mutation in enumerate((*token_mistakes(SOUND, rng, 60), *character_mistakes(SOUND, rng, 60)))
    ]
    assert sum(1 for number in rounds if number) > len(rounds) // 5, "there is something to mend"


STATEMENTS = """\
model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16, weights=bf16 }
model other { id = "Qwen/Qwen3-8B" }
hardware big_box { gpus = 1 * l40s, hosts = ["10.0.0.1"] }
sla team {
  concurrency = 8, context = 8K, context = 8K # twice
  prompt = 2K
  completion = 500
  prompt = 2K # again
}
serve chat {
  model = llama, hardware = big-box, sla = team
  engine vllm {
    api_key = env("VLLM_API_KEY")
    max_num_seqs = 8
    args {
      "--max-num-seqs" = 16 # raw
      "--stream-intervl" = 4
      "--nnodes" = 2, "--block-size" = 16
    }
  }
}
"""


def test_statements_are_left_out_with_what_holds_them_apart() -> None:
    """What says the same twice goes, safely; what changes the engine's flags, or a block that waits for its user, only when asked."""
    safe = (
        STATEMENTS.replace(", weights=bf16", "")
        .replace(", context = 8K #", " #")
        .replace("  prompt = 2K # again", "  # again")
        .replace("big-box", "big_box")
        .replace("intervl", "interval")
    )
    assert fix(Source("t.kcluster", STATEMENTS), check).text == safe
    unsafe = (
        safe.replace('model other { id = "Qwen/Qwen3-8B" }\n', "")
        .replace('"--max-num-seqs" = 16 # raw', "# raw")
        .replace('"--nnodes" = 2, ', "")
    )
    assert fix(Source("t.kcluster", STATEMENTS), check, unsafe=True).text == unsafe
    held(STATEMENTS, unsafe=True)


def test_what_differs_or_holds_a_comment_is_not_left_out() -> None:
    for wrong in ("prompt = 2K\n  prompt = 3K", "prompt = 2K\n  prompt >= 2K"):
        text = SOUND.replace("prompt = 2K", wrong)
        assert "prompt = 2K\n" in fix(Source("t.kcluster", text), check).text
    spare = SOUND + 'model spare {\n  # for later\n  id = "Qwen/Qwen3-8B"\n}\n'
    assert fix(Source("t.kcluster", spare), check, unsafe=True).text == spare


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("sla team { # kcluster: ignore[KC203] no", "sla team {"),
        ("# kcluster: ignore[KC203] no\nsla team {", "sla team {"),
        ("# ours\n  # kcluster: ignore[KC203, KC204] no\nsla team {", "# ours\nsla team {"),
    ],
)
def test_suppressions_that_silence_nothing_are_deleted(line: str, left: str) -> None:
    text = SOUND.replace("sla team {", line + "\n")
    assert fix(Source("t.kcluster", text), check).text == SOUND.replace("sla team {", left + "\n")


def finding(
    text: str, word: str, new: str, *, code: str = "KC102", safety: str = "safe", path: str = "t"
) -> Diagnostic:
    at = text.index(word)
    span = Span(at, at + len(word))
    mend = Fix(f"write `{new}`", (Edit(span, new),), safety)  # type: ignore[arg-type]
    return Diagnostic(code, f"`{word}` is wrong", Source(path, text), span, "error", fixes=(mend,))


def checks(table: dict[str, tuple[str, str]]):  # type: ignore[no-untyped-def]
    """A linter that knows some words that are wrong, each with its code and what to write."""

    def run(text: str) -> tuple[Diagnostic, ...]:
        return tuple(finding(text, word, new, code=code) for word, (code, new) in table.items() if word in text)

    return run


def test_rounds() -> None:
    """Fixes that follow from fixes, up to three rounds; the next run goes on where that was not enough."""
    steps = checks({f"<{n}>": ("KC103", f"<{n + 1}> <{n + 2}>" if n % 2 else f"<{n + 1}>") for n in range(5)})
    assert fix(Source("t", "<4>"), checks({"<4>": ("KC103", "done")})).text == "done"
    assert fix(Source("t", "<0>"), steps).text == "<0>", "one mistake for another is no mending"

    def left(text: str) -> tuple[Diagnostic, ...]:
        return tuple(finding(text, "a", "b") for _ in range(text.count("a")))

    fixed = fix(Source("t", "aaaaa"), left)
    assert (fixed.text, fixed.rounds, len(fixed.left)) == ("bbbaa", MAX_ROUNDS, 2), "alike fixes touch: one a round"


def test_a_fix_that_breaks_the_parse_is_taken_back() -> None:
    rules = checks({"aa": ("KC102", "bb"), "bb": ("KC001", "cc")})
    assert fix(Source("t", "aa"), rules).text == "aa"
    assert fix(Source("t", "bb"), rules).text == "cc"


def test_a_fix_that_makes_things_worse_does_not_take_the_others_with_it() -> None:
    rules = checks(
        {"one": ("KC102", "1"), "two": ("KC102", "worse worst"), "worse": ("KC103", "x"), "three": ("KC103", "3")}
    )
    fixed = fix(Source("t", "one two three"), rules)
    assert fixed.text == "1 two 3"
    assert [found.message for found in fixed.applied] == ["`one` is wrong", "`three` is wrong"]


def test_what_could_not_be_seen_before_does_not_count_against_a_fix() -> None:
    def run(text: str) -> tuple[Diagnostic, ...]:
        if "(" in text:
            return (finding(text, "(", "", code="KC001"),)
        return (finding(text, "big", "small", code="KC201", safety="unsafe"),)

    fixed = fix(Source("t", "( big"), run)
    assert fixed.text == " big" and fixed.rounds == 1 and fixed.left[0].code == "KC201"


def test_touching_and_foreign_fixes_wait() -> None:
    text = "abcd"

    def run(now: str) -> tuple[Diagnostic, ...]:
        return tuple(finding(now, word, new) for word, new in (("ab", "x"), ("bc", "y"), ("d", "z")) if word in now)

    fixed = fix(Source("t", text), run)
    assert fixed.text == "xcz"
    assert fix(Source("t", text), lambda now: (finding(now, "ab", "x", path="other"),)).text == text


def test_safety() -> None:
    for safety, unsafe, used in (
        ("safe", False, True), ("safe", True, True), ("unsafe", False, False), ("unsafe", True, True), ("display", True, False),
    ):  # fmt: skip
        assert (usable(finding("ab", "a", "x", safety=safety), unsafe) is not None) == used


def test_line_ends_of_the_text_are_kept() -> None:
    edit = (Edit(Span(1, 1), "\n}"),)
    assert apply_edits("a\r\nb\r\n", edit) == "a\r\n}\r\nb\r\n"
    assert apply_edits("a\nb\n", edit) == "a\n}\nb\n"


# On disk


def test_fix_writes_and_reports_what_remains(cli: Cli) -> None:
    cli.write(a=MISSPELT.replace("gpus = 1", "gpsu = 1"), b=SOUND, c=MISSPELT)
    assert cli.run("lint", "--fix", "--select", "KC1") == 1
    assert cli.err == "fixed 2 findings in 2 files\n"
    assert "gpsu" in cli.out and "1 error in 3 files" in cli.out, "two letters off, `gpsu` is a guess"
    assert (cli.folder / "b.kcluster").read_text() == SOUND
    assert (cli.folder / "c.kcluster").read_text() == SOUND
    assert cli.run("lint", "--fix", "--select", "KC1") == 1 and cli.err == "nothing to fix\n"
    assert cli.run("lint", "--unsafe-fixes", "--select", "KC1") == 0
    assert (cli.folder / "a.kcluster").read_text() == SOUND


def test_diff_writes_nothing(cli: Cli) -> None:
    cli.write(a=MISSPELT, b=SOUND)
    assert cli.run("lint", "--diff") == 1
    assert cli.out.splitlines()[:2] == ["--- a.kcluster", "+++ a.kcluster (fixed)"]
    assert "-sla team { concurency = 8" in cli.out and "+sla team { concurrency = 8" in cli.out
    assert cli.err == "would fix 1 finding in 1 file\n"
    assert (cli.folder / "a.kcluster").read_text() == MISSPELT
    cli.write(a=SOUND)
    assert cli.run("lint", "--diff") == 0 and cli.out == ""


def test_ignored_and_suppressed_findings_are_left_as_they_are(cli: Cli) -> None:
    cli.write(a=MISSPELT)
    assert cli.run("lint", "--fix", "--ignore", "KC102") == 0
    assert (cli.folder / "a.kcluster").read_text() == MISSPELT
    text = f"# kcluster: ignore[KC102] spelt as the others spell it\n{MISSPELT}"
    cli.write(a=text)
    cli.run("lint", "--fix")
    assert (cli.folder / "a.kcluster").read_text() == text


def test_comments_line_ends_marks_modes_and_links_are_kept(cli: Cli) -> None:
    text = MISSPELT.replace("{ concurency", "{ # peak\n  concurency")
    place = cli.folder / "real.kcluster"
    place.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    place.chmod(0o640)
    (cli.folder / "link.kcluster").symlink_to("real.kcluster")
    assert cli.run("lint", "--fix", "link.kcluster") == 0
    wanted = text.replace("concurency", "concurrency")
    assert place.read_bytes() == b"\xef\xbb\xbf" + wanted.replace("\n", "\r\n").encode()
    assert (cli.folder / "link.kcluster").is_symlink() and place.stat().st_mode & 0o777 == 0o640
    assert comments(wanted) == ["#peak"]
    assert sorted(os.listdir(cli.folder)) == ["kcluster.toml", "link.kcluster", "real.kcluster"]


@pytest.mark.parametrize("data", [MISSPELT.encode() + b"\xff", MISSPELT.encode("utf-16")])
def test_bytes_that_are_no_text_are_not_written(cli: Cli, data: bytes) -> None:
    place = cli.folder / "a.kcluster"
    place.write_bytes(data)
    assert cli.run("lint", "--unsafe-fixes") == 1
    assert place.read_bytes() == data


def test_a_file_that_cannot_be_written(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.write(a=MISSPELT)

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refused)
    assert cli.run("lint", "--fix", "--no-cache") == 2
    assert "cannot write a.kcluster: Permission denied" in cli.err
    assert (cli.folder / "a.kcluster").read_text() == MISSPELT
    assert sorted(os.listdir(cli.folder)) == ["a.kcluster", "kcluster.toml"]


def test_a_fix_in_an_imported_file_is_made_where_that_file_is_asked_for(cli: Cli) -> None:
    library, rest = MISSPELT.split("serve", 1)
    main = 'import "library.kcluster"\nserve' + rest
    cli.write(library=library, main=main)
    assert cli.run("lint", "--fix", "main.kcluster") == 1
    assert (cli.folder / "library.kcluster").read_text() == library
    assert cli.run("lint", "--fix", ".") == 0
    assert (cli.folder / "library.kcluster").read_text() == SOUND.split("serve", 1)[0]
    assert (cli.folder / "main.kcluster").read_text() == main
