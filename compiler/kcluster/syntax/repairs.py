"""Mistakes of structure that are known well enough to be mended: one sign too few or too many in one statement.

Each repair looks at the statement so far, the token that the grammar refused, and what comes; it gives what to report and
the tokens to read instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from kcluster.diagnostics import Edit, Fix, Safety
from kcluster.source import Span
from kcluster.syntax.tokens import END, NAMES, NEWLINE, OPERATORS, Token, put_in
from kcluster.syntax.wording import VALUE_ENDS, found, innermost, written
from kcluster.values import frozen

_ENDS: Final = frozenset((NEWLINE, "COMMA", "RBRACE", END))
_VALUE_STARTS: Final = frozenset(("NUMBER", "WORD", "STRING", "LBRACKET"))
_LIKE_IMPORT: Final = frozenset(("include", "use", "source", "require", "load", "from", "imports", "improt", "Import"))


@frozen
class Situation:
    """`fed`: the statement so far; `bad`: what the grammar refused; `ahead`: what comes then; `in_block`: inside a block;
    `text`: the whole text that all of them stand in."""

    fed: list[Token]
    bad: Token
    ahead: Sequence[Token]
    in_block: bool
    text: str

    def coming(self, number: int = 0) -> str:
        return self.ahead[number].type if number < len(self.ahead) else END

    @property
    def last(self) -> str:
        return self.fed[-1].type if self.fed else NEWLINE

    def joined(self, start: int, end: int, by: str = " ") -> tuple[Edit, ...]:
        """The edit that joins two places of which nothing but blanks and new lines lies between; none over a comment."""
        return (Edit(Span(start, end), by),) if not self.text[start:end].strip() else ()

    @property
    def only_names(self) -> bool:
        return bool(self.fed) and all(token.type in NAMES for token in self.fed)

    @property
    def has_operator(self) -> bool:
        return any(token.type in OPERATORS for token in self.fed)


@frozen
class Repair:
    """What to report, the tokens to read in place of the statement and the refused token, and how many of the coming
    tokens they replace too."""

    message: str
    span: Span
    tokens: list[Token]
    label: str = ""
    edits: tuple[Edit, ...] = ()
    fix: str = ""
    safety: Safety = "safe"
    swallowed: int = 0
    help: tuple[str, ...] = ()

    @property
    def fixes(self) -> tuple[Fix, ...]:
        return (Fix(self.fix, self.edits, self.safety),) if self.edits else ()


def _insert(text: str, at: int) -> tuple[Edit, ...]:
    return (Edit(Span(at, at), text),)


def _import_misspelt(s: Situation) -> Repair | None:
    if len(s.fed) != 2 or s.fed[1].type != "STRING" or s.bad.type not in _ENDS or s.fed[0].text not in _LIKE_IMPORT:
        return None
    word = s.fed[0]
    edits = (Edit(word.span, "import"),)
    tokens = [Token("IMPORT", "import", word.start, word.end), s.fed[1], s.bad]
    message = f"another file is brought in by `import`, not `{word.text}`"
    return Repair(message, word.span, tokens, "write `import`", edits, "write `import`")


def _import_with_equal(s: Situation) -> Repair | None:
    if s.last != "IMPORT" or len(s.fed) != 1 or s.bad.type != "EQUAL":
        return None
    edits = (Edit(Span(s.fed[-1].end, s.bad.end), ""),)
    return Repair("an import takes no `=`", s.bad.span, list(s.fed), "not here", edits, "remove the `=`")


def _brace_on_next_line(s: Situation) -> Repair | None:
    if not s.only_names or s.bad.type != NEWLINE or s.coming() != "LBRACE" or s.fed[0].type != "WORD":
        return None
    brace = s.ahead[0]
    head = written(s.fed)
    message = f"the `{{` of `{head}` stands on the line of its head"
    edits = s.joined(s.fed[-1].end, brace.start) or (Edit(brace.span, ""), *_insert(" {", s.fed[-1].end))
    return Repair(message, brace.span, [*s.fed, brace], "move it up", edits, "move it up", swallowed=1)


def _missing_equal(s: Situation) -> Repair | None:
    """`port 8000`, `weights fp8`: a name and a value."""
    if not s.only_names or not s.in_block:
        return None
    before_value = len(s.fed) == 1 and s.bad.type in ("NUMBER", "LBRACKET")
    before_call = len(s.fed) == 2 and s.bad.type == "LPAREN" and s.fed[1].type == "WORD"
    name_and_value = len(s.fed) == 2 and s.bad.type in _ENDS
    if not (before_value or before_call or name_and_value) or s.coming() in (*OPERATORS, "LBRACKET"):
        return None
    key = s.fed[0]
    tokens = [key, put_in("EQUAL", key.end), *s.fed[1:], s.bad]
    message = f"`=` is missing after `{key.text}`"
    return Repair(message, key.span, tokens, "write `=` after this", _insert(" =", key.end), "add `=`")


def _doubled_name(s: Situation) -> Repair | None:
    if len(s.fed) != 2 or s.bad.type not in OPERATORS or s.fed[0].text != s.fed[1].text:
        return None
    first, second = s.fed
    edits = (Edit(Span(first.end, second.end), ""),)
    return Repair(f"`{first.text}` stands twice", second.span, [first, s.bad], "once too often", edits, "remove one")


def _name_with_blanks(s: Situation) -> Repair | None:
    if len(s.fed) < 2 or s.bad.type not in OPERATORS or any(token.type != "WORD" for token in s.fed):
        return None
    if s.coming() not in _VALUE_STARTS:
        return None
    whole = Span(s.fed[0].start, s.fed[-1].end)
    name = "_".join(token.text for token in s.fed)
    tokens = [Token("WORD", name, whole.start, whole.end), s.bad]
    message = f"`{written(s.fed)}` is not one name: names hold no blanks"
    edits = (Edit(whole, name),)
    return Repair(message, whole, tokens, f"write `{name}`?", edits, f"write `{name}`", "unsafe")


def _value_on_next_line(s: Situation) -> Repair | None:
    if s.last not in OPERATORS or s.bad.type != NEWLINE or s.coming() not in _VALUE_STARTS:
        return None
    value = s.ahead[0]
    if s.coming(1) in OPERATORS or (value.type == "WORD" and s.coming(1) not in (*_ENDS, "LPAREN")):
        return None
    edits = s.joined(s.fed[-1].end, value.start)
    if edits and s.coming(1) in ("WORD", "STRING") and value.type in ("NUMBER", "STRING"):
        edits = ()
    message = f"the value of `{s.fed[0].text}` stands on the line of its `{s.fed[-1].text}`"
    return Repair(message, value.span, [*s.fed, value], "move it up", edits, "move it up", swallowed=1)


def _operator_on_next_line(s: Situation) -> Repair | None:
    if len(s.fed) != 1 or s.fed[0].type not in NAMES or s.bad.type != NEWLINE or s.coming() not in OPERATORS:
        return None
    operator = s.ahead[0]
    edits = s.joined(s.fed[-1].end, operator.start)
    message = f"the `{operator.text}` of `{s.fed[0].text}` stands on the line of its name"
    return Repair(message, operator.span, [*s.fed, operator], "move it up", edits, "move it up", swallowed=1)


def _missing_value(s: Situation) -> Repair | None:
    if s.last not in OPERATORS or s.bad.type not in _ENDS or innermost(s.fed) is not None or len(s.fed) != 2:
        return None
    span = Span(s.fed[0].start, s.fed[-1].end)
    help_ = ("where the choice is the compiler's, leave the line out or write `auto`",)
    tokens = [] if s.bad.type == "COMMA" else [s.bad]
    return Repair(f"a value is missing after `{written(s.fed)}`", span, tokens, "no value follows", help=help_)


def _equal_before_brace(s: Situation) -> Repair | None:
    if s.bad.type != "LBRACE" or s.last != "EQUAL" or any(token.type not in NAMES for token in s.fed[:-1]):
        return None
    if len(s.fed) < 2 or s.fed[0].type != "WORD":
        return None
    equal = s.fed[-1]
    message = f"the block `{written(s.fed[:-1])}` takes no `=`"
    edits = (Edit(Span(s.fed[-2].end, equal.end), ""),)
    return Repair(message, equal.span, [*s.fed[:-1], s.bad], "not here", edits, "remove the `=`")


def _missing_comma_between(s: Situation) -> Repair | None:
    """`tp = 4 pp = 1`: two attributes on one line. The second name may have been read as a unit already."""
    if not s.has_operator or innermost(s.fed) is not None:
        return None
    if s.bad.type in OPERATORS and s.last in NAMES and len(s.fed) > 3 and s.fed[-2].type in VALUE_ENDS:
        first, second, rest = s.fed[:-1], s.fed[-1], [s.bad]
    elif s.last in VALUE_ENDS and _begins_statement(s):
        first, second, rest = s.fed, s.bad, []
    else:
        return None
    at = first[-1].end
    tokens = [*first, put_in("COMMA", at), second, *rest]
    message = f"`,` or a new line is missing before `{second.text}`"
    return Repair(message, second.span, tokens, "another begins here", _insert(",", at), "add `,`")


def _begins_statement(s: Situation) -> bool:
    if s.bad.type not in NAMES:
        return False
    ahead = 0
    while s.bad.type == "WORD" and ahead < 4 and s.coming(ahead) in NAMES:
        ahead += 1
    return s.coming(ahead) == "LBRACE" if ahead else s.coming() in (*OPERATORS, "LBRACE")


def _missing_comma_inside(s: Situation) -> Repair | None:
    if innermost(s.fed) is None or s.last not in VALUE_ENDS or s.bad.type not in _VALUE_STARTS:
        return None
    at = s.fed[-1].end
    message = f"`,` is missing between `{s.fed[-1].text}` and {found(s.bad)}"
    tokens = [*s.fed, put_in("COMMA", at), s.bad]
    return Repair(message, s.bad.span, tokens, "another begins here", _insert(",", at), "add `,`")


def _missing_star(s: Situation) -> Repair | None:
    """`4x rtx-5090`, `8 infiniband(ndr)`, `4 "RTX 5090"`."""
    before = s.fed[-2].type if len(s.fed) > 1 else NEWLINE
    if s.last == "WORD" and before == "NUMBER" and s.fed[-1].text in ("x", "X") and s.bad.type in ("WORD", "STRING"):
        sign = s.fed[-1]
        count, thing, at = s.fed[:-1], [s.bad], Span(s.fed[-2].end, sign.end)
    elif s.last == "WORD" and before == "NUMBER" and s.bad.type == "LPAREN":
        count, thing = s.fed[:-1], [s.fed[-1], s.bad]
        at = Span(count[-1].end, count[-1].end)
    elif s.last == "NUMBER" and s.bad.type == "STRING" and innermost(s.fed) is None and s.has_operator:
        count, thing = list(s.fed), [s.bad]
        at = Span(count[-1].end, count[-1].end)
    else:
        return None
    right = f"{count[-1].text} * {thing[0].text}{'(…)' if s.bad.type == 'LPAREN' else ''}"
    edits = (Edit(at, " *" if at.end < thing[0].start else " * "),)
    tokens = [*count, put_in("STAR", at.start), *thing]
    span = Span(count[-1].start, thing[0].end)
    return Repair(f"a count is written `{right}`", span, tokens, "a count", edits, "write `*`")


def _count_last(s: Situation) -> Repair | None:
    """`rtx-5090 * 4`, `rtx-5090 x 4`."""
    by = s.bad.type == "STAR" or (s.bad.type == "WORD" and s.bad.text == "x")
    if not by or s.last not in ("WORD", "STRING") or s.coming() != "NUMBER":
        return None
    thing, count, fed = s.fed[-1], s.ahead[0], s.fed[:-1]
    if not s.has_operator and innermost(s.fed) is None:
        return None
    span = Span(thing.start, count.end)
    right = f"{count.text} * {thing.text}"
    edits = (Edit(span, right),)
    tokens = [*fed, count, put_in("STAR", count.end), thing]
    message = f"the count comes first: `{right}`"
    return Repair(message, span, tokens, f"write `{right}`", edits, f"write `{right}`", swallowed=1)


def _doubled_sign(s: Situation) -> Repair | None:
    if s.bad.type != s.last or s.bad.type not in (*OPERATORS, "COMMA", "STAR", "TO", "SLASH", "PERCENT"):
        return None
    start = s.fed[-1].end if s.joined(s.fed[-1].end, s.bad.start) else s.bad.start
    edits = (Edit(Span(start, s.bad.end), ""),)
    return Repair(f"`{s.bad.text}` stands twice", s.bad.span, list(s.fed), "once too often", edits, "remove one")


def _stray_comma(s: Situation) -> Repair | None:
    if s.fed or s.bad.type != "COMMA":
        return None
    edits = (Edit(s.bad.span, ""),)
    return Repair("nothing stands before this `,`", s.bad.span, [], "not needed", edits, "remove it")


def _range_outside_list(s: Situation) -> Repair | None:
    if s.bad.type != "TO" or s.last != "NUMBER" or s.coming() != "NUMBER":
        return None
    first, last = s.fed[-1], s.ahead[0]
    right = f"[{first.text}..{last.text}]"
    edits = (*_insert("[", first.start), *_insert("]", last.end))
    tokens = [*s.fed[:-1], put_in("LBRACKET", first.start), first, s.bad, last, put_in("RBRACKET", last.end)]
    message = f"a range stands in a list: `{right}`"
    return Repair(
        message, Span(first.start, last.end), tokens, f"write `{right}`", edits, "make it a list", swallowed=1
    )


def _bound_in_call(s: Situation) -> Repair | None:
    if s.bad.type not in ("AT_MOST", "AT_LEAST") or s.last != "WORD" or innermost(s.fed) is None:
        return None
    edits = (Edit(s.bad.span, "="),)
    tokens = [*s.fed, Token("EQUAL", "=", s.bad.start, s.bad.end)]
    return Repair("an argument is given with `=`", s.bad.span, tokens, "write `=`", edits, "write `=`")


_REPAIRS: Final[tuple[Callable[[Situation], Repair | None], ...]] = (
    _import_misspelt,
    _import_with_equal,
    _brace_on_next_line,
    _value_on_next_line,
    _operator_on_next_line,
    _missing_value,
    _equal_before_brace,
    _doubled_sign,
    _stray_comma,
    _doubled_name,
    _missing_equal,
    _missing_star,
    _count_last,
    _range_outside_list,
    _bound_in_call,
    _missing_comma_between,
    _missing_comma_inside,
    _name_with_blanks,
)


def find_repair(situation: Situation) -> Repair | None:
    """The first repair that fits."""
    return next((found_ for repair in _REPAIRS if (found_ := repair(situation)) is not None), None)
