"""YAML that every parser reads the same way: block mappings and lists whose scalars are JSON.

Strings are always double quoted, so that `on`, `1e3`, `*x` or `!!python/object` stay what they are: text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

Yaml = None | str | bool | int | float | Sequence["Yaml"] | Mapping[str, "Yaml"]


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


def _lines(value: Mapping[str, Yaml] | Sequence[Yaml], indent: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _entry(f"{indent}{_key(key)}:", item, indent)
        return
    for item in value:
        if isinstance(item, Mapping) and item:
            inner = list(_lines(item, indent + "  "))
            yield f"{indent}- {inner[0].lstrip()}"
            yield from inner[1:]
        else:
            yield from _entry(f"{indent}-", item, indent)


def _entry(head: str, item: Yaml, indent: str) -> Iterator[str]:
    if isinstance(item, Mapping):
        yield head if item else f"{head} {{}}"
        yield from _lines(item, indent + "  ")
    elif isinstance(item, Sequence) and not isinstance(item, str):
        yield head if item else f"{head} []"
        yield from _lines(item, indent + "  ")
    else:
        yield f"{head} {scalar(item)}"


_WORDS = frozenset({"on", "off", "yes", "no", "y", "n", "true", "false", "null"})


def _key(text: str) -> str:
    plain = text[:1].isalpha() and text.isascii() and all(c.isalnum() or c in "-_./" for c in text)
    return text if plain and text.lower() not in _WORDS else scalar(text)
