"""Commands as launches: finding the server in a command, through wrappers, shells and containers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Final

from kcluster.catalog.engines import FlagTable, flag_table
from kcluster.importers.config_file import words_of
from kcluster.importers.flags import read_flags
from kcluster.importers.shell import Shell, Variables
from kcluster.importers.words import Command, Launch, Problem, Setting, Word, count_of
from kcluster.values import evolve, frozen

_SHELLS: Final = ("bash", "sh", "dash", "zsh")
_CONTAINERS: Final = ("docker", "podman", "nerdctl")
_MODULES: Final = ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.api_server", "dynamo.vllm")
_TELLING: Final = (
    "--model",
    "--tensor-parallel-size",
    "--max-model-len",
    "--gpu-memory-utilization",
    "--served-model-name",
)
# Options of `docker run` that take no value; every other takes one.
_BARE: Final = frozenset(
    [
        "-d",
        "--detach",
        "--rm",
        "-i",
        "--interactive",
        "-t",
        "--tty",
        "-it",
        "-ti",
        "-dit",
        "-itd",
        "--privileged",
        "--init",
        "-P",
        "--publish-all",
        "--read-only",
        "--no-healthcheck",
        "--oom-kill-disable",
        "--sig-proxy",
        "-q",
        "--quiet",
        "--replace",
        "--tls-verify",
    ]
)
MAX_LAUNCHES: Final = 200
"""Servers of one text that are read."""
_ENV: Final = re.compile(r"([A-Za-z_]\w*)=")
_TAG: Final = re.compile(r":v?([0-9]{1,4}\.[0-9]{1,4}(?:\.[0-9]{1,4})?)")


@frozen
class Around:
    """What surrounds a command: what a container or a file says of it."""

    env: tuple[tuple[str, Word], ...] = ()
    name: str = ""
    cards: int = 0
    indices: tuple[int, ...] = ()
    image: str = ""
    entrypoint: bool = False
    """Whether the image's own entry point, the API server, gets the words."""
    small_shm: bool = False
    notes: tuple[str, ...] = ()
    mounts: tuple[tuple[str, str], ...] = ()
    """Places in the container with what lies there outside of it."""
    waits: bool = False


class Reader:
    """Reads launches with one engine version's flags (the newest, unless a version is given or an image says one)."""

    def __init__(
        self,
        version: tuple[int, ...] | None,
        variables: Variables,
        open_file: Callable[[str], str | None] | None = None,
    ) -> None:
        self.version, self.variables = version, dict(variables)
        self.open_file = open_file
        self.launches: list[Launch] = []
        self.notes: list[str] = []
        self.documents: list[tuple[str, Word]] = []
        """Here-documents of the text: files that it writes itself."""
        self.ray = False

    def shell(self, text: Word, around: Around, depth: int = 0) -> None:
        shell = Shell(text, self.variables, self.notes)
        commands = shell.read()
        self.documents += shell.documents
        for command in commands:
            self.command(command, around, depth)

    def command(self, command: Command, around: Around, depth: int = 0) -> None:
        """Read one command; what starts no server is passed over."""
        words = command.words
        env = {**dict(around.env), **dict(command.env)}
        around = evolve(around, env=tuple(sorted(env.items())), waits=command.waits)
        container = next((n for n, word in enumerate(words) if _base(word) in _CONTAINERS), None)
        if container is not None and any(word.text == "run" for word in words[container + 1 : container + 3]):
            around = _with_env(words[:container], around)
            words, around = _container(words[container + 1 :], around)
        if any(_base(word) == "ray" and after.text == "start" for word, after in pairwise(words)):
            self.ray = True
        inner = _inner_shell(words)
        if inner is not None and depth < 5:
            self.shell(inner, evolve(around, entrypoint=False), depth + 1)
            return
        start = _server(words)
        if start is not None:
            self._launch(words[start:], words, _with_env(words[:start], around))
        elif around.entrypoint and words:
            self._launch(words, words, around)

    def _launch(self, arguments: tuple[Word, ...], words: tuple[Word, ...], around: Around) -> None:
        if len(self.launches) >= MAX_LAUNCHES:
            return
        tag = _TAG.search(around.image)
        version = tag[1] if tag else ""
        parsed = self.version or (tuple(int(part) for part in version.split(".")) if version else None)
        settings, loose, spoilt = read_flags(arguments, table_of(parsed))
        problems = list(spoilt)
        settings = (*self._configured(settings, table_of(parsed)), *settings)
        named = next((one for one in reversed(settings) if one.flag == "--model" and one.values), None)
        if around.entrypoint and loose and loose[0].text == "serve" and len(words) == len(arguments):
            problems.append(
                Problem(
                    "KC801",
                    "`serve` is repeated: the entry point of this image is the server already, and refuses the word",
                    loose[0].span,
                    help="leave `serve` out, and name the model with `--model`",
                    fix=(loose[0].span, "--model") if named is None and len(loose) > 1 else None,
                )
            )
            loose = loose[1:]
        notes = list(around.notes)
        model = named.values[0] if named else None
        for word in loose:
            if word.unset and model is None and "MODEL" not in "".join(word.unset).upper() and _may_be_flags(word):
                notes.append(f"{word.text} may hold flags: nothing sets it here")
            elif model is None and not (word.unset and _may_be_flags(word) and word.text.upper().find("MODEL") < 0):
                model = word
            elif word.unset:
                notes.append(f"{word.text} may hold flags: nothing sets it here")
            elif word.text:
                problems.append(Problem("KC801", f"`{word.text}` belongs to no flag: the engine refuses it", word.span))
        span = words[0].span
        for word in words:
            span = span.cover(word.span)
        indices = around.indices or _visible(around)
        self.launches.append(
            Launch(
                model=model,
                settings=tuple(one for one in settings if one.flag != "--model"),
                env=around.env,
                span=span,
                name=around.name,
                cards=around.cards or len(indices),
                indices=indices,
                version=version,
                image=around.image,
                small_shm=around.small_shm,
                notes=tuple(notes),
                problems=(*problems, *_about_env(around)),
                outside=_outside(model, around),
                waits=around.waits,
            )
        )

    def _configured(self, settings: tuple[Setting, ...], table: FlagTable) -> tuple[Setting, ...]:
        """What the file of `--config` says, which the command's own flags then override."""
        config = next((one for one in reversed(settings) if one.flag == "--config" and one.values), None)
        if config is None:
            return ()
        name = config.text.rpartition("/")[2]
        text = next((body.text for path, body in self.documents if path.rpartition("/")[2] == name), None)
        if text is None and self.open_file is not None and not config.unset:
            text = self.open_file(config.text)
        if text is None:
            self.notes.append(f"{config.text}, which --config names, could not be read")
            return ()
        found, _, _ = read_flags(words_of(text, config.values[0]), table)
        return tuple(evolve(one, elsewhere=True) for one in found)


def table_of(version: tuple[int, ...] | None) -> FlagTable:
    """The flag table of a vLLM version, of the newest where none is given."""
    from kcluster.catalog.engines import engine_versions

    table = flag_table("vllm", version or engine_versions("vllm")[-1])
    assert table is not None
    return table


def _may_be_flags(word: Word) -> bool:
    """Whether a word that is nothing but an unset variable could hold flags."""
    return re.fullmatch(r"\$\{?\w+(\[@\])?\}?", word.text) is not None


def _base(word: Word) -> str:
    return word.text.rpartition("/")[2]


def _server(words: tuple[Word, ...]) -> int | None:
    """Where the server's arguments begin; None where no server is started."""
    for at, word in enumerate(words):
        after = words[at + 1].text if at + 1 < len(words) else ""
        if _base(word) == "vllm" and after == "serve":
            return at + 2
        if word.text == "-m" and after in _MODULES:
            return at + 2
        if word.text.startswith("vllm.entrypoints.cli") and after == "serve":
            return at + 2
        if word.text.endswith("openai/api_server.py"):
            return at + 1
    return None


def _inner_shell(words: tuple[Word, ...]) -> Word | None:
    for at, word in enumerate(words[:-1]):
        if _base(word) in _SHELLS:
            for number in range(at + 1, len(words) - 1):
                if re.fullmatch(r"-[a-z]*c", words[number].text):
                    return words[number + 1]
    return None


def _with_env(words: tuple[Word, ...], around: Around) -> Around:
    """With what stands as NAME=value before a program: `sudo NAME=value`, `env NAME=value`."""
    found = [(match[1], word.part(match.end())) for word in words if (match := _ENV.match(word.text))]
    return evolve(around, env=tuple(sorted({**dict(around.env), **dict(found)}.items()))) if found else around


def _container(words: tuple[Word, ...], around: Around) -> tuple[tuple[Word, ...], Around]:
    """`run OPTIONS IMAGE COMMAND…`: the words behind the image, and what the options say."""
    at = next((n for n, word in enumerate(words) if word.text == "run"), 0) + 1
    env = dict(around.env)
    entrypoint: Word | None = None
    small = True
    while at < len(words) and words[at].text.startswith("-"):
        word = words[at]
        name, equals, _ = word.text.partition("=")
        value = word.part(len(name) + 1) if equals else None
        at += 1
        if value is None and name not in _BARE and at < len(words):
            value, at = words[at], at + 1
        if name == "--detach" or re.fullmatch(r"-[it]*d[it]*", name):
            around = evolve(around, waits=False)
        if value is None:
            continue
        if name in ("--ipc", "--shm-size") or "/dev/shm" in value.text:  # noqa: S108
            small = False
        if name in ("-e", "--env"):
            variable, _, _ = value.text.partition("=")
            env[variable] = value.part(len(variable) + 1)
        elif name in ("--gpus", "--device"):
            around = _cards(around, value.text)
        elif name == "--name" and not value.unset:
            around = evolve(around, name=value.text)
        elif name == "--entrypoint":
            entrypoint = value
        elif name in ("-v", "--volume", "--mount"):
            around = evolve(around, mounts=(*around.mounts, *mount_of(value.text)))
    image = words[at].text if at < len(words) else ""
    rest = words[at + 1 :]
    if entrypoint is not None and entrypoint.text:
        rest = (entrypoint, *rest)
    own = entrypoint is None and _server(rest) is None and runs_engine(image, rest)
    return rest, evolve(around, env=tuple(sorted(env.items())), image=image, entrypoint=own, small_shm=small)


def runs_engine(image: str, words: tuple[Word, ...]) -> bool:
    """Whether an image's own entry point is the engine's server: by the image's name, else by flags that only it has."""
    return "vllm" in image.lower() or any(word.text.partition("=")[0] in _TELLING for word in words)


def mount_of(text: str) -> tuple[tuple[str, str], ...]:
    """`HOST:CONTAINER[:ro]` or `type=bind,source=…,target=…` as (place in the container, place outside); empty for neither."""
    if "=" in text:
        parts = dict(part.partition("=")[::2] for part in text.split(","))
        pair = (
            next((parts[key] for key in ("target", "destination", "dst") if key in parts), ""),
            next((parts[key] for key in ("source", "src") if key in parts), ""),
        )
        return (pair,) if all(pair) else ()
    found = re.fullmatch(r"(.+?):(/[^:]*)(:[a-zA-Z,]+)?", text)
    return ((found[2].rstrip("/"), found[1]),) if found else ()


def _outside(model: Word | None, around: Around) -> str:
    """Where the model's folder lies outside of the container, by the mount that holds it."""
    text = model.text.rstrip("/") if model is not None else ""
    if not text.startswith("/"):
        return ""
    found = [(inner, outer) for inner, outer in around.mounts if text == inner or text.startswith(inner + "/")]
    inner, outer = max(found, key=lambda pair: len(pair[0]), default=("", ""))
    return outer.rstrip("/") + text[len(inner) :] if inner else ""


def _cards(around: Around, text: str) -> Around:
    """`--gpus 4`, `--gpus '"device=0,1"'`, `--device nvidia.com/gpu=0`."""
    plain = text.strip("\"' ")
    number = count_of(plain)
    if number is not None:
        return evolve(around, cards=number)
    found = re.search(r"(?:device=|gpu=)([0-9,]+)", plain)
    if found is None:
        return around
    indices = [number for part in found[1].split(",") if (number := count_of(part)) is not None]
    return evolve(around, indices=tuple(dict.fromkeys((*around.indices, *indices))))


def _visible(around: Around) -> tuple[int, ...]:
    env = dict(around.env)
    for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        word = env.get(name)
        if word is not None and re.fullmatch(r"[0-9]{1,6}(,[0-9]{1,6})*", word.text):
            return tuple(int(part) for part in word.text.split(","))
    return ()


def _about_env(around: Around) -> Iterable[Problem]:
    """Variables whose values what reads them refuses."""
    word = dict(around.env).get("GLOO_SOCKET_IFNAME")
    if word is not None and word.text.startswith(("^", "=")):
        yield Problem(
            "KC801",
            f"GLOO_SOCKET_IFNAME takes the name of one interface: `{word.text}` is what only NCCL_SOCKET_IFNAME takes",
            word.span,
            help="name the interface that the nodes reach each other by, such as `eth0`",
        )
