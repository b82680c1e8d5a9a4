"""Resolving never raises: on trees made at random from the schema, and on specs with one thing changed."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kcluster.diagnostics import CODES
from kcluster.source import Source, Span
from kcluster.spec.quantities import UNITS
from kcluster.spec.resolve import resolve
from kcluster.spec.schema import CONSTRUCTORS, choices_of, every_block
from kcluster.spec.suppressions import apply_suppressions
from kcluster.syntax.ast import (
    Attribute,
    Block,
    CallNode,
    Comment,
    File,
    Import,
    Item,
    ListNode,
    NamedArgument,
    NumberNode,
    RangeNode,
    StringNode,
    TimesNode,
    ValueNode,
    WordNode,
)
from tests.spec.resolving import EXAMPLE, SHORT, resolved
from tests.syntax.mutations import character_mistakes, token_mistakes, truncations

TEXT = EXAMPLE
BLOCKS = every_block()
WORDS = sorted({block.word for _, block in BLOCKS if block.word} | {"banana", "modle", "import"})
KEYS = sorted(
    {row.name for _, block in BLOCKS for row in block.attributes} | {"banana", "concurency", "--flag", "NAME"}
)
CHOICES = sorted({word for _, block in BLOCKS for row in block.attributes for word in choices_of(row)})
NAMES = [
    "llama",
    "box",
    "team",
    "edge",
    "nginx",
    "vllm",
    "rtx-5090",
    "h100",
    "big",
    "auto",
    "on",
    "off",
    "none",
    "x16",
    "ndr",
    "",
]
STRINGS = [
    "meta-llama/Llama-3.1-8B-Instruct",
    "Qwen/Qwen3-8B",
    "RTX 5090",
    "0.33",
    "v1",
    "config.json",
    "/dev/zero",
    "/models",
    "..",
    "NAME",
]

spans = st.builds(lambda a, b: Span(min(a, b), max(a, b)), st.integers(0, len(TEXT) + 9), st.integers(0, len(TEXT) + 9))
numbers = st.one_of(
    st.integers(0, 16),
    st.integers(-5, 10**6),
    st.sampled_from([10**18, 10**30, 10**400, -(10**400), 2**63]),
    st.floats(),
)
units = st.sampled_from(["", "", "", *UNITS, "sec", "bananas", "GB GB"])
words = st.builds(WordNode, st.sampled_from([*NAMES, *CHOICES, *KEYS]), spans)
strings = st.builds(StringNode, st.one_of(st.sampled_from([*STRINGS, *NAMES]), st.text(max_size=20)), spans)
number_nodes = st.builds(NumberNode, numbers, units, spans, st.one_of(st.none(), spans))
small = st.builds(NumberNode, st.integers(0, 9), st.just(""), spans)
calls = [row.name for row in CONSTRUCTORS] + ["env", "banana"]
arguments = [argument.name for row in CONSTRUCTORS for argument in row.arguments] + ["banana"]


def deeper(inner: st.SearchStrategy[ValueNode]) -> st.SearchStrategy[ValueNode]:
    named = st.builds(NamedArgument, st.builds(WordNode, st.sampled_from(arguments), spans), inner, spans)
    return st.one_of(
        st.builds(
            ListNode,
            st.lists(st.one_of(inner, st.builds(RangeNode, small, number_nodes, spans)), max_size=4).map(tuple),
            spans,
        ),
        st.builds(TimesNode, st.one_of(small, number_nodes), inner, spans),
        st.builds(
            CallNode,
            st.builds(WordNode, st.sampled_from(calls), spans),
            st.lists(inner, max_size=3).map(tuple),
            st.lists(named, max_size=3).map(tuple),
            spans,
        ),
    )


values: st.SearchStrategy[ValueNode] = st.recursive(
    st.one_of(words, strings, number_nodes, small), deeper, max_leaves=6
)
keys = st.one_of(st.builds(WordNode, st.sampled_from(KEYS), spans), strings)
attributes = st.builds(Attribute, keys, st.sampled_from(["=", "=", "=", "<=", ">="]), spans, values, spans)
labels = st.lists(st.one_of(st.builds(WordNode, st.sampled_from(NAMES), spans), strings), max_size=3).map(tuple)
imports = st.builds(Import, strings, spans)


def block_of(items: st.SearchStrategy[Item]) -> st.SearchStrategy[Item]:
    return st.builds(
        Block,
        st.builds(WordNode, st.sampled_from(WORDS), spans),
        labels,
        st.lists(items, max_size=5).map(tuple),
        spans,
        spans,
    )


items: st.SearchStrategy[Item] = st.recursive(st.one_of(attributes, imports), block_of, max_leaves=12)
comments = st.builds(
    Comment,
    st.sampled_from(
        ["# kcluster: ignore[KC103] why", "# kcluster: ignore[]", "# kcluster: ignore[KC999]", "# x", "# kcluster:"]
    ),
    spans,
    st.booleans(),
)


def attribute_for(path: tuple[str, ...], name: str) -> st.SearchStrategy[Attribute]:
    row = next(row for row in dict(BLOCKS)[path].attributes if row.name == name)
    fitting: list[st.SearchStrategy[ValueNode]] = [values, number_nodes]
    if row.kind == "choice":
        fitting.append(st.builds(WordNode, st.sampled_from(choices_of(row)), spans))
    return st.builds(
        Attribute,
        st.builds(WordNode, st.just(name), spans),
        st.just(row.bound or "="),
        spans,
        st.one_of(fitting),
        spans,
    )


def whole_block(path: tuple[str, ...]) -> st.SearchStrategy[Block]:
    """A block of the schema with some of its own attributes and inner blocks, values of any kind."""
    schema = dict(BLOCKS)[path]
    own: list[st.SearchStrategy[Item]] = [attribute_for(path, row.name) for row in schema.attributes]
    inner = [whole_block((*path, block.word)) for block in schema.blocks]
    parts = [*own, *inner] or [attributes]
    kinds = st.sampled_from([*schema.kinds, "banana"])
    given = st.one_of(labels, st.tuples(st.builds(WordNode, st.one_of(kinds, st.sampled_from(NAMES)), spans)))
    return st.builds(
        Block,
        st.builds(WordNode, st.just(schema.word), spans),
        given,
        st.lists(st.one_of(parts), max_size=8).map(tuple),
        spans,
        spans,
    )


whole = st.one_of([whole_block(path) for path, _ in BLOCKS if len(path) == 1])


def holds(file: File) -> None:
    spec, found = resolve(file)
    for finding in found:
        assert finding.code in CODES
        assert finding.message and len(finding.message) < 1000
    apply_suppressions(file, spec, found)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(items, max_size=6).map(tuple), st.lists(comments, max_size=3).map(tuple), st.booleans())
def test_any_tree(tree: tuple[Item, ...], remarks: tuple[Comment, ...], complete: bool) -> None:
    holds(File(Source("x.kcluster", TEXT), tree, remarks, complete))


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(whole, max_size=7).map(tuple), st.lists(comments, max_size=2).map(tuple))
def test_trees_of_the_schema(tree: tuple[Item, ...], remarks: tuple[Comment, ...]) -> None:
    holds(File(Source("x.kcluster", TEXT), tree, remarks))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_sound_spec_with_one_value_changed(data: st.DataObject) -> None:
    """The rest is sound, so that what is wrong reaches the builders."""
    path, block = data.draw(st.sampled_from([entry for entry in BLOCKS if entry[0] and entry[1].attributes]))
    row = data.draw(st.sampled_from(block.attributes))
    item: Item = data.draw(attribute_for(path, row.name))
    for depth in range(len(path) - 1, -1, -1):
        schema = dict(BLOCKS)[path[: depth + 1]]
        label = {"none": (), "name": ("x",), "kind": schema.kinds[:1], "kind and name": (*schema.kinds[:1], "x")}[
            schema.label
        ]
        here = Span(0, 5)
        item = Block(WordNode(schema.word, here), tuple(WordNode(text, here) for text in label), (item,), here, here)
    from kcluster.syntax.parser import parse

    source = Source("x.kcluster", SHORT)
    sound = parse(source)[0].items
    assert isinstance(item, Block)
    merged: list[Item] = []
    for one in sound:
        if isinstance(one, Block) and one.keyword.text == item.keyword.text:
            one = Block(one.keyword, one.labels, (*item.items, *one.items), one.head, one.span)
        merged.append(one)
    if all(isinstance(one, Block) and one.keyword.text != item.keyword.text for one in sound):
        merged.append(item)
    holds(File(source, tuple(merged), ()))


def test_single_mistakes_draw_single_findings() -> None:
    """Of single mistakes nearly all are reported once, and none more than three times (codes KC0xx and KC101–KC107)."""
    rng = random.Random(11)
    counts = []
    for mistake in [
        *token_mistakes(EXAMPLE, rng, 200),
        *character_mistakes(EXAMPLE, rng, 150),
        *truncations(EXAMPLE, rng, 30),
    ]:
        found = resolved(mistake.text)
        number = sum(code <= "KC107" for code in found.codes)
        assert number <= 3, f"{mistake.kind}: {mistake.what}\n{found.report()}"
        if number:
            counts.append(number)
    assert counts.count(1) >= 0.95 * len(counts), "the rest of the way adds to this"
