"""Searches and answers of remedies kept by what was asked, for a process that judges nearly the same spec again and again: an editor's.

A keystroke changes one serve, or only where things stand; what would mend the others is the same as before. The question is
the case without any place in a text. A run over many specs asks nothing twice and keeps nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import wraps
from typing import Concatenate, Final, ParamSpec, TypeVar

from kcluster.planner.case import Case, case_of
from kcluster.planner.search import Found
from kcluster.planner.types import Candidate, ServePlan
from kcluster.values import evolve

P = ParamSpec("P")
R = TypeVar("R")

_most = 0
_answers: OrderedDict[Hashable, object] = OrderedDict()
_APART: Final = ("bounds", "memory_constants", "time_constants")
"""What of a case is not in a question as it is: bounds know their places, and the catalog's constants are always the same."""
_KEYS: Final = 64
_keys: OrderedDict[int, tuple[ServePlan, Hashable]] = OrderedDict()


def keep_answers(most: int) -> None:
    """Keep the last so many answers from now on; 0 for none."""
    global _most
    _most = most
    _answers.clear()
    _keys.clear()


def remembered(remedy: Callable[Concatenate[ServePlan, P], R]) -> Callable[Concatenate[ServePlan, P], R]:
    """A remedy that looks first among the answers kept. Places in candidates of an answer may be of an older text: a remedy's
    caller reads figures of them only."""

    @wraps(remedy)
    def asked(serve: ServePlan, /, *arguments: P.args, **named: P.kwargs) -> R:
        if not _most:
            return remedy(serve, *arguments, **named)
        key = (remedy.__name__, _question(serve), arguments, tuple(sorted(named.items())))
        if key in _answers:
            _answers.move_to_end(key)
            return _answers[key]  # type: ignore[return-value]
        answer = remedy(serve, *arguments, **named)
        _keep(key, answer)
        return answer

    return asked


def searched(case: Case, search: Callable[[], Found]) -> Found:
    """The outcome of a search for a case: one kept from before where there is one, with the bounds of this case."""
    if not _most:
        return search()
    key = ("search", _without_places(case))
    found = _answers.get(key)
    if not isinstance(found, Found):
        _keep(key, found := search())
        return found
    _answers.move_to_end(key)
    bounds = {bound.name: bound for bound in case.bounds}

    def placed(candidate: Candidate) -> Candidate:
        verdicts = tuple(evolve(verdict, bound=bounds[verdict.bound.name]) for verdict in candidate.verdicts)
        return evolve(candidate, verdicts=verdicts) if verdicts else candidate

    return evolve(found, candidates=tuple(placed(candidate) for candidate in found.candidates))


def _keep(key: Hashable, answer: object) -> None:
    _answers[key] = answer
    if len(_answers) > _most:
        _answers.popitem(last=False)


def _without_places(case: Case) -> Hashable:
    """Everything of a case but where it stands in a text."""
    bounds = tuple((bound.name, bound.operator, bound.value.value) for bound in case.bounds)
    return (*(getattr(case, name) for name in Case.__match_args__ if name not in _APART), bounds)


def _question(serve: ServePlan) -> Hashable:
    """The case and the chosen candidate's cut and limits, without places."""
    known = _keys.get(id(serve))
    if known is not None and known[0] is serve:
        return known[1]
    chosen = serve.chosen
    key = (_without_places(case_of(serve.serve)), chosen.cut, chosen.limits, chosen.fits, chosen.meets_sla)
    _keys[id(serve)] = (serve, key)
    if len(_keys) > _KEYS:
        _keys.popitem(last=False)
    return key
