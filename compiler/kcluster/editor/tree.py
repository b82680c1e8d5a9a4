"""The nodes of a tree at a place, and the rows of the language's tables that they stand for."""

from __future__ import annotations

from collections.abc import Iterator

from kcluster.spec.schema import SPEC, AttributeSchema, BlockSchema
from kcluster.syntax.ast import (
    Attribute,
    Block,
    CallNode,
    File,
    Import,
    Item,
    ListNode,
    StringNode,
    TimesNode,
    ValueNode,
    WordNode,
)
from kcluster.values import frozen


@frozen(eq=False)
class Spot:
    """What stands at a place: the blocks around it, outermost first, the attribute or import, and the words and strings of its
    value there. `on_key`: the place is in the attribute's key; `label`: in a label of the innermost block's head."""

    blocks: tuple[Block, ...]
    attribute: Attribute | None = None
    on_key: bool = False
    imported: Import | None = None
    values: tuple[ValueNode, ...] = ()
    label: WordNode | StringNode | None = None
    on_word: bool = False

    @property
    def schema(self) -> BlockSchema | None:
        return schema_of(self.blocks)

    @property
    def row(self) -> AttributeSchema | None:
        """The table's row of the attribute."""
        schema = self.schema
        if schema is None or self.attribute is None or schema.entries is not None:
            return None
        return schema.attribute(self.attribute.key.text)

    @property
    def leaf(self) -> WordNode | StringNode | None:
        """The word or string of a value at the place."""
        return next((node for node in reversed(self.values) if isinstance(node, WordNode | StringNode)), None)


def schema_of(blocks: tuple[Block, ...]) -> BlockSchema | None:
    """The table of the innermost of nested blocks; the file's where there is none."""
    found: BlockSchema | None = SPEC
    for block in blocks:
        found = found.block(block.keyword.text) if found is not None else None
    return found


def spot_at(file: File, offset: int) -> Spot:
    """What stands at an offset; the end of a node counts as in it."""
    return _in_items(file.items, offset, ())


def _in_items(items: tuple[Item, ...], offset: int, around: tuple[Block, ...]) -> Spot:
    for item in items:
        if not item.span.start <= offset <= item.span.end:
            continue
        if isinstance(item, Import):
            return Spot(around, imported=item)
        if isinstance(item, Attribute):
            on_key = offset <= item.key.span.end
            values = () if on_key else tuple(_nodes_at(item.value, offset))
            return Spot(around, attribute=item, on_key=on_key, values=values)
        if item.head.start <= offset <= item.head.end:
            label = next((one for one in item.labels if one.span.start <= offset <= one.span.end), None)
            return Spot((*around, item), label=label, on_word=label is None and offset <= item.keyword.span.end)
        return _in_items(item.items, offset, (*around, item))
    return Spot(around)


def _nodes_at(node: ValueNode, offset: int) -> Iterator[ValueNode]:
    if not node.span.start <= offset <= node.span.end:
        return
    yield node
    for inner in children(node):
        yield from _nodes_at(inner, offset)


def children(node: ValueNode) -> tuple[ValueNode, ...]:
    """The values inside a value."""
    if isinstance(node, ListNode):
        return node.items
    if isinstance(node, TimesNode):
        return (node.count, node.item)
    if isinstance(node, CallNode):
        return (node.name, *node.arguments, *(one.value for one in node.named))
    return ()


def words_of(node: ValueNode) -> Iterator[WordNode | StringNode]:
    """Every word and string in a value."""
    if isinstance(node, WordNode | StringNode):
        yield node
    for inner in children(node):
        yield from words_of(inner)


def walk(items: tuple[Item, ...], around: tuple[Block, ...] = ()) -> Iterator[tuple[tuple[Block, ...], Item]]:
    """Every block, attribute and import with the blocks around it."""
    for item in items:
        yield around, item
        if isinstance(item, Block):
            yield from walk(item.items, (*around, item))
