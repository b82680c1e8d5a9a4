"""Shell text as commands: what a shell would hand to the program, without one."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcluster.importers.shell import Shell, interpolate
from kcluster.importers.words import whole


def words(text: str) -> list[list[str]]:
    return [[word.text for word in command.words] for command in Shell(whole(text), {}, []).read()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b  c", [["a", "b", "c"]]),
        ("a \\\n  b", [["a", "b"]]),
        ("a 'b c' \"d e\"", [["a", "b c", "d e"]]),
        ("a b # c", [["a", "b"]]),
        ("a#b", [["a#b"]]),
        ("X=1 a $X", [["a", "$X"]]),
        ("X=1\na $X ${X} \"$X\"", [["a", "1", "1", "1"]]),
        ("export X=1; a $X", [["a", "1"]]),
        ("a ${X:-2} ${Y:-${Z:-3}}", [["a", "2", "3"]]),
        ("a --x=${X:-2}", [["a", "--x=2"]]),
        ("X='b c'\na $X", [["a", "b", "c"]]),
        ("X='b c'\na \"$X\"", [["a", "b c"]]),
        ("X=(b 'c d'\n e)\na \"${X[@]}\"", [["a", "b", "c d", "e"]]),
        ("X=(b)\nX+=(c)\na ${X[@]}", [["a", "b", "c"]]),
        ("a > log 2>&1", [["a"]]),
        ("a 2>&1 | tee x &", [["a"], ["tee", "x"]]),
        ("a && b || c; d", [["a"], ["b"], ["c"], ["d"]]),
        ("a '{\"x\": 1}'", [["a", '{"x": 1}']]),
        ('a "{\\"x\\": 1}"', [["a", '{"x": 1}']]),
        ("if true; then a; fi", [["true"], ["a"]]),
        ("a <<EOF\nvllm serve x\nEOF\nb", [["a"], ["b"]]),
        ("a <B weights> c", [["a", "<B weights>", "c"]]),
        ("a $(date) b", [["a", "$(date)", "b"]]),
        ("a ''", [["a", ""]]),
    ],
)  # fmt: skip
def test_words(text: str, expected: list[list[str]]) -> None:
    assert words(text) == expected


def test_unset_variables_are_told() -> None:
    (command,) = Shell(whole("a --x $TP"), {}, []).read()
    assert command.words[2].unset == ("TP",)
    assert command.words[2].text == "$TP"


def test_environment_reaches_the_command() -> None:
    (command,) = Shell(whole("export A=1\nB=2 a"), {}, []).read()
    assert [(name, word.text) for name, word in command.env] == [("A", "1"), ("B", "2")]


def test_a_backslash_with_blanks_is_read_as_meant_and_told() -> None:
    notes: list[str] = []
    (command,) = Shell(whole("vllm serve m \\  \n  --port 1"), {}, notes).read()
    assert [word.text for word in command.words] == ["vllm", "serve", "m", "--port", "1"]
    assert "backslash" in notes[0]


def test_spans_are_those_of_the_words_as_written() -> None:
    text = "a 'b c' --x=\"d\""
    (command,) = Shell(whole(text), {}, []).read()
    assert [text[word.span.start : word.span.end] for word in command.words] == ["a", "'b c'", '--x="d"']


def test_compose_values() -> None:
    assert interpolate(whole("${A:-x}-$$B"), {}).text == "x-$B"


PLAIN = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)


@given(st.lists(PLAIN, min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_quoted_words_come_back(given_words: list[str]) -> None:
    (command,) = Shell(whole("run " + shlex.join(given_words)), {}, []).read()
    assert [word.text for word in command.words[1:]] == given_words


@given(st.text(alphabet="a $\"'\\{}()[]<>|;&#=-\n`:@*!1vllm serve", max_size=60))
@settings(max_examples=300, deadline=None)
def test_nothing_that_is_written_ends_in_an_exception(text: str) -> None:
    Shell(whole(text), {}, []).read()
