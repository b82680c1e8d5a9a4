"""Short forms of trees and findings for the tests of this room."""

from __future__ import annotations

import re
from pathlib import Path

from kcluster.diagnostics import Diagnostic, Edit
from kcluster.source import Source
from kcluster.syntax.ast import (
    Attribute,
    Block,
    CallNode,
    File,
    Import,
    Item,
    ListNode,
    NumberNode,
    RangeNode,
    StringNode,
    TimesNode,
    ValueNode,
    WordNode,
)
from kcluster.syntax.parser import parse

ROOT = Path(__file__).parents[2]
LANGUAGE = ROOT.parent / "shared" / "design" / "LANGUAGE.md"

EXAMPLE = """\
# Llama 3.3 70B on one box of four RTX 5090
model llama-70b {
  id         = "meta-llama/Llama-3.3-70B-Instruct"            # architecture: from the catalog by this id …
  checkpoint = "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic"  # … and what the engine loads (default: id)
  weights    = fp8
}

hardware box {
  nodes = 1
  gpus  = 4 * rtx-5090          # per node
  bus   = pcie(5, x16, p2p = off)
  hosts = ["10.0.0.11"]
}

sla agents {
  concurrency = 12              # requests in flight at peak
  context     = 8K              # prompt + completion, the longest, in tokens
  prompt      = 2K              # a typical prompt
  completion  = 500             # a typical completion
  tokens_per_second >= 20       # each request, while it streams
  ttft              <= 3s
  answer            <= 30s      # a typical completion, whole
  throughput        >= 200      # output tokens a second, all requests together
}

serve chat {
  model    = llama-70b
  hardware = box
  sla      = agents
  parallel { tp = 4, pp = 1, replicas = auto }
  engine vllm {
    version                = "0.33"
    gpu_memory_utilization = 0.92
    max_num_seqs           = 16
    prefix_caching         = on
    port                   = 8000
    api_key                = env("VLLM_API_KEY")
  }
  router nginx { listen = 8080 }
}
"""
"""The example of the language's description; a test holds it against the original where that is at hand."""


def original_example() -> str | None:
    if not LANGUAGE.is_file():
        return None
    found = re.search(r"```kcluster\n(.*?)```", LANGUAGE.read_text(encoding="utf-8"), re.DOTALL)
    return found.group(1) if found else None


def specs() -> list[Path]:
    return sorted((ROOT / "specs").rglob("*.kcluster"))


def read(text: str) -> tuple[File, tuple[Diagnostic, ...]]:
    return parse(Source("t.kcluster", text))


def sound(text: str) -> File:
    """The tree of a text that must have no errors."""
    file, found = read(text)
    assert not found, [(one.code, one.message) for one in found]
    assert file.complete
    return file


def tree(item: Item | ValueNode) -> object:
    """A node without spans."""
    match item:
        case Block():
            return (item.keyword.text, [tree(label) for label in item.labels], [tree(inner) for inner in item.items])
        case Attribute():
            return (tree(item.key), item.operator, tree(item.value))
        case Import():
            return ("import", item.path.text)
        case NumberNode():
            return (item.value, item.unit) if item.unit else item.value
        case WordNode():
            return item.text
        case StringNode():
            return f'"{item.text}"'
        case ListNode():
            return [tree(inner) for inner in item.items]
        case RangeNode():
            return f"{tree(item.first)}..{tree(item.last)}"
        case TimesNode():
            return (tree(item.count), "*", tree(item.item))
        case CallNode():
            named = {one.name.text: tree(one.value) for one in item.named}
            return (item.name.text, [tree(one) for one in item.arguments], named)


def trees(file: File) -> list[object]:
    return [tree(item) for item in file.items]


def applied(text: str, edits: list[Edit]) -> str:
    for edit in sorted(edits, key=lambda one: (one.span.start, one.span.end), reverse=True):
        text = text[: edit.span.start] + edit.text + text[edit.span.end :]
    return text


def mended(text: str, found: tuple[Diagnostic, ...]) -> str:
    """The text with the first fix of each finding."""
    return applied(text, [edit for one in found for fix in one.fixes[:1] for edit in fix.edits])
