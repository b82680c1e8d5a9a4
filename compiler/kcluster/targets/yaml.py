"""YAML that every parser reads the same way: block mappings and lists whose scalars are JSON.

Strings are always double quoted, so that `on`, `1e3`, `*x` or `!!python/object` stay what they are: text.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from kcluster.targets.shell import one_line
from kcluster.values import frozen

COMMENT_WIDTH = 108


@frozen
class Noted:
    """A value with the reason for it, which becomes a comment above it."""

    value: Yaml
    why: str


Yaml = None | str | bool | int | float | Noted | Sequence["Yaml"] | Mapping[str, "Yaml"]


def scalar(value: str | bool | int | float | None) -> str:
    """One value on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        # An exponent would be read as text by YAML 1.1.
        text = format(Decimal(repr(value)), "f")
        return text if "." in text else f"{text}.0"
    return '"' + "".join(_escaped(character) for character in value) + '"'


def _escaped(character: str) -> str:
    code = ord(character)
    if character in '"\\':
        return "\\" + character
    if 0x20 <= code < 0x7F:
        return character
    if character.isprintable() and code > 0xA0:
        return character
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def document(value: Mapping[str, Yaml] | Sequence[Yaml], indent: int = 0) -> str:
    """A mapping or list in block style, keys in the order given."""
    return "".join(f"{line}\n" for line in _lines(value, " " * indent))


def bare(value: Yaml) -> Yaml:
    """A value without its reason."""
    return value.value if isinstance(value, Noted) else value


def _lines(value: Mapping[str, Yaml] | Sequence[Yaml], indent: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _reason(item, indent)
            yield from _entry(f"{indent}{_key(key)}:", bare(item), indent)
        return
    for item in value:
        yield from _reason(item, indent)
        item = bare(item)
        if isinstance(item, Mapping) and item:
            inner = list(_lines(item, indent + "  "))
            first = next(number for number, line in enumerate(inner) if not line.lstrip().startswith("#"))
            # The reason of the first key stands above the dash.
            yield from (f"{indent}{line.lstrip()}" for line in inner[:first])
            yield f"{indent}- {inner[first].lstrip()}"
            yield from inner[first + 1 :]
        else:
            yield from _entry(f"{indent}-", item, indent)


def _reason(item: Yaml, indent: str) -> Iterator[str]:
    if isinstance(item, Noted) and item.why:
        for line in textwrap.wrap(one_line(item.why), COMMENT_WIDTH - len(indent)):
            yield f"{indent}# {line}"


def _entry(head: str, item: Yaml, indent: str) -> Iterator[str]:
    if isinstance(item, Mapping):
        yield head if item else f"{head} {{}}"
        yield from _lines(item, indent + "  ")
    elif isinstance(item, Sequence) and not isinstance(item, str):
        yield head if item else f"{head} []"
        yield from _lines(item, indent + "  ")
    elif isinstance(item, Noted):
        yield from _entry(head, item.value, indent)
    else:
        yield f"{head} {scalar(item)}"


_WORDS = frozenset({"on", "off", "yes", "no", "y", "n", "true", "false", "null"})


def _key(text: str) -> str:
    plain = text[:1].isalpha() and text.isascii() and all(c.isalnum() or c in "-_./" for c in text)
    return text if plain and text.lower() not in _WORDS else scalar(text)
