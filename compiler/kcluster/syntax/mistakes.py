"""Mistakes of spelling, mended token by token: each reported once, then read as what the author must have meant.

What is settled here needs no more than a token and its neighbours: quotes, signs, numbers, comments. What needs the
structure around it is the business of `brackets` and `recovery`.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable
from typing import Final

from kcluster.diagnostics import Edit, Fix, Label
from kcluster.source import Span
from kcluster.syntax.characters import character_name
from kcluster.syntax.findings import Findings, replace
from kcluster.syntax.numbers import check_number, mend_number
from kcluster.syntax.strings import check_escapes, quote
from kcluster.syntax.tokens import NEWLINE, OPERATORS, SIGNS, SPOILT, Token, lex

# Texts of patterns: `re` compiles one when it is first used, and a text without mistakes uses few.
_RUN: Final = r"[^\s,\[\](){}\"#;=*<>'≤≥×“”„‟]+"
"""Text without a blank or a sign of the language: what an author may have left unquoted."""
_NUMBER_WITH_UNIT: Final = r"[0-9][0-9_.]*([A-Za-z][A-Za-z0-9]*)?(/[A-Za-z]+)?%?"
_ONLY_IN_QUOTES: Final = r"[/:@~$\\&?]"
_RANGE_OTHERWISE: Final = r"([0-9]+)(?:-|:|\.\.\.|…|\.\.=|–)([0-9]+)"
_THOUSANDS: Final = r"[0-9]{1,3}(,[0-9]{3})+(?![0-9_.])"
_CURLY_QUOTED: Final = r"[“”„‟″«»][^“”„‟″«»\"\n]*[“”„‟″«»]"
_NOTHING_MORE: Final = r"[ \t]*(?:[\n#}]|\Z)"
_THING_FOLLOWS: Final = r"[ \t]*[A-Za-z_\"]"
_OPERATOR_FOLLOWS: Final = r"[ \t]*[^\s,(){}\[\]#\"=<>]{0,64}[ \t]*[=<>]"
_BLOCK_FOLLOWS: Final = r"[ \t]*(?:[A-Za-z_\"][^\s{}=#]*[ \t]*)?\{"
_MEANT: Final = {
    ":": "EQUAL",
    "::": "EQUAL",
    "==": "EQUAL",
    ":=": "EQUAL",
    "=<": "AT_MOST",
    "<": "AT_MOST",
    "≤": "AT_MOST",
    "=>": "AT_LEAST",
    ">": "AT_LEAST",
    "≥": "AT_LEAST",
}
_TAIL: Final = " \t)]}{,"
"""What after an unterminated string is hardly part of it."""


def mend(tokens: list[Token], text: str, findings: Findings) -> list[Token]:
    """The tokens that mean something, each mistake of spelling reported and mended; what cannot be guessed is SPOILT."""
    return _Mender(tokens, text, findings).mend()


_ENDS_OF_VALUES: Final = ("WORD", "STRING", "NUMBER", "RPAREN", "RBRACKET")


class _Mender:
    def __init__(self, tokens: list[Token], text: str, findings: Findings) -> None:
        self._coming = tokens
        self._at = 0
        self._text = text
        self._findings = findings
        self._out: list[Token] = []
        self._open: list[str] = []
        """The ( and [ that are open; a brace ends them all."""
        self._odd_lines = [(text.rfind("\n", 0, t.start) + 1, t.end) for t in tokens if t.type == "OPEN_STRING"]
        """Lines on which a quote is missing: whatever else is strange there is strange for that."""
        self._reported_line = (-1, -1)
        """From the last report to the end of its line: junk there is more of the same."""
        self._handlers: dict[str, Callable[[Token], None]] = {
            "BAD_NUMBER": self._bad_number,
            "NUMBER": self._number,
            "STRING": self._string,
            "OPEN_STRING": self._open_string,
            "SINGLE_QUOTED": self._single_quoted,
            "SLASH_COMMENT": self._slash_comment,
            "FLAG": self._flag,
            "MISSPELT_OPERATOR": self._operator,
            "SEMICOLON": self._semicolon,
            "JUNK": self._junk,
        }

    def mend(self) -> list[Token]:
        while self._at < len(self._coming) and not self._findings.full:
            token = self._coming[self._at]
            self._at += 1
            if token.type in ("BLANK", "COMMENT"):
                continue
            if self._may_be_unquoted() and self._unquoted(token):
                continue
            handler = self._handlers.get(token.type)
            if handler is None:
                self._keep(token)
            else:
                handler(token)
        return self._out

    # What was read so far

    def _keep(self, token: Token) -> None:
        if token.type == NEWLINE and self._out and self._out[-1].type == NEWLINE:
            token = token._replace(start=self._out.pop().start)
        self._out.append(token)
        if token.type in ("LPAREN", "LBRACKET"):
            self._open.append(token.type)
        elif token.type in ("RPAREN", "RBRACKET") and self._open:
            self._open.pop()
        elif token.type in ("LBRACE", "RBRACE"):
            self._open.clear()

    def _before(self, back: int = 1) -> str:
        """The type of a token before; a new line before the first."""
        return self._out[-back].type if len(self._out) >= back else NEWLINE

    def _may_be_unquoted(self) -> bool:
        """Whether a value or a label is to begin here."""
        before = self._before()
        if before in OPERATORS:
            return True
        if self._open:
            return before in ("LPAREN", "LBRACKET", "COMMA")
        if self._out and self._out[-1].end == self._coming[self._at - 1].start:
            return False
        return before in ("WORD", "IMPORT") and self._before(2) in (NEWLINE, "LBRACE", "RBRACE", "COMMA")

    def _drop_until(self, end: int) -> None:
        """Go on behind an offset; a token that reaches beyond it is read again from there."""
        while self._at < len(self._coming) and self._coming[self._at].end <= end:
            self._at += 1
        if self._at < len(self._coming) and self._coming[self._at].start < end:
            self._coming[self._at : self._at + 1] = lex(self._text, end, self._coming[self._at].end)

    def _lacks_quote(self, offset: int) -> bool:
        """Whether a quote is missing on the line of an offset; its statement is then no longer to be trusted."""
        at = bisect_right(self._odd_lines, (offset, len(self._text))) - 1
        if at < 0 or self._odd_lines[at][1] < offset:
            return False
        start, end = self._odd_lines[at]
        if not self._findings.within(start, end):
            self._findings.taint(offset)
        return True

    def _line_end(self, offset: int) -> int:
        end = self._text.find("\n", offset)
        return end if end >= 0 else len(self._text)

    def _report(self, code: str, message: str, span: Span, *, label: str = "", **more: tuple[object, ...]) -> None:
        """Report, unless the line lacks a quote, which is reported by itself."""
        if self._odd_lines and self._lacks_quote(span.start):
            return
        self._reported_line = span.start, self._line_end(span.start)
        self._findings.add(code, message, span, label=label, **more)  # type: ignore[arg-type]

    # Text without quotes

    def _unquoted(self, token: Token) -> bool:
        """Text that only a string can hold, read as one."""
        match = re.compile(_RUN).match(self._text, token.start)
        if match is None or len(match.group()) < 2:
            return False
        run, span = match.group(), Span(*match.span())
        in_range = re.compile(_RANGE_OTHERWISE).fullmatch(run)
        if in_range is not None and self._open:
            self._range(in_range, span)
            return True
        if self._before() == "IMPORT" and not self._open:
            message = "the path of an import goes in quotes"
        elif self._wants_quotes(run):
            message = f"`{run}` is no word of this language; such text goes in quotes"
        else:
            return False
        if self._text[span.end : span.end + 1] in ('"', "("):
            return False
        fix = replace("put it in quotes", span, quote(run))
        self._report("KC001", message, span, label=f"write `{quote(run)}`", fixes=(fix,))
        self._at -= 1
        self._drop_until(span.end)
        self._keep(Token("STRING", quote(run), span.start, span.end))
        return True

    def _wants_quotes(self, run: str) -> bool:
        if re.compile(_NUMBER_WITH_UNIT).fullmatch(run) or not any(character.isalpha() for character in run):
            return run.count(":") == 1 and run.count(".") == 3
        if self._before() not in OPERATORS and (run[0] == ":" or run[-1] == ":" or self._names_argument(run)):
            return False
        return re.compile(_ONLY_IN_QUOTES).search(run) is not None or any(not c.isascii() and c.isalnum() for c in run)

    def _names_argument(self, run: str) -> bool:
        """Whether a `:` stands where the `=` of a named argument belongs."""
        return self._open[-1:] == ["LPAREN"] and "/" not in run

    def _range(self, match: re.Match[str], span: Span) -> None:
        first, last = match.groups()
        right = f"{first}..{last}"
        fix = replace(f"write `{right}`", span, right)
        self._report(
            "KC001", f"a range is written `{right}`, both ends included", span, label="this range", fixes=(fix,)
        )
        self._at -= 1
        self._drop_until(span.end)
        self._keep(Token("NUMBER", first, span.start, span.start + len(first)))
        self._keep(Token("TO", "..", span.start + len(first), span.end - len(last)))
        self._keep(Token("NUMBER", last, span.end - len(last), span.end))

    # Numbers

    def _number(self, token: Token) -> None:
        match = None if self._open else re.compile(_THOUSANDS).match(self._text, token.start)
        if match is None:
            self._keep(check_number(token, self._findings))
            return
        span, right = Span(*match.span()), match.group().replace(",", "_")
        self._report(
            "KC005",
            f"`{match.group()}` is not a number of this language: thousands are set off by `_`",
            span,
            label=f"write `{right}`",
            fixes=(replace(f"write `{right}`", span, right),),
        )
        self._drop_until(span.end)
        self._keep(check_number(Token("NUMBER", right, span.start, span.end), self._findings))

    def _bad_number(self, token: Token) -> None:
        if self._odd_lines and self._lacks_quote(token.start):
            self._keep(token._replace(type=SPOILT))
        elif token.text[0] in "+-" and self._before() in _ENDS_OF_VALUES:
            message = f"`{token.text[0]}` has no meaning here: values are not added up"
            help_ = ("several values go into a list: `[a, b]`",)
            self._report("KC001", message, Span(token.start, token.start + 1), help=help_)
            self._keep(token._replace(type=SPOILT))
        else:
            self._keep(mend_number(token, self._findings))

    # Strings

    def _string(self, token: Token) -> None:
        check_escapes(token, self._findings)
        self._keep(token)

    def _single_quoted(self, token: Token) -> None:
        right = quote(token.text[1:-1])
        fix = replace("use double quotes", token.span, right)
        self._report(
            "KC001", "strings are written in double quotes", token.span, label=f"write `{right}`", fixes=(fix,)
        )
        self._keep(Token("STRING", right, token.start, token.end))

    def _open_string(self, token: Token) -> None:
        """A quote without its second: where the first one is missing, what stands before it is the string."""
        content = token.text[1:].split(" #")[0].rstrip(_TAIL)
        before = self._out[-1] if self._out else None
        glued = before is not None and before.end == token.start and before.type != NEWLINE
        if before is not None and glued and (not content or before.type == "STRING"):
            self._unopened(token)
            return
        end = token.start + 1 + len(content)
        self._findings.add(
            "KC002",
            "the string is never closed",
            Span(token.start, end),
            label="opened here; a string ends on its own line",
            fixes=(Fix('add `"`', (Edit(Span(end, end), '"'),), "unsafe"),),
        )
        self._keep(Token("STRING", quote(content), token.start, end))
        self._coming[self._at : self._at] = lex(self._text, end, token.end)

    def _unopened(self, token: Token) -> None:
        first = token.start
        while self._out and self._out[-1].type not in (*OPERATORS, NEWLINE, "COMMA", *SIGNS):
            first = self._out.pop().start
        content = self._text[first : token.start]
        self._findings.add(
            "KC002",
            'a `"` closes what no `"` opened' if '"' not in content else 'a `"` too many',
            Span(token.start, token.start + 1),
            label="this one",
            labels=(Label(Span(first, token.start), "the string begins here?"),) if first < token.start else (),
        )
        self._keep(Token("STRING", quote(content.replace('"', "")), first, token.start + 1))
        self._coming[self._at : self._at] = lex(self._text, token.start + 1, token.end)

    # Comments, flags, signs

    def _slash_comment(self, token: Token) -> None:
        if token.text[1] == "/":
            fix = replace("use `#`", Span(token.start, token.start + 2), "#")
            self._report("KC001", "a comment begins with `#`", token.span, label="this comment", fixes=(fix,))
            return
        end = self._text.find("*/", token.start + 2)
        self._drop_until(end + 2 if end >= 0 else token.end)
        if end >= 0 and end + 2 < token.end:
            self._coming[self._at : self._at] = lex(self._text, end + 2, token.end)
        span = Span(token.start, min(token.end, end + 2) if end >= 0 else token.end)
        self._report("KC001", "a comment begins with `#` and ends with its line", span, label="this comment")

    def _flag(self, token: Token) -> None:
        right = quote(token.text)
        fix = replace("put it in quotes", token.span, right)
        self._report("KC001", "a raw flag goes in quotes", token.span, label=f"write `{right}`", fixes=(fix,))
        self._keep(Token("STRING", right, token.start, token.end))

    def _operator(self, token: Token) -> None:
        kind = _MEANT.get(token.text)
        if kind is not None and self._reported_line[0] <= token.start <= self._reported_line[1]:
            self._keep(Token(kind, SIGNS[kind], token.start, token.end))
            return
        if kind is None or not self._is_operator_place(token):
            self._report("KC001", f"`{token.text}` has no meaning here", token.span, label="here")
            self._keep(token._replace(type=SPOILT))
            return
        if kind == "EQUAL" and re.compile(_BLOCK_FOLLOWS).match(self._text, token.end):
            fix = replace("remove it", token.span, "")
            self._report(
                "KC001", f"the head of a block takes no `{token.text}`", token.span, label="not here", fixes=(fix,)
            )
            return
        right = SIGNS[kind]
        what = "a value is given with `=`" if kind == "EQUAL" else f"this bound is written `{right}`"
        glued = token.start > 0 and not self._text[token.start - 1].isspace()
        instead = f" {right}" if glued else right
        fix = replace(f"write `{right}`", token.span, instead, "unsafe" if token.text == "=>" else "safe")
        self._report("KC001", f"{what}, not `{token.text}`", token.span, label=f"write `{right}`", fixes=(fix,))
        self._keep(Token(kind, right, token.start, token.end))

    def _is_operator_place(self, token: Token) -> bool:
        """Whether a name stands before, and no operator follows that would be the one."""
        if self._before() not in ("WORD", "STRING") or re.compile(_OPERATOR_FOLLOWS).match(self._text, token.end):
            return False
        before = self._before(2)
        return before in ("LPAREN", "COMMA") if self._open else before in (NEWLINE, "LBRACE", "RBRACE", "COMMA")

    def _semicolon(self, token: Token) -> None:
        last = re.compile(_NOTHING_MORE).match(self._text, token.end) is not None
        fix = replace("remove it", token.span, "") if last else replace("write `,`", token.span, ",")
        message = "an attribute ends with its line or at `,`, without `;`"
        self._report("KC001", message, token.span, label="this one", fixes=(fix,))
        if not last:
            self._keep(Token("COMMA", ",", token.start, token.end))

    def _junk(self, token: Token) -> None:
        quoted = re.compile(_CURLY_QUOTED).match(self._text, token.start)
        if quoted is not None:
            self._curly_quoted(Span(*quoted.span()))
            return
        like = unicodedata.normalize("NFKC", token.text)
        if token.text == "×" and self._before() == "NUMBER" and re.compile(_THING_FOLLOWS).match(self._text, token.end):
            like = "*"
        sign = next((kind for kind, text in SIGNS.items() if text == like), None)
        name = character_name(token.text) if not token.text.isascii() else f"`{token.text}`"
        if like == " " or sign is not None:
            fix = replace(f"write `{like}`", token.span, like)
            self._report("KC001", f"{name} is written `{like}`", token.span, label=f"write `{like}`", fixes=(fix,))
            if sign is not None:
                self._keep(Token(sign, like, token.start, token.end))
            return
        if self._reported_line[0] <= token.start <= self._reported_line[1]:
            self._keep(token._replace(type=SPOILT))
            return
        helps = ("only strings and comments hold such characters",)
        self._report("KC001", f"{name} has no meaning here", token.span, label="here", help=helps)
        self._keep(token._replace(type=SPOILT))

    def _curly_quoted(self, span: Span) -> None:
        right = quote(self._text[span.start + 1 : span.end - 1])
        fix = replace('write `"`', span, right)
        self._report(
            "KC001", 'strings are written in straight quotes `"`', span, label=f"write `{right}`", fixes=(fix,)
        )
        self._drop_until(span.end)
        self._keep(Token("STRING", right, span.start, span.end))
