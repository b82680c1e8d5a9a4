"""One serve of a compiled `plan.toml`, as what a real engine is compared with."""

from __future__ import annotations

import tomllib
from typing import Any, Final

from kcluster.values import frozen

SCHEMA: Final = "kcluster.plan.toml/1"


class Unreadable(Exception):
    """The file is no `plan.toml`, or of another kcluster; the text says which."""


@frozen
class Planned:
    """A serve's row of `plan.toml`. `args` are its engine's flags; `memory` and `performance` are empty where nothing fits."""

    name: str
    engine: str
    version: tuple[int, ...]
    checkpoint: str
    served_names: tuple[str, ...]
    limits: dict[str, Any]
    load: dict[str, Any]
    args: dict[str, Any]
    memory: dict[str, Any]
    performance: dict[str, Any]
    sla: tuple[dict[str, Any], ...]

    @property
    def version_text(self) -> str:
        return ".".join(map(str, self.version))


def read_plan(text: str) -> tuple[Planned, ...]:
    """The serves of a `plan.toml` in its order.

    Raises:
        Unreadable: it is not one, or not of this form.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Unreadable(f"not TOML: {error}") from None
    if content.get("schema") != SCHEMA:
        raise Unreadable(f"its schema is {content.get('schema')!r}, and not {SCHEMA}")
    try:
        return tuple(_serve(row) for row in content["serves"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unreadable(f"it lacks {error}: compile the spec again") from None


def _serve(row: dict[str, Any]) -> Planned:
    engine = row["engine"]
    return Planned(
        name=row["name"],
        engine=engine["name"],
        version=tuple(int(part) for part in engine["version"].split(".")),
        checkpoint=row["model"]["checkpoint"],
        served_names=tuple(row["model"]["served_names"]),
        limits=row["limits"],
        load=row["load"],
        args=engine["args"],
        memory=row.get("memory", {}),
        performance=row.get("performance", {}),
        sla=tuple(row.get("sla", ())),
    )
