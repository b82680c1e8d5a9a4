"""Findings of many specs: from the cache where they are there, else from all cores, always in the order of the specs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kcluster.cache import Cache
from kcluster.cli.common import Input, shown_path
from kcluster.diagnostics import Diagnostic
from kcluster.diagnostics.stored import dump, load
from kcluster.project import SYNTAX, Project, find_root, load_project
from kcluster.reads import Reads
from kcluster.source import Source
from kcluster.values import evolve, frozen

if TYPE_CHECKING:
    from kcluster.pipeline import Checked

MANY: Final = 12
"""Specs from which on starting further processes pays."""
_AT_ONCE: Final = 4
"""Specs that a process takes at a time."""


@frozen
class Linted:
    """One spec's findings, as yet without the project's settings, and what was read for them. `answer` holds the findings as
    they are stored."""

    one: Input
    answer: bytes
    reads: Reads

    def findings(self) -> tuple[Diagnostic, ...]:
        return load(self.answer, source_of(self.one))


def source_of(one: Input) -> Source:
    """The text of a spec as the pipeline sees it."""
    from kcluster.syntax.parser import decode

    return decode(one.data, one.path)[0]


def lint(specs: Sequence[Input], cache: Cache | None, jobs: int) -> Iterator[Linted]:
    """Judge specs, in order.

    Args:
        cache: None to judge everything anew, and to keep nothing.
        jobs: processes at once.
    """
    known: dict[int, Linted] = {}
    if cache is not None:
        for index, one in enumerate(specs):
            found = cache.get(_key(cache, one))
            if found is not None:
                known[index] = Linted(one, found[0], Reads.of(found[1]))
    waiting = [one for index, one in enumerate(specs) if index not in known]
    fresh = _judged(waiting, jobs)
    for index, one in enumerate(specs):
        if index in known:
            yield known[index]
            continue
        linted = next(fresh)
        if cache is not None:
            cache.put(_key(cache, one), linted.reads, linted.answer)
        yield linted


def _key(cache: Cache, one: Input) -> str:
    return cache.key("spec", one.path, os.path.abspath(one.folder), one.data)


def judge(one: Input) -> Linted:
    """The findings of one spec, from its text."""
    from kcluster.pipeline import decode_and_check

    reads = Reads()
    checked = decode_and_check(one.data, one.path, folder=one.folder, trace=reads)
    return Linted(one, dump(checked.diagnostics, source_of(one)).encode(), reads)


def _judged(specs: Sequence[Input], jobs: int) -> Iterator[Linted]:
    done = 0
    if jobs > 1 and len(specs) >= MANY:
        yield judge(specs[0])  # imports and reads once what the processes then share
        done = 1
        for linted in _in_processes(specs[1:], jobs):
            yield linted
            done += 1
    for one in specs[done:]:
        yield judge(one)


def _in_processes(specs: Sequence[Input], jobs: int) -> Iterator[Linted]:
    """Judge in further processes. Where they cannot be had, or one is ended from outside, it stops early: the rest is then judged
    in this one."""
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_all_start_methods, get_context

    # Forked processes share what is already imported; elsewhere each imports for itself.
    context = get_context("fork" if "fork" in get_all_start_methods() and sys.platform == "linux" else None)
    try:
        with ProcessPoolExecutor(jobs, mp_context=context, initializer=_leave_interrupts) as pool:
            try:
                yield from pool.map(judge, specs, chunksize=_AT_ONCE)
            except GeneratorExit:
                pool.shutdown(cancel_futures=True)
                raise
    except (BrokenProcessPool, OSError):
        return


def checked(one: Input, settings: Settings) -> Checked:
    """One spec the whole way, with the findings that `lint` reports: compile and plan go by the same errors as it does."""
    from kcluster.pipeline import decode_and_check

    found = decode_and_check(one.data, one.path, folder=one.folder)
    return evolve(found, diagnostics=settings.graded(one, found.diagnostics))


def _leave_interrupts() -> None:
    """Ctrl-C reaches every process of a terminal; the one that gave out the work ends the others, in silence."""
    from signal import SIG_IGN, SIGINT, signal

    signal(SIGINT, SIG_IGN)


class Settings:
    """What the command line and the projects of the specs say about codes."""

    def __init__(self, select: tuple[str, ...], ignore: tuple[str, ...], reads: Reads) -> None:
        self.select = select
        self.ignore = ignore
        self.reads: Final = reads
        self.found: Final[list[Diagnostic]] = []
        """Mistakes in the settings themselves."""
        self._projects: Final[dict[str, Project]] = {}

    def graded(self, one: Input, found: Sequence[Diagnostic]) -> tuple[Diagnostic, ...]:
        """The findings that are wanted, with their severities. Syntax errors are always among them: with one, that a code was not
        found means nothing."""
        project = self.project(one.folder)
        select = self.select or project.select
        ignore = (*self.ignore, *(() if self.select else project.ignore))
        return tuple(
            d
            for d in project.graded(found)
            if d.code.startswith(SYNTAX)
            or (
                (not select or d.code.startswith(select))
                and not (ignore and d.code.startswith(ignore))
                and not project.leaves_out(d.code, d.source.path)
            )
        )

    def project(self, folder: Path) -> Project:
        """The settings of the project that a folder lies in."""
        root = find_root(folder, self.reads)
        known = self._projects.get(str(root))
        if known is None:
            known, found = load_project(root, shown=shown_path(root), trace=self.reads)
            self._projects[str(root)] = known
            self.found.extend(found)
        return known
