"""Elements of a page. Text and attribute values are escaped here and nowhere else: what is not `Markup` is text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from kcluster.render.text import visible


class Markup(str):
    """Text that is markup already: made by `element` and `joined` alone, and by constants of this package."""

    __slots__ = ()


def escaped(text: str) -> Markup:
    """Any text, as text; characters that act or are not seen stand by their number."""
    return Markup(escape(visible(text), quote=True))


def element(name: str, /, *children: str, **attributes: str | float) -> Markup:
    """One element. `class_` is `class`, and `_` in an attribute's name a hyphen; children that are no Markup are text.

    Names are constants of this package.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{number(value) if isinstance(value, int | float) else escaped(value)}"'
        for key, value in attributes.items()
        if value != ""
    )
    inside = joined(*children)
    return Markup(f"<{name}{written}/>" if not inside and name in _EMPTY else f"<{name}{written}>{inside}</{name}>")


_EMPTY = frozenset({"rect", "line", "path", "circle", "polyline", "polygon", "meta"})


def joined(*children: str) -> Markup:
    """Children behind each other, text among them escaped."""
    return Markup("".join(child if isinstance(child, Markup) else escaped(child) for child in children))


def number(value: float) -> str:
    """A coordinate: two decimals at most, so that no machine prints another last digit."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def table(
    head: tuple[str, ...], rows: Sequence[tuple[str, ...]], caption: str, *, numeric: frozenset[int] = frozenset()
) -> Markup:
    """A table whose first column heads its rows; `numeric` columns stand to the right."""

    def cell(column: int, content: str, name: str) -> Markup:
        kind = {"class_": "number"} if column in numeric else {}
        scope = {"scope": "row"} if name == "th" else {}
        return element(name, content, **kind, **scope)

    heads = [
        element("th", text, scope="col", **({"class_": "number"} if column in numeric else {}))
        for column, text in enumerate(head)
    ]
    body = [
        element("tr", *(cell(column, text, "th" if column == 0 else "td") for column, text in enumerate(row)))
        for row in rows
    ]
    made = element(
        "table", element("caption", caption), element("thead", element("tr", *heads)), element("tbody", *body)
    )
    return element("div", made, class_="scroll", tabindex="0", role="region", aria_label=caption)
