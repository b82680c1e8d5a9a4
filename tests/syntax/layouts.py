"""Sound specs in every layout that an author may leave: for the formatter."""

from __future__ import annotations

from random import Random

WORDS = ("a", "tp", "fp8", "on", "true", "false", "auto", "rtx-5090", "import", "x16", "b_c.d")
STRINGS = ('""', '"a b"', '"x/y#z"', '"\\n"', '"é"', '"' + "long " * 18 + '"')
COMMENTS = ("# c", "#c", "# kcluster: ignore[KC204] why", "#   three   blanks")


class Layout:
    """A random but repeatable spec."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)

    def text(self) -> str:
        rng = self._rng
        parts = []
        for _ in range(rng.randrange(4)):
            kind = rng.random()
            if kind < 0.7:
                parts.append(self._block(0))
            elif kind < 0.85:
                parts.append(f'import{self._blank()}"x"' + rng.choice(["", ","]) + self._end())
            else:
                parts.append(self._attribute() + rng.choice([",", "\n", self._end()]))
            parts.append(rng.choice([self._end(), " ", "\n"]))
        text = rng.choice(["", "", "\n"]) + "".join(parts)
        return text.replace("\n", "\r\n") if rng.random() < 0.1 else text

    def _blank(self) -> str:
        return self._rng.choice(["", " ", " ", " ", "   \t"])

    def _gap(self) -> str:
        """Between two tokens inside brackets, where lines may end."""
        if self._rng.random() < 0.12:
            return self._rng.choice(["\n", "\n\n\n", f" {self._rng.choice(COMMENTS)}\n", "\n  # own\n", "#a\n#b\n"])
        return self._blank()

    def _end(self) -> str:
        """Between two statements."""
        comment = self._rng.choice(COMMENTS)
        return self._rng.choice(
            ["\n", "\n", "\n\n", "\n\n\n", f"  {comment}\n", f"\n{comment}\n", f"\n\n  {comment}\n\n"]
        )

    def _number(self) -> str:
        unit = self._rng.choice(["", "", "GB", "  GB", " tok / s", "GB/s", " %", "K"])
        return self._rng.choice(["1", "64", "0.92", "1_000"]) + unit

    def _value(self, depth: int = 0) -> str:
        rng = self._rng
        kind = rng.random() * (1 if depth < 4 else 0.5)
        if kind < 0.2:
            return rng.choice(WORDS)
        if kind < 0.35:
            return self._number()
        if kind < 0.5:
            return rng.choice(STRINGS)
        if kind < 0.6:
            return f"4{self._blank()}*{self._blank()}" + rng.choice(["rtx-5090", '"RTX"', self._call(depth + 1)])
        if kind < 0.8:
            return self._call(depth + 1)
        elements = [
            self._value(depth + 1) if rng.random() < 0.8 else f"0{self._gap()}..{self._gap()}3"
            for _ in range(rng.randrange(4))
        ]
        last = self._gap() + "," if elements and rng.random() < 0.3 else ""
        return f"[{self._gap()}{self._listed(elements)}{last}{self._gap()}]"

    def _listed(self, elements: list[str]) -> str:
        return f"{self._gap()},{self._gap()}".join(elements)

    def _call(self, depth: int) -> str:
        rng = self._rng
        elements = [
            self._value(depth + 1) if rng.random() < 0.6 else f"k{self._gap()}={self._gap()}{self._value(depth + 1)}"
            for _ in range(rng.randrange(4))
        ]
        return f"{rng.choice(['pcie', 'env'])}{self._blank()}({self._gap()}{self._listed(elements)}{self._gap()})"

    def _attribute(self) -> str:
        key = self._rng.choice(["key", "k", "longer_key", '"--flag"', "true"])
        return f"{key} {self._rng.choice(['=', '=', '=', '<=', '>='])}{self._blank()}{self._value()}"

    def _block(self, depth: int) -> str:
        rng = self._rng
        labels = "".join(" " + rng.choice(["x", '"q r"', "import", "true"]) for _ in range(rng.randrange(3)))
        return f"{rng.choice(['model', 'engine', 'a'])}{labels}{self._blank()}{{{self._body(depth + 1)}}}"

    def _body(self, depth: int) -> str:
        rng = self._rng
        text = rng.choice([" ", "", self._end()])
        number = rng.randrange(5)
        for at in range(number):
            if depth < 3 and rng.random() < 0.3:
                text += self._block(depth) + rng.choice([" ", "", ", ", self._end()])
            elif at < number - 1:
                text += self._attribute() + rng.choice([", ", ",", self._end(), "," + self._end()])
            else:
                text += self._attribute() + rng.choice([" ", "", ",", self._end()])
        return text
