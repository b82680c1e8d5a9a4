"""`fmt`: one layout, nothing lost, nothing moved that means something."""

from __future__ import annotations

import pytest

from kcluster.source import Source
from kcluster.syntax.formatter import format_source
from kcluster.syntax.layout import COMMENT_COLUMN

from .layouts import Layout
from .reading import EXAMPLE, sound, trees


def formatted(text: str) -> str:
    sound(text)
    return format_source(Source("t.kcluster", text))


def test_the_example_is_canonical() -> None:
    assert formatted(EXAMPLE) == EXAMPLE


def test_a_text_with_errors_comes_back_as_it_is() -> None:
    text = "a  {  x = = 3 }"
    assert format_source(Source("t", text)) == text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("\n\n", ""),
        ("# c", "# c\n"),
        ("\ufeffa{}", "a {}\n"),
        ("a {\r\n  x = 1\r\n}\r\n", "a {\n  x = 1\n}\n"),
        ("a{x=1}", "a { x = 1 }\n"),
        ('import   "x",', 'import "x"\n'),
        ('a  "b c"   d{}', 'a "b c" d {}\n'),
        ("a {\n}", "a {}\n"),
        ("a { x = true, y = [false, true], z = f(true, k = false), true = on }", "a { x = on, y = [off, on], z = f(on, k = off), true = on }\n"),
        ("a { x = true(1) }", "a { x = true(1) }\n"),
        ("a { true true { } }", "a {\n  true true {}\n}\n"),
        ("a { x = 4*rtx-5090, y = 64   GB / s, z = 96GB, p = 40 % }", "a { x = 4 * rtx-5090, y = 64 GB/s, z = 96GB, p = 40 % }\n"),
        ("a { x = [ 0 .. 3 , 5, ] }", "a { x = [0..3, 5] }\n"),
        ("a { x = pcie ( 5,x16,p2p=off ) }", "a { x = pcie(5, x16, p2p = off) }\n"),
        ("a { x = [\n] }", "a {\n  x = []\n}\n"),
        ("a {\n\n\n  x = 1\n\n\n\n  y = 2\n\n}", "a {\n  x = 1\n\n  y = 2\n}\n"),
        ("a { x = 1 }\nb { y = 1 }", "a { x = 1 }\nb { y = 1 }\n"),
        ("a {\n x = 1 }\nb { y = 1 }\nc {\n z = 1 }", "a {\n  x = 1\n}\n\nb { y = 1 }\n\nc {\n  z = 1\n}\n"),
        ("a {\n x = 1 }\n# about b\nb { y = 1 }", "a {\n  x = 1\n}\n\n# about b\nb { y = 1 }\n"),
        ("a { b { x = 1 } }", "a {\n  b { x = 1 }\n}\n"),
        ("a { b { } c { } }", "a {\n  b {}\n  c {}\n}\n"),
        ("a {\n  x = 1, yy = 2\n  zzz <= 3, z >= 4\n}", "a {\n  x  = 1\n  yy = 2\n  zzz <= 3\n  z   >= 4\n}\n"),
        ("a {\n  long = 1\n  x <= 3\n}", "a {\n  long = 1\n  x    <= 3\n}\n"),
        ("a {\n  x = 1\n\n  long = 2\n}", "a {\n  x = 1\n\n  long = 2\n}\n"),
        ("a {\n  x = 1\n  # c\n  long = 2\n}", "a {\n  x    = 1\n  # c\n  long = 2\n}\n"),
        ("a {\n  x = 1\n  b {}\n  long = 2\n}", "a {\n  x = 1\n  b {}\n  long = 2\n}\n"),
    ],
)  # fmt: skip
def test_layout(before: str, after: str) -> None:
    assert formatted(before) == after
    assert formatted(after) == after


def test_trailing_comments_are_aligned_in_a_run() -> None:
    text = "a {\n  x = 1 # one\n  b { y = 2 } # two\n  z = 3\n\n  w = 4 # four\n}  # end\n"
    out = formatted(text)
    lines = out.split("\n")
    assert lines[1] == "  x = 1".ljust(COMMENT_COLUMN) + "# one"
    assert lines[2] == "  b { y = 2 }".ljust(COMMENT_COLUMN) + "# two"
    assert lines[5] == "  w = 4".ljust(COMMENT_COLUMN) + "# four"
    assert lines[6] == "}  # end"


def test_a_long_line_moves_the_comments_of_its_run() -> None:
    out = formatted('a {\n  x = 1 # one\n  y = "' + "b" * 40 + '" # two\n}\n')
    assert out.split("\n")[1].index("#") == out.split("\n")[2].index("#") == len('  y = "') + 40 + len('"') + 2


def test_a_one_line_block_that_does_not_fit_is_broken() -> None:
    text = "a { " + ", ".join(f"attribute_{number} = {number}" for number in range(8)) + " }\n"
    out = formatted(text)
    assert out.startswith("a {\n  attribute_0 = 0\n")
    assert formatted(out) == out
    assert trees(sound(out)) == trees(sound(text))


def test_lists_keep_a_line_for_each_element_and_long_ones_get_it() -> None:
    assert formatted("a {\n  x = [\n  1, 2 ]\n}") == "a {\n  x = [\n    1,\n    2,\n  ]\n}\n"
    assert formatted("a {\n  x = [1,\n  2]\n}") == "a {\n  x = [1, 2]\n}\n"
    out = formatted('a {\n  x = ["' + '", "'.join(["b" * 20] * 6) + '"]\n}')
    assert out.count("\n") == 10
    assert max(len(line) for line in out.split("\n")) < 40


def test_comments_in_brackets_stay_with_their_elements() -> None:
    text = "a {\n  x = [ # first\n    1, # one\n    # between\n    2\n    , 3 # three\n  ]\n}\n"
    pad = " " * (COMMENT_COLUMN - len("    1,"))
    three = "\n".join(
        [
            "a {",
            "  x = [  # first",
            f"    1,{pad}# one",
            "    # between",
            "    2,",
            f"    3,{pad}# three",
            "  ]",
            "}",
            "",
        ]
    )
    assert formatted(text) == three


def test_suppressions_stay_where_they_mean_what_they_did() -> None:
    # beside both attributes that it holds for
    text = "a {\n  x = 1, y = 2  # kcluster: ignore[KC204] both\n  z = 3\n}\n"
    assert formatted(text) == text
    # a comment that is none does not keep them together
    assert formatted("a {\n  x = 1, y = 2  # both\n}\n").count("\n") == 4
    # on a line too long, not on the brace that the block would be broken to
    body = ", ".join(f"attribute_{number} = {number}" for number in range(8))
    line = f"a {{ {body} }}  # kcluster: ignore[KC204] all\n"
    assert formatted(line) == line
    # not moved to the first line, where it would hold for the file
    assert (
        formatted("\n\n# kcluster: ignore[KC204] one\na { x = 1 }\n")
        == "\n# kcluster: ignore[KC204] one\na { x = 1 }\n"
    )
    assert formatted("# kcluster: ignore[KC204] all\na { x = 1 }\n") == "# kcluster: ignore[KC204] all\na { x = 1 }\n"


@pytest.mark.parametrize("block", range(6))
def test_any_layout_settles_and_means_the_same(block: int) -> None:
    for seed in range(block * 40, block * 40 + 40):
        text = Layout(seed).text()
        before = sound(text)
        out = formatted(text)
        after = sound(out)
        assert formatted(out) == out, seed
        assert [comment.text for comment in after.comments] == [comment.text for comment in before.comments], seed
        assert len(after.items) == len(before.items), seed
        assert not any(line != line.rstrip() for line in out.split("\n")), seed
        assert "\n\n\n" not in out, seed
        assert out == "" or out.endswith("\n"), seed
