"""What a project and a disk know of what a command names: cards and models of `catalog/`, and the config.json of a model's folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from kcluster.catalog.models import ModelMatch
from kcluster.importers.documents import Found
from kcluster.importers.machines import Hardware
from kcluster.importers.words import Launch
from kcluster.spec.files import Files
from kcluster.spec.findings import Findings
from kcluster.spec.own_catalog import OwnCatalog
from kcluster.values import evolve

MAX_CONFIG: Final = 2**22


def with_project(found: Found, hardware: Hardware, folder: Path, place: Path) -> tuple[Found, Hardware]:
    """Launches and machines with what the project's catalog says of their models and cards.

    Args:
        folder: where relative paths of the command start, and from where the project's root is looked for.
        place: the folder of the spec, from which it names files.
    """
    catalog = OwnCatalog(Files(folder, None, None), Findings())
    card = catalog.card(hardware.name) if hardware.name else None
    launches, notes = [], list(found.notes)
    for launch in found.launches:
        match, config, note = _described(launch, catalog, folder, place)
        launches.append(launch if match is None else evolve(launch, own=match, config=config))
        notes += [note] if note else []
    return evolve(found, launches=tuple(launches), notes=tuple(notes)), evolve(hardware, card=card)


def _described(launch: Launch, catalog: OwnCatalog, folder: Path, place: Path) -> tuple[ModelMatch | None, str, str]:
    """The model, its config.json as the spec names it (empty for a row of the catalog), and what to tell."""
    text = launch.model.text if launch.model is not None else ""
    if not text or (launch.model is not None and launch.model.unset):
        return None, "", ""
    for named in filter(None, (text, launch.outside)):
        row = catalog.model(named) or catalog.model_at(named)
        if row is not None:
            return ModelMatch(row.id, row.architecture, "", row.source, row.quantization, {}), "", ""
    for named in filter(None, (text, launch.outside)):
        file = folder / os.path.expanduser(named) / "config.json"
        read = _read(file)
        if read is None:
            continue
        from kcluster.catalog.config_json import read_config

        architecture, problems = read_config(read)
        if architecture is None:
            return None, "", f"{named}/config.json cannot be used: `{problems[0].field}` {problems[0].message}"
        packed = read.get("quantization_config")
        shown = Path(os.path.relpath(file, place)).as_posix()
        match = ModelMatch(text, architecture, "", shown, packed if isinstance(packed, dict) else None, {})
        return match, shown, ""
    return None, "", ""


def _read(file: Path) -> dict[str, object] | None:
    """A config.json; None where there is none to read."""
    try:
        if not file.is_file() or file.stat().st_size > MAX_CONFIG:
            return None
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
