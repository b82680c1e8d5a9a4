"""What the tables of the language are made of: attributes, blocks and constructors as data, and the limits of numbers."""

from __future__ import annotations

from typing import Final, Literal

from kcluster.spec.quantities import Measure
from kcluster.values import field, frozen

Kind = Literal[
    Measure,
    "boolean",
    "choice",
    "switch",
    "string",
    "strings",
    "header",
    "reference",
    "secret",
    "version",
    "capability",
    "integers",
    "indices",
    "groups",
    "lanes",
    "link speed",
    "cards",
    "bus",
    "network",
    "argument",
]

# The greatest numbers that the language takes (KC007 beyond): far above any real cluster, and small enough that whatever
# enumerates them ends.
MAX_NODES: Final = 4096
MAX_GPUS_PER_NODE: Final = 64
MAX_TOKENS: Final = 10**8
MAX_REQUESTS: Final = 10**6
MAX_PORT: Final = 65535
MAX_SECONDS: Final = 10**6
MAX_BYTES: Final = 10**15
MAX_RATE: Final = 10**14
MAX_LAYERS: Final = 1024
MAX_WIDTH: Final = 10**6
MAX_VOCABULARY: Final = 10**7
MAX_EXPERTS: Final = 4096
MAX_DEGREE: Final = MAX_NODES * MAX_GPUS_PER_NODE
MAX_LIST: Final = 4096


@frozen
class AttributeSchema:
    """One attribute.

    Attributes:
        kind: what its value is; a measure takes a number with a unit of that measure.
        doc: one line for hover and the reference.
        bound: the operator where it is a bound, empty where it takes `=`.
        default: what holds where it is not written, in words; empty where nothing does.
        choices: the words allowed (kind "choice" and "switch").
        spellings: further spellings of a choice, each with the word it stands for.
        catalog: the catalog table that lists further choices ("weights"), for readers that may load it.
        text: the allow-list of its strings (a name in `kcluster.spec.text.TEXT`).
        target: the block word that a reference names.
        low, high: the smallest and greatest value in base units; `above`: `low` itself is not allowed.
        limit: a value above `high` is beyond reason (KC007) rather than of the wrong kind (KC103).
        variable: the environment variable that a secret is usually read from.
    """

    name: str
    kind: Kind
    doc: str
    bound: Literal["", "<=", ">="] = ""
    required: bool = False
    default: str = ""
    choices: tuple[str, ...] = ()
    spellings: tuple[tuple[str, str], ...] = ()
    catalog: str = ""
    text: str = ""
    target: str = ""
    low: float = 0
    high: float | None = None
    above: bool = False
    limit: bool = True
    variable: str = ""

    @property
    def auto(self) -> bool:
        """Whether `auto` may be written: wherever leaving the attribute out is a choice of the compiler's."""
        return not self.required and not self.bound


@frozen
class EntrySchema:
    """The entries of a block whose keys the author chooses: the allow-lists of keys and values."""

    key: str
    value: Kind
    text: str
    key_name: str
    doc: str


@frozen
class BlockSchema:
    """One block.

    `label`: what follows the word: nothing, a name, one of `kinds`, or one of `kinds` and a name. A name is required where
    the label has one; a kind has a default, the first of `kinds`.
    """

    word: str
    doc: str
    attributes: tuple[AttributeSchema, ...] = ()
    blocks: tuple[BlockSchema, ...] = ()
    label: Literal["none", "name", "kind", "kind and name"] = "none"
    kinds: tuple[str, ...] = ()
    repeat: bool = False
    entries: EntrySchema | None = None
    _attributes: dict[str, AttributeSchema] = field(init=False, repr=False, eq=False)
    _blocks: dict[str, BlockSchema] = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_attributes", {row.name: row for row in self.attributes})
        object.__setattr__(self, "_blocks", {row.word: row for row in self.blocks})

    def attribute(self, name: str) -> AttributeSchema | None:
        return self._attributes.get(name)

    def block(self, word: str) -> BlockSchema | None:
        return self._blocks.get(word)


@frozen
class ConstructorSchema:
    """A call that is a value: `pcie(5, x16, p2p = off)`. The first `positional` arguments may be given without a name; those
    with `required` must be given."""

    name: str
    family: Literal["bus", "network"]
    doc: str
    arguments: tuple[AttributeSchema, ...]
    positional: int

    def argument(self, name: str) -> AttributeSchema | None:
        return next((row for row in self.arguments if row.name == name), None)


A = AttributeSchema


def count(
    name: str, doc: str, *, low: float = 1, high: float = MAX_DEGREE, required: bool = False, default: str = ""
) -> A:
    return A(name, "count", doc, low=low, high=high, required=required, default=default)


def tokens(name: str, doc: str, *, low: float = 1, default: str = "") -> A:
    return A(name, "tokens", doc, low=low, high=MAX_TOKENS, default=default)


def text(name: str, text: str, doc: str, *, required: bool = False, default: str = "") -> A:
    return A(name, "string", doc, text=text, required=required, default=default)


def switch(name: str, doc: str, *, default: str = "") -> A:
    return A(name, "boolean", doc, default=default)
