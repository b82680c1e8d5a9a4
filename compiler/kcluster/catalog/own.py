"""A project's own catalog: the TOML of `catalog/gpus.toml`, `models.toml` and `links.toml`, checked row by row.

A row that is wrong is a problem with its place and is left out; the others hold. Values are in the units that their names say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal

from kcluster.catalog.gpus import card_from_row
from kcluster.catalog.rows import parse
from kcluster.physics.architecture import Architecture
from kcluster.physics.hardware import Card
from kcluster.units import GB, Figure, given
from kcluster.values import frozen

Kind = Literal["text", "texts", "number", "whole", "flag", "rates", "capability", "table"]

FORMATS: Final = ("fp16", "bf16", "fp8", "int8", "fp4", "tf32", "fp32")
LINKS: Final = ("nvlink", "nvlink-bridge", "xgmi")


@frozen
class Field:
    """One key of a row: what it takes, whether it must be there, and the numbers or words that it may be."""

    kind: Kind
    required: bool = False
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()


GPU: Final[Mapping[str, Field]] = {
    "name": Field("text"),
    "aliases": Field("texts"),
    "vendor": Field("text", choices=("nvidia", "amd", "intel")),
    "memory_gib": Field("number", True, 1, 4096),
    "bandwidth_gbs": Field("number", True, 10, 100_000),
    "tflops": Field("rates", True, 0.1, 1_000_000),
    "compute_capability": Field("capability"),
    "form": Field("text", choices=("pcie", "sxm", "oam")),
    "pcie_generation": Field("whole", False, 1, 6),
    "pcie_lanes": Field("whole", False, 1, 16),
    "peer_to_peer": Field("flag"),
    "link": Field("text", choices=LINKS),
    "link_generation": Field("whole", False, 1, 9),
    "link_gbs": Field("number", False, 1, 10_000),
    "link_switched": Field("flag"),
    "source": Field("text", True),
}
"""A card: memory as a driver reports it, bandwidth and the card's own links in 10^9 bytes/s, dense rates in 10^12 flop/s."""

MODEL: Final[Mapping[str, Field]] = {
    "id": Field("text", True),
    "aliases": Field("texts"),
    "config": Field("table", True),
    "source": Field("text", True),
}
"""A model: its id, other names of it, and its config.json, as a table or as the path of a file beside the catalog's."""

LINK: Final[Mapping[str, Field]] = {
    "bandwidth_gbs": Field("number", True, 0.01, 10_000),
    "low_gbs": Field("number", False, 0.01, 10_000),
    "high_gbs": Field("number", False, 0.01, 10_000),
    "source": Field("text", True),
}
"""A measured rate of one link and direction in 10^9 bytes/s, in place of the built-in one."""

LINK_NAME: Final = re.compile(r"pcie[1-6]-x(1|2|4|8|16)|(nvlink|nvlink-bridge|xgmi)[1-9]")


@frozen
class Problem:
    """What is wrong with a row: where in the text, what, and what to write. `code`: KC102 for a key that rows do not have, KC103 for
    a value, KC105 for a key that is missing."""

    code: str
    message: str
    start: int
    end: int
    help: str = ""


@frozen
class OwnModel:
    """A model of a project's catalog: its architecture, the quantization of its config, and where the row says it is from."""

    id: str
    architecture: Architecture
    quantization: dict[str, Any] | None
    source: str


def plain(name: str) -> str:
    """A name as it is compared: case, blanks and hyphens do not count."""
    return re.sub(r"[^a-z0-9./]", "", name.lower())


def read_gpus(text: str) -> tuple[dict[str, Card], tuple[Problem, ...]]:
    """Cards by id and alias, as they are compared."""
    rows, problems = _tables(text, GPU)
    found: dict[str, Card] = {}
    for name, (row, start, end) in rows.items():
        problem = _incomplete_link(row, start, end)
        if problem is not None:
            problems.append(problem)
            continue
        card = card_from_row(name, _full(name, row))
        for spelled in (name, row.get("name", name), *row.get("aliases", ())):
            found.setdefault(plain(spelled), card)
    return found, tuple(problems)


def _incomplete_link(row: dict[str, Any], start: int, end: int) -> Problem | None:
    if "link" in row and not {"link_generation", "link_gbs"} <= row.keys():
        return Problem("KC105", "a card with a `link` also has `link_generation` and `link_gbs`", start, end)
    return None


def _full(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """A row as the built-in catalog has it, with what a project's may leave out."""
    capability = row.get("compute_capability", "")
    return {
        **row,
        "name": row.get("name", name),
        "vendor": row.get("vendor", "nvidia" if capability else "unknown"),
        "memory_visible_gib": row["memory_gib"],
        "memory_source": row["source"],
        "compute_capability": capability,
        "form": row.get("form", "pcie"),
        "pcie_generation": row.get("pcie_generation", 4),
        "pcie_lanes": row.get("pcie_lanes", 16),
        "peer_to_peer": row.get("peer_to_peer", "link" in row),
        "consumer": False,
        "sources": [row["source"]],
        "read": "by the project",
    }


def read_links(text: str) -> tuple[dict[str, Figure], tuple[Problem, ...]]:
    """Measured rates by the name of a link: `pcie5-x16`, `nvlink4`, `xgmi4`."""
    rows, problems = _tables(text, LINK)
    found = {}
    for name, (row, start, end) in rows.items():
        if LINK_NAME.fullmatch(name) is None:
            message = f"`{name[:40]}` is no link: `pcie5-x16`, `nvlink4`, `nvlink-bridge3` and `xgmi4` are"
            problems.append(Problem("KC102", message, start, end))
            continue
        rate = row["bandwidth_gbs"]
        low, high = row.get("low_gbs", rate * 0.95), row.get("high_gbs", rate * 1.05)
        if not low <= rate <= high:
            problems.append(Problem("KC103", "`bandwidth_gbs` lies outside `low_gbs` to `high_gbs`", start, end))
            continue
        figure = given("bus.bandwidth", rate * GB, "bytes/s", f"the project's catalog, [{name}]: {row['source']}")
        found[name] = figure.between(low * GB, high * GB)
    return found, tuple(problems)


def read_models(text: str, load: Callable[[str], str | None]) -> tuple[dict[str, OwnModel], tuple[Problem, ...]]:
    """Models by id and alias, as they are compared.

    Args:
        load: the text of a config.json by its path beside the catalog's file; None where there is none to read.
    """
    from kcluster.catalog.config_json import read_config
    from kcluster.catalog.formats import quantization_of

    read, problem = _parsed(text)
    if problem is not None:
        return {}, (problem,)
    found: dict[str, OwnModel] = {}
    problems = list(_not_models(read, text))[:1]
    places = [match.span() for match in re.finditer(r"^\[\[model\]\]", text, re.MULTILINE)]
    rows = read.get("model")
    for number, row in enumerate(rows if isinstance(rows, list) else ()):
        start, end = places[number] if number < len(places) else (0, 1)
        wrong = _checked(row, MODEL, text, start, end)
        config = row.get("config") if isinstance(row, dict) else None
        if not wrong and isinstance(config, str):
            config, message = _config(config, load)
            wrong = [Problem("KC103", message, start, end)] if message else []
        if not wrong:
            architecture, faults = read_config(config)
            if architecture is None:
                what = f"`{faults[0].field}` {faults[0].message}"
                wrong = [Problem("KC103", f"the config of `{row['id']}` cannot be used: {what}", start, end)]
            else:
                model = OwnModel(row["id"], architecture, quantization_of(config), row["source"])
                for name in (row["id"], *row.get("aliases", ())):
                    found.setdefault(plain(name), model)
        problems += wrong
    return found, tuple(problems)


def _not_models(read: Mapping[str, Any], text: str) -> Iterator[Problem]:
    """What stands at the top of the file and is no list of models; one such mistake explains the rest."""
    for name, value in read.items():
        if name == "model" and isinstance(value, list):
            continue
        head = re.search(rf"^\[+\s*[\"']?{re.escape(name)}\b.*$", text, re.MULTILINE)
        start, end = head.span() if head else _line(text, name, 0, len(text))
        yield Problem("KC102", f"`{name[:40]}` is no list of models", start, end, "each model begins with `[[model]]`")


def _config(path: str, load: Callable[[str], str | None]) -> tuple[Any, str]:
    text = load(path)
    if text is None:
        return None, f"the config `{path[:80]}` cannot be read: it lies beside the catalog's file, and is JSON"
    try:
        return json.loads(text), ""
    except (ValueError, RecursionError):
        return None, f"the config `{path[:80]}` is not JSON"


# Rows


def _parsed(text: str) -> tuple[dict[str, Any], Problem | None]:
    try:
        return dict(parse(text)), None
    except (ValueError, RecursionError) as error:
        line = re.search(r"line (\d+)", str(error))
        lines = text.splitlines(keepends=True)
        at = min(int(line[1]) if line else 1, max(len(lines), 1)) - 1
        start = sum(map(len, lines[:at]))
        end = start + len(lines[at].rstrip()) if lines else 0
        return {}, Problem("KC103", f"not TOML: {error}", start, max(end, start + 1))


def _tables(text: str, fields: Mapping[str, Field]) -> tuple[dict[str, tuple[dict[str, Any], int, int]], list[Problem]]:
    """The rows `[name]` that are right, with the place of each head."""
    read, problem = _parsed(text)
    if problem is not None:
        return {}, [problem]
    found: dict[str, tuple[dict[str, Any], int, int]] = {}
    problems: list[Problem] = []
    for name, row in read.items():
        head = re.search(rf"^\[+\s*[\"']?{re.escape(name)}[\"']?\s*\]+", text, re.MULTILINE)
        start, end = head.span() if head else _line(text, name, 0, len(text))
        wrong = _checked(row, fields, text, start, end)
        problems += wrong
        if not wrong:
            found[name] = (row, start, end)
    return found, problems


def _checked(row: object, fields: Mapping[str, Field], text: str, start: int, end: int) -> list[Problem]:
    if not isinstance(row, dict):
        return [Problem("KC103", "a row is a table: `[name]`", start, end)]
    stop = re.compile(r"^\[", re.MULTILINE).search(text, end)
    last = stop.start() if stop else len(text)
    problems = []
    missing = [name for name, field in fields.items() if field.required and name not in row]
    for key, value in row.items():
        field = fields.get(key)
        place = _line(text, key, end, last) if field is None or not _takes(field, value) else (start, end)
        if field is None:
            near = _nearest(key, fields)
            missing = [name for name in missing if name != near]
            help = f"did you mean `{near}`?" if near else f"it has {', '.join(f'`{name}`' for name in fields)}"
            problems.append(Problem("KC102", f"a row has no `{key[:40]}`", *place, help))
        elif not _takes(field, value):
            problems.append(Problem("KC103", f"`{key}` takes {_wanted(field)}", *place))
    if missing:
        problems.append(Problem("KC105", f"the row lacks {', '.join(f'`{name}`' for name in missing)}", start, end))
    return problems


def _nearest(key: str, fields: Mapping[str, Field]) -> str:
    from difflib import get_close_matches

    return next(iter(get_close_matches(key.lower()[:40], fields, n=1, cutoff=0.7)), "")


def _line(text: str, key: str, start: int, end: int) -> tuple[int, int]:
    """The line that gives a key, within a part of the text; the part's beginning where none does."""
    found = re.compile(rf"^[ \t]*[\"']?{re.escape(key)}[\"']?\s*=.*$", re.MULTILINE).search(text, start, end)
    return (found.start(), found.end()) if found else (start, min(start + 1, len(text)))


def _takes(field: Field, value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if field.kind == "text":
        return isinstance(value, str) and 0 < len(value) <= 500 and (not field.choices or value in field.choices)
    if field.kind == "texts":
        return isinstance(value, list) and all(isinstance(item, str) and item for item in value)
    if field.kind in ("number", "whole"):
        whole = field.kind == "number" or isinstance(value, int)
        return number and whole and field.low <= value <= field.high  # type: ignore[operator]
    if field.kind == "flag":
        return isinstance(value, bool)
    if field.kind == "capability":
        return isinstance(value, str) and re.fullmatch(r"\d{1,2}\.\d", value) is not None
    if field.kind == "rates":
        return (
            isinstance(value, dict)
            and bool(value)
            and all(
                key in FORMATS
                and isinstance(rate, int | float)
                and not isinstance(rate, bool)
                and field.low <= rate <= field.high
                for key, rate in value.items()
            )
        )
    return isinstance(value, dict) or (isinstance(value, str) and bool(value))


def _wanted(field: Field) -> str:
    if field.choices:
        return "one of " + ", ".join(f'"{choice}"' for choice in field.choices)
    return {
        "text": "a text",
        "texts": "a list of texts",
        "number": f"a number from {field.low:g} to {field.high:g}",
        "whole": f"a whole number from {field.low:g} to {field.high:g}",
        "flag": "true or false",
        "capability": 'a text such as "9.0"',
        "rates": f"rates by format ({', '.join(FORMATS)}), such as {{ bf16 = 209, fp8 = 419 }}",
        "table": "a table, or the path of a config.json",
    }[field.kind]
