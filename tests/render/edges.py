"""Edge cases of places, each as the findings of one file: what every format must show rightly. Made by hand, one thing at a time."""

from __future__ import annotations

from typing import Final

from kcluster.diagnostics import Diagnostic, Edit, Fix, Label
from kcluster.source import Source, Span

from .building import at, finding, over


def _tabs() -> list[Diagnostic]:
    """Tabs before, within and behind the marks."""
    source = Source("tabs.kcluster", "serve s {\n\tparallel {\n\t\ttp\t=\t3 # three\n\t}\n}\n")
    place = at(source, "tp\t=\t3")
    return [
        finding(
            source,
            place,
            "a tab in it",
            Label(at(source, "# three"), "behind it"),
            fixes=(Fix("write 4", (Edit(Span(place.end - 1, place.end), "4"),)),),
        )
    ]


def _wide() -> list[Diagnostic]:
    """Wide characters before and within marks, and in labels."""
    source = Source("wide.kcluster", 'model "日本語" {\n  id = "模型", weights = fp8\n}\n')
    return [
        finding(source, at(source, '"模型"'), "ここ", Label(at(source, "fp8"), "そこ"), message="型が違う"),
        finding(source, Span(at(source, "本").start, at(source, "本").end), "one wide character"),
    ]


def _combining() -> list[Diagnostic]:
    """Combining characters: two code points, one column; and an emoji of several code points."""
    source = Source("combining.kcluster", 'a = "e\u0301\u0302tude" # x\nb = "👩‍🔬" # y\n')
    return [
        finding(source, at(source, "# x"), "behind two marks", Label(at(source, "# y"), "behind a joined emoji")),
        finding(source, Span(at(source, "e\u0301").start, at(source, "e\u0301").start + 1), "the letter under them"),
        finding(source, Span(at(source, "\u0302").start, at(source, "\u0302").end), "the mark alone"),
    ]


def _ends() -> list[Diagnostic]:
    """The end of a line, of the file with and without a line end, and of an empty file."""
    source, cut, empty = (
        Source("end.kcluster", "a {\n  b = 1\n"),
        Source("cut.kcluster", "a {\n  b ="),
        Source("empty.kcluster", ""),
    )
    line = at(source, "b = 1").end
    return [
        finding(
            source, Span(line, line), "end of line", Label(Span(len(source.text), len(source.text)), "end of file")
        ),
        finding(source, Span(line, line + 1), "the line end itself"),
        finding(
            cut,
            Span(len(cut.text), len(cut.text)),
            "a value is missing",
            fixes=(Fix("add one", (Edit(Span(9, 9), " 1"),)),),
        ),
        finding(empty, Span(0, 0), "nothing here"),
    ]


def _several_lines() -> list[Diagnostic]:
    """Spans over two and over many lines, from the margin and from within a line, one inside another."""
    source = Source("lines.kcluster", "serve s {\n" + "".join(f"  a{n} = [\n    {n},\n  ]\n" for n in range(4)) + "}\n")
    return [
        finding(
            source,
            over(source, "serve", "}"),
            "the whole block",
            Label(over(source, "a1 = [", "1,"), "two lines of it"),
        ),
        finding(source, over(source, "[", "0,"), "from within a line", Label(at(source, "a0"), "before it")),
        finding(source, over(source, "{", "a2"), "ends within a line", severity="warning"),
    ]


def _several_labels() -> list[Diagnostic]:
    """Labels on one line, nested, at one place, overlapping, out of order, and without text."""
    source = Source("labels.kcluster", "parallel { tp = 4, pp = 2, dp = 8 }\n")
    return [
        finding(
            source,
            at(source, "pp = 2"),
            "primary in the middle",
            Label(at(source, "dp = 8"), "last"),
            Label(at(source, "tp = 4"), "first"),
            Label(at(source, "4"), "inside the first"),
            Label(at(source, "dp"), ""),
        ),
        finding(source, over(source, "tp", "pp"), "one", Label(over(source, "4", "2"), "overlaps the one")),
    ]


def _empty_spans() -> list[Diagnostic]:
    """Places without width: at a line's begin, between characters, two at one place, beside a mark."""
    source = Source("empty-spans.kcluster", "hosts = [a b]\n")
    gap = at(source, " b").start
    return [
        finding(source, Span(0, 0), "at the beginning"),
        finding(
            source,
            Span(gap, gap),
            "`,` is missing here",
            Label(at(source, "b"), "before this"),
            Label(Span(gap, gap), "again"),
        ),
    ]


def _long() -> list[Diagnostic]:
    """Lines far wider than the terminal: a mark at the far end, marks far apart, a mark wider than the terminal."""
    source = Source("long.kcluster", "hosts = [" + ", ".join(f'"10.0.0.{n}"' for n in range(120)) + "]\n")
    return [
        finding(
            source,
            at(source, '"10.0.0.119"'),
            "the last",
            fixes=(
                Fix("leave it out", (Edit(at(source, ', "10.0.0.119"'), ""),)),
                Fix("on a line of its own", (Edit(at(source, "hosts"), "\n"),)),
            ),
        ),
        finding(source, at(source, '"10.0.0.60"'), "in the middle", Label(at(source, "hosts"), "the first word")),
        finding(source, at(source, source.text.strip()), "all of it"),
        finding(
            source,
            at(source, '"10.0.0.1"'),
            "long words " * 30,
            fixes=(Fix("leave it out", (Edit(at(source, '"10.0.0.1", '), ""),)),),
        ),
    ]


def _far_down() -> list[Diagnostic]:
    """Line numbers of different widths."""
    source = Source("far.kcluster", "a = 1\n" + "\n" * 997 + "b = 2\nc = 3\n")
    return [
        finding(
            source,
            at(source, "c = 3"),
            "line 1000",
            Label(at(source, "a = 1"), "line 1"),
            Label(at(source, "b = 2"), "line 999"),
        )
    ]


EDGES: Final[dict[str, list[Diagnostic]]] = {
    "tabs": _tabs(),
    "wide characters": _wide(),
    "combining characters": _combining(),
    "ends": _ends(),
    "several lines": _several_lines(),
    "several labels": _several_labels(),
    "empty spans": _empty_spans(),
    "long lines": _long(),
    "far down": _far_down(),
}
