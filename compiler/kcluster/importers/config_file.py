"""`--config FILE`: a YAML file of flags, which the engine reads before the flags of the command itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from kcluster.importers.words import Word, whole
from kcluster.importers.yaml import Yaml


def words_of(text: str, at: Word) -> tuple[Word, ...]:
    """The file's flags as words that all stand where the command names the file; none where it is not a mapping."""
    documents = Yaml(whole(text)).documents()
    table = documents[0] if documents else None
    return tuple(words_of_table(table, at)) if isinstance(table, dict) else ()


def words_of_table(table: dict[str, Any], at: Word | None = None) -> Iterator[Word]:
    """Flags of a mapping as words, each where it stands itself unless `at` says where all of them do."""
    for key, value in table.items():
        place = at or _first(value)
        if place is None:
            continue
        flag = "--" + key.strip().replace("_", "-").lstrip("-")
        if isinstance(value, dict):
            yield from (_word(flag, place), _word(json.dumps(_plain(value)), place))
        elif isinstance(value, list):
            yield from (_word(flag, place), *(_word(item.text, at or item) for item in value if isinstance(item, Word)))
        elif isinstance(value, Word) and value.text.lower() in ("true", "false"):
            yield _word(flag if value.text.lower() == "true" else f"--no-{flag[2:]}", place)
        elif isinstance(value, Word) and value.text.lower() not in ("", "null", "~"):
            yield from (_word(flag, place), _word(value.text, place))


def _word(text: str, at: Word) -> Word:
    return Word(text, (at.span.start,) * len(text), at.span)


def _first(node: Any) -> Word | None:
    """The first scalar of a value."""
    if isinstance(node, dict | list):
        return next(filter(None, map(_first, node.values() if isinstance(node, dict) else node)), None)
    return node if isinstance(node, Word) else None


def _plain(node: Any) -> Any:
    """YAML as JSON has it: numbers and truth values are what they look like."""
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(item) for item in node]
    text = node.text if isinstance(node, Word) else ""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
