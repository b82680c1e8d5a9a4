"""Units that start a server: systemd's, Podman's (`[Container]`), and supervisord's programs."""

from __future__ import annotations

import re
from typing import Final

from kcluster.importers.launches import Around, Reader
from kcluster.importers.shell import Shell
from kcluster.importers.words import Word
from kcluster.values import evolve

_STARTED: Final = re.compile(
    r"^[ \t]*(ExecStart\s*=[ \t]*[-@:+!|]*|(?:Exec|command)\s*=)((?:.*\\[ \t]*\n)*.*)$", re.MULTILINE
)
_SET: Final = re.compile(r"^[ \t]*(?:Environment|environment)\s*=(.*)$", re.MULTILINE)
_IMAGE: Final = re.compile(r"^[ \t]*Image\s*=\s*(\S+)", re.MULTILINE)


def read_unit(reader: Reader, root: Word) -> None:
    """What each `ExecStart=`, `Exec=` or `command=` starts, whose lines a backslash continues, with what `Environment=` sets."""
    for match in _SET.finditer(root.text):
        inner = root.part(match.start(1), match.end(1))
        Shell(evolve(inner, text="export " + inner.text, places=(0,) * 7 + inner.places), reader.variables, []).read()
    env = tuple(sorted((name, words[0]) for name, words in reader.variables.items() if words))
    image = _IMAGE.search(root.text)
    for match in _STARTED.finditer(root.text):
        line = root.part(match.start(2), match.end(2))
        named = image[1] if image is not None and match[1].startswith("Exec=") else ""
        reader.shell(line, Around(env=env, image=named, entrypoint="vllm" in named))
