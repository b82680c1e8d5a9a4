"""What the parser gives: frozen nodes that mirror the grammar, with spans, without meaning or defaults.

Block words are not keywords of the grammar: a block is a word, labels and a body, and what words mean is the business of
`kcluster.spec`.
"""

from __future__ import annotations

from typing import Literal

from kcluster.source import Source, Span
from kcluster.values import frozen

Operator = Literal["=", "<=", ">="]


@frozen
class NumberNode:
    """`64`, `0.92`, `96GB`, `30 tok/s`, `40 %`: the number and its unit as written (empty where none).

    `value` is an int where the text has no fraction."""

    value: int | float
    unit: str
    span: Span
    unit_span: Span | None = None


@frozen
class WordNode:
    """A bare word: `fp8`, `rtx-5090`, `on`, `auto`."""

    text: str
    span: Span


@frozen
class StringNode:
    """A quoted string, escapes resolved."""

    text: str
    span: Span


@frozen
class ListNode:
    items: tuple[ValueNode, ...]
    span: Span


@frozen
class RangeNode:
    """`0..3` inside a list, both ends included."""

    first: NumberNode
    last: NumberNode
    span: Span


@frozen
class TimesNode:
    """`4 * rtx-5090`, `8 * infiniband(ndr)`."""

    count: NumberNode
    item: ValueNode
    span: Span


@frozen
class CallNode:
    """`pcie(5, x16, p2p = off)`, `env("NAME")`: positional, then named arguments."""

    name: WordNode
    arguments: tuple[ValueNode, ...]
    named: tuple[NamedArgument, ...]
    span: Span


@frozen
class NamedArgument:
    name: WordNode
    value: ValueNode
    span: Span


ValueNode = NumberNode | WordNode | StringNode | ListNode | RangeNode | TimesNode | CallNode


@frozen
class Attribute:
    """`key = value`, `key <= value`. The key is a word, or a string inside `args`."""

    key: WordNode | StringNode
    operator: Operator
    operator_span: Span
    value: ValueNode
    span: Span


@frozen
class Block:
    """`keyword label… { items }`. `head` spans keyword and labels, `span` the whole block."""

    keyword: WordNode
    labels: tuple[WordNode | StringNode, ...]
    items: tuple[Item, ...]
    head: Span
    span: Span


@frozen
class Import:
    """`import "path"`."""

    path: StringNode
    span: Span


Item = Attribute | Block | Import


@frozen
class Comment:
    """A comment with its `#`, for the formatter and for suppressions. `own_line`: nothing else stands on its line."""

    text: str
    span: Span
    own_line: bool


@frozen
class File:
    """One parsed file. Where the syntax was broken, `items` holds what could be understood."""

    source: Source
    items: tuple[Item, ...]
    comments: tuple[Comment, ...]
    complete: bool = True
    """False where part of the file could not be parsed (KC0xx findings say what)."""
