"""From lark's tree to the nodes of `kcluster.syntax.ast`, with their spans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from kcluster.source import Span
from kcluster.syntax.ast import (
    Attribute,
    Block,
    CallNode,
    Import,
    Item,
    ListNode,
    NamedArgument,
    NumberNode,
    Operator,
    RangeNode,
    StringNode,
    TimesNode,
    ValueNode,
    WordNode,
)
from kcluster.syntax.automaton import Node
from kcluster.syntax.strings import unescape
from kcluster.syntax.tokens import Token


def lower(tree: Node) -> tuple[Item, ...]:
    """The items of a whole file."""
    return _items(tree.children)


def _items(children: list[Any]) -> tuple[Item, ...]:
    return tuple(_ITEMS[child.data](child.children) for child in children if getattr(child, "data", None) in _ITEMS)


def _import(children: list[Any]) -> Import:
    keyword, path = children
    return Import(_string([path]), Span(keyword.start, path.end))


def _block(children: list[Any]) -> Block:
    brace = next(i for i, child in enumerate(children) if isinstance(child, Token) and child.type == "LBRACE")
    keyword, labels = children[0], tuple(_value(child) for child in children[1:brace])
    items = _items(children[brace + 1 : -1])
    head = Span(keyword.start, labels[-1].span.end if labels else keyword.end)
    return Block(
        WordNode(keyword.text, keyword.span),
        cast("tuple[WordNode | StringNode, ...]", labels),
        items,
        head,
        Span(keyword.start, children[-1].end),
    )


def _attribute(children: list[Any]) -> Attribute:
    key, operator, value = _value(children[0]), children[1].children[0], _value(children[2])
    assert isinstance(key, WordNode | StringNode)
    sign = cast("Operator", operator.text)
    return Attribute(key, sign, operator.span, value, Span(key.span.start, value.span.end))


_ITEMS: Final[dict[str, Callable[[list[Any]], Item]]] = {"import_": _import, "block": _block, "attribute": _attribute}


def _value(tree: Node) -> ValueNode:
    return _VALUES[tree.data](tree.children)


def _word(children: list[Any]) -> WordNode:
    return WordNode(children[0].text, children[0].span)


def _string(children: list[Any]) -> StringNode:
    return StringNode(unescape(children[0].text).text, children[0].span)


def _number(children: list[Any]) -> NumberNode:
    token = children[0]
    digits = token.text.replace("_", "")
    value = float(digits) if "." in digits else int(digits)
    if len(children) == 1:
        return NumberNode(value, "", token.span)
    parts = [part if isinstance(part, Token) else part.children[0] for part in children[1].children]
    unit = Span(parts[0].start, parts[-1].end)
    return NumberNode(value, "".join(part.text for part in parts), Span(token.start, unit.end), unit)


def _range(children: list[Any]) -> RangeNode:
    first, last = _number(children[0].children), _number(children[1].children)
    return RangeNode(first, last, first.span.cover(last.span))


def _times(children: list[Any]) -> TimesNode:
    count, item = _number(children[0].children), _value(children[1])
    return TimesNode(count, item, count.span.cover(item.span))


def _list(children: list[Any]) -> ListNode:
    items = tuple(_value(child) for child in children[1:-1])
    return ListNode(items, Span(children[0].start, children[-1].end))


def _call(children: list[Any]) -> CallNode:
    name = _word(children[0].children)
    arguments = [child for child in children[1:] if not isinstance(child, Token)]
    return CallNode(
        name,
        tuple(_value(child) for child in arguments if child.data != "named"),
        tuple(_named(child.children) for child in arguments if child.data == "named"),
        Span(name.span.start, children[-1].end),
    )


def _named(children: list[Any]) -> NamedArgument:
    name, value = _word(children[0].children), _value(children[-1])
    return NamedArgument(name, value, name.span.cover(value.span))


_VALUES: Final[dict[str, Callable[[list[Any]], ValueNode]]] = {
    "word": _word,
    "string": _string,
    "number": _number,
    "range": _range,
    "times": _times,
    "list": _list,
    "call": _call,
}
