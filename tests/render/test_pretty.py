"""Pictures: each edge case of the renderer as a person sees it."""

from __future__ import annotations

import re
import textwrap

from kcluster.diagnostics import Edit, Fix, Label
from kcluster.render import render, summary
from kcluster.render.text import columns, expand, wrap
from kcluster.source import Source, Span
from kcluster.syntax.parser import parse

from .building import at, finding, over, picture


def shown(text: str) -> str:
    return textwrap.dedent(text).strip("\n")


SPEC = Source(
    "specs/chat.kcluster",
    "\n" * 12 + "  gpus  = 4 * rtx-5090\n" + "\n" * 10 + "    max_model_len = 128K\n",
)


def test_the_shape_of_the_description() -> None:
    found = finding(
        SPEC,
        at(SPEC, "max_model_len = 128K"),
        "needs 40.0 GiB: 131,072 tokens × 320 KiB",
        Label(at(SPEC, "4 * rtx-5090"), "4 × (31.4 GiB × 0.92 − 16.9 weights − 3.5 engine) = 33.8 GiB for KV"),
        code="KC202",
        message="the KV cache cannot hold one request of 131,072 tokens",
        help=("fits: max_model_len = 105K; with kv_cache = fp8, 128K and 1.6 such requests at once",),
        figure="memory.kv_cache_gib",
    )
    assert picture(found) == shown("""
        error[KC202]: the KV cache cannot hold one request of 131,072 tokens
          --> specs/chat.kcluster:24:5
           |
        13 |   gpus  = 4 * rtx-5090
           |           ------------ 4 × (31.4 GiB × 0.92 − 16.9 weights − 3.5 engine) = 33.8 GiB for KV
        ...
        24 |     max_model_len = 128K
           |     ^^^^^^^^^^^^^^^^^^^^ needs 40.0 GiB: 131,072 tokens × 320 KiB
           |
           = fits: max_model_len = 105K; with kv_cache = fp8, 128K and 1.6 such requests at once
           = read: kcluster explain KC202 · kcluster plan --why memory.kv_cache_gib specs/chat.kcluster
        """)


A = Source("a.kcluster", "model x {\n  id = 1\n  tp = 4, pp = 1, dp = 2\n  c = 3\n  d = 4\n  e = 5\n  f = 6\n}\n")


def test_nothing_but_a_place() -> None:
    assert picture(finding(A, at(A, "id"))) == shown("""
        error[KC001]: what is wrong
         --> a.kcluster:2:3
          |
        2 |   id = 1
          |   ^^
          |
        """)


def test_a_gap_of_one_line_is_shown_and_a_longer_one_is_not() -> None:
    found = finding(A, at(A, "id"), "here", Label(at(A, "c = 3"), "one between"), Label(at(A, "f = 6"), "two between"))
    assert picture(found) == shown("""
        error[KC001]: what is wrong
         --> a.kcluster:2:3
          |
        2 |   id = 1
          |   ^^ here
        3 |   tp = 4, pp = 1, dp = 2
        4 |   c = 3
          |   ----- one between
        ...
        7 |   f = 6
          |   ----- two between
          |
        """)


def test_several_marks_on_a_line() -> None:
    found = finding(
        A, at(A, "pp = 1"), "this", Label(at(A, "tp = 4"), "and that"), Label(at(A, "dp = 2"), "and the last")
    )
    assert picture(found) == shown("""
        error[KC001]: what is wrong
         --> a.kcluster:3:11
          |
        3 |   tp = 4, pp = 1, dp = 2
          |   ------  ^^^^^^  ------ and the last
          |   |       |
          |   |       this
          |   and that
          |
        """)


def test_marks_without_text_hang_nothing() -> None:
    found = finding(A, at(A, "pp = 1"), "", Label(at(A, "tp = 4"), ""), Label(at(A, "dp = 2"), ""))
    assert picture(found) == shown("""
        error[KC001]: what is wrong
         --> a.kcluster:3:11
          |
        3 |   tp = 4, pp = 1, dp = 2
          |   ------  ^^^^^^  ------
          |
        """)


def test_a_mark_inside_another() -> None:
    found = finding(A, at(A, "= 4"), "the value", Label(at(A, "tp = 4, pp = 1"), "the whole"))
    assert picture(found) == shown("""
        error[KC001]: what is wrong
         --> a.kcluster:3:6
          |
        3 |   tp = 4, pp = 1, dp = 2
          |   ---^^^--------
          |   |  |
          |   |  the value
          |   the whole
          |
        """)


def test_two_marks_at_one_place() -> None:
    found = finding(A, at(A, "tp"), "first", Label(at(A, "tp"), "second"))
    assert picture(found) == shown("""
        error[KC001]: what is wrong
         --> a.kcluster:3:3
          |
        3 |   tp = 4, pp = 1, dp = 2
          |   ^^ second
          |   |
          |   first
          |
        """)


def test_an_empty_span_points_between_characters() -> None:
    place = at(A, "4,").start + 1
    assert picture(finding(A, Span(place, place), "here")) == shown("""
        error[KC001]: what is wrong
         --> a.kcluster:3:9
          |
        3 |   tp = 4, pp = 1, dp = 2
          |         ^ here
          |
        """)


def test_the_end_of_a_line_and_of_the_file() -> None:
    end = at(A, "c = 3").end
    found = finding(A, Span(end, end), "line", Label(Span(len(A.text), len(A.text)), "file"))
    assert picture(found) == shown("""
        error[KC001]: what is wrong
         --> a.kcluster:4:8
          |
        4 |   c = 3
          |        ^ line
        ...
        9 |
          | - file
          |
        """)


def test_a_span_that_takes_the_line_end_along() -> None:
    found = finding(A, Span(at(A, "c = 3").start, at(A, "c = 3").end + 1), "here")
    assert "4 |   c = 3\n  |   ^^^^^ here" in picture(found)


def test_an_empty_file() -> None:
    source = Source("empty.kcluster", "")
    assert picture(finding(source, Span(0, 0), "no model")) == shown("""
        error[KC001]: what is wrong
         --> empty.kcluster:1:1
          |
        1 |
          | ^ no model
          |
        """)


def test_several_lines_from_the_margin() -> None:
    found = finding(A, over(A, "id = 1", "c = 3"), "these")
    assert picture(found) == shown("""
        error[KC001]: what is wrong
         --> a.kcluster:2:3
          |
        2 | /   id = 1
        3 | |   tp = 4, pp = 1, dp = 2
        4 | |   c = 3
          | |_______^ these
          |
        """)


def test_many_lines_are_cut_in_the_middle() -> None:
    found = finding(A, over(A, "model", "}"), "the whole block", Label(at(A, "id = 1"), "inside"))
    assert picture(found) == shown("""
        error[KC001]: what is wrong
         --> a.kcluster:1:1
          |
        1 | / model x {
        2 | |   id = 1
          | |   ------ inside
        ... |
        7 | |   f = 6
        8 | | }
          | |_^ the whole block
          |
        """)


def test_several_lines_from_within_a_line() -> None:
    found = finding(A, over(A, "{", "tp"), "from the brace")
    assert picture(found) == shown("""
        error[KC001]: what is wrong
         --> a.kcluster:1:9
          |
        1 |   model x {
          |  _________^
        2 | |   id = 1
        3 | |   tp = 4, pp = 1, dp = 2
          | |____^ from the brace
          |
        """)


def test_several_lines_that_cross() -> None:
    found = finding(A, over(A, "{", "tp"), "outer", Label(over(A, "id = 1", "c = 3"), "inner"))
    assert picture(found) == shown("""
        error[KC001]: what is wrong
         --> a.kcluster:1:9
          |
        1 |     model x {
          |  ___________^
        2 | | /   id = 1
        3 | | |   tp = 4, pp = 1, dp = 2
          | |_|____^ outer
        4 |   |   c = 3
          |   |_______- inner
          |
        """)


def test_tabs_are_expanded() -> None:
    source = Source("t.kcluster", "\tx\t= 1\n")
    assert expand("\tx\t= 1") == ("    x   = 1", [0, 4, 5, 8, 9, 10, 11])
    assert picture(finding(source, at(source, "= 1"), "here")) == shown("""
        error[KC001]: what is wrong
         --> t.kcluster:1:4
          |
        1 |     x   = 1
          |         ^^^ here
          |
        """)


def test_wide_combining_and_emoji_characters() -> None:
    source = Source("w.kcluster", '  a = "日本" # x\n  e\u0301 = "😀" # y\n')
    found = finding(source, at(source, "# x"), "wide before", Label(at(source, "# y"), "combining before"))
    assert columns('  a = "日本" ') == 13
    assert picture(found) == shown("""
        error[KC001]: what is wrong
         --> w.kcluster:1:12
          |
        1 |   a = "日本" # x
          |              ^^^ wide before
        2 |   é = "😀" # y
          |            --- combining before
          |
        """).replace("é", "e\u0301")


def test_what_would_act_on_a_terminal_is_shown_by_its_number() -> None:
    source = Source("c\x1b.kcluster", "a = \x1b[31m\u202eb\n")
    found = finding(source, at(source, "\u202e"), "\x1b[2J", message="bad \x07 name", notes=("not\x00e",))
    text = picture(found)
    assert text == shown("""
        error[KC001]: bad <U+0007> name
         --> c<U+001B>.kcluster:1:10
          |
        1 | a = <U+001B>[31m<U+202E>b
          |                 ^^^^^^^^ <U+001B>[2J
          |
          = note: not<U+0000>e
        """)
    assert all(character.isprintable() or character == "\n" for character in text)


def test_line_ends_of_windows() -> None:
    source = Source("w.kcluster", "a {\r\n  x = 1\r\n}\r\n")
    assert picture(finding(source, at(source, "x = 1"), "here")) == shown("""
        error[KC001]: what is wrong
         --> w.kcluster:2:3
          |
        2 |   x = 1
          |   ^^^^^ here
          |
        """)


def test_a_long_line_is_cut_around_its_mark() -> None:
    source = Source("l.kcluster", "x = [" + "1, " * 60 + "BAD" + ", 2" * 60 + "]\n")
    text = picture(finding(source, at(source, "BAD"), "here"), width=60)
    line, marks = text.split("\n")[3:5]
    assert line == "1 | …, 1, 1, 1, BAD, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,…"
    assert marks == "  |             ^^^ here"
    head = picture(finding(source, at(source, "x ="), "here"), width=60).split("\n")[3]
    assert head == "1 | x = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,…"
    wide = Source("w.kcluster", 'x = "' + "日" * 60 + 'BAD"\n')
    line, marks = picture(finding(wide, at(wide, "BAD"), "here"), width=60).split("\n")[3:5]
    assert line == '1 | … 日日日日日BAD"'
    assert marks == "  |             ^^^ here"


def test_labels_in_another_file() -> None:
    other = Source("base.kcluster", "\n\n\ngpu big {\n\tmemory = 96GB\n}\n")
    found = finding(
        A, at(A, "id = 1"), "used here", Label(at(other, "96GB"), "from here", other), Label(at(A, "c = 3"), "and this")
    )
    assert picture(found) == shown("""
        error[KC001]: what is wrong
         --> a.kcluster:2:3
          |
        2 |   id = 1
          |   ^^^^^^ used here
        3 |   tp = 4, pp = 1, dp = 2
        4 |   c = 3
          |   ----- and this
         ::: base.kcluster:5:11
          |
        5 |     memory = 96GB
          |              ---- from here
          |
        """)


def test_notes_are_wrapped_and_long_labels_too() -> None:
    found = finding(A, at(A, "id = 1"), "label " * 14, notes=("word " * 30, "two\nlines"), help=("help " * 20,))
    text = picture(found, width=60)
    assert max(columns(line) for line in text.split("\n")) <= 60
    assert text == shown("""
        error[KC001]: what is wrong
         --> a.kcluster:2:3
          |
        2 |   id = 1
          |   ^^^^^^ label label label label label label label label
          |          label label label label label label
          |
          = note: word word word word word word word word word word
                  word word word word word word word word word word
                  word word word word word word word word word word
          = note: two
                  lines
          = help: help help help help help help help help help help
                  help help help help help help help help help help
        """)
    assert wrap("", 40) == [""]


def test_fixes_show_what_they_make() -> None:
    value = at(A, "id = 1")
    fixes = (
        Fix("write a string", (Edit(Span(value.end - 1, value.end), '"1"'),)),
        Fix("give it a line", (Edit(Span(value.end, value.end), "\n  more = 2"),), "unsafe"),
        Fix("leave it out", (Edit(Span(at(A, "id").start - 3, value.end), ""),), "display"),
        Fix("replace all", (Edit(Span(0, len(A.text)), "x {\n}\n"),)),
    )
    text = picture(finding(A, value, fixes=fixes))
    assert text.split("\n", 6)[6] == "\n".join(
        [
            "  = fix: write a string (kcluster lint --fix)",
            "2 -   id = 1",
            '2 +   id = "1"',
            "  = fix: give it a line (kcluster lint --unsafe-fixes)",
            "3 +   more = 2",
            "  = fix: leave it out",
            "2 -   id = 1",
            "  = fix: replace all (kcluster lint --fix)",
        ]
    )


def test_colours_change_nothing_else() -> None:
    found = [
        finding(
            A, over(A, "{", "tp"), "one", Label(over(A, "id = 1", "c = 3"), "two"), notes=("n",), severity="warning"
        ),
        finding(A, at(A, "id"), "x", severity="note", fixes=(Fix("f", (Edit(at(A, "id"), "ID"),)),)),
    ]
    coloured = render("pretty", found, color=True, width=80)
    assert "\x1b[1;33mwarning[KC001]\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == render("pretty", found, color=False, width=80)
    assert "\x1b" not in render("pretty", found, color=False, width=80)


def test_suppressed_findings_are_left_out_and_counted() -> None:
    found = [finding(A, at(A, "id"), suppressed="known"), finding(A, at(A, "id"), severity="warning")]
    assert picture(*found).startswith("warning[KC001]")
    assert summary(found, files=2) == "1 warning in 2 files (1 suppressed)"


def test_summary() -> None:
    assert summary([]) == "no findings"
    assert summary([], files=1) == "no findings in 1 file"
    found = [finding(A, at(A, "id"), severity=severity) for severity in ("error", "note", "error", "error", "warning")]
    assert summary(found) == "3 errors, 1 warning, 1 note"


def test_syntax_errors_as_a_person_meets_them() -> None:
    source = Source("x.kcluster", "sla team {\n  ttft: 3s\n  hosts = [10.0.0.1\n}\nserve s {\n  parallel { tp = 4 }\n")
    _, found = parse(source)
    assert picture(*found) == shown("""
        error[KC001]: a value is given with `=`, not `:`
         --> x.kcluster:2:7
          |
        2 |   ttft: 3s
          |       ^ write `=`
          |
          = fix: write `=` (kcluster lint --fix)
        2 -   ttft: 3s
        2 +   ttft = 3s

        error[KC002]: this `[` is never closed
         --> x.kcluster:3:11
          |
        3 |   hosts = [10.0.0.1
          |           ^        - `]` is missing here
          |           |
          |           opened here
          |
          = fix: add `]` (kcluster lint --unsafe-fixes)
        3 -   hosts = [10.0.0.1
        3 +   hosts = [10.0.0.1]

        error[KC005]: `10.0.0.1` is not a number of this language: a version or an address goes in quotes
         --> x.kcluster:3:12
          |
        3 |   hosts = [10.0.0.1
          |            ^^^^^^^^ write `"10.0.0.1"`
          |
          = note: numbers are written `64`, `0.92` or `1_000`
          = fix: write `"10.0.0.1"` (kcluster lint --fix)
        3 -   hosts = [10.0.0.1
        3 +   hosts = ["10.0.0.1"

        error[KC002]: the block `serve s` is never closed
         --> x.kcluster:5:9
          |
        5 | serve s {
          |         ^ opened here
        6 |   parallel { tp = 4 }
        7 |
          | - the file ends here
          |
          = fix: add what is missing at the end (kcluster lint --unsafe-fixes)
        7 + }
        """)
