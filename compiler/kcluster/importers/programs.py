"""Servers that programs start: calls of the engine's own Python classes, and commands written as lists of strings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

from kcluster.importers.words import Setting, Word
from kcluster.values import evolve

if TYPE_CHECKING:
    import ast

_LIST: Final = re.compile(r"\[(?=[^\[\]]*[\"'](?:[\w./-]*/)?(?:vllm|serve|vllm\.entrypoints[\w.]*|--model)[\"'=])")
_ITEM: Final = re.compile(
    r"""\s*(?:(f?)(["'])(.{0,2000}?)\2|str\(\s*([\w.-]+)\s*\)|([^,\[\]]+))\s*(?:,|(?=\]))""", re.DOTALL
)
_LISTS, _ITEMS = 20, 400
_CALLED: Final = ("LLM", "EngineArgs", "AsyncEngineArgs", "LLMConfig")
"""vLLM's own classes, and the one of Ray Serve that holds their arguments."""


def lists_of(text: Word) -> list[tuple[Word, ...]]:
    """Lists of strings that hold a command: `subprocess.run(["vllm", "serve", …])`, a Dockerfile's `CMD [ … ]`.

    What stands in one and is no string is a word that nothing sets.
    """
    found = []
    for start in islice(_LIST.finditer(text.text), _LISTS):
        at, words = start.end(), list[Word]()
        while len(words) < _ITEMS and (match := _ITEM.match(text.text, at)):
            at = match.end()
            group = 3 if match[2] else 4 if match[4] else 5
            word = text.part(match.start(group), match.end(group))
            plain = (match[2] and not (match[1] and "{" in match[3])) or (match[4] and match[4][:1].isdigit())
            if word.text.strip():
                words.append(word if plain else evolve(word, unset=(word.text.strip(),)))
        if words:
            found.append(tuple(words))
    return found


def python_calls(text: Word) -> list[tuple[Word | None, tuple[Setting, ...], Word]]:
    """`LLM(model=…, tensor_parallel_size=…)` of Python text, with names that plain assignments set."""
    import ast

    try:
        tree = ast.parse(text.text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    starts = [0]
    for line in text.text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    known: dict[str, ast.expr] = {}
    found: list[tuple[Word | None, tuple[Setting, ...], Word]] = []

    def word_of(node: ast.expr) -> Word:
        first = starts[node.lineno - 1] + node.col_offset
        last = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        part = text.part(first, last)
        value = known.get(node.id, node) if isinstance(node, ast.Name) else node
        if isinstance(value, ast.Constant):
            shown = str(value.value)
            return Word(shown, (part.span.start,) * len(shown), part.span)
        return evolve(part, unset=(part.text,))

    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            known[node.targets[0].id] = node.value
    for node in ast.walk(tree):
        name = getattr(node.func, "id", getattr(node.func, "attr", "")) if isinstance(node, ast.Call) else ""
        if not isinstance(node, ast.Call) or name not in _CALLED:
            continue
        model = word_of(node.args[0]) if node.args else None
        settings = []
        for key, given in _arguments(node):
            value = word_of(given)
            if key in ("model", "model_source") or (key == "model_id" and model is None):
                model = value
            elif key != "model_id":
                switch = value.text in ("True", "False")
                flag = "--" + key.replace("_", "-")
                settings.append(Setting(flag, () if switch else (value,), value.span, "", value.text != "False"))
        found.append((model, tuple(settings), word_of(node)))
    return found


def _arguments(call: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """The arguments by name, those within `engine_kwargs=dict(…)` and its like among them."""
    import ast

    for keyword in call.keywords:
        inner = keyword.value
        if keyword.arg not in ("engine_kwargs", "model_loading_config"):
            if keyword.arg is not None:
                yield keyword.arg, inner
        elif isinstance(inner, ast.Call):
            yield from ((one.arg, one.value) for one in inner.keywords if one.arg is not None)
        elif isinstance(inner, ast.Dict):
            for key, value in zip(inner.keys, inner.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield key.value, value
