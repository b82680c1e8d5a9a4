"""Allow-lists of strings: what each kind of text may hold, so that none can become a command, a directive or a path out.

Every string attribute of the language names one of these kinds. What passes is printable and short; most kinds are a
fixed small set of characters. Targets still quote what they write.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Final

from kcluster.diagnostics.wording import INVISIBLE
from kcluster.values import frozen


@frozen
class TextKind:
    """One kind: its test, what it allows in words, and the greatest length in characters."""

    name: str
    test: Callable[[str], bool]
    allowed: str
    longest: int


def printable(text: str) -> bool:
    """No control, invisible, unassigned or line-breaking character."""
    return (text.isascii() and text.isprintable()) or all(unicodedata.category(c) not in INVISIBLE for c in text)


def _pattern(expression: str) -> Callable[[str], bool]:
    """A whole-text test by a pattern, compiled when first asked. `$` would allow a line end; `fullmatch` does not."""
    compiled: list[re.Pattern[str]] = []

    def test(text: str) -> bool:
        if not compiled:
            compiled.append(re.compile(expression, re.ASCII))
        return compiled[0].fullmatch(text) is not None

    return test


_PATH: Final = r"(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._@+=,~-]+)+/?"
_MODEL_ID: Final = r"[A-Za-z0-9][\w.-]*(?:/(?!\.\.?$)[\w.-]+)?"
_NAME: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN: Final = rf"(?:{_NAME}\.)*(?![0-9]+(?:\.|$)){_NAME}\.?"
_PORT: Final = r"(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_IMAGE_PART: Final = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"


def _is_host(text: str) -> bool:
    """An IPv4 or IPv6 address, or a host name of RFC 1123 (whose last part is not all digits)."""
    if ":" in text:
        from ipaddress import AddressValueError, IPv6Address

        try:
            return "%" not in text and bool(IPv6Address(text) or True)
        except AddressValueError:
            return False
    parts = text.split(".")
    if len(parts) == 4 and all(part.isascii() and part.isdigit() for part in parts):
        return all(len(part) <= 3 and int(part) <= 255 and str(int(part)) == part for part in parts)
    return _DOMAIN_TEST(text)


BASH_OWN: Final = frozenset({
    "BASHOPTS", "BASHPID", "BASH_ALIASES", "BASH_ARGC", "BASH_ARGV", "BASH_CMDS", "BASH_COMMAND", "BASH_LINENO",
    "BASH_SOURCE", "BASH_SUBSHELL", "BASH_VERSINFO", "BASH_ENV", "DIRSTACK", "ENV", "EPOCHREALTIME", "EPOCHSECONDS",
    "EUID", "FUNCNAME", "GROUPS", "HISTCMD", "IFS", "LINENO", "OLDPWD", "OPTIND", "PIPESTATUS", "PPID", "PWD",
    "RANDOM", "REPLY", "SECONDS", "SHELLOPTS", "SRANDOM", "UID", "_",
})  # fmt: skip
"""Variables that bash sets, reads or refuses to change: a value given to one never arrives, or changes what a script does."""
SCRIPTS_OWN: Final = frozenset({
    "args", "child", "config", "deadline", "deadline_seconds", "engine", "head_address", "joined", "port", "status",
    "stopping", "temp",
})  # fmt: skip
"""Variables of the start scripts, beside which the variables of a spec's `env` are set."""

_is_variable: Final = _pattern(r"[A-Za-z_][A-Za-z0-9_]*")
_is_key_variable: Final = _pattern(r"[A-Z_][A-Z0-9_]*")
_is_path: Final = _pattern(_PATH)
_is_model_id: Final = _pattern(_MODEL_ID)
_is_served_name: Final = _pattern(r"[A-Za-z0-9](?:[\w.:@-]|/(?!\.\.?(?:/|$)))*")
_DOMAIN_TEST: Final = _pattern(_DOMAIN)
_ADDRESS_HOST: Final = rf"(?:https?://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::{_PORT})?/?"


def _is_address(text: str) -> bool:
    """`host`, `host:port` or an http(s) address of them, without user, path or query."""
    found = re.fullmatch(_ADDRESS_HOST, text, re.ASCII)
    return found is not None and _is_host(found["host"].strip("[]"))


def _is_readable(text: str) -> bool:
    return bool(text.strip()) and printable(text)


_KINDS: Final = (
    TextKind(
        "name",
        _pattern(r"[A-Za-z0-9_][A-Za-z0-9_.-]*"),
        "letters, digits, `_`, `.` and `-`, the first a letter, digit or `_`",
        63,
    ),
    TextKind(
        "model id",
        lambda text: _is_model_id(text) or _is_path(text),
        "an id such as `owner/name` (letters, digits, `.`, `_`, `-`) or an absolute path",
        255,
    ),
    TextKind(
        "revision",
        _pattern(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/-]*"),
        "a branch, tag or commit (letters, digits, `.`, `_`, `/`, `-`)",
        128,
    ),
    TextKind("file", _is_readable, "a path without control or invisible characters", 1024),
    TextKind(
        "path",
        _is_path,
        "an absolute path of letters, digits and `. _ - @ + = , ~`, without `..`",
        1024,
    ),
    TextKind("host", _is_host, "an IP address or a host name (letters, digits, `-`, `.`)", 253),
    TextKind("address", _is_address, "`host:port`, or an http address of one without user and path", 300),
    TextKind(
        "interface",
        _pattern(r"[A-Za-z0-9][A-Za-z0-9_.@-]*"),
        "the name of a network interface (letters, digits, `_`, `.`, `@`, `-`, at most 15)",
        15,
    ),
    TextKind(
        "user", _pattern(r"[a-z_][a-z0-9_-]*"), "a Unix user name (small letters, digits, `_`, `-`, at most 32)", 32
    ),
    TextKind(
        "environment name",
        lambda text: _is_variable(text) and text not in SCRIPTS_OWN and text not in BASH_OWN,
        "letters, digits and `_`, the first not a digit, and no name that bash or the start scripts use themselves",
        128,
    ),
    TextKind(
        "key variable",
        lambda text: _is_key_variable(text) and text not in BASH_OWN,
        "capital letters, digits and `_`, the first not a digit (small letters are the compiled scripts' own variables), and no name "
        "that bash sets itself",
        128,
    ),
    TextKind(
        "flag",
        _pattern(r"--[A-Za-z0-9][A-Za-z0-9_.-]*|-[A-Za-z][A-Za-z0-9_.-]*"),
        "a flag such as `--any-flag` (letters, digits, `-`, `_`, `.`)",
        100,
    ),
    TextKind(
        "card",
        _pattern(r"[A-Za-z0-9][A-Za-z0-9 ._()/+-]*"),
        "the name of a card (letters, digits, blanks and `. _ - ( ) / +`)",
        80,
    ),
    TextKind("argument", printable, "printable characters, no line ends", 4096),
    TextKind(
        "image",
        _pattern(
            rf"(?:{_IMAGE_PART}(?:\.{_IMAGE_PART})*(?::{_PORT})?/)?{_IMAGE_PART}(?:/{_IMAGE_PART})*"
            r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
        ),
        "an image reference such as `vllm/vllm-openai:v0.33.0`",
        255,
    ),
    TextKind("header name", _pattern(r"[A-Za-z][A-Za-z0-9-]*"), "a header's name (letters, digits, `-`)", 64),
    TextKind(
        "header value",
        _pattern(r"[A-Za-z0-9][A-Za-z0-9._/:@+-]*"),
        "letters, digits and `. _ / : @ + -`, the first a letter or digit",
        128,
    ),
    TextKind(
        "url path",
        _pattern(r"(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]+)+/?"),
        "a path such as `/small` (letters, digits, `. _ ~ -`)",
        256,
    ),
    TextKind(
        "model name",
        _is_served_name,
        "letters, digits and `. _ / : @ -`, the first a letter or digit",
        128,
    ),
    TextKind(
        "label",
        _pattern(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"),
        "small letters, digits and `-` (a DNS label, at most 63)",
        63,
    ),
    TextKind(
        "subdomain",
        _pattern(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"),
        "small letters, digits, `-` and `.` (a DNS name)",
        253,
    ),
    TextKind(
        "label key",
        _pattern(r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"),
        "a Kubernetes label key such as `nvidia.com/gpu.product`",
        317,
    ),
    TextKind(
        "label value",
        _pattern(r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?"),
        "a Kubernetes label value (letters, digits, `-`, `_`, `.`)",
        63,
    ),
)

TEXT: Final[dict[str, TextKind]] = {kind.name: kind for kind in _KINDS}


def refusal(text: str, kind: str) -> str | None:
    """Why a text is not of its kind, as the end of a sentence; None where it is."""
    row = TEXT[kind]
    if len(text) > row.longest:
        return f"may have at most {row.longest:,} characters and has {len(text):,}"
    if not printable(text):
        return "holds a control or invisible character"
    return None if row.test(text) else f"must be {row.allowed}"
