"""Shell text as commands: quotes, continuations, comments, variables with what is assigned above them, arrays, redirections.

Nothing runs. What only a running shell could know (`$(…)`, a variable that nothing sets) stays as written and is told.
Both sides of a condition are read, in order.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from kcluster.importers.words import Command, Word
from kcluster.source import Span

Variables = dict[str, tuple[Word, ...]]

_FLAG_BELOW: Final = re.compile(r"\s*--?[a-zA-Z]")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PARAMETER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*]")
_FIELD: Final = re.compile(r"(?:\$\([^)]*\)+|`[^`]*`|\$\{[^}]*\}|\S)+")
"""A field of a value in which something is unset: what stands for a command or a variable is not split."""
_ASSIGNMENT: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?)=")
_PLACEHOLDER: Final = re.compile(r"<[A-Za-z][^<>\n|;&]*>(?=\s|$)")
_REDIRECTION: Final = re.compile(r"(?:\d*(?:>>?|<)|&>>?)(?:&\d|&-)?")
_HEREDOC: Final = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
_TARGET: Final = re.compile(r">>?\s*([^\s<>|&;]+)")
_WORDS_OF_SHELL: Final = frozenset(
    {"if", "then", "else", "elif", "fi", "do", "done", "while", "until", "time", "!", "{", "}"}
)
_DEPTH: Final = 20
_LONGEST: Final = 20_000
"""Characters that a variable grows to by `+=`."""
_BRACES: Final = 64
"""Words that one pair of braces gives at most."""


class Shell:
    """A reader of one text. `notes` takes what was read as meant and not as a shell would."""

    def __init__(self, text: Word, variables: Variables, notes: list[str], depth: int = 0) -> None:
        self.depth = depth
        self.word, self.text = text, text.text
        self.variables, self.notes = variables, notes
        self.commands: list[Command] = []
        self.documents: list[tuple[str, Word]] = []
        """Every here-document: the file that it is written to (empty where none is named) and its text."""
        self.words: list[Word] = []
        self.bare: list[bool] = []
        """Whether each word began without a quote, as an assignment or a keyword must."""
        self._exported: dict[str, Word] = {}
        self._skip_next = False

    def read(self) -> list[Command]:
        at, size = 0, len(self.text)
        while at < size:
            char = self.text[at]
            following = self.text[at + 1 : at + 2]
            if char in " \t\r":
                at += 1
            elif char == "\\" and self._continues(at):
                at = self.text.find("\n", at) + 1 or size
            elif char == "#":
                at = self.text.find("\n", at)
                at = size if at < 0 else at
            elif char == "\n":
                at = self._line_end(at)
            elif self.text.startswith("<<", at) and (match := _HEREDOC.match(self.text, at)):
                at = self._behind_heredoc(match)
            elif char == "<" and (match := _PLACEHOLDER.match(self.text, at)):
                self._add([(c, at + n) for n, c in enumerate(match[0])], at, match.end(), (), False)
                at = match.end()
            elif (match := _REDIRECTION.match(self.text, at)) and match[0].rstrip("0123456789"):
                self._skip_next = not match[0].rstrip("-").endswith(tuple("0123456789")) and "&-" not in match[0]
                at = match.end()
            elif char in ";&|()":
                self._end(waits=char != "&" or following == "&")
                at += 1 + (following == char)
            else:
                at = self._read_word(at)
        self._end()
        return self.commands

    def _continues(self, at: int) -> bool:
        end = self.text.find("\n", at)
        rest = self.text[at + 1 : end if end >= 0 else len(self.text)]
        if rest.strip() or at + 1 >= len(self.text):
            return at + 1 >= len(self.text)
        if rest.strip("\r"):
            self._note(
                "a backslash with blanks behind it does not continue a line in a shell; it was read as if it did"
            )
        return True

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _line_end(self, at: int) -> int:
        serves = any(word.text in ("serve", "--model") for word in self.words)
        if serves and _FLAG_BELOW.match(self.text, at):
            self._note("flags on a line of their own without a backslash above them were read as part of the command")
        else:
            self._end()
        return at + 1

    def _behind_heredoc(self, match: re.Match[str]) -> int:
        line = self.text.find("\n", match.end())
        if line < 0:
            return len(self.text)
        end = re.compile(rf"^\s*{match[2]}\s*$", re.MULTILINE).search(self.text, line + 1)
        start = self.text.rfind("\n", 0, match.start()) + 1
        target = _TARGET.search(self.text[start : match.start()] + self.text[match.end() : line])
        body = self.word.part(line + 1, end.start() if end else None)
        self.documents.append((target[1].strip("\"'") if target else "", body))
        return end.end() if end else len(self.text)

    # Words

    def _read_word(self, at: int) -> int:
        start, chars, unset = at, list[tuple[str, int]](), list[str]()
        bare = self.text[at] not in "\"'"
        marks: set[int] = set()
        quoted = False
        while at < len(self.text):
            char = self.text[at]
            if char in " \t\r\n;&|()<>":
                match = _ASSIGNMENT.fullmatch("".join(c for c, _ in chars))
                if char == "(" and match and not quoted:
                    return self._array(match, at)
                break
            if char == "'":
                quoted, end = True, self.text.find("'", at + 1)
                end = len(self.text) if end < 0 else end
                chars += [(self.text[n], n) for n in range(at + 1, end)]
                at = end + 1
            elif char == '"':
                quoted = True
                at = self._double(at, chars, unset, start)
                if at < 0:
                    return -at
            elif char == "\\":
                if self.text[at + 1 : at + 2] == "\n":
                    at += 2
                    continue
                chars += [(c, at + 1) for c in self.text[at + 1 : at + 2]]
                at += 2
            elif char == "$" or char == "`":
                values, at_after, missing = self.dollar(at)
                unset += missing or _unset(values)
                alone = not chars and self.text[at_after : at_after + 1] in ("", " ", "\t", "\n", "\r")
                if values is not None and alone and not (missing and values):
                    self._add_fields(values, Span(at, at_after))
                    return at_after
                chars += [(c, at) for c in " ".join(word.text for word in values or ())]
                at = at_after
            else:
                if char in "{,}":
                    marks.add(len(chars))
                chars.append((char, at))
                at += 1
        for part in _expanded(chars, marks):
            self._add(part, start, at, tuple(unset), bare)
        return max(at, start + 1)

    def _double(self, at: int, chars: list[tuple[str, int]], unset: list[str], start: int) -> int:
        """The text of double quotes. A quoted array alone gives words of its own; then the place behind it, negated."""
        first, at = at, at + 1
        while at < len(self.text) and self.text[at] != '"':
            char = self.text[at]
            if char == "\\" and self.text[at + 1 : at + 2] in tuple('"\\$`\n'):
                if self.text[at + 1] != "\n":
                    chars.append((self.text[at + 1], at + 1))
                at += 2
            elif char in "$`":
                values, after, missing = self.dollar(at)
                several = self.text[at:after].endswith("[@]}") or self.text[at:after] == "$@"
                if several and first == start and at == first + 1 and self.text[after : after + 1] == '"':
                    for value in values or ():
                        self._add([(c, at) for c in value.text], at, after, value.unset, False)
                    return -(after + 1)
                unset += missing or _unset(values)
                chars += [(c, at) for c in " ".join(word.text for word in values or ())]
                at = after
            else:
                chars.append((char, at))
                at += 1
        return at + 1

    def _array(self, match: re.Match[str], at: int) -> int:
        """`NAME=( … )`: its words, read by themselves."""
        depth, end, quote, chars = 1, at + 1, "", list[str]()
        while end < len(self.text) and depth:
            char = self.text[end]
            if not quote and char == "#" and chars[-1:] in ([], [" "]):
                stop = self.text.find("\n", end)
                stop = len(self.text) if stop < 0 else stop
                chars += " " * (stop - end)
                end = stop
                continue
            if quote:
                quote = "" if char == quote else quote
            elif char in "\"'":
                quote = char
            else:
                depth += (char == "(") - (char == ")")
            continues = char == "\n" or (char == "\\" and self.text[end + 1 : end + 2] == "\n")
            chars.append(" " if continues else char)
            end += 1
        inner = self.word.part(at + 1, end - 1)
        flat = "".join(chars[: len(inner.text)])
        deeper = Shell(Word(flat, inner.places, inner.span), self.variables, self.notes, self.depth + 1)
        found = deeper.read() if self.depth < _DEPTH else []
        words = tuple(word for command in found for word in command.words)
        old = self.variables.get(match[1], ()) if match[2] else ()
        self.variables[match[1]] = old + words
        return end

    def _span(self, start: int, end: int) -> Span:
        places = self.word.places[start:end]
        return Span(places[0], places[-1] + 1) if places else Span(self.word.span.end, self.word.span.end)

    def _add(self, chars: list[tuple[str, int]], start: int, end: int, unset: tuple[str, ...], bare: bool) -> None:
        if self._skip_next:
            self._skip_next = False
            return
        places = tuple(self.word.places[min(place, len(self.word.places) - 1)] for _, place in chars)
        self.words.append(Word("".join(c for c, _ in chars), places, self._span(start, end), unset))
        self.bare.append(bare)

    def _add_fields(self, values: tuple[Word, ...], at: Span) -> None:
        """An unquoted variable gives as many words as its value has."""
        for value in values:
            for field in _FIELD.findall(value.text) if value.unset else value.text.split():
                self._add([(c, at.start) for c in field], at.start, at.end, value.unset, False)

    def _end(self, *, waits: bool = True) -> None:
        words, bare = self.words, self.bare
        self.words, self.bare, self._skip_next = [], [], False
        if len(words) > 3 and bare[0] and words[0].text == "for" and words[2].text == "in":
            self.variables[words[1].text] = (words[3],)
            if len(words) > 4:
                self._note(f"the loop over {words[1].text} was read with its first value alone, {words[3].text}")
            return
        while words and bare[0] and words[0].text in _WORDS_OF_SHELL:
            words, bare = words[1:], bare[1:]
        given: list[tuple[str, Word]] = []
        exports = bool(words) and words[0].text in ("export", "declare", "local", "readonly", "set")
        if exports:
            words = words[1:]
        while words and (match := _ASSIGNMENT.match(words[0].text)):
            value = words[0].part(match.end())
            given.append((match[1], _joined(self.variables.get(match[1], ()), value) if match[2] else value))
            words = words[1:]
            while exports and words and words[0].text.startswith("-"):
                words = words[1:]
        if exports or not words:
            for name, value in given:
                self.variables[name] = (value,)
                if exports:
                    self._exported[name] = value
            return
        env = {**self._exported, **dict(given)}
        self.commands.append(Command(tuple(words), tuple(sorted(env.items())), waits))

    # Variables

    def dollar(self, at: int, depth: int = 0) -> tuple[tuple[Word, ...] | None, int, list[str]]:
        """What stands at a `$`: its words, the place behind it, and what nothing sets. Unset variables are kept as written."""
        text = self.text
        if text[at] == "`":
            end = text.find("`", at + 1) + 1 or len(text)
            return (self._literal(at, end),), end, [text[at:end]]
        if text.startswith("$((", at) and (end := text.find("))", at)) >= 0:
            from kcluster.importers.arithmetic import computed

            number = computed(text[at + 3 : end], self.variables)
            if number is not None:
                return (Word(number, (self.word.places[at],) * len(number), self._span(at, end + 2)),), end + 2, []
        if text.startswith("$(", at):
            end = _closing(text, at + 1, "(", ")")
            return (self._literal(at, end),), end, [text[at:end]]
        if text.startswith("${", at):
            end = _closing(text, at + 1, "{", "}")
            return self._braces(at, end, depth)
        match = _NAME.match(text, at + 1)
        end = match.end() if match else at + 2 if text[at + 1 : at + 2] in tuple("@*#?!0123456789") else at + 1
        if end == at + 1:
            return (self.word.part(at, end),), end, []
        found = self.variables.get(text[at + 1 : end])
        return (found, end, []) if found is not None else ((self._literal(at, end),), end, [text[at + 1 : end]])

    def _literal(self, at: int, end: int) -> Word:
        part = self.word.part(at, end)
        return Word(part.text.replace("\n", " "), part.places, part.span, (part.text.strip("${}"),))

    def _braces(self, at: int, end: int, depth: int) -> tuple[tuple[Word, ...] | None, int, list[str]]:
        match = _PARAMETER.match(self.text, at + 2)
        if match is None or depth > _DEPTH:
            return (self._literal(at, end),), end, [self.text[at + 2 : end - 1]]
        found = self.variables.get(match[0])
        rest = self.text[match.end() : end - 1]
        operator = next((sign for sign in (":-", ":=", ":+", ":?", "-", "=", "+", "?") if rest.startswith(sign)), "")
        if operator and operator[-1] == "+":
            empty = found is None
            return ((), end, []) if empty else ((self._default(match.end() + len(operator), end - 1, depth),), end, [])
        if found is not None and not (operator[:1] == ":" and not any(word.text for word in found)):
            return found, end, []
        if operator and operator[-1] in "-=":
            word = self._default(match.end() + len(operator), end - 1, depth)
            return ((word,) if word.text else ()), end, list(word.unset)
        return (self._literal(at, end),), end, [match[0]]

    def _default(self, start: int, end: int, depth: int) -> Word:
        """A default with the variables in it resolved, as one word."""
        chars, places, unset, at = "", list[int](), list[str](), start
        while at < end:
            if self.text[at] in "$`":
                values, after, missing = self.dollar(at, depth + 1)
                value = " ".join(word.text for word in values or ())
                chars, unset = chars + value, unset + missing
                places += [self.word.places[at]] * len(value)
                at = after
            else:
                if self.text[at] not in "\"'":
                    chars += self.text[at]
                    places.append(self.word.places[at])
                at += 1
        return Word(chars, tuple(places), self._span(start, end), tuple(unset))


def _expanded(chars: list[tuple[str, int]], marks: set[int]) -> list[list[tuple[str, int]]]:
    """A word's braces expanded as bash does: `{a,b}c` gives two words. `marks`: the braces and commas that no quote holds."""
    opening = [at for at in sorted(marks) if chars[at][0] == "{"]
    for start in opening[:1]:
        depth, cuts = 0, [start]
        for at in range(start, len(chars)):
            if at not in marks:
                continue
            depth += (chars[at][0] == "{") - (chars[at][0] == "}")
            if depth == 1 and chars[at][0] == ",":
                cuts.append(at)
            if depth == 0:
                cuts.append(at)
                break
        if depth == 0 and 2 < len(cuts) <= _BRACES:
            parts = [chars[one + 1 : two] for one, two in pairwise(cuts)]
            return [[*chars[:start], *part, *chars[cuts[-1] + 1 :]] for part in parts]
    return [chars]


def _unset(values: tuple[Word, ...] | None) -> list[str]:
    return [name for word in values or () for name in word.unset]


def _joined(before: tuple[Word, ...], word: Word) -> Word:
    """`NAME+=text`: what a variable held, with a text behind it."""
    for one in reversed(before):
        if len(one.text) + len(word.text) > _LONGEST:
            return one
        word = Word(one.text + word.text, one.places + word.places, word.span, (*one.unset, *word.unset))
    return word


def _closing(text: str, at: int, opening: str, closing: str) -> int:
    """The place behind the bracket that closes the one at `at`."""
    depth = 0
    for place in range(at, len(text)):
        depth += (text[place] == opening) - (text[place] == closing)
        if depth == 0:
            return place + 1
    return len(text)


def interpolate(word: Word, variables: Variables) -> Word:
    """A Compose value with its variables resolved; `$$` is a dollar sign."""
    shell = Shell(word, variables, [])
    chars, places, unset, at = "", list[int](), list[str](), 0
    while at < len(word.text):
        if word.text.startswith("$$", at):
            chars, at = chars + "$", at + 2
            places.append(word.places[at - 1])
        elif word.text[at] == "$":
            values, after, missing = shell.dollar(at)
            value = " ".join(one.text for one in values or ())
            chars, unset = chars + value, unset + missing
            places += [word.places[at]] * len(value)
            at = after
        else:
            chars += word.text[at]
            places.append(word.places[at])
            at += 1
    return Word(chars, tuple(places), word.span, tuple(unset))
