"""Answers of remedies kept by what was asked, for a process that judges nearly the same spec again and again: an editor's.

A keystroke changes one serve, or only where things stand; what would mend the others is the same as before. The question is
the case without any place in a text. A run over many specs asks nothing twice and keeps nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import wraps
from typing import Concatenate, Final, ParamSpec, TypeVar

from kcluster.planner.case import Case, case_of
from kcluster.planner.types import ServePlan

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
        answer = _answers[key] = remedy(serve, *arguments, **named)
        if len(_answers) > _most:
            _answers.popitem(last=False)
        return answer

    return asked


def _question(serve: ServePlan) -> Hashable:
    """The case and the chosen candidate's cut and limits, without places."""
    known = _keys.get(id(serve))
    if known is not None and known[0] is serve:
        return known[1]
    case = case_of(serve.serve)
    bounds = tuple((bound.name, bound.operator, bound.value.value) for bound in case.bounds)
    parts = (getattr(case, name) for name in Case.__match_args__ if name not in _APART)
    key = (*parts, bounds, serve.chosen.cut, serve.chosen.limits, serve.chosen.fits, serve.chosen.meets_sla)
    _keys[id(serve)] = (serve, key)
    if len(_keys) > _KEYS:
        _keys.popitem(last=False)
    return key
