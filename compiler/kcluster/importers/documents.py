"""Texts as launches: shell text, Compose files, Kubernetes and Helm manifests, systemd units, Python that makes an `LLM`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from kcluster.importers.config_file import words_of_table
from kcluster.importers.launches import Around, Reader, mount_of, runs_engine
from kcluster.importers.pasted import as_meant, inline
from kcluster.importers.programs import lists_of, python_calls
from kcluster.importers.shell import Shell, Variables, interpolate
from kcluster.importers.simulators import simulated
from kcluster.importers.units import read_unit
from kcluster.importers.words import Command, Launch, Word, count_of, whole
from kcluster.importers.yaml import Yaml
from kcluster.values import evolve, frozen

_YAML: Final = re.compile(
    r"^[ \t]*(?:- )?(?:services|apiVersion|command|args|entrypoint|image|volumes|modelSpec|llm_configs)\s*:",
    re.MULTILINE,
)
_SIMULATED: Final = re.compile(r"^[ \t]*(?:serving_mode|workers)\s*:", re.MULTILINE)
_UNIT: Final = re.compile(r"^[ \t]*(?:ExecStart|Exec|command)\s*=\s*[^(\s\[]", re.MULTILINE)
_CALL: Final = re.compile(r"\b(?:LLM|(?:Async)?EngineArgs|LLMConfig)\(")
_FLAGS: Final = re.compile(r"\A(?:[ \t]*(?:#.*)?\n)*(?:[a-z_-]+:.*\n)*?model:[ \t]*\S", re.MULTILINE)
_DEPTH: Final = 3
_ENTRY: Final = re.compile(r"""name:\s*"?([A-Z][A-Z0-9_]+)"?\s*,?\s*value:\s*["']?([^"'\n}]+)""")
_QUOTED: Final = re.compile(r"""(["'])((?:(?!\1)[^\n])*\bvllm serve (?:(?!\1)[^\n])*)\1""")
"""A command in a string of another program: `os.system("vllm serve …")`."""
_TRIPLE: Final = re.compile(r'("""|\'\'\')((?:(?!\1).)*?\bvllm serve .*?)\1', re.DOTALL)
MAX_TEXT: Final = 2**18
"""Characters of the longest text that is read."""


@frozen
class Found:
    """What a text starts, and what could not be seen in it."""

    launches: tuple[Launch, ...]
    notes: tuple[str, ...] = ()


def read_text(
    text: str,
    *,
    version: tuple[int, ...] | None = None,
    variables: dict[str, str] | None = None,
    open_file: Callable[[str], str | None] | None = None,
) -> Found:
    """Every server that a text starts. Nothing is executed, and no file is opened but by `open_file`.

    Args:
        text: a command line, a script, a Compose file, a manifest, a unit or Python.
        version: of the engine; without it an image's tag says it, else the newest is taken.
        variables: values of variables that the text itself does not set.
        open_file: the text of a file that a command names with `--config`, None where there is none to read.
    """
    if len(text) > MAX_TEXT:
        return Found((), (f"the text has more than {MAX_TEXT:,} characters",))
    given: Variables = {
        name: (Word(value, (0,) * len(value), whole("").span),) for name, value in (variables or {}).items()
    }
    reader = Reader(version, given, open_file)
    meant, told = as_meant(text)
    _read(reader, whole(meant), 0)
    found = [evolve(one, ray=reader.ray) for one in _engines(reader.launches)]
    return Found(tuple(found), tuple(dict.fromkeys((*told, *reader.notes))))


def _engines(launches: list[Launch]) -> list[Launch]:
    """Launches without those that are further nodes of one that is there."""
    heads = [one for one in launches if not _joins(one)]
    named = {one.model.text for one in heads if one.model is not None}
    return [one for one in launches if not _joins(one) or one.model is None or one.model.text not in named]


def _joins(launch: Launch) -> bool:
    """Whether a launch joins an engine that another node leads."""
    ranks = [launch.setting(flag) for flag in ("--node-rank", "--data-parallel-start-rank")]
    return launch.setting("--headless") is not None or any(count_of(one.text) for one in ranks if one is not None)


def _read(reader: Reader, root: Word, depth: int) -> None:
    """Every server of a text, by what kind of text it is; of the files that it writes where it starts none itself."""
    text = root.text
    if _SIMULATED.search(text):
        for document in Yaml(root).documents():
            reader.launches += simulated(document) or ()
    if reader.launches:
        pass
    elif _UNIT.search(text):
        read_unit(reader, root)
    elif _YAML.search(text) and "\nvllm serve" not in "\n" + text:
        for document in Yaml(root).documents():
            _walk(reader, document, "", compose=isinstance(document, dict) and "apiVersion" not in document)
    elif _CALL.search(text) and "vllm serve" not in text:
        for model, settings, call in python_calls(root):
            reader.launches.append(Launch(model, settings, (), call.span, written=False))
    elif _FLAGS.search(text):
        _flags_alone(reader, root)
    if not reader.launches:
        reader.shell(root, Around())
        _entries(reader, root)
    if not reader.launches:
        for start, end in (*inline(text), *(match.span(2) for match in _QUOTED.finditer(text))):
            reader.shell(root.part(start, end), Around())
    for match in _TRIPLE.finditer(text) if not reader.launches else ():
        inner = root.part(match.start(2), match.end(2))
        # A backslash that a program's text doubles continues a line.
        reader.shell(evolve(inner, text=inner.text.replace("\\\\\n", " \\\n")), Around())
    if not reader.launches:
        for words in lists_of(root):
            reader.command(Command(words), Around(entrypoint=words[0].text.startswith("-")))
    documents, reader.documents = (reader.documents if depth < _DEPTH else []), []
    for _, document in documents if not reader.launches else ():
        _read(reader, document, depth + 1)


def _flags_alone(reader: Reader, root: Word) -> None:
    """A file of flags for `--config` that names its model, given by itself."""
    for document in Yaml(root).documents()[:1]:
        if isinstance(document, dict) and isinstance(document.get("model"), Word):
            words = tuple(words_of_table(document))
            reader.command(Command(words), Around(entrypoint=True))


def _entries(reader: Reader, root: Word) -> None:
    """`{ name: X, value: … }` beside a command: an excerpt of a manifest that is not one as a whole."""
    env = tuple((match[1], root.part(match.start(2), match.end(2))) for match in _ENTRY.finditer(root.text))
    if env:
        launches, reader.launches = reader.launches, []
        reader.notes = list(dict.fromkeys(reader.notes))
        reader.shell(root, Around(env=env))
        if not reader.launches:
            reader.launches = launches


# YAML


def _walk(reader: Reader, node: Any, name: str, *, compose: bool) -> None:
    if isinstance(node, list):
        for item in node:
            _walk(reader, item, name, compose=compose)
    if not isinstance(node, dict):
        return
    if isinstance(node.get("modelURL"), Word):
        _helm(reader, node)
        return
    if isinstance(node.get("engine_kwargs"), dict):
        _ray_serve(reader, node)
        return
    if any(isinstance(node.get(key), (list, Word)) for key in ("command", "args", "entrypoint")):
        _container(reader, node, name, compose=compose)
        return
    for key, value in node.items():
        _walk(reader, value, key if compose else name, compose=compose)


def _container(reader: Reader, node: dict[str, Any], name: str, *, compose: bool) -> None:
    env = _environment(reader, node)
    image = node.get("image")
    image_word = interpolate(image, reader.variables) if isinstance(image, Word) else None
    own = node.get("name")
    around = Around(
        env=tuple(sorted(env.items())),
        name=own.text if isinstance(own, Word) and not compose else name,
        image=image_word.text if image_word is not None else "",
        small_shm=image_word is not None
        and not any(key in node for key in ("ipc", "shm_size"))
        and not _mounts_shm(node),
    )
    around = evolve(_devices(around, node), mounts=tuple(_mounts(node, reader.variables)))
    variables: Variables = {**reader.variables, **({} if compose else {key: (word,) for key, word in env.items()})}
    program, arguments = (
        (node.get("entrypoint"), node.get("command"))
        if compose and "args" not in node
        else (node.get("command"), node.get("args"))
    )
    first = tuple(_words(program, variables, compose))
    if compose and isinstance(arguments, Word) and first and re.fullmatch(r"-[a-z]*c", first[-1].text):
        # Compose would split the text and the shell get its first word only; it is read as what it is meant to be.
        rest: tuple[Word, ...] = (interpolate(arguments, variables),)
    else:
        rest = tuple(_words(arguments, variables, compose))
    saved = reader.variables
    reader.variables = {**variables, "@": rest}
    # An image whose name does not say what it runs is taken for the engine's where it gets the engine's own flags.
    engine = not first and (not around.image or runs_engine(around.image, rest))
    reader.command(Command((*first, *rest)), evolve(around, entrypoint=engine))
    reader.variables = saved


def _mounts(node: dict[str, Any], variables: Variables) -> Iterator[tuple[str, str]]:
    """The volumes of a Compose service."""
    volumes = node.get("volumes")
    for volume in volumes if isinstance(volumes, list) else ():
        if isinstance(volume, Word):
            yield from mount_of(interpolate(volume, variables).text)
        elif (
            isinstance(volume, dict)
            and isinstance(volume.get("target"), Word)
            and isinstance(volume.get("source"), Word)
        ):
            yield volume["target"].text.rstrip("/"), volume["source"].text


def _mounts_shm(node: dict[str, Any]) -> bool:
    """Whether a container has a volume of its own for shared memory."""
    mounts = node.get("volumeMounts", node.get("volumes"))
    for mount in mounts if isinstance(mounts, list) else ():
        path = mount.get("mountPath", mount.get("target")) if isinstance(mount, dict) else mount
        if isinstance(path, Word) and "/dev/shm" in path.text:  # noqa: S108
            return True
    return False


def _words(node: Any, variables: Variables, compose: bool) -> Iterator[Word]:
    if isinstance(node, Word):
        text = interpolate(node, variables) if compose else node
        for command in Shell(text, dict(variables), []).read():
            yield from command.words
    for item in node if isinstance(node, list) else ():
        if isinstance(item, Word):
            if compose:
                yield interpolate(item, variables)
            else:
                yield _kubernetes(item, variables)


def _kubernetes(word: Word, variables: Variables) -> Word:
    """`$(NAME)` as Kubernetes replaces it; a name that it does not know stays."""
    match = re.fullmatch(r"(.*?)\$\((\w+)\)(.*)", word.text, re.DOTALL)
    if match is None:
        return word
    value = variables.get(match[2])
    if value is None:
        return evolve(word, unset=(match[2],))
    text = match[1] + value[0].text + match[3]
    at = word.places[match.end(1)]
    places = word.places[: match.end(1)] + (at,) * len(value[0].text) + word.places[match.start(3) :]
    return Word(text, places, word.span, value[0].unset)


def _environment(reader: Reader, node: dict[str, Any]) -> dict[str, Word]:
    """`environment` of Compose (list or mapping) or `env` of Kubernetes. A name alone passes a value that is not seen."""
    found: dict[str, Word] = {}
    given = node.get("environment", node.get("env"))
    if isinstance(given, dict):
        found = {key: interpolate(word, reader.variables) for key, word in given.items() if isinstance(word, Word)}
    for item in given if isinstance(given, list) else ():
        if isinstance(item, Word):
            name, equals, _ = item.text.partition("=")
            if equals:
                found[name] = interpolate(item.part(len(name) + 1), reader.variables)
        elif isinstance(item, dict) and isinstance(item.get("name"), Word) and isinstance(item.get("value"), Word):
            found[item["name"].text] = item["value"]
    return found


def _devices(around: Around, node: dict[str, Any]) -> Around:
    """The cards that a container asks for."""
    at: Any = node
    for key in ("deploy", "resources", "reservations", "devices"):
        at = at.get(key) if isinstance(at, dict) else None
    for device in at if isinstance(at, list) else ():
        if not isinstance(device, dict):
            continue
        count, ids = device.get("count"), device.get("device_ids")
        if isinstance(ids, list):
            known = [count_of(one.text) for one in ids if isinstance(one, Word)]
            numbers = tuple(number for number in known if number is not None)
            around = evolve(around, indices=numbers)
        if isinstance(count, Word):
            around = evolve(around, cards=count_of(count.text) or around.cards)
    resources = node.get("resources")
    for key in ("limits", "requests"):
        limits = resources.get(key) if isinstance(resources, dict) else None
        for name, value in limits.items() if isinstance(limits, dict) else ():
            if name.endswith("/gpu") and isinstance(value, Word):
                around = evolve(around, cards=count_of(value.text) or around.cards)
    return around


def _helm(reader: Reader, node: dict[str, Any]) -> None:
    """A `modelSpec` entry of vLLM's production stack: its own names for flags, and `extraArgs`."""
    config = node.get("vllmConfig")
    words: list[Word] = [node["modelURL"]]
    for key, value in config.items() if isinstance(config, dict) else ():
        if isinstance(value, list) and key == "extraArgs":
            words += [word for word in value if isinstance(word, Word)]
        elif isinstance(value, Word) and value.text not in ("", "false"):
            flag = "--" + re.sub(r"(?<!^)(?=[A-Z])", "-", key).lower()
            words.append(Word(flag, (value.span.start,) * len(flag), value.span))
            if value.text != "true":
                words.append(value)
    name, cards = node.get("name"), node.get("requestGPU")
    around = Around(
        name=name.text if isinstance(name, Word) else "",
        cards=(count_of(cards.text) or 0) if isinstance(cards, Word) else 0,
        entrypoint=True,
    )
    reader.command(Command(tuple(words)), around)


def _ray_serve(reader: Reader, node: dict[str, Any]) -> None:
    """An entry of `llm_configs` of Ray Serve: the engine's arguments under their Python names."""
    loading = node.get("model_loading_config")
    named = [loading.get(key) for key in ("model_source", "model_id")] if isinstance(loading, dict) else []
    model = next((word for word in named if isinstance(word, Word)), None)
    words = (*((model,) if model is not None else ()), *words_of_table(node["engine_kwargs"]))
    reader.command(Command(words), Around(entrypoint=True))


__all__ = ["Found", "read_text"]
