"""The whole way of one spec: source → tree → spec → plan → findings. Every front (command line, Python, editor) goes
this way; none has one of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from kcluster.diagnostics import Diagnostic, in_order
from kcluster.planner.types import Plan
from kcluster.reads import Reads
from kcluster.source import Source
from kcluster.spec.types import Spec
from kcluster.syntax.ast import File
from kcluster.values import frozen


@frozen
class Checked:
    """Everything known of one spec. `spec` and `plan` are None where the findings left nothing to resolve or plan."""

    source: Source
    file: File
    spec: Spec | None
    plan: Plan | None
    diagnostics: tuple[Diagnostic, ...]

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The findings of severity error that stand (are not suppressed)."""
        return tuple(d for d in self.diagnostics if d.severity == "error" and not d.suppressed)


def check_source(
    source: Source,
    *,
    folder: Path | None = None,
    before: tuple[Diagnostic, ...] = (),
    trace: Reads | None = None,
    read: Callable[[str], bytes] | None = None,
    typed: Mapping[str, bytes] | None = None,
) -> Checked:
    """Parse, resolve, plan and judge one source.

    Args:
        source: the text with the path that findings name.
        folder: the folder that relative paths in the spec (imports, configs) start from; None where the text has no
            place on a disk, and then nothing is read.
        before: findings of decoding the file.
        trace: told of everything that is read from disk.
        read: reads a path in place of the disk.
        typed: contents by real path that come before the disk's: an editor's open files.
    """
    from kcluster.rules import run as run_rules
    from kcluster.spec.resolve import resolve
    from kcluster.spec.suppressions import apply_suppressions
    from kcluster.syntax.parser import parse

    file, syntax_findings = parse(source)
    spec, spec_findings = resolve(file, folder=folder, read=read, syntax=syntax_findings, trace=trace, typed=typed)
    plan: Plan | None = None
    if spec is not None:
        from kcluster.planner.plan import plan as make_plan

        plan = make_plan(spec)
    rule_findings = run_rules(file, spec, plan)
    found = in_order((*before, *syntax_findings, *spec_findings, *rule_findings))
    return Checked(source, file, spec, plan, in_order(apply_suppressions(file, spec, found)))


def decode_and_check(data: bytes, path: str, *, folder: Path | None = None, trace: Reads | None = None) -> Checked:
    """`check_source` of a file's bytes. Bytes that are not UTF-8 are a finding, not an exception."""
    from kcluster.syntax.parser import decode

    source, findings = decode(data, path)
    return check_source(source, folder=folder, before=findings, trace=trace)
