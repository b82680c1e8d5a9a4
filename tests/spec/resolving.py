"""Specs for the tests of resolving, and a short way from text to spec and findings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from kcluster.diagnostics import Diagnostic, Fix, in_order
from kcluster.source import Source
from kcluster.spec.resolve import resolve
from kcluster.spec.suppressions import apply_suppressions
from kcluster.spec.types import ServeSpec, Spec
from kcluster.syntax.parser import parse

EXAMPLE = """\
# Llama 3.3 70B on one box of four RTX 5090
model llama-70b {
  id         = "meta-llama/Llama-3.3-70B-Instruct"
  checkpoint = "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic"
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
  context     = 8K
  prompt      = 2K
  completion  = 500
  tokens_per_second >= 20
  ttft              <= 3s
  answer            <= 30s
  throughput        >= 200
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
"""The whole spec of LANGUAGE.md."""

SHORT = """\
model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
hardware box { gpus = 2 * l40s }
sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
"""
"""The shortest useful spec: a serve is implied."""


@frozen
class Resolved:
    """What came of a text: the spec, and every finding of parsing and resolving."""

    source: Source
    spec: Spec | None
    found: tuple[Diagnostic, ...]

    @property
    def codes(self) -> list[str]:
        return [finding.code for finding in self.found]

    @property
    def serve(self) -> ServeSpec:
        assert self.spec is not None
        (serve,) = self.spec.serves
        return serve

    def only(self) -> Diagnostic:
        """The one finding."""
        assert len(self.found) == 1, self.report()
        return self.found[0]

    def text(self, finding: Diagnostic) -> str:
        return finding.source.slice(finding.span)

    def report(self) -> str:
        return "\n".join(
            f"{f.source.path}:{f.source.position(f.span.start).line}: {f.code} {f.message} {f.source.slice(f.span)[:60]!r}"
            for f in self.found
        )


def resolved(text: str, *, folder: Path | None = None, path: str = "test.kcluster", **more: Any) -> Resolved:
    """Parse and resolve a text."""
    source = Source(path, text)
    file, syntax = parse(source)
    spec, found = resolve(file, folder=folder, **more)
    return Resolved(source, spec, in_order((*syntax, *found)))


def judged(text: str, further: tuple[Diagnostic, ...] = ()) -> Resolved:
    """The same with suppressions applied, over the findings of resolving and further ones."""
    source = Source("test.kcluster", text)
    file, syntax = parse(source)
    spec, found = resolve(file)
    moved = tuple(attrs.evolve(finding, source=source) for finding in further)
    return Resolved(source, spec, in_order(apply_suppressions(file, spec, (*syntax, *found, *moved))))


def applied(text: str, fix: Fix) -> str:
    """A text with a fix's edits made."""
    for edit in sorted(fix.edits, key=lambda edit: edit.span.start, reverse=True):
        text = text[: edit.span.start] + edit.text + text[edit.span.end :]
    return text


def strings_in(value: object) -> Iterator[str]:
    """Every text that a spec holds, its sources left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Source):
        return
    elif isinstance(value, tuple | list):
        for item in value:
            yield from strings_in(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from strings_in(key)
            yield from strings_in(item)
    elif attrs.has(type(value)):
        for row in attrs.fields(type(value)):  # type: ignore[arg-type]
            yield from strings_in(getattr(value, row.name))
