"""The short way of `lint`: the same command line over the same bytes gives the same text, so that is what is kept.

Loaded before anything else, and where nothing has changed, instead of anything else.
"""

from __future__ import annotations

import os
import sys

from kcluster.cache import Cache, folder_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kcluster.reads import Reads

_NEVER = frozenset(("--no-cache", "--fix", "--unsafe-fixes", "--diff", "--write-baseline", "-", "--"))


def open_cache() -> Cache:
    """This user's cache."""
    return Cache(folder_of(os.environ))


def recall(arguments: Sequence[str]) -> int | None:
    """Say again what this command line said, if nothing that it rests on has changed; gives the exit code, else None."""
    stream = getattr(sys.stdout, "buffer", None)
    key = _key(cache := open_cache(), arguments)
    found = cache.get(key) if key is not None and stream is not None else None
    if found is None or stream is None:
        return None
    code, _, text = found[0].partition(b"\n")
    if not code.isdigit():
        return None
    try:
        sys.stdout.flush()
        stream.write(text)
        stream.flush()
    except OSError as error:
        return lost(error)
    return int(code)


def lost(error: OSError) -> int:
    """The exit code where what was said did not reach its reader: 0 if the reader (head, a pager) has gone, which is no failure,
    2 if it could not be written. Whatever is still to be written goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return 0
    sys.stderr.write(f"kcluster: cannot write the output: {error.strerror or error}\n")
    return 2


def remember(cache: Cache, arguments: Sequence[str], reads: Reads, code: int, text: str) -> None:
    """Keep what a command line said. Only for one that has no other effect and complained of nothing."""
    key = _key(cache, arguments)
    if key is not None:
        cache.put(key, reads, b"%d\n%b" % (code, text.encode("utf-8", "replace")))


def _key(cache: Cache, arguments: Sequence[str]) -> str | None:
    if _NEVER.intersection(arguments):
        return None
    try:
        return cache.key("run", os.getcwd(), _terminal(), *arguments)
    except OSError:
        return None


def _terminal() -> str:
    """What of the terminal and the environment decides how findings look."""
    if not sys.stdout.isatty():
        return ""
    try:
        columns = os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    environment = [os.environ.get(name, "") for name in ("COLUMNS", "NO_COLOR", "TERM")]
    return " ".join((str(columns), *environment))
