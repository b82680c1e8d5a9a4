"""Whatever the text: no exception, spans within it, formatting that settles."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from kcluster.source import Source, Span
from kcluster.syntax.ast import Attribute, Block, CallNode, Import, Item, ListNode, RangeNode, TimesNode, ValueNode
from kcluster.syntax.parser import decode, parse
from kcluster.syntax.tokens import lex

PIECES = st.sampled_from(
    ['"', "'", "{", "}", "(", ")", "[", "]", ",", "=", "<=", ">=", "*", "..", ".", "/", "%", "#", "\n", "\r\n", " ", "  ", "\t",
     "import", "model", "x", "rtx-5090", "4", "0.9", "1_000", "1e5", "-3", "GB", "K", '"a"', '"\\', "\\u12", "--flag", "//", "/*",
     ":", ";", "é", "“", "×", "\u200b", "\x07", "\ufeff", "\ufffd", "😀", "==", "a = 1\n", "b {\n", "  }\n", "# kcluster: ignore[KC1] x\n"]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=80), st.lists(PIECES, max_size=40).map("".join))


def spans(item: Item | ValueNode) -> Iterator[tuple[Span, list[Span]]]:
    """Each node's span with its children's."""
    children: list[Item | ValueNode]
    extra: list[Span] = []
    match item:
        case Block():
            children, extra = list(item.items), [item.head, item.keyword.span, *(label.span for label in item.labels)]
        case Attribute():
            children, extra = [item.value], [item.key.span, item.operator_span]
        case Import():
            children = [item.path]
        case ListNode():
            children = list(item.items)
        case RangeNode():
            children = [item.first, item.last]
        case TimesNode():
            children = [item.count, item.item]
        case CallNode():
            children = [*item.arguments, *(one.value for one in item.named)]
            extra = [item.name.span, *(one.span for one in item.named)]
        case _:
            children = []
    yield item.span, [*extra, *(child.span for child in children)]
    for child in children:
        yield from spans(child)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_any_text_parses_to_something_with_spans_inside_it(text: str) -> None:
    file, found = parse(Source("t", text))
    assert file.complete == (not found)
    for one in found:
        assert 0 <= one.span.start <= one.span.end <= len(text)
        assert one.severity == "error"
        assert one.code.startswith("KC00")
        assert all(0 <= label.span.start <= label.span.end <= len(text) for label in one.labels)
        for fix in one.fixes:
            edits = sorted((edit.span.start, edit.span.end) for edit in fix.edits)
            assert all(0 <= start <= end <= len(text) for start, end in edits)
            assert all(first[1] <= second[0] for first, second in pairwise(edits))
    assert list(found) == sorted(found, key=lambda one: one.sort_key())
    for item in file.items:
        for outer, inner in spans(item):
            assert 0 <= outer.start <= outer.end <= len(text)
            assert all(outer.contains(span) for span in inner)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_decode_and_parse(data: bytes) -> None:
    source, _ = decode(data, "t")
    parse(source)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_tokens_put_together_are_the_text(text: str) -> None:
    tokens = lex(text)
    assert "".join(token.text for token in tokens) == text
    assert all(text[token.start : token.end] == token.text for token in tokens)
