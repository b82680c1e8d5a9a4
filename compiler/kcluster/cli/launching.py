"""What `import` and `lint -- COMMAND` share: reading a command, and its findings."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kcluster.cli.common import FINDINGS, OK, STDIN, UsageError, say, wants_color, width_of
from kcluster.diagnostics import Diagnostic, at_worst
from kcluster.importers.correcting import corrected
from kcluster.importers.documents import Found, read_text
from kcluster.importers.judge import Check, Judged, concerning, judge
from kcluster.importers.machines import Hardware
from kcluster.source import Source

_MAX_BYTES: Final = 2**20
_VALUE: Final = re.compile(r'[\w.*()\[\]=,"/ -]+')


def text_of(words: Sequence[str], paths: Sequence[str]) -> Source:
    """The command as a text: as given behind `--`, or of a file.

    Raises:
        UsageError: neither or both are given, or the file cannot be read.
    """
    if words:
        return Source("<command>", words[0] if len(words) == 1 else shlex.join(words))
    if len(paths) != 1:
        raise UsageError("give one file, - for standard input, or a command behind --")
    if paths[0] == STDIN:
        data, name = sys.stdin.buffer.read(_MAX_BYTES + 1), "<stdin>"
    else:
        try:
            with Path(paths[0]).open("rb") as file:
                data, name = file.read(_MAX_BYTES + 1), Path(paths[0]).as_posix()
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot read {paths[0]}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > _MAX_BYTES:
        raise UsageError(f"{name} has more than {_MAX_BYTES:,} bytes")
    return Source(name, data.decode("utf-8-sig", "replace").replace("\r\n", "\n"))


def hardware_of(arguments: argparse.Namespace) -> Hardware:
    for name in ("gpus", "bus", "network"):
        text = getattr(arguments, name)
        if text and not _VALUE.fullmatch(text):
            raise UsageError(f'--{name} takes what a spec would say, such as "4 * rtx-5090" or "pcie(5, x16)"')
    if not 0 <= arguments.nodes <= 4096:
        raise UsageError("--nodes is a number of nodes")
    hosts = tuple(host.strip() for host in arguments.hosts.split(",") if host.strip())
    if not all(re.fullmatch(r"[A-Za-z0-9.:-]{1,253}", host) for host in hosts):
        raise UsageError("--hosts takes names or addresses, such as 10.0.0.11,10.0.0.12")
    if not 0 <= arguments.listen < 65536:
        raise UsageError("--listen takes a port")
    return Hardware(
        arguments.gpus.strip(),
        arguments.bus.strip(),
        arguments.network.strip(),
        arguments.nodes,
        hosts,
        arguments.listen,
    )


def folder_of(arguments: argparse.Namespace) -> Path:
    """Where a command's relative paths start: the folder of the file that holds it, else the working folder."""
    words = getattr(arguments, "line", ())
    given = arguments.paths if "--" not in words else ()
    return Path(given[0]).parent if given and given[0] != STDIN else Path()


def read(source: Source, arguments: argparse.Namespace) -> Found:
    """The servers that a text starts.

    Raises:
        UsageError: it starts none, or an option is not what it should be.
    """
    version = arguments.engine_version
    if version and not re.fullmatch(r"\d{1,3}(\.\d{1,4}){1,3}", version):
        raise UsageError("--engine-version takes a version such as 0.33")
    variables = dict(pair.partition("=")[::2] for pair in arguments.set)
    folder = folder_of(arguments)
    found = read_text(
        source.text,
        version=tuple(int(part) for part in version.split(".")) if version else None,
        variables=variables,
        open_file=lambda name: _config(folder / name),
    )
    if not found.launches:
        other = _OTHER.search(source.text)
        told = f"; what it starts is {other[0]}, whose flags are not read" if other is not None else ""
        raise UsageError(
            f"{source.path} starts no server that is known here: `vllm serve`, its module form, its image, or `LLM(…)`{told}"
        )
    return found


_OTHER: Final = re.compile(
    r"\b(?:sglang(?:\.launch_server)?|trtllm-serve|tritonserver|text-generation-(?:inference|launcher)|llama-server|ollama|lmdeploy)\b"
)


def _config(place: Path) -> str | None:
    """The text of a YAML file of flags; None for what is none, is not there, or is too long."""
    try:
        if place.suffix not in (".yaml", ".yml") or not place.is_file() or place.stat().st_size > _MAX_BYTES:
            return None
        return place.read_bytes().decode("utf-8-sig", "replace").replace("\r\n", "\n")
    except (OSError, ValueError):
        return None


def lint_text(source: Source, arguments: argparse.Namespace, *, form: str, strict: bool) -> int:
    """Report the findings of a command on the command, and the command with its fixes made; gives the exit code."""
    from kcluster.importers.project import with_project
    from kcluster.pipeline import check_source
    from kcluster.render import render, summary

    folder = folder_of(arguments)
    found, hardware = with_project(read(source, arguments), hardware_of(arguments), folder, folder)

    def check(spec: Source) -> tuple[Diagnostic, ...]:
        return check_source(spec, folder=folder).diagnostics

    path = (folder / "imported.kcluster").as_posix()
    judged = judge(source, found, hardware, check, version=arguments.engine_version, path=path)
    color = wants_color(sys.stdout, arguments.color)
    text = render(form, judged.findings, color=color, width=width_of(sys.stdout))
    if form == "pretty":
        text += summary(judged.findings, files=1) + "\n" + _said(source, judged, hardware, found, check)
    say(text)
    worst = at_worst(judged.findings)
    return FINDINGS if worst == "error" or (worst == "warning" and strict) else OK


def _said(source: Source, judged: Judged, hardware: Hardware, found: Found, check: Check) -> str:
    """What was assumed or could not be seen, and the corrected command."""
    from kcluster.fixes import fix

    notes = [*found.notes, *(note for launch in found.launches for note in launch.notes)]
    if judged.assumed:
        given = f"the catalog has no card `{hardware.gpus}`" if hardware.gpus else 'no --gpus "4 * rtx-5090" is given'
        notes.append(f"{given}: nothing that depends on the cards was judged")
    lines = "".join(f"note: {note}\n" for note in dict.fromkeys(notes))

    fixed = fix(judged.imported.source, concerning(judged.imported, hardware, judged.assumed, check), unsafe=True)
    better = corrected(source, judged.imported, fixed.text, judged.problems)
    if better is not None:
        mended = {problem.code for problem in judged.problems if problem.fix is not None}
        codes = ", ".join(sorted({finding.code for finding in fixed.applied} | mended))
        lines += f"\nwith {codes} mended:\n\n{better.rstrip()}\n"
    return lines
