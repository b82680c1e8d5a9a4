"""The triangle of rule, page and case: every code has a rule with a page, and its examples do what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from kcluster.diagnostics import CODES
from kcluster.rules import all_rules
from kcluster.rules.pages import HEADINGS, markdown, page, page_of, pages, parse_page, sections

from .conftest import Check, described, expectations, findings, unmet

DOCS = Path(__file__).parents[2] / "docs" / "rules"


def test_every_code_has_a_rule_and_every_rule_a_code() -> None:
    assert sorted(all_rules()) == sorted(CODES)


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_rule_has_a_page_with_all_headings(code: str) -> None:
    rule = all_rules()[code]
    assert tuple(sections(rule.page)) == HEADINGS
    found = page_of(code)
    assert found is not None
    assert [mark.code for mark in expectations(found.bad.text) if mark.code == code], (
        "the bad example marks its own code"
    )
    assert not expectations(found.good.text)
    for text in (found.what, found.why, found.fix, found.source):
        assert len(text) > 10 and "TODO" not in text


@pytest.mark.parametrize("code", sorted(CODES))
def test_the_bad_example_draws_exactly_what_its_lines_say(code: str, check: Check) -> None:
    found = page_of(code)
    assert found is not None
    files = {example.name: example.text for example in found.examples if example.kind == "file"}
    checked = check(found.bad.text, files)
    missing, unexpected = unmet(found.bad.text, checked)
    beside = [one for one in unexpected if one.code == code or one.severity != "note"]
    assert (missing, beside) == ([], []), described(checked)


@pytest.mark.parametrize("code", sorted(CODES))
def test_the_good_example_draws_no_such_finding_and_none_but_notes(code: str, check: Check) -> None:
    found = page_of(code)
    assert found is not None
    files = {example.name: example.text for example in found.examples if example.kind == "file"}
    checked = check(found.good.text, files)
    assert [one for one in findings(checked) if one.code == code or one.severity != "note"] == [], described(checked)


def test_the_committed_pages_are_fresh() -> None:
    wanted = pages()
    assert sorted(wanted) == sorted(path.name for path in DOCS.glob("*.md"))
    stale = [name for name, text in wanted.items() if (DOCS / name).read_text(encoding="utf-8") != text]
    assert not stale, "run: python -m kcluster.rules.pages docs/rules"


def test_pages_read_as_text_and_as_markdown() -> None:
    text = page("kc201")
    assert text.startswith("KC201 weights-do-not-fit (error)\n")
    assert "#!" not in text and "# KC201" in text
    assert page("weights-do-not-fit") == text
    assert page("KC999") == "" and markdown("KC999") == ""
    assert max(len(line) for line in text.splitlines()) <= 120


def test_a_page_without_a_heading_or_an_example_is_refused() -> None:
    code = CODES["KC201"]
    whole = all_rules()["KC201"].page
    with pytest.raises(ValueError, match="headings"):
        sections(whole.replace("    Why\n", "    Because\n"))
    with pytest.raises(ValueError, match="bad example"):
        parse_page(code, whole.replace("kcluster bad", "kcluster"))
