"""A vLLM start-up log, read for what it says of itself.

The lines are those of 0.8 to 0.33 (public logs behind data/vllm_startup_points.jsonl, and a real 0.32). Workers say some of them
once each, and engine cores others, so that every figure is a tuple in the order of the log. What is before and after a line's own
words (time stamps, process names, journald's and container runtimes' prefixes) does not matter.
"""

from __future__ import annotations

import ast
import re
import sys
from typing import Any, Final

from kcluster.values import frozen

_NUMBER: Final = r"(-?[\d,]*\.?\d+)"
_FEW: Final = r"(\d{1,6}(?:\.\d{1,6})?)"
"""A number with which a pattern begins: bounded, since it is tried at every digit of a log."""


@frozen
class Refusal:
    """Why an engine did not start, in its own words, and the figures in them (GiB, tokens; None where it says none)."""

    kind: str
    message: str
    needed: float | None = None
    available: float | None = None
    longest: float | None = None


@frozen
class Started:
    """What a log says. Sizes are in GiB and per GPU. `args` are the arguments that differ from the engine's defaults, None where
    the line is not there; `config` what the engine made of them."""

    version: str
    args: dict[str, Any] | None
    config: dict[str, str]
    weights: tuple[float, ...]
    available: tuple[float, ...]
    tokens: tuple[float, ...]
    concurrency: tuple[float, ...]
    length: int | None
    """The tokens of a request that the concurrency is of."""
    graphs: tuple[float, ...]
    graphs_estimate: tuple[float, ...]
    activation: tuple[float, ...]
    non_torch: tuple[float, ...]
    cards: tuple[float, ...]
    """What the driver says of a whole card."""
    ready: bool
    refusal: Refusal | None

    @property
    def anything(self) -> bool:
        """Whether any line of a start was known."""
        return bool(
            self.version
            or self.args is not None
            or self.config
            or self.weights
            or self.tokens
            or self.available
            or self.cards
            or self.refusal
        )


_VERSION: Final = (
    re.compile(r"vLLM API server version v?(\d\S*)"),
    re.compile(r"Initializing an?(?: V[01])? LLM engine \(v?(\d[^\s)]*)\)"),
    re.compile(r"█\s+version v?(\d\S*)"),
)
_WEIGHTS: Final = re.compile(
    rf"(?:Model loading took|Loading model weights took|model weights take) {_NUMBER} ?Gi?B", re.IGNORECASE
)
_AVAILABLE: Final = re.compile(
    rf"Available KV cache memory: {_NUMBER} ?GiB|Explicitly set \({_NUMBER}/[\d.]+\) GiB for KV cache"
    rf"|reserved for KV Cache is {_NUMBER} ?GiB|reserved {_NUMBER} ?GiB memory for KV Cache",
    re.IGNORECASE,
)
_TOKENS: Final = re.compile(r"KV cache size: (\d[\d,]*) tokens")
_CONCURRENCY: Final = re.compile(rf"Maximum concurrency for (\d[\d,]*) tokens per request: {_NUMBER}x")
_GRAPHS: Final = re.compile(rf"Graph capturing finished in .*? took {_NUMBER} GiB")
_ESTIMATE: Final = re.compile(rf"Estimated CUDA graph memory: {_NUMBER} GiB")
_ACTIVATION: Final = re.compile(rf"PyTorch activation peak memory takes {_NUMBER} ?GiB|{_FEW} GiB for peak activation")
_NON_TORCH: Final = re.compile(rf"non_torch_memory takes {_NUMBER} ?GiB|{_FEW} GiB for non-torch memory")
_CARD: Final = re.compile(
    rf"Free memory on device (?:\S+ )?\([\d.]+(?:-[\d.]+)?/{_NUMBER} GiB\) on startup|total_gpu_memory \({_NUMBER} ?GiB\)"
)
_CONFIG: Final = re.compile(r"Initializing an?(?: V[01])? LLM engine .*? with config: (.*)")
_SETTING: Final = re.compile(r"\b([a-z_]+)=('[^']*'|[^\s,()]+)")
_ARGS: Final = "non-default args: "
_READY: Final = ("Application startup complete", "Starting vLLM API server", "Starting vLLM server")

_REFUSALS: Final = (
    (
        "kv-too-small",
        re.compile(
            rf"To serve at least one request with .*?max seq len \(\d+\), \(?{_NUMBER} GiB KV cache is needed, which is larger than "
            rf"the available KV cache memory \({_NUMBER} GiB\)(?:.*?estimated maximum model length is (\d[\d,]*))?"
        ),
    ),
    (
        "kv-too-small",
        re.compile(r"model's max seq len \(\d+\) is larger than the maximum number of tokens that can be stored in KV cache \(()()(\d+)\)"),
    ),
    ("no-kv", re.compile(r"No available memory for the cache blocks")),
    (
        "memory-taken",
        re.compile(
            r"Free memory on device (?:\S+ )?\((?P<available>\d+(?:\.\d+)?)(?:-[\d.]+)?/[\d.]+ GiB\) on startup is less than desired GPU memory "
            r"utilization \([\d.]+, (?P<needed>\d+(?:\.\d+)?) GiB\)"
        ),
    ),
    ("out-of-memory", re.compile(r"(?:torch\.|cuda\.)?OutOfMemoryError|CUDA out of memory|HIP out of memory")),
    ("length", re.compile(r"User-specified max_model_len \(\d+\) is greater than the derived max_model_len")),
    ("heads", re.compile(r"attention heads \(\d+\) must be divisible by tensor parallel size")),
    ("cards", re.compile(r"World size \(\d+\) is larger than the number of available GPUs \(\d+\)")),
    ("capability", re.compile(r"quantization method \S+ is not supported for the current GPU")),
    ("batch", re.compile(r"max_num_batched_tokens \(\d+\) is smaller than max_model_len \(\d+\)")),
)  # fmt: skip
_CAUSE: Final = re.compile(r"\b((?:[A-Za-z_.]*Error|AssertionError|pydantic\S*ValidationError|\w*Exception): .+)")
_CONSEQUENCE: Final = (
    "Engine core initialization failed",
    "Engine process failed to start",
    "WorkerProc initialization failed",
)


def read_log(text: str) -> Started:
    """Everything that a log says of a start. Of several starts in one file the last one counts."""
    before, text = _last_start(text)
    lines = text.splitlines()
    concurrency = [(_figure(length), _figure(times)) for length, times in _CONCURRENCY.findall(text)]
    return Started(
        version=_version(before, text),
        args=_arguments(lines),
        config=_config(lines),
        weights=_all(_WEIGHTS, text),
        available=_all(_AVAILABLE, text),
        tokens=_all(_TOKENS, text),
        concurrency=tuple(times for _, times in concurrency),
        length=int(concurrency[0][0]) if concurrency else None,
        graphs=_all(_GRAPHS, text),
        graphs_estimate=_all(_ESTIMATE, text),
        activation=_all(_ACTIVATION, text),
        non_torch=_all(_NON_TORCH, text),
        cards=_all(_CARD, text),
        ready=any(sign in text for sign in _READY),
        refusal=_refusal(lines),
    )


def _last_start(text: str) -> tuple[str, str]:
    """What is before the last line with arguments, and from it on: a service that restarts writes one start after the other."""
    start = text.rfind(_ARGS)
    return ("", text) if start < 0 else (text[:start], text[start:])


def _version(before: str, text: str) -> str:
    """The version that the start names, else the one of the banner before it."""
    for pattern in _VERSION:
        named = pattern.search(text) or next(reversed([*pattern.finditer(before)]), None)
        if named:
            return named[1].rstrip(",;")
    return ""


def _figure(text: str) -> float:
    """A number with or without separators; of one that no engine writes, the largest that a float holds."""
    return max(-sys.float_info.max, min(sys.float_info.max, float(text.replace(",", ""))))


def _all(pattern: re.Pattern[str], text: str) -> tuple[float, ...]:
    """Every figure that a pattern finds; of its groups the one that is there."""
    return tuple(_figure(next(group for group in found.groups() if group)) for found in pattern.finditer(text))


def _arguments(lines: list[str]) -> dict[str, Any] | None:
    """The dictionary after `non-default args:`; values that are no literals (enums, objects) as their text."""
    for line in lines:
        _, sign, rest = line.partition(_ARGS)
        if not sign:
            continue
        node: ast.expr | None
        try:
            node = ast.parse(rest.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            node = _loose(rest)
        if isinstance(node, ast.Dict):
            return {
                key.value: _literal(value)
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant) and isinstance(key.value, str)
            }
    return None


def _loose(text: str) -> ast.expr | None:
    """The same with `<Enum.NAME: 'x'>`, which is no Python, as the text `x`."""
    spelled = re.sub(r"<[\w.]+: ('[^']*'|\d+)>", r"\1", text.strip())
    try:
        return ast.parse(spelled, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, MemoryError, RecursionError):
        return ast.unparse(node)


def _config(lines: list[str]) -> dict[str, str]:
    for line in lines:
        found = _CONFIG.search(line)
        if found:
            # Nested objects say the same words of other things: the first of each is the engine's own.
            settings: dict[str, str] = {}
            for key, value in _SETTING.findall(found[1]):
                settings.setdefault(key, value.strip("'"))
            return settings
    return {}


def _refusal(lines: list[str]) -> Refusal | None:
    """The first cause that is known, else the first error that is no consequence of another."""
    for line in lines:
        for kind, pattern in _REFUSALS:
            found = pattern.search(line)
            if found:
                return _refused(kind, line[found.start() :].strip(), found)
    if any(sign in line for line in lines for sign in _READY):
        return None
    for line in lines:
        found = _CAUSE.search(line)
        if found and not any(sign in line for sign in _CONSEQUENCE):
            return Refusal("error", found[1].strip())
    return None


def _refused(kind: str, message: str, found: re.Match[str]) -> Refusal:
    named = found.groupdict()
    if named:
        return Refusal(kind, message, _figure(named["needed"]), _figure(named["available"]))
    needed, available, longest = (*(_figure(text) if text else None for text in found.groups()), None, None, None)[:3]
    return Refusal(kind, message, needed, available, longest)
