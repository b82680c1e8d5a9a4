"""Words, strings, secrets and versions."""

from __future__ import annotations

import re
from typing import Any, Final

from kcluster.diagnostics.wording import listed, nearest, plain_slip, shown
from kcluster.spec.findings import Findings, described, replace
from kcluster.spec.reading import BAD, Place
from kcluster.spec.schema import choices_of
from kcluster.spec.schema_types import AttributeSchema
from kcluster.spec.text import refusal
from kcluster.spec.types import Secret
from kcluster.syntax.ast import CallNode, NumberNode, StringNode, ValueNode, WordNode

TRUE: Final = ("on", "true")
FALSE: Final = ("off", "false")
_USUAL_BOOLEANS: Final = {
    "yes": True,
    "enabled": True,
    "enable": True,
    "no": False,
    "disabled": False,
    "disable": False,
    "none": False,
}
_VERSION: Final = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6}){0,3}", re.ASCII)


def read_boolean(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    text = node.text if isinstance(node, WordNode | StringNode) else None
    if isinstance(node, WordNode) and text in TRUE:
        return True
    if isinstance(node, WordNode) and text in FALSE:
        return False
    if isinstance(node, NumberNode) and not node.unit and node.value in (0, 1):
        meant: bool | None = node.value == 1
    elif text is not None and text.lower() in (*TRUE, *FALSE):
        meant = text.lower() in TRUE
    else:
        meant = _USUAL_BOOLEANS.get(text.lower()) if text is not None else None
    if meant is None:
        return place.wrong(f"is `on` or `off`, not {described(node)}", node.span)
    word = "on" if meant else "off"
    place.wrong(
        f"is `on` or `off`, not {described(node)}", node.span, fixes=(replace(f"write `{word}`", node.span, word),)
    )
    return meant


def read_switch(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    """`on`, `off`, or `none` for off."""
    if isinstance(node, WordNode) and node.text in ("none", *FALSE):
        return False
    if isinstance(node, WordNode) and node.text in TRUE:
        return True
    block = f"`{place.name} … {{ }}`"
    return place.wrong(f"as an attribute is `on` or `off`; settings go into a block {block}", node.span)


def read_choice(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    choices = choices_of(schema)
    if not isinstance(node, WordNode | StringNode):
        return place.wrong(f"is a word such as `{choices[0]}`, not {described(node)}", node.span)
    text = node.text
    spellings = dict(schema.spellings)
    for candidate in (text, text.lower(), text.lower().replace("_", "-"), text.lower().replace("-", "_")):
        if candidate in choices:
            return candidate
        if candidate in spellings:
            return spellings[candidate]
    few = len(choices) <= 8
    message = f"is {listed(choices)}, not `{shown(text)}`" if few else f"does not take `{shown(text)}`"
    whole = [choice for choice in choices if len(text) > 1 and text.lower() in choice]
    near = None if len(whole) > 1 else nearest(text, (*choices, *spellings))
    if near is None:
        help_ = (f"did you mean {listed(whole[:4])}?",) if whole else ()
        help_ = help_ if help_ or few else (f"it takes {listed(choices[:12])}, and more",)
        place.wrong(message, node.span, help=help_)
        return BAD
    meant = spellings.get(near, near)
    fix = replace(f"write `{meant}`", node.span, meant, "safe" if plain_slip(text, near) else "unsafe")
    place.wrong(message, node.span, help=(f"did you mean `{meant}`?",), fixes=(fix,))
    return meant


def read_string(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    if not isinstance(node, StringNode | WordNode):
        return place.wrong(f"is a string, not {described(node)}", node.span)
    reason = refusal(node.text, schema.text)
    if reason is not None:
        return place.wrong(reason, node.span)
    return node.text


def read_reference(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    if not isinstance(node, StringNode | WordNode):
        return place.wrong(f"is the name of a `{schema.target}` block, not {described(node)}", node.span)
    return node.text


def read_secret(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    """`env("NAME")`; a literal is a leaked secret (KC703), and the usual variable is taken in its place."""
    example = f'env("{schema.variable}")'
    if isinstance(node, CallNode) and node.name.text == "env":
        return _environment(node, place)
    variable = _variable(node)
    if variable:
        fix = replace("name the variable", node.span, f'env("{variable}")')
        place.wrong(f'is named by its environment variable: `env("{variable}")`', node.span, fixes=(fix,))
        return Secret(variable)
    if isinstance(node, StringNode | WordNode | NumberNode):
        place.findings.add(
            "KC703",
            f"the secret of `{place.name}` is written in the spec",
            place.source,
            node.span,
            label="whoever reads the spec has it",
            help=(
                f"put it into the environment and write `{place.name} = {example}`; change the secret, it is known now",
            ),
            fixes=(replace("take it from the environment", node.span, example, "display"),),
        )
        return Secret(schema.variable)
    return place.wrong(f"is `{example}`, not {described(node)}", node.span)


def _variable(node: ValueNode) -> str:
    """The environment variable that a value means as a shell would write it: `NAME`, `"$NAME"`, `"${NAME}"`."""
    if not isinstance(node, WordNode | StringNode):
        return ""
    found = re.fullmatch(r"(\$\{)?(\$)?([A-Z][A-Z0-9_]{2,127})(?(1)\})", node.text)
    if found is None or (isinstance(node, StringNode) and found[3] == node.text) or (found[1] and found[2]):
        return ""
    return "" if refusal(found[3], "key variable") else found[3]


def _environment(node: CallNode, place: Place) -> Any:
    if len(node.arguments) != 1 or node.named or not isinstance(node.arguments[0], StringNode | WordNode):
        return place.wrong('takes `env("NAME")` with the name of one environment variable', node.span)
    name = node.arguments[0]
    reason = refusal(name.text, "key variable")
    if reason is not None:
        return place.wrong(f"names an environment variable that {reason}", name.span)
    if isinstance(name, WordNode):
        fix = replace("quote the name", name.span, f'"{name.text}"')
        place.wrong("names its environment variable in quotes", name.span, fixes=(fix,))
    return Secret(name.text)


def read_version(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    text = None
    if isinstance(node, StringNode | WordNode):
        text = node.text
    elif isinstance(node, NumberNode) and not node.unit:
        text = place.source.slice(node.span) or str(node.value)[:20]
    if text is not None and _VERSION.fullmatch(text):
        return tuple(int(part) for part in text.split("."))
    if text is not None and text[:1] in "vV" and _VERSION.fullmatch(text[1:]):
        place.wrong("is written without `v`", node.span, fixes=(replace("drop the `v`", node.span, f'"{text[1:]}"'),))
        return tuple(int(part) for part in text[1:].split("."))
    return place.wrong('is a version such as `"0.33"`', node.span)


def read_capability(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    read = read_version(node, schema, Place(place.source, Findings(), place.name))
    if isinstance(read, tuple) and len(read) == 2 and all(part <= 99 for part in read):
        return read
    return place.wrong("is two numbers such as `8.9`", node.span)
