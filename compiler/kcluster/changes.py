"""What a change of a spec changes: the cut, limits and flags, memory and predictions, bounds kept or lost, findings.

Pure: two judged specs in, a list of differences out, each with its two texts and whether it is for the better. Figures are
the plans' own; equal texts are no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal

from kcluster.diagnostics import Diagnostic
from kcluster.planner.types import Plan, ServePlan, SlaVerdict
from kcluster.units import GIB, Figure, human
from kcluster.values import frozen

Sense = Literal["", "better", "worse"]
Part = Literal["cut", "limits", "memory", "times", "bounds", "hardware", "router", "flags", "environment"]

_MET: Final = {"yes": 2, "uncertain": 1, "no": 0}
_BOUND_WORDS: Final = {"yes": "kept", "uncertain": "uncertain", "no": "missed"}
_FITS_WORDS: Final = {"yes": "yes", "uncertain": "uncertain", "no": "no"}
NONE: Final = "–"


@frozen(eq=False)
class Side:
    """One version of a spec: its path, its plan where it has one, and its findings as the project grades them."""

    path: str
    plan: Plan | None
    findings: tuple[Diagnostic, ...]


@frozen
class Difference:
    """One thing that differs, as texts. `lost`: a bound that held, or a start that was sure, and is no longer."""

    part: Part
    name: str
    before: str
    after: str
    sense: Sense = ""
    lost: bool = False


@frozen
class ServeChange:
    """What differs in one serve; `kind` says whether both versions have it."""

    name: str
    kind: Literal["changed", "new", "gone"]
    differences: tuple[Difference, ...]


@frozen(eq=False)
class FindingChange:
    """A finding that one version has, or that says something else in the other."""

    before: Diagnostic | None
    after: Diagnostic | None

    @property
    def finding(self) -> Diagnostic:
        found = self.after or self.before
        assert found is not None
        return found


@frozen(eq=False)
class Changes:
    """All that differs between two versions of one spec. A path is empty where that version does not exist."""

    before: str
    after: str
    serves: tuple[ServeChange, ...]
    findings: tuple[FindingChange, ...]
    errors: tuple[int, int]

    @property
    def any(self) -> bool:
        return bool(self.serves or self.findings or not self.before or not self.after)

    @property
    def worse(self) -> bool:
        """An error more, or something lost that held."""
        lost = any(one.lost for serve in self.serves for one in serve.differences)
        return lost or self.errors[1] > self.errors[0]


def changes(before: Side | None, after: Side | None) -> Changes:
    """Compare two versions of a spec; None for one that does not exist."""
    old, new = (side.findings if side is not None else () for side in (before, after))
    return Changes(
        before.path if before is not None else "",
        after.path if after is not None else "",
        tuple(_serves(before.plan if before else None, after.plan if after else None)),
        tuple(_findings(old, new)),
        (_errors(old), _errors(new)),
    )


def _errors(found: Sequence[Diagnostic]) -> int:
    return sum(1 for one in found if one.severity == "error" and not one.suppressed)


def _findings(before: Sequence[Diagnostic], after: Sequence[Diagnostic]) -> Iterator[FindingChange]:
    """Those that only one version has; of the same code, in order, they are one that says something else."""
    old = [one for one in before if not one.suppressed]
    new: list[Diagnostic] = []
    for one in (one for one in after if not one.suppressed):
        same = next((other for other in old if (other.code, other.message) == (one.code, one.message)), None)
        if same is not None and same.severity == one.severity:
            old.remove(same)
        else:
            new.append(one)
    for one in new:
        partner = next((other for other in old if other.code == one.code), None)
        if partner is not None:
            old.remove(partner)
        yield FindingChange(partner, one)
    for one in old:
        yield FindingChange(one, None)


def _serves(before: Plan | None, after: Plan | None) -> Iterator[ServeChange]:
    old = {serve.name: serve for serve in before.serves} if before is not None else {}
    new = {serve.name: serve for serve in after.serves} if after is not None else {}
    left, right = [name for name in old if name not in new], [name for name in new if name not in old]
    renamed = left[0] if len(left) == len(right) == 1 else ""
    if renamed:
        # one of each: the same serve under another name
        new = {(renamed if name == right[0] else name): serve for name, serve in new.items()}
    for name in dict.fromkeys((*old, *new)):
        one, other = old.get(name), new.get(name)
        differences = tuple(_differences(before, one, after, other))
        if one is None or other is None:
            yield ServeChange(name, "gone" if other is None else "new", differences)
        elif differences or name == renamed:
            shown = f"{name} → {right[0]}" if name == renamed else name
            yield ServeChange(shown, "changed", differences)


def _differences(
    before: Plan | None, old: ServePlan | None, after: Plan | None, new: ServePlan | None
) -> Iterator[Difference]:
    for part, describe in _PARTS:
        one = describe(before, old) if before is not None and old is not None else {}
        other = describe(after, new) if after is not None and new is not None else {}
        for name in dict.fromkeys((*one, *other)):
            first, second = one.get(name, _ABSENT), other.get(name, _ABSENT)
            if first.text != second.text:
                sense, lost = _sense(first, second)
                yield Difference(part, name, first.text, second.text, sense, lost)


@frozen
class _Fact:
    """A text, and where it can be compared a number that is better when higher. `kept`: a promise, which can be lost."""

    text: str
    rank: float | None = None
    kept: bool = False


_ABSENT: Final = _Fact(NONE)


def _sense(before: _Fact, after: _Fact) -> tuple[Sense, bool]:
    if before.rank is None or after.rank is None or before.rank == after.rank:
        return "", False
    worse = after.rank < before.rank
    return ("worse" if worse else "better"), worse and before.kept


_Facts = Mapping[str, _Fact]


def _cut(plan: Plan, serve: ServePlan) -> _Facts:
    from kcluster.render.plan_words import cut_words

    chosen = serve.chosen
    return {
        "cut": _Fact(cut_words(chosen)),
        "starts": _Fact(_FITS_WORDS[chosen.fits], _MET[chosen.fits], kept=True),
    }


def _hardware(plan: Plan, serve: ServePlan) -> _Facts:
    from kcluster.render.plan_words import cards_words, engine_words, model_words

    return {
        "model": _Fact(model_words(serve)),
        "cards": _Fact(cards_words(serve)),
        "idle cards": _Fact(f"{serve.chosen.idle:,}"),
        "engine": _Fact(engine_words(serve)),
    }


def _limits(plan: Plan, serve: ServePlan) -> _Facts:
    limits = serve.chosen.limits
    return {
        "longest request": _Fact(human(limits.max_model_len, "tokens"), limits.max_model_len),
        "requests in a batch": _Fact(f"{limits.max_num_seqs:,}"),
        "tokens in a step": _Fact(f"{limits.max_num_batched_tokens:,}"),
        "KV format": _Fact(limits.kv_format),
        "memory for the engine": _Fact(f"{limits.utilization:g}"),
    }


def _memory(plan: Plan, serve: ServePlan) -> _Facts:
    budget = serve.chosen.memory
    if budget is None:
        return {}
    return {
        "weights a GPU": _Fact(_gib(budget.weights)),
        "KV a GPU": _Fact(_gib(budget.kv_cache), budget.kv_cache.value),
        "tokens of KV": _Fact(human(budget.kv_tokens.value, "tokens"), budget.kv_tokens.value),
        "requests of full length": _Fact(f"{budget.max_concurrency.value:.1f}", budget.max_concurrency.value),
    }


def _gib(figure: Figure) -> str:
    return f"{figure.value / GIB:.1f} GiB"


def _times(plan: Plan, serve: ServePlan) -> _Facts:
    from kcluster.render.plan_words import ranged

    timed = serve.chosen.performance
    if timed is None:
        return {}
    lower = (("first token", timed.ttft), ("between tokens", timed.itl), ("whole answer", timed.answer))
    higher = (("each request", timed.tokens_per_second), ("all together", timed.throughput))
    facts = {name: _Fact(ranged(figure), -figure.value) for name, figure in lower}
    facts |= {name: _Fact(ranged(figure), figure.value) for name, figure in higher}
    return {**facts, "bound by": _Fact(timed.bound_by)}


def _bounds(plan: Plan, serve: ServePlan) -> _Facts:
    return {verdict.bound.name: _bound(verdict) for verdict in serve.chosen.verdicts}


def _bound(verdict: SlaVerdict) -> _Fact:
    from kcluster.planner.judge import asked_value

    return _Fact(f"{asked_value(verdict.bound)}: {_BOUND_WORDS[verdict.met]}", _MET[verdict.met], kept=True)


def _router(plan: Plan, serve: ServePlan) -> _Facts:
    if not serve.chosen.placement:
        return {}
    from kcluster.targets.routing import front_of

    front = front_of(plan, serve)
    if front is None:
        return {}
    return {
        "router": _Fact(front.kind),
        "listens on": _Fact(f"{front.host}:{front.listen}"),
        "policy": _Fact(front.policy),
        "TLS": _Fact("on" if front.tls is not None else "off"),
    }


def _flags(plan: Plan, serve: ServePlan) -> _Facts:
    return {flag: _Fact(_shown(value)) for flag, value in _arguments(plan, serve)[0].items()}


def _environment(plan: Plan, serve: ServePlan) -> _Facts:
    return {name: _Fact(value) for name, value in _arguments(plan, serve)[1].items()}


def _arguments(plan: Plan, serve: ServePlan) -> tuple[Mapping[str, object], Mapping[str, str]]:
    from kcluster.targets import engine_arguments

    return engine_arguments(plan, serve) if serve.chosen.placement else ({}, {})


def _shown(value: object) -> str:
    if value is True:
        return "on"
    if value is False:
        return "off"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


_PARTS: Final[tuple[tuple[Part, Callable[[Plan, ServePlan], _Facts]], ...]] = (
    ("hardware", _hardware),
    ("cut", _cut),
    ("limits", _limits),
    ("memory", _memory),
    ("times", _times),
    ("bounds", _bounds),
    ("router", _router),
    ("flags", _flags),
    ("environment", _environment),
)
