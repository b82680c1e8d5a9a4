"""GPUs by name: rows of `data/gpus.toml` as cards, with aliases, families and the nearest names.

The file is read as text and only the row that is asked for is parsed: most commands want one card of many.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final, cast

from kcluster.catalog.rows import headed, parse, read
from kcluster.physics.hardware import BusKind, Card
from kcluster.units import GB, GIB, Figure, given
from kcluster.values import evolve, frozen

_FIELD: Final = re.compile(r"^(name|aliases) = (.*)$", re.MULTILINE)
# Words that a driver or a person puts around a name and that tell no two cards apart.
_NOISE: Final = re.compile(r"nvidia|geforce|quadro|tesla|\bamd\b|instinct|\bintel\b|radeon|edition|generation|\(.*?\)")


@frozen
class GpuMatch:
    """A card found by name. `note` says what a name was taken as where it was not an id, empty otherwise; `source` is the
    row's provenance in words. Another way of writing the id itself (`RTX 5090`) needs no note."""

    id: str
    card: Card
    note: str
    source: str


def _normal(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", _NOISE.sub("", name.lower()))


@lru_cache(maxsize=1)
def _slices() -> dict[str, str]:
    """Each row's text by id, the families' under `families`."""
    return headed(read("gpus.toml"))


@lru_cache(maxsize=1)
def _families() -> dict[str, dict[str, str]]:
    return cast("dict[str, dict[str, str]]", parse(_slices()["families"]))


@lru_cache(maxsize=1)
def _spellings() -> dict[str, str]:
    """Normalised spelling → id, by ids first, then names, then aliases; the first holder of a spelling keeps it."""
    found: dict[str, str] = {}
    later: list[tuple[str, str]] = []
    for identifier in gpu_ids():
        found[_normal(identifier)] = identifier
        for key, value in _FIELD.findall(_slices()[identifier]):
            texts = re.findall(r'"([^"]*)"', value)
            later += [(_normal(text), identifier) for text in texts if key in ("name", "aliases")]
    for spelling, identifier in later:
        found.setdefault(spelling, identifier)
    return found


@lru_cache(maxsize=1)
def gpu_ids() -> tuple[str, ...]:
    """Every id, in the catalog's order."""
    return tuple(name for name in _slices() if name != "families")


def gpu_families() -> dict[str, str]:
    """Family name → the id that it is taken as."""
    return {name: family["id"] for name, family in _families().items()}


@lru_cache(maxsize=64)
def _row(identifier: str) -> dict[str, Any] | None:
    text = _slices().get(identifier)
    return None if text is None or identifier == "families" else parse(text)


def gpu_row(identifier: str) -> dict[str, Any] | None:
    """The raw row of an id, None for an unknown one."""
    row = _row(identifier)
    return None if row is None else dict(row)


def find_gpu(name: str) -> GpuMatch | None:
    """The card that a name means: an id, a usual spelling of one (case, blanks, hyphens and vendor words do not count), or a
    family, which is taken as its commonest member and says so. None for a name that means nothing here."""
    return _find(name)


@lru_cache(maxsize=256)
def _find(name: str) -> GpuMatch | None:
    identifier, note = name, ""
    if name not in _slices() or name == "families":
        wanted = _normal(name)
        spelled = _spellings().get(wanted)
        family = next((key for key in _families() if _normal(key) == wanted), None)
        if spelled is not None and wanted and not (family and _normal(spelled) != wanted):
            identifier = spelled
            note = "" if _normal(spelled) == wanted else f"taken as {spelled}"
        elif family is not None:
            identifier = _families()[family]["id"]
            note = f"taken as {identifier}, {_families()[family]['why']}"
        else:
            return None
    row = _row(identifier)
    if row is None:
        return None
    return GpuMatch(identifier, card_from_row(identifier, row), note, row_source(identifier, row))


def row_source(identifier: str, row: dict[str, Any]) -> str:
    """Where a row's figures come from, in words."""
    sources = [*row.get("sources", ()), *(f"{source} (not read)" for source in row.get("unread_sources", ()))]
    return f"catalog gpus.toml [{identifier}], read {row['read']}; {sources[0]}" if sources else "catalog gpus.toml"


def nearest_gpus(name: str, count: int = 3) -> tuple[str, ...]:
    """The ids and families whose spelling is nearest to an unknown name, best first."""
    import difflib

    spellings = {_normal(key): key for key in (*gpu_ids(), *_families())} | _spellings()
    close = difflib.get_close_matches(_normal(name), sorted(spellings), n=count * 3, cutoff=0.6)
    return tuple(dict.fromkeys(spellings[spelling] for spelling in close))[:count]


def _memory(identifier: str, row: dict[str, Any]) -> Figure:
    devices = row.get("devices", 1)
    figure = given("card.memory", row["memory_visible_gib"] * GIB / devices, "bytes", row["memory_source"])
    bounds = row.get("memory_visible_range_gib")
    return figure if bounds is None else figure.between(bounds[0] * GIB / devices, bounds[1] * GIB / devices)


def _rates(row: dict[str, Any], source: str) -> tuple[tuple[str, Figure], ...]:
    low, high = row.get("tflops_range", (None, None))
    source = row.get("tflops_source", source)
    rates = []
    for name, value in row["tflops"].items():
        figure = given(f"card.flops.{name}", value * 1e12 / row.get("devices", 1), "flop/s", source)
        rates.append((name, figure if low is None else figure.spread(low, high)))
    return tuple(rates)


def card_from_row(identifier: str, row: dict[str, Any]) -> Card:
    """A row of the catalog as physics takes it. A board that an engine sees as several devices (`devices`) gives one of them."""
    source = row_source(identifier, row)
    devices = row.get("devices", 1)
    capability = row.get("compute_capability", "")
    link = cast("BusKind | None", row.get("link"))
    numbers = tuple(int(part) for part in capability.split(".")) if capability[:1].isdigit() else ()
    notes = row.get("notes", "")
    if devices > 1:
        notes = f"the engine sees {devices} devices a board: figures are of one of them; {notes}".rstrip("; ")
    card = Card(
        id=identifier,
        name=row["name"],
        vendor=row["vendor"],
        memory=_memory(identifier, row),
        bandwidth=given("card.bandwidth", row["bandwidth_gbs"] * GB / devices, "bytes/s", source),
        flops=_rates(row, source),
        compute_capability=(numbers[0], numbers[1]) if len(numbers) == 2 else None,
        form=row["form"],
        pcie_generation=row["pcie_generation"],
        pcie_lanes=row["pcie_lanes"],
        gpu_link=link,
        gpu_link_generation=row.get("link_generation", 0),
        gpu_link_bandwidth=None,
        gpu_link_switched=row.get("link_switched", False),
        peer_to_peer=row["peer_to_peer"],
        consumer=row["consumer"],
        architecture=row.get("architecture", ""),
        notes=notes,
        native=tuple(row.get("native", ())),
    )
    if link is None:
        return card
    return evolve(card, gpu_link_bandwidth=given("card.link", row["link_gbs"] * GB, "bytes/s", source))
