"""`$(( … ))` of a shell, in whole numbers."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Final

from kcluster.importers.words import Word

_PLAIN: Final = re.compile(r"[0-9 +*/%()-]{1,60}")
_SIGNS: Final[dict[type[ast.operator], Callable[[int, int], int]]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip


def computed(expression: str, variables: Mapping[str, tuple[Word, ...]]) -> str | None:
    """What stands between `$((` and `))`, computed; None where a name in it has no number, or where it is more than arithmetic."""

    def number(match: re.Match[str]) -> str:
        words = variables.get(match[1], ())
        return words[0].text if len(words) == 1 and re.fullmatch(r"[0-9]{1,9}", words[0].text) else "?"

    plain = re.sub(r"\$?\{?([A-Za-z_]\w*)\}?", number, expression)
    if not _PLAIN.fullmatch(plain) or "**" in plain or "//" in plain:
        return None
    try:
        return str(_value(ast.parse(plain.strip(), mode="eval").body))
    except (SyntaxError, ValueError, ZeroDivisionError):
        return None


def _value(node: ast.expr) -> int:
    """The value of numbers and the signs between them. Raises ValueError for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _SIGNS:
        return _SIGNS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError
