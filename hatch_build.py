"""Build hook: what a wheel brings along so that a start need not make it, each a module of literals named `prebuilt`.

They are the parser's tables (`compiler/kcluster/syntax/tables.py`) and the parsed rows of the catalog
(`compiler/kcluster/catalog/rows.py`). They are generated, so they are in no repository, and each counts only for the very text
that it was made from. Editable installs go without: there the live grammar and catalog count.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Prebuilt(BuildHookInterface[Any]):
    """Adds `kcluster.syntax.prebuilt` and `kcluster.catalog.prebuilt` to a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        root = Path(self.root)
        package = root / "compiler" / "kcluster"
        grammar = (root / "grammar" / "kcluster.lark").read_text(encoding="utf-8")
        texts = {
            "syntax": _module(package / "syntax" / "tables.py").dump(grammar),
            "catalog": _module(package / "catalog" / "rows.py").dump(package / "catalog" / "data"),
        }
        self._folder = tempfile.TemporaryDirectory()
        for room, text in texts.items():
            module = Path(self._folder.name) / f"{room}.py"
            module.write_text(text, encoding="utf-8")
            build_data["force_include"][str(module)] = f"kcluster/{room}/prebuilt.py"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            self._folder.cleanup()


def _module(path: Path) -> ModuleType:
    """A module by its path: the package itself, and what it imports, is not installed where a wheel is built."""
    spec = importlib.util.spec_from_file_location(f"kcluster_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module at {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
