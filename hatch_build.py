"""Build hook: prebuilt parser tables for wheels (see `compiler/kcluster/syntax/tables.py`).

They are generated, so they are in no repository; without them the parser is built from the grammar. Editable installs go without: there the live grammar is the one that counts.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ParserTables(BuildHookInterface[Any]):
    """Adds the module `kcluster.syntax.prebuilt` to a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        root = Path(self.root)
        grammar = (root / "grammar" / "kcluster.lark").read_text(encoding="utf-8")
        self._folder = tempfile.TemporaryDirectory()
        module = Path(self._folder.name) / "prebuilt.py"
        text = _module(root / "compiler" / "kcluster" / "syntax" / "tables.py").dump(grammar)
        module.write_text(text, encoding="utf-8")
        build_data["force_include"][str(module)] = "kcluster/syntax/prebuilt.py"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            self._folder.cleanup()


def _module(path: Path) -> ModuleType:
    """A module by its path: the package itself, and what it imports, is not installed where a wheel is built."""
    spec = importlib.util.spec_from_file_location("kcluster_tables", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module at {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
