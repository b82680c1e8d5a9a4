"""Write what configuration classes of transformers take for fields that a config.json does not have.

    python benchmarks/catalog/import_class_defaults.py FOLDER        # transformers/models of an unpacked wheel

Only the syntax of the classes is read; nothing of transformers is imported. Kept are fields that decide sizes and KV, of the
model types that a family here reads.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "compiler")]

from kcluster.catalog.config_json import model_types

OUTPUT = Path(__file__).resolve().parents[2] / "compiler/kcluster/catalog/data/class_defaults.tsv"
FIELDS = (
    "sliding_window",
    "head_dim",
    "num_key_value_heads",
    "max_window_layers",
    "attention_chunk_size",
    "q_lora_rank",
    "max_position_embeddings",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "vocab_size",
)
HEAD = """\
# What a configuration class takes for a field that a config.json does not have; - is none, as a null in the config is.
# Source: pypi transformers 5.23.0, models/*/configuration_*.py, 2026-11-24; made by benchmarks/catalog/import_class_defaults.py
"""


def number(node: ast.expr) -> int | None:
    """A whole number above 0, or a product of two; None for anything else."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        left, right = number(node.left), number(node.right)
        return left * right if left and right else None
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def defaults(cls: ast.ClassDef) -> tuple[str, dict[str, int]]:
    """The `model_type` of a class, "" for none, and its defaults."""
    kind, found = "", {}
    for line in cls.body:
        target = (
            line.target
            if isinstance(line, ast.AnnAssign)
            else line.targets[0]
            if isinstance(line, ast.Assign)
            else None
        )
        value = line.value if isinstance(line, ast.AnnAssign | ast.Assign) else None
        if not isinstance(target, ast.Name) or value is None:
            continue
        if target.id == "model_type" and isinstance(value, ast.Constant):
            kind = str(value.value)
        elif target.id in FIELDS and (size := number(value)) is not None:
            found[target.id] = size
    return kind, found


def main(folder: Path) -> None:
    kinds = set(model_types())
    kinds |= {f"{kind}_text" for kind in kinds}
    rows: dict[str, dict[str, int]] = {}
    for path in sorted(folder.glob("*/configuration_*.py")):
        for item in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(item, ast.ClassDef):
                kind, found = defaults(item)
                if kind in kinds and found:
                    rows.setdefault(kind, found)
    lines = ["\t".join(("model_type", *FIELDS))]
    lines += ["\t".join((kind, *(str(rows[kind].get(name, "-")) for name in FIELDS))) for kind in sorted(rows)]
    OUTPUT.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
