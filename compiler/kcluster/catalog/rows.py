"""The catalog's TOML: files cut into rows as text, and a row parsed when somebody wants it.

tomllib and what it loads cost half a bare interpreter's start, so a wheel brings a module along in which every row of its files
stands parsed beside its text (`hatch_build.py`). A text that is not there word for word, as in a checkout, is parsed.
This module imports nothing of kcluster: the build hook loads it by its path.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

DATA: Final = Path(__file__).with_name("data")
ENTRY: Final = "[[model]]\n"
"""What each row of a file of models begins with."""
_HEADER: Final = re.compile(r"\n\[([^\]\n]+)\](?=\n)")


def read(name: str) -> str:
    """The text of a file of the catalog."""
    return (DATA / name).read_text(encoding="utf-8")


def headed(text: str) -> dict[str, str]:
    """The rows of a file of tables, `[name]` each: the text behind the header by name, in the file's order."""
    text = f"\n{text}"
    heads = list(_HEADER.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return {head[1]: text[head.end() : end] for head, end in zip(heads, ends, strict=True)}


def entries(text: str) -> list[tuple[int, int]]:
    """Where each row of a file of models begins and ends."""
    starts = [found.start() for found in re.finditer(re.escape(ENTRY), text)]
    return list(zip(starts, [*starts[1:], len(text)], strict=True))


def parse(text: str) -> dict[str, Any]:
    """What TOML of the catalog says. The caller does not change it.

    Raises:
        tomllib.TOMLDecodeError: the text is not TOML.
    """
    found = _prebuilt().get(text)
    if found is None:
        import tomllib

        found = tomllib.loads(text)
    return found


@cache
def _prebuilt() -> dict[str, dict[str, Any]]:
    try:
        parsed: dict[str, dict[str, Any]] = import_module("kcluster.catalog.prebuilt").PARSED
    except ModuleNotFoundError:
        return {}
    return parsed


def dump(folder: Path) -> str:
    """The text of the module `prebuilt`: every row that readers of this folder of data ask for."""
    import tomllib

    texts = []
    for path in sorted(folder.rglob("*.toml")):
        text = path.read_text(encoding="utf-8")
        if path.parent.name == "models":
            texts += [text[start:end] for start, end in entries(text)]
        elif path.stem.endswith("constants"):
            texts.append(text)
        else:
            texts += headed(text).values()
    rows = "".join(f"    {text!r}: {tomllib.loads(text)!r},\n" for text in texts)
    return f'"""The rows of the catalog, parsed; written by hatch_build.py."""\n\nPARSED = {{\n{rows}}}\n'
