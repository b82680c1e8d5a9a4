"""The models that kcluster knows, by their ids on the hub: rows of `data/models/*.toml`.

A look-up scans the files' text for ids and parses the one row that it wants; nothing is read before somebody asks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from kcluster.catalog.config_json import read_config
from kcluster.catalog.formats import checkpoint_suffix
from kcluster.catalog.rows import DATA, entries, parse, read
from kcluster.physics.architecture import Architecture, shared
from kcluster.values import frozen

_REPUBLISHERS: Final = frozenset(
    {
        # quantizers and toolkits
        "redhatai", "neuralmagic", "nm-testing", "nvidia", "amd", "intel", "unsloth", "hugging-quants", "casperhansen",
        "thebloke", "bartowski", "cyankiwi", "cpatonn", "techxgenus", "quanttrio", "modelcloud", "lmstudio-community",
        "mlx-community", "solidrust", "kaitchup", "ista-daslab", "mgoin", "stelterlab", "opea", "maziyarpanahi",
        "quantfactory", "pytorch", "gaunernst", "ibnzterrell", "shuyuej", "amead10",
        # mirrors
        "nousresearch",
    }
)  # fmt: skip
"""Organisations that publish other people's models again, quantized or as they are."""

_NAMED: Final = re.compile(r'\n(id = |  |  \{ id = )"([^"\n]*)"')
"""The lines of a row that name it: its id, an alias, a checkpoint."""

_QWEN_FP8: Final = re.compile(r"Qwen/Qwen3[\w.-]*-FP8", re.IGNORECASE)
"""Qwen's own FP8 checkpoints since Qwen3: blocks of 128 × 128, as every one of them that the rows hold."""

_VARIANTS: Final = ("-Instruct", "-Chat", "-hf", "-it", "-Base", "-pt", "-BF16", "-Thinking")
"""Suffixes of variants that share the architecture of the model without them."""


@frozen
class ModelMatch:
    """A model found in the catalog.

    `id` is the catalog's own; `note` says how the asked id came to it ("" where it is the same); `source` is where the row was
    read and when; `quantization` is the row's `quantization_config`, None for a checkpoint in another format; `row` the whole row.
    """

    id: str
    architecture: Architecture
    note: str
    source: str
    quantization: dict[str, Any] | None
    row: Mapping[str, Any]


@frozen
class _Place:
    """Where a row stands, and what its name stands for in that row."""

    id: str
    file: str
    start: int
    end: int
    relation: str


@lru_cache(maxsize=1)
def _texts() -> dict[str, str]:
    names = sorted(name for name in os.listdir(DATA / "models") if name.endswith(".toml"))
    return {name: read(f"models/{name}") for name in names}


@lru_cache(maxsize=1)
def _index() -> tuple[dict[str, _Place], dict[str, _Place]]:
    """Rows by id, and everything else that names one of them (aliases, checkpoints), by a cheap scan of the text."""
    rows: dict[str, _Place] = {}
    others: dict[str, _Place] = {}
    for name, text in _texts().items():
        for start, end in entries(text):
            _index_row(name, text, start, end, rows, others)
    return rows, others


def _index_row(file: str, text: str, start: int, end: int, rows: dict[str, _Place], others: dict[str, _Place]) -> None:
    """The names of one row: its id, then its aliases and checkpoints, each on a line of its own."""
    own = ""
    for found in _NAMED.finditer(text, start, end):
        before, name = found.groups()
        if before == "id = ":
            own = name
            rows[own] = _Place(own, file, start, end, "")
        elif before == "  ":
            others.setdefault(name, _Place(own, file, start, end, "the same architecture"))
        elif name != own:
            others.setdefault(name, _Place(own, file, start, end, "a checkpoint of it"))


@lru_cache(maxsize=1)
def _by_name() -> dict[str, _Place]:
    """Rows and aliases by the lower-case name behind the slash; rows come first."""
    rows, others = _index()
    names: dict[str, _Place] = {}
    for table in (rows, others):
        for key, place in table.items():
            names.setdefault(_plain(key.partition("/")[2]), place)
    return names


def _plain(name: str) -> str:
    """A name as it is compared: lower case, without the `Meta-` that came and went before Llama."""
    return name.lower().removeprefix("meta-")


def _without(name: str, suffixes: Iterable[str]) -> str | None:
    return next(
        (name[: -len(end)] for end in suffixes if name.lower().endswith(end.lower()) and len(name) > len(end)), None
    )


def _by_rule(asked: str) -> tuple[_Place, str] | None:
    """By the rules for re-uploads: a known publisher, known quantization suffixes, a known variant suffix."""
    publisher, slash, name = asked.partition("/")
    if not slash or "/" in name:
        return None
    names = _by_name()
    publishers = {key.partition("/")[0].lower() for key in _index()[0]}
    if publisher.lower() not in _REPUBLISHERS | publishers:
        return None
    steps = []
    bare, packed = checkpoint_suffix(name)
    if packed:
        steps.append(f"{packed} checkpoint")
    tries = [bare]
    stripped = _without(bare, _VARIANTS)
    if stripped is not None:
        tries.append(stripped)
    tries += [(stripped or bare) + variant for variant in _VARIANTS]
    for attempt in tries:
        place = names.get(_plain(attempt))
        if place is not None:
            if _plain(attempt) != _plain(bare):
                steps.append("a variant that shares its architecture")
            return place, ", ".join(steps)
    return None


def _find(asked: str) -> tuple[_Place, str] | None:
    rows, others = _index()
    if asked in rows:
        return rows[asked], ""
    if asked in others:
        return others[asked], others[asked].relation
    lower = asked.lower()
    for table in (rows, others):
        for key, place in table.items():
            if key.lower() == lower:
                return place, "written differently"
    return _by_rule(asked)


def read_row(row: Mapping[str, Any]) -> dict[str, object]:
    """The config.json that a row stands for."""
    config: dict[str, object] = dict(row["config"])
    config["model_type"] = row["model_type"]
    config["architectures"] = [row["class"]] if row.get("class") else None
    return config


def find_model(id: str) -> ModelMatch | None:
    """The row that an id stands for: its own, or that of a known checkpoint, re-upload or variant of it.

    Never a guess: what does not follow from the rows or the stated rules gives None. `note` is then "taken as ID (why)".
    """
    found = _find(id) if len(id) <= 200 else None
    if found is None:
        return None
    place, why = found
    row = parse(_texts()[place.file][place.start : place.end])["model"][0]
    architecture, problems = read_config(read_row(row), untold=False)  # a row says all that it means
    assert architecture is not None, f"{place.id}: {problems}"
    note = "" if place.id == id else f"taken as {place.id}" + (f" ({why})" if why else "")
    return ModelMatch(
        id=place.id,
        architecture=shared(architecture),
        note=note,
        source=f"{row['source']}; {row['date']}",
        quantization=row.get("quantization") if place.id == id or not _other_format(id) else None,
        row=row,
    )


def _other_format(asked: str) -> bool:
    """Whether an id names a checkpoint in a format of its own, which the row's `quantization_config` does not describe."""
    return known_format(asked) is not None or checkpoint_suffix(asked.rpartition("/")[2])[1] is not None


def known_format(checkpoint: str) -> str | None:
    """The weight format that the catalog states for this very checkpoint; None where it states none."""
    rows, others = _index()
    place = others.get(checkpoint) or rows.get(checkpoint)
    if place is None:
        return "fp8-block" if _QWEN_FP8.fullmatch(checkpoint) else None
    start = _texts()[place.file].find(f'  {{ id = "{checkpoint}"', place.start, place.end)
    if start < 0:
        return None
    line = _texts()[place.file][start : place.end].partition("\n")[0]
    _, found, rest = line.partition(' weights = "')
    return rest.partition('"')[0] if found else None


def model_ids() -> tuple[str, ...]:
    """The ids of all rows, sorted without regard to case."""
    return tuple(sorted(_index()[0], key=str.lower))


def nearest(names: Iterable[str], wanted: str, count: int = 3) -> tuple[str, ...]:
    """The names most like the wanted one, best first; without regard to case, and also by the part behind a slash."""
    import difflib

    wanted = wanted.lower()[:200]
    tail = wanted.rpartition("/")[2]

    def likeness(name: str) -> float:
        lower = name.lower()
        whole = difflib.SequenceMatcher(None, wanted, lower).ratio()
        return max(whole, difflib.SequenceMatcher(None, tail, lower.rpartition("/")[2]).ratio() * 0.98)

    scored = sorted(((likeness(name), name) for name in names), key=lambda pair: (-pair[0], pair[1]))
    return tuple(name for score, name in scored[:count] if score >= 0.55)
