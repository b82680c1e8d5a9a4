"""From bytes to text, and what a text must not hold before anyone reads it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import Final

from kcluster.diagnostics import Diagnostic
from kcluster.source import Source, Span
from kcluster.syntax.findings import Findings, replace
from kcluster.syntax.limits import MAX_BYTES, MAX_SIMILAR

BOM: Final = "\ufeff"
_REPLACEMENT: Final = "\ufffd"


@cache
def _suspect() -> re.Pattern[str]:
    """Quickly past what is certainly harmless; the rest is asked for its category."""
    return re.compile(r"[^\t\n -~\u00a1-\u00ac\u00ae-\u02ff\u0370-\u05ff\u2010-\u2027\u2030-\u205e\u4e00-\u9fff]")


def _harmless(text: str) -> bool:
    """Whether nothing need be asked for its category. Most texts are ASCII, and need no table of characters to say so."""
    if text.isascii():
        return text.replace("\n", "").replace("\t", "").isprintable()
    return _suspect().search(text) is None


def decode(data: bytes, path: str) -> tuple[Source, tuple[Diagnostic, ...]]:
    """The text of a file. A byte order mark is dropped, line ends stay as they are; bytes that are not UTF-8 become
    U+FFFD and are reported (KC004), as is a file beyond the size limit (KC007), whose text is then empty."""
    if len(data) > MAX_BYTES:
        source = Source(path, "")
        findings = Findings(source)
        _too_large(findings)
        return source, findings.diagnostics()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _decode_utf16(data, path)
    try:
        return Source(path, data.decode("utf-8").removeprefix(BOM)), ()
    except UnicodeDecodeError as error:
        source = Source(path, data.decode("utf-8", "replace").removeprefix(BOM))
        findings = Findings(source)
        note = f"the first such byte is 0x{data[error.start]:02X}, at byte {error.start:,} of the file"
        _check_replacements(findings, (note,))
        return source, findings.diagnostics()


def _decode_utf16(data: bytes, path: str) -> tuple[Source, tuple[Diagnostic, ...]]:
    source = Source(path, data.decode("utf-16", "replace").removeprefix(BOM))
    findings = Findings(source)
    help_ = ("save the file as UTF-8",)
    findings.add("KC004", "the file is UTF-16, and specs are UTF-8", Span(0, min(1, len(source.text))), help=help_)
    return source, findings.diagnostics()


def clean(source: Source, findings: Findings) -> str | None:
    """The text as the lexer reads it: of the same length, with a blank for every carriage return and for every character
    that must not stand anywhere (reported as KC004). None where the text is beyond the size limit (KC007)."""
    text = source.text
    if len(text) > MAX_BYTES:
        _too_large(findings)
        return None
    text = text.replace("\r\n", " \n")
    if text.startswith(BOM):
        text = " " + text[1:]
    if _harmless(text):
        return text
    spans = list(_invisible(text))
    for number, span in enumerate(spans[:MAX_SIMILAR], start=1):
        _report_invisible(findings, span, number=len(spans) if number == MAX_SIMILAR < len(spans) else 0)
    if _REPLACEMENT in text:
        _check_replacements(findings, ())
    return _blanked(text, spans)


def _too_large(findings: Findings) -> None:
    # Who reads files stops one byte behind the limit, so the size itself is not known here.
    findings.add(
        "KC007",
        f"the file is larger than the {MAX_BYTES:,} bytes that a spec has at most",
        Span(0, 0),
        help=("split it with `import`",),
    )


def _is_invisible(character: str) -> bool:
    return character not in "\t\n" and unicodedata.category(character) in ("Cc", "Cf", "Cs")


def _invisible(text: str) -> Iterator[Span]:
    """Runs of characters that must not stand anywhere."""
    start = end = -1
    for match in _suspect().finditer(text):
        at = match.start()
        if not _is_invisible(text[at]):
            continue
        if at == end:
            end += 1
            continue
        if start >= 0:
            yield Span(start, end)
        start, end = at, at + 1
    if start >= 0:
        yield Span(start, end)


def character_name(character: str) -> str:
    """`U+200B (zero width space)`; control characters have no name of their own."""
    known = {"\r": "carriage return", "\x00": "null", "\x1b": "escape", "\x0c": "form feed", "\x7f": "delete"}
    name = known.get(character) or unicodedata.name(character, "a control character").lower()
    return f"U+{ord(character):04X} ({name})"


def _report_invisible(findings: Findings, span: Span, number: int) -> None:
    run = findings.source.slice(span)
    what = character_name(run[0]) + (f" and {len(run) - 1} more" if len(run) > 1 else "")
    control = unicodedata.category(run[0]) == "Cc"
    notes: tuple[str, ...] = (
        "such characters can make a text read otherwise than it is, so they stand nowhere, not even in comments",
    )
    if number:
        notes += (f"such places in the file: {number:,}",)
    fix = replace("remove it" if len(run) == 1 else "remove them", span, "", "unsafe" if control else "safe")
    message = f"{'control' if control else 'invisible'} character {what}"
    findings.add("KC004", message, span, label="here", notes=notes, fixes=(fix,))


def _check_replacements(findings: Findings, notes: tuple[str, ...]) -> None:
    """Report U+FFFD, which stands where bytes were not UTF-8, in the same words whoever finds it first."""
    runs = [Span(*match.span()) for match in re.finditer(f"{_REPLACEMENT}+", findings.source.text)]
    if len(runs) > 1:
        notes += (f"such places in the file: {len(runs):,}",)
    message = "this is not UTF-8: U+FFFD stands in place of bytes that could not be read"
    findings.add("KC004", message, runs[0], label="here", notes=notes, help=("save the file as UTF-8",))


def _blanked(text: str, spans: list[Span]) -> str:
    pieces = []
    at = 0
    for span in spans:
        pieces += [text[at : span.start], " " * (span.end - span.start)]
        at = span.end
    pieces.append(text[at:])
    return "".join(pieces).replace(_REPLACEMENT, " ")
