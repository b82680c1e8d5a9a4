"""Hold a plan against a real engine: its start-up log, or its /metrics.

PLAN is a folder that kcluster compiled, or its plan.toml. Of what differs the first in the order of cause is named, and what in
the spec explains it. Exit codes: 0 as planned, 1 something differs or the engine refused, 2 wrong usage or unreadable input."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Final

from kcluster.cli.common import FINDINGS, OK, STDIN, UsageError, add_color, say, wants_color
from kcluster.verify.checks import Report
from kcluster.verify.planned import Planned

PLAN: Final = "plan.toml"
MOST: Final = 256 * 2**20
"""Bytes of a log or of metrics that are read."""

PATIENCE: Final = 20
"""Seconds that a server is waited for."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "plan", metavar="PLAN", nargs="?", default=".", help="a compiled folder, or its plan.toml (default: .)"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--log", metavar="FILE", help="a start-up log of vLLM, or - for standard input")
    what.add_argument(
        "--metrics", metavar="URL|FILE", help="the engine's /metrics, or what it answered, or - for standard input"
    )
    parser.add_argument(
        "--serve", metavar="NAME", help="which serve the engine is of (default: the only one, or by its model)"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    add_color(parser)


def run(arguments: argparse.Namespace) -> int:
    path = os.path.join(arguments.plan, PLAN) if os.path.isdir(arguments.plan) else arguments.plan
    serves = _serves(path)
    report = _log(serves, arguments) if arguments.log is not None else _metrics(serves, arguments)
    if arguments.format == "json":
        import json

        from kcluster.render.verification import as_json

        say(json.dumps(as_json(report, path), indent=2, ensure_ascii=False))
    else:
        from kcluster.render.verification import as_text

        say(as_text(report, color=wants_color(sys.stdout, arguments.color)))
    return OK if report.verdict == "as planned" else FINDINGS


def _serves(path: str) -> tuple[Planned, ...]:
    from kcluster.verify.planned import Unreadable, read_plan

    try:
        return read_plan(_file(path))
    except Unreadable as error:
        raise UsageError(f"{path}: {error}") from None


def _log(serves: tuple[Planned, ...], arguments: argparse.Namespace) -> Report:
    from kcluster.verify.against_log import against_log
    from kcluster.verify.logs import read_log

    log = read_log(_file(arguments.log))
    if not log.anything:
        raise UsageError(f"{arguments.log}: no line of a vLLM start is in it")
    args = log.args or {}
    names = {str(name) for name in (args.get("model"), args.get("model_tag"), log.config.get("model")) if name}
    served = args.get("served_model_name")
    names.update(map(str, served) if isinstance(served, (list, tuple)) else [])
    plan = _chosen(serves, arguments.serve, names)
    if plan.engine not in ("vllm", "triton"):
        raise UsageError(
            f"`{plan.name}` runs {plan.engine}: verify reads the logs of vLLM (also inside of Triton), and the metrics of every engine"
        )
    return against_log(plan, log, arguments.log)


def _metrics(serves: tuple[Planned, ...], arguments: argparse.Namespace) -> Report:
    from kcluster.verify.against_metrics import against_metrics, known
    from kcluster.verify.exposition import read_exposition

    source = arguments.metrics
    text = _url(source) if source.startswith(("http://", "https://")) else _file(source)
    samples = read_exposition(text)
    names = {sample.labels["model_name"] for sample in samples if "model_name" in sample.labels}
    plan = _chosen(serves, arguments.serve, names)
    if not known(plan, samples):
        raise UsageError(f"{source}: no metrics of {plan.engine} are in it")
    return against_metrics(plan, samples, source)


def _chosen(serves: tuple[Planned, ...], wanted: str | None, models: set[str]) -> Planned:
    """The serve that is asked for, else the only one, else the only one that has the model's name."""
    found = [one for one in serves if one.name == wanted] if wanted is not None else list(serves)
    if wanted is None and len(found) > 1:
        found = [one for one in serves if models & {one.checkpoint, *one.served_names}]
    if len(found) == 1:
        return found[0]
    names = ", ".join(one.name for one in serves)
    raise UsageError(
        f"there is no serve `{wanted}` (there are: {names})"
        if wanted is not None
        else f"which serve is it? --serve {names}"
    )


def _file(path: str) -> str:
    try:
        if path == STDIN:
            data = sys.stdin.buffer.read(MOST + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MOST + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MOST:
        raise UsageError(f"{path} is larger than {MOST // 2**20} MiB")
    return data.decode("utf-8", "replace")


def _url(url: str) -> str:
    """What a server answers, and no other one that it points to."""
    import http.client
    from urllib.error import URLError
    from urllib.parse import urlsplit
    from urllib.request import HTTPRedirectHandler, ProxyHandler, build_opener

    class Here(HTTPRedirectHandler):
        def redirect_request(self, *_: object, **__: object) -> None:
            return None

    try:
        if not urlsplit(url).hostname:
            raise UsageError(f"{url} names no host")
        with build_opener(ProxyHandler({}), Here()).open(url, timeout=PATIENCE) as answer:
            data = answer.read(MOST + 1)
    except (URLError, OSError, ValueError, http.client.HTTPException) as error:
        raise UsageError(f"cannot read {url}: {getattr(error, 'reason', None) or error}") from None
    if len(data) > MOST:
        raise UsageError(f"{url} answers more than {MOST // 2**20} MiB")
    return str(data.decode("utf-8", "replace"))
