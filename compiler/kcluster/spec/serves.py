"""`serve` blocks: references followed, cards allotted, everything around the engine built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from kcluster.diagnostics import Label
from kcluster.diagnostics.wording import listed, nearest, shown
from kcluster.spec.allotment import Claim, allot, cluster_of
from kcluster.spec.engines import (
    build_engine,
    build_kubernetes,
    build_monitor,
    build_parallel,
    build_route,
    build_router,
)
from kcluster.spec.findings import Findings, did_you_mean, replace
from kcluster.spec.reader import Fields, missing
from kcluster.spec.removing import remove
from kcluster.spec.types import HardwareSpec, ModelSpec, RouterSpec, RouteSpec, ServeSpec, SlaSpec, Value
from kcluster.values import define, field, frozen


@define(eq=False)
class Shelf:
    """The blocks of one kind by name, in file order.

    `broken`: names of blocks that are there but could not be built, whose users go without a finding of their own.
    `nameless`: there is a block without a (valid) name, so a name that is not found may mean it. `hidden`: whether a name
    may stand in text that could not be parsed.
    """

    word: str
    built: dict[str, Any] = field(factory=dict)
    broken: set[str] = field(factory=set)
    nameless: bool = False
    used: set[str] = field(factory=set)
    missed: bool = False
    hidden: Callable[[str], bool] = field(default=lambda name: False)

    def follow(self, reference: Value[str], findings: Findings) -> Any:
        """The block of a name; None where it cannot be had, with a finding (KC106) where nothing else explains it."""
        name = reference.value
        if name in self.built:
            self.used.add(name)
            return self.built[name]
        self.missed = True
        if name in self.broken or self.nameless or self.hidden(name):
            return None
        known = tuple(self.built)
        near = None if findings.many else nearest(name, known)
        help_ = () if findings.many else did_you_mean(name, known)
        if not help_:
            help_ = (f"there is {listed(known[:6], 'and')}",) if known else (f"write `{self.word} NAME {{ … }}`",)
        message = f"there is no {self.word} `{shown(name)}`"
        span = reference.origin.span
        # Names of an author's own blocks often differ by a letter: only a hyphen or a capital is certain.
        certain = near is not None and _folded(near) == _folded(name)
        fixes = (replace(f"write `{near}`", span, near, "safe" if certain else "unsafe"),) if near else ()
        findings.add("KC106", message, reference.origin.source, span, help=help_, fixes=fixes)
        return None

    @property
    def empty(self) -> bool:
        return not self.built and not self.broken and not self.nameless


@frozen(eq=False)
class Shelves:
    """Everything that a serve may refer to. `monitor`: the block at top level, and its switch."""

    models: Shelf
    hardware: Shelf
    slas: Shelf
    routers: Shelf
    monitor: Fields | None
    monitor_switch: Value[bool] | None


@frozen(eq=False)
class _Draft:
    """A serve whose references were followed, before cards are dealt."""

    name: str
    implied: bool
    fields: Fields
    model: ModelSpec
    hardware: HardwareSpec
    sla: SlaSpec | None
    claim: Claim


def build_serves(
    blocks: list[Fields], shelves: Shelves, findings: Findings, *, implied: bool = False
) -> tuple[ServeSpec, ...]:
    """Every serve that can be built, in file order. `implied`: the one block stands for the serve that nobody wrote."""
    drafts = []
    names: set[str] = set()
    for fields in blocks:
        router = _own_router(fields, shelves, findings)
        draft = _references(fields, _free_name(fields, names), shelves, findings, implied=implied)
        if draft is not None:
            drafts.append((draft, router))
    slots: dict[int, Any] = {}
    for hardware in dict.fromkeys(id(draft.hardware) for draft, _ in drafts):
        sharing = [at for at, (draft, _) in enumerate(drafts) if id(draft.hardware) == hardware]
        dealt = allot([drafts[at][0].claim for at in sharing], findings)
        slots.update(zip(sharing, dealt, strict=True))
    return tuple(
        _serve(draft, slots[at], router, route, off, shelves)
        for at, (draft, (router, route, off)) in enumerate(drafts)
        if slots[at]
    )


def _free_name(fields: Fields, names: set[str]) -> str:
    """The serve's name; one without (which is reported) is called `serve`, `serve-2`, …"""
    name = fields.name
    number = 1
    while not name or (name in names and not fields.name):
        name = "serve" if number == 1 else f"serve-{number}"
        number += 1
    names.add(name)
    return name


# References

_ROLES: Final = (("model", "models"), ("hardware", "hardware"), ("sla", "slas"))


def _references(fields: Fields, name: str, shelves: Shelves, findings: Findings, *, implied: bool) -> _Draft | None:
    found = {}
    whole = True
    for role, shelf_name in _ROLES:
        shelf: Shelf = getattr(shelves, shelf_name)
        found[role], good = _reference(fields, role, shelf, findings)
        whole = whole and good
    if not whole:
        return None
    parallel = build_parallel(fields.block("parallel"))
    engine = build_engine(fields.block("engine"), fields)
    claim = Claim(name, fields, parallel, engine, found["hardware"])
    return _Draft(name, implied, fields, found["model"], found["hardware"], found["sla"], claim)


def _reference(fields: Fields, role: str, shelf: Shelf, findings: Findings) -> tuple[Any, bool]:
    """What a serve refers to in one role, and whether the serve can go on. Left out, it is the only block of its kind."""
    reference = fields.get(role)
    if reference is not None:
        target = shelf.follow(reference, findings)
        return target, target is not None
    if role in fields.tried and fields.nodes.get(role) is not None:
        shelf.missed = True
        return None, False  # it could not be read, which is reported
    if len(shelf.built) == 1 and not shelf.broken and not shelf.nameless:
        only = next(iter(shelf.built))
        shelf.used.add(only)
        return shelf.built[only], True
    if role == "sla" and not shelf.built:
        return None, True
    if shelf.broken or shelf.nameless or shelf.hidden(role):
        shelf.missed = True
        return None, False
    shelf.missed = True
    _missing_reference(fields, role, shelf, findings)
    return None, False


def _missing_reference(fields: Fields, role: str, shelf: Shelf, findings: Findings) -> None:
    known = tuple(shelf.built)
    message = f"`serve`{f' `{fields.name}`' if fields.name else ''} has no `{role}`"
    if known:
        message += f", and there are {len(known)} to choose from"
        help_ = (f"`{role} =` {listed(known[:6])}",)
    else:
        help_ = (f"write `{role} NAME {{ … }}` and refer to it",)
    missing(fields, message, findings, label=f"`{role}` is missing", help=help_)


# Routers


def _own_router(
    fields: Fields, shelves: Shelves, findings: Findings
) -> tuple[RouterSpec | None, RouteSpec | None, bool]:
    """The router inside the serve, its route to a shared one, and whether it wants none."""
    block, route = fields.block("router"), fields.block("route")
    off = fields.value("router") is False or (block is not None and block.kind == "none")
    router = build_router(block) if block is not None and block.kind != "none" else None
    if route is None:
        return router, None, off
    if router is not None or off:
        message = (
            f"`serve`{f' `{fields.name}`' if fields.name else ''} has a `router` of its own and a `route` to another"
        )
        shelves.routers.missed = True
        labels = (Label(fields.first("router") or fields.head, "its own router"),)
        findings.add("KC104", message, route.source, route.head, labels=labels)
        return router, None, off
    if not route.name:
        return None, None, off
    built = build_route(route)
    return (None, built, off) if shelves.routers.follow(built.router, findings) is not None else (None, None, off)


# Putting together


def _serve(
    draft: _Draft, slots: Any, router: RouterSpec | None, route: RouteSpec | None, off: bool, shelves: Shelves
) -> ServeSpec:
    fields = draft.fields
    cluster, gpu_ids = cluster_of(draft.hardware, slots)
    monitor = fields.block("monitor")
    switch = fields.get("monitor")
    if monitor is None and switch is None:
        monitor, switch = shelves.monitor, shelves.monitor_switch
    return ServeSpec(
        name=draft.name,
        implied=draft.implied,
        model=draft.model,
        hardware=draft.hardware,
        sla=draft.sla,
        parallel=draft.claim.parallel,
        engine=draft.claim.engine,
        router=router,
        router_off=off,
        route=route,
        monitor=build_monitor(monitor, switch),
        kubernetes=build_kubernetes(fields.block("kubernetes")),
        runtime=fields.or_default("runtime", "shell", "scripts, unless the serve says otherwise"),
        cluster=cluster,
        gpu_ids=gpu_ids,
        cards_pinned=draft.claim.pins,
        block=fields.span,
        head=fields.head,
        source=fields.source,
    )


def _folded(name: str) -> str:
    """A name without what people confuse without meaning another."""
    return name.lower().replace("_", "-")


def unused(shelves: Mapping[str, Shelf], declared: Mapping[str, list[Fields]], findings: Findings) -> None:
    """Report blocks of the file asked for that no serve comes to (KC108); those of imported files may wait for other specs."""
    for word, shelf in shelves.items():
        if shelf.missed:
            continue
        for fields in declared.get(word, []):
            if fields.name and fields.name in shelf.built and fields.name not in shelf.used:
                message = f"{word} `{fields.name}` is never used"
                fixes = remove("leave it out", fields.source, fields.span, "unsafe")
                findings.add("KC108", message, fields.source, fields.head, fixes=fixes)
