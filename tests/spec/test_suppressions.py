"""Suppressions: where they hold, that they need a reason, and that useless ones are reported."""

from __future__ import annotations

import pytest

from kcluster.diagnostics import Diagnostic
from kcluster.source import Source, Span
from tests.spec.resolving import EXAMPLE, SHORT, Resolved, applied, judged


def suppressed(found: Resolved) -> list[tuple[str, str]]:
    return [(finding.code, finding.suppressed) for finding in found.found]


BAD = SHORT.replace("concurrency = 8", "concurrency <= 8")


def test_end_of_line() -> None:
    found = judged(BAD.replace("500 }", "500 } # kcluster: ignore[KC110] as the old files have it"))
    assert suppressed(found) == [("KC110", "as the old files have it")]


def test_another_line_is_not_meant() -> None:
    found = judged(BAD.replace("l40s }", "l40s } # kcluster: ignore[KC110] wrong line"))
    assert suppressed(found) == [("KC111", ""), ("KC110", "")]
    assert "silences nothing" in found.found[0].message


def test_own_line_holds_for_what_follows() -> None:
    block = "# kcluster: ignore[KC110] one reason\n\n# a comment between\n"
    assert suppressed(judged(BAD.replace("sla team", block + "sla team"))) == [("KC110", "one reason")]
    inside = EXAMPLE.replace("ttft              <=", "# kcluster: ignore[KC110] why\n  ttft =")
    assert suppressed(judged(inside)) == [("KC110", "why")]
    second = inside.replace("answer            <=", "answer =")
    assert suppressed(judged(second)) == [("KC110", "why"), ("KC110", "")]
    nothing = EXAMPLE.replace(
        "throughput        >= 200\n", "throughput = 200\n  # kcluster: ignore[KC110] nothing follows\n"
    )
    assert sorted(suppressed(judged(nothing))) == [("KC110", ""), ("KC111", "")]


def test_first_line_holds_for_the_file() -> None:
    text = "# kcluster: ignore[KC110, KC103] imported from elsewhere\n" + BAD.replace("2K", "2.0001K")
    assert suppressed(judged(text)) == [("KC110", "imported from elsewhere"), ("KC103", "imported from elsewhere")]


def test_names_of_codes() -> None:
    found = judged(BAD.replace("500 }", "500 } # kcluster: ignore[bound-or-value] by name"))
    assert suppressed(found) == [("KC110", "by name")]


def test_value_over_lines() -> None:
    text = EXAMPLE.replace('["10.0.0.11"]', '[\n    "10.0.0.999",\n  ] # kcluster: ignore[KC103] a placeholder')
    assert suppressed(judged(text)) == [("KC103", "a placeholder")]


@pytest.mark.parametrize(
    ("comment", "words"),
    [
        ("# kcluster: ignore[KC110]", "no reason"),
        ("# kcluster: ignore[KC110]   ", "no reason"),
        ("# kcluster: ignore[KC110] -", "no reason"),
        ("# kcluster: ignore[KC999] because", "there is no code `KC999`"),
        ("# kcluster: ignore[] because", "no suppression"),
        ("# kcluster: ignore KC110 because", "no suppression"),
        ("# kcluster: disable[KC110] because", "no suppression"),
        ("#kcluster:ignore[KC110 because", "no suppression"),
    ],
)
def test_what_does_not_silence(comment: str, words: str) -> None:
    found = judged(BAD.replace("500 }", f"500 }} {comment}"))
    assert sorted(suppressed(found)) == [("KC110", ""), ("KC111", "")]
    (useless,) = [finding for finding in found.found if finding.code == "KC111"]
    assert words in useless.message and useless.severity == "warning"
    assert found.text(useless).startswith("#") and useless.help


def test_spelling_of_the_comment() -> None:
    for comment in ("#kcluster:ignore[KC110] x", "#  kcluster : ignore [ KC110 ] x", "# kcluster: ignore[kc110]: x"):
        assert suppressed(judged(BAD.replace("500 }", f"500 }} {comment}"))) == [("KC110", "x")], comment
    assert judged(BAD.replace("500 }", "500 } # kcluster is fine here")).codes == ["KC110"]


def later(code: str, text: str, of: str) -> Diagnostic:
    start = of.index(text)
    return Diagnostic(code, "too little", Source("", ""), Span(start, start + len(text)), "warning")


def test_findings_of_later_stages() -> None:
    text = EXAMPLE.replace("= 12 ", "= 12 # kcluster: ignore[KC203] short chats only #")
    found = judged(text, (later("KC203", "concurrency = 12", text), later("KC207", "max_num_seqs", text)))
    assert suppressed(found) == [("KC203", "short chats only #"), ("KC207", "")] or suppressed(found)[0][0] == "KC203"
    useless = judged(text)
    assert useless.codes == ["KC111"]


def test_no_complaint_while_the_later_stage_cannot_speak() -> None:
    """With an error in the spec the plan may be missing, and with it what the suppression is for."""
    text = EXAMPLE.replace("= 12 ", "= 12 # kcluster: ignore[KC203] short chats only #").replace("rtx-5090", "rtx-5091")
    assert judged(text).codes == ["KC107"]
    early = EXAMPLE.replace("= 12 ", "= 12 # kcluster: ignore[KC103] why #").replace("rtx-5090", "rtx-5091")
    assert sorted(judged(early).codes) == ["KC107", "KC111"]


def test_files_that_do_not_parse() -> None:
    found = judged("# kcluster: ignore[KC001, KC002] a draft\nmodel x = {\n")
    assert found.codes and all(finding.suppressed == "a draft" for finding in found.found), found.report()
    own = judged(EXAMPLE.replace("nodes = 1", "# kcluster: ignore[KC001] a draft\n  nodes = = 1"))
    assert suppressed(own) == [("KC001", "a draft")], own.report()


def test_hostile_comments() -> None:
    for comment in (
        "# kcluster: ignore[" + "KC110," * 5000 + "] x",
        "# kcluster: ignore[KC110] " + "x" * 50_000,
        "# kcluster:" + "[" * 5000,
    ):
        assert "KC110" in judged(BAD.replace("500 }", f"500 }} {comment}")).codes


@pytest.mark.parametrize(
    ("codes", "idle", "kept"),
    [
        ("KC110, KC102", "`KC102`", "KC110"),
        ("KC102,bound-or-value,KC103", "`KC102` or `KC103`", "bound-or-value"),
        ("KC110, bound-or-value", "", ""),
        ("KC110, KC203", "", ""),  # while there is an error, no plan speaks of KC203
    ],
)
def test_of_several_codes_those_that_silence_nothing(codes: str, idle: str, kept: str) -> None:
    text = BAD.replace("500 }", f"500 }} # kcluster: ignore[{codes}] why")
    found = judged(text).found
    assert [one.suppressed for one in found if one.code == "KC110"] == ["why"]
    told = [one for one in found if one.code == "KC111"]
    assert [one.message for one in told] == ([f"this suppression silences no {idle}"] if idle else [])
    for one in told:
        mended = applied(text, one.fixes[0])
        assert f"ignore[{kept}] why" in mended and [one.code for one in judged(mended).found] == ["KC110"]
