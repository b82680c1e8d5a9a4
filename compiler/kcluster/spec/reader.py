"""The generic reader: any block of the tree against its row of the schema.

One pass over a block gives its values, typed and with their origins, its inner blocks, and a finding for each thing that
does not belong. What could not be read is remembered as tried, so that nobody reports it again as missing.
"""

from __future__ import annotations

from typing import Any, Final

from kcluster.diagnostics import Fix, Label
from kcluster.diagnostics.wording import listed, nearest, ranked, shown
from kcluster.source import Source, Span
from kcluster.spec.broken import NOTHING_BROKEN, Broken
from kcluster.spec.findings import Findings, did_you_mean, renamed, replace
from kcluster.spec.removing import remove
from kcluster.spec.schema import AttributeSchema, BlockSchema, EntrySchema, homes_of
from kcluster.spec.text import refusal
from kcluster.spec.types import Origin, Value
from kcluster.spec.values import AUTO, BAD, Place, read_value
from kcluster.syntax.ast import Attribute, Block, Import, Item, StringNode, ValueNode, WordNode
from kcluster.values import define, field, frozen

_SWITCHES: Final = ("on", "off", "none", "true", "false", "auto")


@frozen(eq=False)
class Entry:
    """An entry of a block whose keys the author chooses."""

    key: Value[str]
    value: Value[Any]


@define(eq=False)
class Fields:
    """What one block says. `span` is the whole block, `head` its word and labels."""

    schema: BlockSchema
    source: Source
    span: Span
    head: Span
    name: str = ""
    """Empty where there is none, or none that is allowed."""
    name_span: Span | None = None
    kind: str = ""
    kind_span: Span | None = None
    heads: dict[str, Span] = field(factory=dict)
    """Of each kind of inner block the first one's head."""
    values: dict[str, Value[Any]] = field(factory=dict)
    nodes: dict[str, ValueNode] = field(factory=dict)
    tried: set[str] = field(factory=set)
    """Attributes and blocks that were written, also those that could not be read; not `auto`, which is as if left out."""
    blocks: list[Fields] = field(factory=list)
    entries: list[Entry] = field(factory=list)
    guessed: bool = False
    """The block's word was misspelt, and is taken for the nearest."""
    torn: bool = False
    """Part of the block did not parse."""
    extra: tuple[str, ...] = ()
    """Labels beyond those that the block takes."""
    names: tuple[str, ...] = ()
    """Every key and block word that stands in the block, known or not."""

    def get(self, name: str) -> Value[Any] | None:
        """What was written and could be read; None for `auto` and for what is not there."""
        return self.values.get(name)

    def value(self, name: str) -> Any:
        found = self.values.get(name)
        return None if found is None else found.value

    def block(self, word: str) -> Fields | None:
        return next((inner for inner in self.blocks if inner.schema.word == word), None)

    def first(self, word: str) -> Span | None:
        """Where an attribute or block of that name was written, spelt right; None where it was not."""
        if word in self.nodes:
            return self.nodes[word].span
        return self.heads.get(word)

    def origin(self, kind: Any, note: str) -> Origin:
        """The origin of something that the block does not say: its head, and why."""
        return Origin(kind, self.source, self.head, note)

    def default(self, value: Any, note: str) -> Value[Any]:
        return Value(value, self.origin("default", note))

    def or_default(self, name: str, value: Any, note: str) -> Value[Any]:
        return self.values.get(name) or self.default(value, note)


@frozen(eq=False)
class Context:
    """Where blocks are read from, and where its syntax is broken."""

    source: Source
    findings: Findings
    broken: Broken = NOTHING_BROKEN


def read_block(block: Block, schema: BlockSchema, context: Context, *, guessed: bool = False) -> Fields:
    """The fields of a block; every mistake in it is reported, and none hides another."""
    names = tuple(
        item.keyword.text if isinstance(item, Block) else item.key.text
        for item in block.items
        if not isinstance(item, Import)
    )
    torn = context.broken.inside(context.source, block.span)
    fields = Fields(schema, context.source, block.span, block.head, guessed=guessed, torn=torn, names=names)
    _labels(block, fields, context)
    for item in block.items:
        read_item(item, fields, context)
    _missing(fields, context)
    return fields


def read_item(item: Item, fields: Fields, context: Context) -> None:
    """Read one item into the fields of the block around it."""
    if isinstance(item, Attribute):
        if fields.schema.entries is not None:
            _entry(item, fields.schema.entries, fields, context)
        else:
            _attribute(item, fields, context)
    elif isinstance(item, Block):
        _block(item, fields, context)
    elif isinstance(item, Import):
        message = "`import` stands at the top of a file, outside every block"
        context.findings.add("KC101", message, context.source, item.span)


# Labels


def _labels(block: Block, fields: Fields, context: Context) -> None:
    schema = fields.schema
    labels = list(block.labels)
    if len(labels) > 1 and labels[0].text == schema.word:  # `model model llama {`
        _too_many(labels.pop(0), fields, context)
    if schema.label in ("kind", "kind and name"):
        fields.kind = schema.kinds[0]
        if labels and not (schema.label == "kind and name" and len(labels) == 1 and labels[0].text not in schema.kinds):
            _kind(labels.pop(0), fields, context)
    if schema.label in ("name", "kind and name"):
        if labels:
            _name(labels.pop(0), fields, context)
        else:
            example = f"`{schema.word} {schema.kinds[0] + ' ' if schema.kinds else ''}NAME {{ … }}`"
            missing(fields, f"`{schema.word}` needs a name", context.findings, help=(f"write {example}",))
    for extra in labels[:1]:
        _too_many(extra, fields, context)
    fields.extra = tuple(label.text for label in labels)


_TAKES: Final = {"none": "nothing", "name": "one name", "kind": "one kind", "kind and name": "a kind and a name"}


def _too_many(label: WordNode | StringNode, fields: Fields, context: Context) -> None:
    schema = fields.schema
    message = f"`{schema.word}` takes {_TAKES[schema.label]} before its `{{`, and `{shown(label.text)}` is more"
    context.findings.add("KC103", message, context.source, label.span)


def _kind(label: WordNode | StringNode, fields: Fields, context: Context) -> None:
    schema = fields.schema
    fields.kind_span = label.span
    if label.text in schema.kinds:
        fields.kind = label.text
        return
    if schema.word == "router" and label.text in ("none", "off"):
        fields.kind = "none"
        return
    folded = label.text.lower().replace("_", "-")
    near = folded if folded in schema.kinds else nearest(label.text, schema.kinds)
    fixes = (renamed(label.text, near, label.span),) if near else ()
    help_ = (f"did you mean `{near}`?",) if near else ()
    message = f"there is no {schema.word} `{shown(label.text)}`: it is {listed(schema.kinds)}"
    context.findings.add("KC103", message, context.source, label.span, help=help_, fixes=fixes)
    if near:
        fields.kind = near


def _name(label: WordNode | StringNode, fields: Fields, context: Context) -> None:
    fields.name_span = label.span
    reason = refusal(label.text, "name")
    if reason is None:
        fields.name = label.text
    else:  # a name becomes part of file names: one that is refused goes no further
        context.findings.add("KC103", f"the name of a `{fields.schema.word}` {reason}", context.source, label.span)


# Attributes


def _attribute(item: Attribute, fields: Fields, context: Context) -> None:
    name = item.key.text
    schema = fields.schema.attribute(name)
    if schema is None:
        _unknown_attribute(item, fields, context)
        return
    first = fields.first(name)
    if first is not None:
        labels = (Label(first, "given here first"),)
        message = f"`{name}` is given twice"
        same = _same(context.source.slice(first), context.source.slice(item.value.span))
        same = same and item.operator == (schema.bound or "=")
        fixes = remove("leave out the second, which says the same", context.source, item.span, "safe") if same else ()
        context.findings.add("KC104", message, context.source, item.span, labels=labels, fixes=fixes)
        return
    inner = fields.schema.block(name)
    if inner is not None and isinstance(item.value, WordNode | StringNode) and item.value.text not in _SWITCHES:
        _block_as_attribute(item, inner, fields, context)
        return
    _operator(item, schema, context)
    _keep(item, schema, fields, context)


def _same(first: str, second: str) -> bool:
    """Whether two values are the same; blanks count only where a string may hold them."""
    return first == second or ('"' not in first and "".join(first.split()) == "".join(second.split()))


def _keep(item: Attribute, schema: AttributeSchema, fields: Fields, context: Context) -> None:
    name = schema.name
    fields.nodes[name] = item.value
    read = read_value(item.value, schema, Place(context.source, context.findings, name))
    if read is AUTO:
        return
    fields.tried.add(name)
    if read is BAD:
        return
    fields.values[name] = Value(read, Origin("spec", context.source, item.value.span), item.span)


def _operator(item: Attribute, schema: AttributeSchema, context: Context) -> None:
    if item.operator == (schema.bound or "="):
        return
    if not schema.bound:
        message = f"`{schema.name}` is a value, not a bound: it takes `=`"
        fix = replace("write `=`", item.operator_span, "=")
    elif item.operator == "=":
        side = "least" if schema.bound == ">=" else "most"
        message = f"`{schema.name}` is a bound: at {side} this much, `{schema.bound}`"
        fix = replace(f"write `{schema.bound}`", item.operator_span, schema.bound)
    else:
        side = "below" if schema.bound == ">=" else "above"
        message = f"`{schema.name}` is bounded from {side}: it takes `{schema.bound}`"
        fix = replace(f"write `{schema.bound}`", item.operator_span, schema.bound, "unsafe")
    context.findings.add("KC110", message, context.source, item.operator_span, fixes=(fix,))


def _unknown_attribute(item: Attribute, fields: Fields, context: Context) -> None:
    """Report it with the nearest name; where that is plain and free, read it as that."""
    name, schema = item.key.text, fields.schema
    inner = schema.block(name)
    if inner is not None:
        _block_as_attribute(item, inner, fields, context)
        return
    if fields.torn and homes_of(name):
        return  # of an inner block, most likely, whose beginning did not parse
    if context.findings.many:
        message = f"there is no attribute `{shown(name)}` here"
        context.findings.add("KC102", message, context.source, item.key.span)
        return
    where = f"`{schema.word}`" if schema.word else "a file"
    free = [row.name for row in schema.attributes if row.name not in fields.tried.union(fields.names)]
    near = _meant(name, free, fields)
    message = f"{where} has no attribute `{shown(name)}`"
    fixes: tuple[Fix, ...] = ()
    if near is not None:
        if near in free:
            fixes = (renamed(name, near, item.key.span),)
        help_: tuple[str, ...] = (f"did you mean `{near}`?",)
    else:
        help_ = _homes(name) or _flag_meant(name) or did_you_mean(name, [row.name for row in schema.attributes])
        flags = next((inner for inner in schema.blocks if inner.entries and inner.entries.key == "flag"), None)
        if flags is not None and not help_:
            help_ = (f"a flag of the engine goes into `{flags.word} {{ … }}`",)
    if not schema.word and not help_:
        help_ = ("attributes stand inside blocks",)
    context.findings.add("KC102", message, context.source, item.key.span, help=help_, fixes=fixes)
    row = schema.attribute(near) if near is not None and near in free else None
    if row is not None:
        quiet = Context(context.source, Findings(), context.broken)
        _keep(item, row, fields, quiet)


def _meant(name: str, free: list[str], fields: Fields) -> str | None:
    """The attribute that a misspelt one was meant to be; of equally near ones the one that the block still needs."""
    found = ranked(name, [row.name for row in fields.schema.attributes])
    first = [near for steps, near in found if steps == found[0][0]]
    if len(first) > 1:
        needed = {row.name for row in fields.schema.attributes if row.required}
        first = [near for near in first if near in needed and near in free]
    return first[0] if len(first) == 1 else None


def _homes(name: str) -> tuple[str, ...]:
    homes = homes_of(name)
    if not homes:
        return ()
    return (f"`{name}` belongs in {listed(' '.join(path) for path in homes[:3])}",)


def _flag_meant(name: str) -> tuple[str, ...]:
    from kcluster.spec.flags import BLOCK_OF_ATTRIBUTE, attribute_meant

    meant = attribute_meant(name)
    return (f"that is `{meant}` in `{BLOCK_OF_ATTRIBUTE.get(meant, 'engine')}`",) if meant is not None else ()


def _block_as_attribute(item: Attribute, inner: BlockSchema, fields: Fields, context: Context) -> None:
    """`engine = vllm` for `engine vllm { }`: report it, and take it as the block with nothing in it."""
    value = item.value
    label = value if isinstance(value, WordNode | StringNode) and inner.label != "none" else None
    text = f"{inner.word} {label.text} {{ }}" if label is not None else f"{inner.word} {{ … }}"
    alone = fields.names.count(inner.word) == 1
    if isinstance(value, WordNode) and value.text == "auto":
        message = f"`{inner.word}` is a block, and left out it is `auto`"
        fixes = remove("leave it out", context.source, item.span, "safe")
        context.findings.add("KC102", message, context.source, item.span, fixes=fixes)
        return
    fixes = (replace("write it as a block", item.span, text),) if alone and isinstance(label, WordNode) else ()
    message = f"`{inner.word}` is a block: `{shown(text)}`"
    context.findings.add("KC102", message, context.source, item.span, fixes=fixes)
    if inner.word not in fields.tried:
        key = WordNode(inner.word, item.key.span)
        block = Block(key, (label,) if label is not None else (), (), item.span, item.span)
        quiet = Context(context.source, Findings(), context.broken)
        fields.tried.add(inner.word)
        fields.heads.setdefault(inner.word, item.span)
        fields.blocks.append(read_block(block, inner, quiet))


# Blocks


def _block(item: Block, fields: Fields, context: Context) -> None:
    word = item.keyword.text
    schema = fields.schema.block(word)
    if schema is None:
        _unknown_block(item, fields, context)
        return
    first = None if schema.repeat else fields.first(word)
    if first is not None:
        labels = (Label(first, "given here first"),)
        context.findings.add("KC104", f"`{word}` is given twice", context.source, item.head, labels=labels)
        return
    fields.tried.add(word)
    fields.heads.setdefault(word, item.head)
    fields.blocks.append(read_block(item, schema, context))


def _unknown_block(item: Block, fields: Fields, context: Context) -> None:
    word, schema = item.keyword.text, fields.schema
    if context.findings.many:
        context.findings.add("KC101", f"there is no block `{shown(word)}` here", context.source, item.keyword.span)
        return
    where = f"in `{schema.word}`" if schema.word else "at the top of a file"
    known = [row.word for row in schema.blocks]
    row = schema.attribute(word)
    near = nearest(word, known)
    fixes: tuple[Fix, ...] = ()
    if row is not None:
        help_: tuple[str, ...] = (f"`{word}` is an attribute: `{word} {row.bound or '='} …`",)
    elif near is not None:
        help_ = (f"did you mean `{near}`?",)
        fixes = (renamed(word, near, item.keyword.span),)
    elif of_kind := [row.word for row in schema.blocks if word in row.kinds]:
        help_ = (f"did you mean `{of_kind[0]} {word} {{ … }}`?",)
    else:
        help_ = (f"{where} stand {listed(known, 'and')}",) if known else (f"`{schema.word}` holds no blocks",)
    message = f"there is no block `{shown(word)}` {where}"
    context.findings.add("KC101", message, context.source, item.keyword.span, help=help_, fixes=fixes)
    fields.tried.add(word)
    inner = schema.block(near) if near is not None else None
    if inner is not None and (inner.repeat or near not in fields.tried):
        quiet = Context(context.source, Findings(), context.broken)
        fields.blocks.append(read_block(item, inner, quiet, guessed=True))


# Entries with free keys


def _entry(item: Attribute, schema: EntrySchema, fields: Fields, context: Context) -> None:
    key = item.key.text
    reason = refusal(key, schema.key)
    if reason is not None:
        message = f"the {schema.key_name} `{shown(key)}` {reason}"
        context.findings.add("KC103", message, context.source, item.key.span)
        return
    first = fields.heads.setdefault(key, item.key.span)
    if first is not item.key.span:
        message = f"the {schema.key_name} `{shown(key)}` is given twice"
        labels = (Label(first, "given here first"),)
        help_ = ("a list repeats a flag: `[first, second]`",) if schema.key == "flag" else ()
        context.findings.add("KC104", message, context.source, item.key.span, labels=labels, help=help_)
        return
    row = AttributeSchema(key, schema.value, schema.doc, text=schema.text, required=True)
    _operator(item, row, context)
    read = read_value(item.value, row, Place(context.source, context.findings, shown(key)))
    if read is not BAD:
        name = Value(key, Origin("spec", context.source, item.key.span), item.span)
        fields.entries.append(Entry(name, Value(read, Origin("spec", context.source, item.value.span), item.span)))


# What is missing


def _missing(fields: Fields, context: Context) -> None:
    for row in fields.schema.attributes:
        if row.required and row.name not in fields.tried:
            if fields.schema.word == "hardware" and any(inner.schema.word == "node" for inner in fields.blocks):
                continue
            label = f" `{fields.name}`" if fields.name else ""
            message = f"`{fields.schema.word}`{label} has no `{row.name}`: {row.doc}"
            missing(fields, message, context.findings, label=f"`{row.name}` is missing")


def missing(fields: Fields, message: str, findings: Findings, *, label: str = "", help: tuple[str, ...] = ()) -> None:
    """Report something that a block lacks (KC105), unless it may stand in the part of it that did not parse."""
    if not fields.torn:
        findings.add("KC105", message, fields.source, fields.head, label=label, help=help)
