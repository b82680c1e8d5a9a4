"""Write what configuration classes of transformers take for fields that a config.json does not have.

    python benchmarks/catalog/import_class_defaults.py FOLDER        # transformers/models of an unpacked wheel

Only the syntax of the classes is read; nothing of transformers is imported. Kept are whole numbers and switches that a family
here reads, of the model types that a family reads and of the towers in their files.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "compiler")]

from kcluster.catalog.config_json import model_types

CATALOG = Path(__file__).resolve().parents[2] / "compiler/kcluster/catalog"
OUTPUT = CATALOG / "data/class_defaults.txt"
TOWERS = {"clip_vision_model", "siglip_vision_model", "pixtral"}
"""Towers that stand in files of their own."""
LEFT_OUT = {"tie_word_embeddings", "sliding_window_pattern"}
"""What a published checkpoint and its class are known to disagree on, and what a family computes from other fields."""
HEAD = """\
# What a configuration class takes for a field that a config.json does not have, one class a line.
# Source: pypi transformers 5.23.0, models/*/configuration_*.py, 2026-11-24; made by benchmarks/catalog/import_class_defaults.py
"""


def asked() -> set[str]:
    """Every name that a reader of a family might ask for."""
    found = set()
    for path in CATALOG.glob("families_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
                found.add(node.value)
    return found - LEFT_OUT


def number(node: ast.expr) -> int | bool | None:
    """A switch, a whole number, or a product of two; None for anything else."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        left, right = number(node.left), number(node.right)
        return left * right if left and right else None
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, int) and value >= 0 else None


def defaults(cls: ast.ClassDef, names: set[str]) -> tuple[str, dict[str, int | bool]]:
    """The `model_type` of a class, "" for none, and its defaults."""
    kind, found = "", {}
    for line in cls.body:
        target, value = None, None
        if isinstance(line, ast.AnnAssign):
            target, value = line.target, line.value
        elif isinstance(line, ast.Assign):
            target, value = line.targets[0], line.value
        if not isinstance(target, ast.Name) or value is None:
            continue
        if target.id == "model_type" and isinstance(value, ast.Constant):
            kind = str(value.value)
        elif target.id in names and (size := number(value)) is not None:
            found[target.id] = size
    return kind, found


def main(folder: Path) -> None:
    names = asked()
    wanted = set(model_types())
    wanted |= {f"{kind}_{end}" for kind in wanted for end in ("text", "text_model")}
    rows: dict[str, dict[str, int | bool]] = {}
    for path in sorted(folder.glob("*/configuration_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = dict(defaults(item, names) for item in tree.body if isinstance(item, ast.ClassDef))
        ours = found.keys() & wanted
        for kind, row in found.items():
            if kind and row and (kind in ours or kind in TOWERS or (ours and "vision" in kind)):
                rows.setdefault(kind, row)
    lines = []
    for kind, row in sorted(rows.items()):
        cells = (f"{name}={str(value).lower()}" for name, value in sorted(row.items()))
        lines.append(" ".join((kind, *cells)))
    OUTPUT.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
