"""What looks like a number and is none of this language (KC005), or has too many digits (KC007)."""

from __future__ import annotations

import re
from typing import Final

from kcluster.syntax.findings import Findings, replace
from kcluster.syntax.limits import MAX_DIGITS
from kcluster.syntax.strings import quote
from kcluster.syntax.tokens import SPOILT, Token
from kcluster.values import frozen

_ALLOWED: Final = "numbers are written `64`, `0.92` or `1_000`"
_PREFIXED: Final = {"x": ("hexadecimal", 16), "o": ("octal", 8), "b": ("binary", 2)}
_EXPONENT: Final = re.compile(r"[eE]")


@frozen
class _Reading:
    """Why a text is no number, and what it is read as instead: text of the language and its terminal."""

    why: str
    text: str = ""
    kind: str = "NUMBER"


def check_number(token: Token, findings: Findings) -> Token:
    """A number token, or a spoilt one where it has too many digits."""
    if len(token.text) <= MAX_DIGITS:
        return token
    digits = sum(character.isdigit() for character in token.text)
    if digits <= MAX_DIGITS:
        return token
    message = f"the number has {digits:,} digits, and a number has at most {MAX_DIGITS}"
    findings.add("KC007", message, token.span, help=("a larger unit needs fewer digits, as in `96GB`",))
    return token._replace(type=SPOILT)


def mend_number(token: Token, findings: Findings) -> Token:
    """Report what is no number and give what is meant by it, where that can be told."""
    reading = _read(token.text)
    fixes = (replace(f"write `{reading.text}`", token.span, reading.text),) if reading.text else ()
    findings.add(
        "KC005",
        f"`{token.text}` is not a number of this language: {reading.why}",
        token.span,
        label=f"write `{reading.text}`" if reading.text else "",
        notes=(_ALLOWED,),
        fixes=fixes,
    )
    if not reading.text:
        return token._replace(type=SPOILT)
    return check_number(token._replace(type=reading.kind, text=reading.text), findings)


def _read(text: str) -> _Reading:
    if text[0] in "+-":
        why = "numbers have no sign"
        return _Reading(why, text[1:].strip()) if text[0] == "+" else _Reading(why)
    if len(text) > 1 and text[0] == "0" and text[1].lower() in _PREFIXED:
        return _read_prefixed(text)
    if text.count(".") > 1:
        return _Reading("a version or an address goes in quotes", quote(text), "STRING")
    if text[0] == ".":
        return _Reading("a digit belongs before the point", "0" + text)
    if text[-1] == ".":
        return _Reading("a digit belongs after the point", text.rstrip("._"))
    if _EXPONENT.search(text):
        return _read_exponent(text)
    return _Reading("`_` stands between two digits", re.sub("_+", "_", text).rstrip("_"))


def _read_prefixed(text: str) -> _Reading:
    name, base = _PREFIXED[text[1].lower()]
    why = f"there are no {name} numbers"
    digits = text[2:].replace("_", "")
    if not 0 < len(digits) <= MAX_DIGITS or any(
        character not in "0123456789abcdef"[:base] for character in digits.lower()
    ):
        return _Reading(why)
    value = str(int(digits, base))
    return _Reading(why, value if len(value) <= MAX_DIGITS else "")


def _read_exponent(text: str) -> _Reading:
    from decimal import Decimal

    why = "there are no exponents"
    mantissa, power = _EXPONENT.split(text)
    if len(mantissa) > MAX_DIGITS or len(power) > 3 or abs(int(power)) > MAX_DIGITS:
        return _Reading(why)
    value = Decimal(mantissa.replace("_", "")).scaleb(int(power))
    plain = format(value, "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return _Reading(why, plain if len(plain) <= MAX_DIGITS else "")
