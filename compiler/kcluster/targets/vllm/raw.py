"""Raw flags of a spec (`args { … }`) laid over the flags that its attributes gave."""

from __future__ import annotations

import json

from kcluster.catalog.engines import FlagTable, FlagValue

Pair = tuple[str, FlagValue]


def merged(table: FlagTable, own: tuple[Pair, ...], raw: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """Own flags and raw ones as the engine gets them: a raw flag takes the place of its attribute's, under its full name;
    `on` is the bare flag, `off` its `--no-` form. A flag that the table lacks stays as it was written."""
    found = dict(own)
    bases = {_base(table, flag): flag for flag, _ in own}
    for text, value in raw:
        match = table.match(text)
        if match is None:
            found[text] = value
            continue
        flag = match.flag
        if match.key:
            _set_key(found, bases.get(flag.name, flag.name), match.key, value)
            continue
        before = bases.pop(flag.name, None)
        if match.value:
            value = match.value
        if flag.takes_value:
            name, value = flag.name, _rendered(flag.type, value)
        else:
            on = bool(value) != match.negated
            if not on and flag.no_form is None:
                found.pop(before or flag.name, None)
                continue
            name, value = (flag.name if on else flag.no_form or flag.name), True
        bases[flag.name] = name
        found = _replaced(found, before, name, value)
    return tuple(found.items())


def _base(table: FlagTable, flag: str) -> str:
    match = table.match(flag)
    return match.flag.name if match else flag


def _replaced(found: dict[str, FlagValue], before: str | None, name: str, value: FlagValue) -> dict[str, FlagValue]:
    """The same flags with one in the place of another, or at the end."""
    if before is None or before not in found:
        return {**found, name: value}
    return {
        (name if key == before else key): (value if key == before else item)
        for key, item in found.items()
        if key == before or key != name
    }


def _rendered(kind: str, value: FlagValue) -> FlagValue:
    """A JSON flag takes a list or a truth value as JSON; the rest is as it was written."""
    if kind == "json" and isinstance(value, tuple | bool):
        return json.dumps(value)
    return str(value).lower() if isinstance(value, bool) else value


def _set_key(found: dict[str, FlagValue], name: str, key: str, value: FlagValue) -> None:
    """A dotted key of a JSON flag. The engine would let it replace the whole of an attribute's JSON, so it goes inside."""
    whole = found.get(name)
    content = json.loads(whole) if isinstance(whole, str) and whole.startswith("{") else None
    if not isinstance(content, dict):
        found[f"{name}.{key}"] = str(value).lower() if isinstance(value, bool) else value
        return
    inner = content
    *path, last = key.split(".")
    for part in path:
        following = inner.get(part)
        if not isinstance(following, dict):
            following = inner[part] = {}
        inner = following
    inner[last] = list(value) if isinstance(value, tuple) else value
    found[name] = json.dumps(content, ensure_ascii=False)
