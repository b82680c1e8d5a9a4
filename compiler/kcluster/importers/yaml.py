"""The part of YAML that Compose files and manifests are written in, with the place of every scalar.

Block and flow collections, plain, quoted, literal and folded scalars, comments, documents, anchors, aliases and merge keys. No
tags, no types (a scalar is its text), no complex keys. A line that is none of this is passed over: templates (`{{ … }}`) of Helm
are read as plain text.
"""

from __future__ import annotations

import re
from typing import Any, Final

from kcluster.importers.words import Word
from kcluster.source import Span

_KEY: Final = re.compile(
    r"""("(?:[^"\\]|\\.)*"|'[^']*'|[^\s#\[\]{},"'&*!|>%@`-][^#\n]*?|-[^\s#][^#\n]*?|<<)\s*:(?=\s|$)"""
)
_BLOCK: Final = re.compile(r"([|>])[+-]?\d?[+-]?\s*(#.*)?$")
_DEPTH: Final = 60
_ESCAPES: Final = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "/": "/", "r": "\r", "0": "\0", " ": " "}


class Yaml:
    """A reader of one text. Mappings are dicts, sequences lists, scalars `Word`s."""

    def __init__(self, text: Word) -> None:
        self.word = text
        self.lines: list[tuple[int, int, str]] = []
        """Indent, offset of the first character, and text of each line from there on."""
        at = 0
        for line in text.text.split("\n"):
            bare = line.lstrip(" ")
            self.lines.append((len(line) - len(bare), at + len(line) - len(bare), bare.rstrip("\r \t")))
            at += len(line) + 1
        self.at = 0
        self.anchors: dict[str, Any] = {}

    def documents(self) -> list[Any]:
        found = []
        while self._blank():
            if self._is_mark():
                self.at += 1
                continue
            before = self.at
            value = self._node(self.lines[self.at][0], 0)
            if value is not None:
                found.append(value)
            if self.at == before:
                self.at += 1
        return found

    def _is_mark(self) -> bool:
        indent, _, text = self.lines[self.at]
        return indent == 0 and (text.startswith(("---", "...", "%")))

    def _blank(self) -> bool:
        """Move to the next line with something on it; whether there is one."""
        while self.at < len(self.lines) and (not self.lines[self.at][2] or self.lines[self.at][2].startswith("#")):
            self.at += 1
        return self.at < len(self.lines)

    def _node(self, indent: int, depth: int) -> Any:
        if depth > _DEPTH or not self._blank() or self._is_mark():
            return None
        text = self.lines[self.at][2]
        if text == "-" or text.startswith("- "):
            return self._sequence(self.lines[self.at][0], depth)
        if _KEY.match(text):
            return self._mapping(self.lines[self.at][0], depth)
        return self._inline(indent - 1, depth)

    def _sequence(self, indent: int, depth: int) -> list[Any]:
        items: list[Any] = []
        while self._blank() and not self._is_mark():
            here, offset, text = self.lines[self.at]
            if here != indent or not (text == "-" or text.startswith("- ")):
                break
            rest = text[1:].lstrip()
            if not rest or rest.startswith("#"):
                self.at += 1
                inner = self._blank() and self.lines[self.at][0] > indent
                items.append(self._node(self.lines[self.at][0], depth + 1) if inner else None)
                continue
            # What stands behind the dash is a node of its own, indented by the dash.
            moved = len(text) - len(rest)
            self.lines[self.at] = (indent + moved, offset + moved, rest)
            before = self.at
            if _KEY.match(rest) or rest.startswith("- "):
                items.append(self._node(indent + moved, depth + 1))
            else:
                items.append(self._inline(indent, depth + 1))
            self.at = max(self.at, before + 1)
        return items

    def _mapping(self, indent: int, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self._blank() and not self._is_mark():
            here, offset, text = self.lines[self.at]
            if here != indent:
                if here < indent:
                    break
                self.at += 1
                continue
            match = _KEY.match(text)
            if match is None:
                if text.startswith("- "):
                    break
                self.at += 1
                continue
            key = match[1].strip("\"'")
            rest = text[match.end() :].lstrip()
            anchor = re.match(r"&(\S+)\s*", rest)
            if anchor:
                rest = rest[anchor.end() :]
            if not rest or rest.startswith("#"):
                value = self._below(indent, depth)
            else:
                moved = len(text) - len(rest)
                self.lines[self.at] = (here, offset + moved, rest)
                value = self._inline(indent, depth)
            if anchor:
                self.anchors[anchor[1]] = value
            if key == "<<":
                for part in value if isinstance(value, list) else [value]:
                    if isinstance(part, dict):
                        found = {**part, **found}
            else:
                found[key] = value
        return found

    def _below(self, indent: int, depth: int) -> Any:
        self.at += 1
        if not self._blank() or self._is_mark():
            return None
        here, _, text = self.lines[self.at]
        dash = text == "-" or text.startswith("- ")
        if here > indent or (here == indent and dash):
            return self._node(here, depth + 1)
        return None

    # Scalars and flow collections, from the rest of a line on

    def _inline(self, indent: int, depth: int) -> Any:
        _, offset, text = self.lines[self.at]
        block = _BLOCK.match(text)
        if block:
            return self._block(indent, folded=block[1] == ">")
        if text.startswith("*"):
            self.at += 1
            return self.anchors.get(text[1:].split()[0] if len(text) > 1 else "")
        if text[0] in "\"'" or (text[0] in "[{" and not text.startswith("{{")):
            value, end = self._flow(offset, depth)
            self.at += 1
            while self.at < len(self.lines) and self.lines[self.at][1] < end:
                self.at += 1
            return value
        return self._plain(indent)

    def _plain(self, indent: int) -> Word:
        """A plain scalar, with lines further in folded onto it."""
        chars, places = "", list[int]()
        first = self.lines[self.at][1]
        last = first
        while self.at < len(self.lines):
            here, offset, text = self.lines[self.at]
            if chars and (not text or here <= indent or _KEY.match(text) or text.startswith("#")):
                break
            text = re.split(r"\s#", text)[0].rstrip()
            if chars:
                chars += " "
                places.append(offset)
            chars += text
            places += range(offset, offset + len(text))
            last = offset + len(text)
            self.at += 1
        return self._made(chars, places, first, last)

    def _block(self, indent: int, *, folded: bool) -> Word:
        self.at += 1
        start = self.at
        inner: int | None = None
        while self.at < len(self.lines):
            here, _, text = self.lines[self.at]
            if text and here <= indent:
                break
            if text and inner is None:
                inner = here
            self.at += 1
        chars, places = "", list[int]()
        for here, offset, text in self.lines[start : self.at]:
            lead = max(0, here - (inner or 0)) if text else 0
            if chars:
                chars += " " if folded and text and not lead else "\n"
                places.append(offset)
            chars += " " * lead + text
            places += [*range(offset - lead, offset), *range(offset, offset + len(text))]
        end = places[-1] + 1 if places else self.lines[start - 1][1]
        return self._made(chars, places, places[0] if places else end, end)

    def _made(self, chars: str, places: list[int], start: int, end: int) -> Word:
        limit = len(self.word.places) - 1
        mapped = tuple(self.word.places[max(0, min(place, limit))] for place in places)
        if limit < 0:
            return Word(chars, mapped, Span(0, 0))
        return Word(
            chars, mapped, Span(self.word.places[min(start, limit)], self.word.places[min(max(end - 1, 0), limit)] + 1)
        )

    def _flow(self, at: int, depth: int) -> tuple[Any, int]:
        """A flow node at an offset, and the place behind it."""
        text = self.word.text
        at = self._space(at)
        if at >= len(text) or depth > _DEPTH:
            return None, len(text)
        if text[at] in "\"'":
            return self._quoted(at)
        if text[at] == "[":
            items: list[Any] = []
            at = self._space(at + 1)
            while at < len(text) and text[at] != "]":
                item, after = self._flow(at, depth + 1)
                items.append(item)
                at = self._space(max(after, at + (after == at)))
                at = self._space(at + 1) if text[at : at + 1] == "," else at
            return items, at + 1
        if text[at] == "{":
            found: dict[str, Any] = {}
            at = self._space(at + 1)
            while at < len(text) and text[at] != "}":
                key, after = self._flow(at, depth + 1)
                at = self._space(max(after, at + (after == at)))
                value: Any = None
                if text[at : at + 1] == ":":
                    value, at = self._flow(at + 1, depth + 1)
                found[key.text if isinstance(key, Word) else ""] = value
                at = self._space(at)
                at = self._space(at + 1) if text[at : at + 1] == "," else at
            return found, at + 1
        end = at
        while (
            end < len(text)
            and text[end] not in ",]}\n"
            and not (text[end] == ":" and text[end + 1 : end + 2] in (" ", "\n", ""))
        ):
            # `${NAME:-default}` is one plain scalar for people, who write it bare in lists.
            end = text.find("}", end) + 1 or len(text) if text.startswith("${", end) else end + 1
        plain = text[at:end].rstrip()
        return self._made(plain, list(range(at, at + len(plain))), at, at + len(plain)), end

    def _space(self, at: int) -> int:
        text = self.word.text
        while at < len(text) and text[at] in " \t\r\n":
            at += 1
        return at

    def _quoted(self, start: int) -> tuple[Word, int]:
        text, quote, at = self.word.text, self.word.text[start], start + 1
        chars, places = "", list[int]()
        while at < len(text):
            char = text[at]
            if char == quote:
                if quote == "'" and text[at + 1 : at + 2] == "'":
                    chars, at = chars + "'", at + 2
                    places.append(at - 1)
                    continue
                break
            if char == "\\" and quote == '"' and at + 1 < len(text):
                chars += _ESCAPES.get(text[at + 1], text[at + 1])
                places.append(at + 1)
                at += 2
                continue
            chars += char
            places.append(at)
            at += 1
        return self._made(chars, places, start, at + 1), at + 1
