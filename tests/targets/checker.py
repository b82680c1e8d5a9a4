"""A strict reading of `vllm serve` command lines: an argument parser built from the flag table of one version, with its names,
choices, types and numbers of values, and none of the product's own lookups."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any, NoReturn

import yaml

TABLE = Path(__file__).parents[2] / "compiler/kcluster/catalog/data/engines/vllm.tsv"


class Refused(Exception):
    """What the engine's parser would say."""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Refused(message)


def _size(text: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?[kmgt]|\d+[KMGT]?|auto|-1", text):
        raise ValueError(text)
    return text


def _json(text: str) -> Any:
    return json.loads(text)


def _object(text: str) -> Any:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(text)
    return value


TYPES: dict[str, Any] = {
    "int": int,
    "float": float,
    "json": _json,
    "object": _object,
    "size": _size,
    "size-or-auto": _size,
}


def parser(version: tuple[int, ...]) -> Parser:
    """The parser of the table's version; abbreviations are refused: what a tool emits is written out."""
    found = Parser(prog="vllm serve", allow_abbrev=False, add_help=False)
    found.add_argument("model", nargs="?")
    lines = [line.split("\t") for line in TABLE.read_text().splitlines() if not line.startswith("#")]
    for since, until, flag, kind, nargs, _, deprecated, aliases, choices, _, _ in lines[2:]:
        first, last = (tuple(int(part) for part in text.split(".")) for text in (since, until))
        if not first <= version <= last or flag == "--model":
            continue
        dest = flag.lstrip("-").replace("-", "_")
        if nargs == "0":
            found.add_argument(flag, dest=dest, action="store_const", const="on")
            for alias in aliases.split() if kind == "switch" else ():
                off = alias.startswith("--no-") or (alias[2:9] in ("enable-", "disable") and alias[2:4] != flag[2:4])
                found.add_argument(alias, dest=dest, action="store_const", const="off" if off else "on")
            continue
        named: dict[str, Any] = {"dest": dest, "type": TYPES.get(kind, str)}
        if choices:
            named["choices"] = choices.split("|") if kind != "int" else [int(choice) for choice in choices.split("|")]
        if nargs == "append":
            named["action"] = "append"
        elif nargs:
            named["nargs"] = nargs
        assert deprecated in ("", "deprecated")
        found.add_argument(flag, *aliases.split(), **named)
    return found


def read(argv: list[str], version: tuple[int, ...]) -> dict[str, Any]:
    """What a command line says, by destination; what it does not say is left out.

    Raises:
        Refused: the version would not take it.
    """
    assert argv[0] == "serve"
    said = vars(parser(version).parse_args(argv[1:]))
    return {name: value for name, value in said.items() if value is not None}


def config_argv(text: str) -> list[str]:
    """The command line that the engine makes of a `--config` file: `true` is the bare flag, a list several values."""
    argv: list[str] = []
    model = []
    for key, value in yaml.safe_load(text).items():
        if key == "model":
            model = [value]
        elif value is True:
            argv.append(f"--{key}")
        elif value is False:
            continue
        elif isinstance(value, list):
            argv += [f"--{key}", *(str(item) for item in value)]
        else:
            argv += [f"--{key}={value}"]
    return ["serve", *model, *argv]
