"""Write the product's flag table of SGLang from the declarations in its wheel, which are read and never run.

    python benchmarks/catalog/import_sglang_flags.py FOLDER VERSION        # FOLDER holds sglang/srt, unpacked

From 0.5.2x on every option is an annotated field of a class under `srt/arg_groups/fields`; `server_args.py` adds a few by hand and
keeps retired spellings. The table has the form of vLLM's.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).resolve().parents[2] / "compiler/kcluster/catalog/data/engines/sglang.tsv"
COLUMNS = ("since", "until", "flag", "kind", "nargs", "default", "deprecated", "aliases", "choices", "hint", "instead")
SCALARS = {"str": "str", "int": "int", "float": "float"}


def constants(folder: Path) -> dict[str, list[str]]:
    """The lists of choices by name."""
    found: dict[str, list[str]] = {}
    for node in ast.parse((folder / "choices.py").read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                value = ast.literal_eval(node.value)
            except ValueError:
                continue
            if isinstance(value, list | set | tuple):
                found[node.targets[0].id] = (
                    sorted(map(str, value)) if isinstance(value, set) else [str(v) for v in value]
                )
    return found


def fields(folder: Path) -> Iterator[ast.AnnAssign]:
    for path in sorted((folder / "fields").glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                yield from (item for item in node.body if isinstance(item, ast.AnnAssign))


def row(field: ast.AnnAssign, known: dict[str, list[str]]) -> tuple[str, ...] | None:
    """The columns of one field's option; None for a field that has none."""
    annotation = field.annotation
    if not (
        isinstance(annotation, ast.Subscript) and isinstance(annotation.value, ast.Name) and annotation.value.id == "A"
    ):
        return None
    inner, *extras = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
    call = next((one for one in extras if isinstance(one, ast.Call)), None)
    meta = {word.arg: word.value for word in call.keywords} if call is not None else {}
    if "no_cli" in meta or not extras:
        return None
    assert isinstance(field.target, ast.Name)
    name = literal(meta.get("cli_name")) or "--" + field.target.id.replace("_", "-")
    kind, choices = typed(inner)
    if "choices" in meta:
        choices = listed(meta["choices"], known)
    if "type_parser" in meta:
        kind = "json" if "json" in ast.unparse(meta["type_parser"]) else "str"
    nargs = "0" if kind == "bare" else str(literal(meta.get("nargs")) or ("+" if kind.endswith("+") else ""))
    default = literal(field.value)
    return (
        str(name),
        kind.rstrip("+"),
        nargs,
        "" if default is None or default is False else json.dumps(default),
        "deprecated" if "Deprecated" in ast.unparse(meta.get("action", ast.Constant(""))) else "",
        " ".join(sorted(literal(meta.get("aliases")) or ())),
        "|".join(choices),
        "",
        "",
    )


def typed(node: ast.expr) -> tuple[str, list[str]]:
    """The kind of a field's type, with the words of a Literal; `+` behind a list's."""
    text = ast.unparse(node)
    if isinstance(node, ast.Subscript):
        head = ast.unparse(node.value)
        if head == "Optional":
            return typed(node.slice)
        if head == "Literal":
            return "str", [
                str(value)
                for value in ast.literal_eval(
                    node.slice if isinstance(node.slice, ast.Tuple) else ast.Tuple([node.slice], ast.Load())
                )
            ]
        if head in ("List", "list"):
            return typed(node.slice)[0] + "+", []
        if head in ("Dict", "dict"):
            return "json", []
    return ("bare" if text == "bool" else SCALARS.get(text, "str")), []


def listed(node: ast.expr, known: dict[str, list[str]]) -> list[str]:
    if isinstance(node, ast.Name):
        return known.get(node.id, [])
    try:
        return [str(value) for value in ast.literal_eval(node)]
    except ValueError:
        return []


def literal(node: ast.expr | None) -> Any:
    try:
        return ast.literal_eval(node) if node is not None else None
    except ValueError:
        return None


def by_hand(server_args: Path) -> Iterator[tuple[str, ...]]:
    """What `server_args.py` adds itself."""
    for node in ast.walk(ast.parse(server_args.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            names = [value for value in map(literal, node.args) if isinstance(value, str) and value.startswith("--")]
            if not names:
                continue
            meta = {word.arg: word.value for word in node.keywords}
            action = ast.unparse(meta["action"]) if "action" in meta else ""
            bare = "StoreTrue" in action or "store_true" in action
            kind = "bare" if bare else SCALARS.get(ast.unparse(meta["type"]) if "type" in meta else "str", "str")
            old = "deprecated" if "Deprecated" in action else ""
            instead = str(literal(meta.get("new_flag")) or "") if old else ""
            yield (names[0], kind, "0" if bare else "", "", old, " ".join(names[1:]), "", "", instead)


def main(folder: Path, version: str) -> None:
    groups = folder / "sglang" / "srt" / "arg_groups"
    known = constants(groups)
    rows = {made[0]: made for made in (row(field, known) for field in fields(groups)) if made is not None}
    for made in by_hand(folder / "sglang" / "srt" / "server_args.py"):
        rows.setdefault(made[0], made)
    table = ".".join(version.split(".")[:2])
    head = [
        f"# Options of SGLang's server, read from the declarations in the wheel of {version} (2026-11).",
        "# Written by benchmarks/catalog/import_sglang_flags.py; do not edit.",
        f"tables\t{table}",
        "\t".join(COLUMNS),
    ]
    lines = ["\t".join((table, table, *rows[name])) for name in sorted(rows)]
    OUTPUT.write_text("\n".join(head + lines) + "\n", encoding="utf-8")
    print(f"{OUTPUT.name}: {len(lines)} lines, {OUTPUT.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
