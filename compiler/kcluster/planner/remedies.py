"""What would mend a plan: values, found by judging other candidates with the same judge. No text; rules put it in words.

Each takes the plan of a serve and gives None (or nothing) where it has no remedy of its kind. They search again, so a rule
calls one only for a finding that it reports; several that ask about the same pins share one judge and one search.
"""

from __future__ import annotations

import math
from typing import Final

from kcluster.physics.capacity import held_requests, holds_longest
from kcluster.physics.cut import Cut
from kcluster.physics.formats import WeightFormat
from kcluster.physics.results import Verdict
from kcluster.physics.weights import stage_layers
from kcluster.planner.answers import remembered
from kcluster.planner.case import Pins, case_of, released
from kcluster.planner.fit import held_everywhere
from kcluster.planner.fitting import Fit
from kcluster.planner.judge import Judge
from kcluster.planner.limits import SEQUENCE_STEP
from kcluster.planner.ranking import does, is_lossy, is_warned, order
from kcluster.planner.search import Found, holds, search
from kcluster.planner.types import Candidate, ServePlan, Violation
from kcluster.units import Figure
from kcluster.values import evolve, frozen

LONGEST: Final = 2**24
"""Tokens beyond which no context is looked for."""


@frozen
class Partition:
    """Layers by stage, and the candidate with them; `dealt` where the engine itself deals them out so."""

    layers: tuple[int, ...]
    candidate: Candidate
    dealt: bool


class _Inquiry:
    """What was asked about one serve: its case, and judges and searches by pins. The search that made the plan is among them."""

    def __init__(self, plan: ServePlan) -> None:
        self.serve = plan.serve
        self.case = case_of(plan.serve)
        self._judges: dict[Pins, Judge] = {}
        candidates = (plan.chosen, *(other.candidate for other in plan.alternatives))
        self._found = {self.case.pins: Found(candidates, plan.considered)}

    def judge(self, pins: Pins) -> Judge:
        if pins not in self._judges:
            self._judges[pins] = Judge(evolve(self.case, pins=pins))
        return self._judges[pins]

    def search(self, pins: Pins) -> Found:
        if pins not in self._found:
            self._found[pins] = search(self.judge(pins))
        return self._found[pins]


_KEPT: Final = 4
_inquiries: dict[int, _Inquiry] = {}


def _inquiry(plan: ServePlan) -> _Inquiry:
    """The inquiry of a serve, kept while rules ask about it: by identity, since comparing whole specs would cost more."""
    found = _inquiries.get(id(plan.serve))
    if found is None or found.serve is not plan.serve:
        if len(_inquiries) >= _KEPT:
            _inquiries.clear()
        found = _inquiries[id(plan.serve)] = _Inquiry(plan)
    return found


def _own(plan: ServePlan) -> Judge:
    """The judge of a serve as it is written."""
    inquiry = _inquiry(plan)
    return inquiry.judge(inquiry.case.pins)


def _open(plan: ServePlan) -> Found:
    """The search with the cut's pins released."""
    inquiry = _inquiry(plan)
    return inquiry.search(released(inquiry.case).pins)


@remembered
def longest_length(serve: ServePlan) -> int | None:
    """The longest max_model_len (tokens, at most the model's positions) of which the chosen cut's KV cache holds one request;
    None where the weights leave no room."""
    judge, chosen = _own(serve), serve.chosen
    most = judge.case.architecture.max_positions or LONGEST
    cut, limits = chosen.cut, chosen.limits

    def starts(length: int) -> bool:
        memory = judge.fit(cut, limits.kv_format, evolve(limits, max_model_len=length)).memory
        return memory is not None and memory.kv_cache.value > 0 and holds_longest(memory, judge.case.engine)

    if chosen.memory is None or not starts(1):
        return None
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        if starts(middle):
            low = middle
        else:
            high = middle - 1
    return low


@remembered
def sequences_that_fit(serve: ServePlan, tokens: int) -> Figure | None:
    """Requests of `tokens` tokens that the KV of all replicas and ranks of the chosen cut holds at once."""
    return sequences_of(_own(serve), serve.chosen, tokens)


def sequences_of(judge: Judge, candidate: Candidate, tokens: int) -> Figure | None:
    """The same for any candidate of a case."""
    if candidate.memory is None or candidate.memory.kv_cache.value <= 0:
        return None
    case, cut = judge.case, candidate.cut
    tokens = max(1, min(tokens, candidate.limits.max_model_len))
    held = held_requests(candidate.memory, case.architecture, cut, candidate.limits, case.engine, tokens)
    return held_everywhere(held, cut)


@remembered
def with_fp8_kv(serve: ServePlan) -> Candidate | None:
    """The chosen cut with fp8 KV; None where it has it already or the cards or the model do not take it."""
    if serve.chosen.limits.kv_format in ("fp8", "nvfp4"):
        return None
    inquiry = _inquiry(serve)
    judge = inquiry.judge(evolve(inquiry.case.pins, kv_format="fp8"))
    candidate = judge.candidate(serve.chosen.cut, "fp8")
    blocked = any(found.fatal and found.code not in _MEMORY_CODES for found in candidate.violations)
    return None if blocked or candidate.memory is None else candidate


@remembered
def without_limits(serve: ServePlan) -> Candidate | None:
    """The chosen cut with the number of sequences and the size of a step left to the compiler, where its weights fit so; None
    where they do not, or where neither is pinned."""
    inquiry = _inquiry(serve)
    pins = evolve(inquiry.case.pins, max_num_seqs=None, max_num_batched_tokens=None)
    if pins == inquiry.case.pins:
        return None
    candidate = inquiry.judge(pins).candidate(serve.chosen.cut, serve.chosen.limits.kv_format)
    return None if any(found.code == "KC201" for found in candidate.violations) else candidate


def fewer_sequences(serve: ServePlan) -> int | None:
    """How many sequences the chosen cut starts with where it does not with those that are pinned, by halves; None where it never does,
    or where none are pinned."""
    inquiry = _inquiry(serve)
    sequences = inquiry.case.pins.max_num_seqs or 1
    while sequences > 1:
        sequences //= 2
        judge = inquiry.judge(evolve(inquiry.case.pins, max_num_seqs=sequences))
        candidate = judge.candidate(serve.chosen.cut, serve.chosen.limits.kv_format)
        if candidate.fits == "yes" and not _errors(candidate):
            return sequences
    return None


_MEMORY_CODES: Final = ("KC201", "KC202", "KC203", "KC204", "KC205", "KC207")


@remembered
def smallest_fit(serve: ServePlan) -> Candidate | None:
    """The smallest engine (tp × pp, then the cheapest) that starts on this hardware, the cut's pins released: surely, or where none
    does, perhaps, if the chosen one does not start at all."""
    verdicts: tuple[Verdict, ...] = ("yes", "uncertain") if serve.chosen.fits == "no" else ("yes",)
    for verdict in verdicts:
        fitting = [one for one in _open(serve).candidates if one.fits == verdict and not _errors(one)]
        if fitting:
            return min(fitting, key=lambda one: one.cut.engine_gpus)
    return None


class _Starts(Judge):
    """Judges whether cuts start; their times are not asked for."""

    def asks_times(self, cut: Cut, fit: Fit, found: list[Violation]) -> bool:
        return False


@remembered
def smaller_format(serve: ServePlan) -> tuple[WeightFormat, Candidate] | None:
    """The largest common weight format below the present one in which the chosen cut starts."""
    from kcluster.catalog.formats import WEIGHT_FORMATS

    case = _inquiry(serve).case
    now = case.weights.bytes_per_parameter
    for name in ("fp8", "awq-int4", "nvfp4"):
        fmt = WEIGHT_FORMATS.get(name)
        if fmt is None or fmt.bytes_per_parameter >= now:
            continue
        candidate = _Starts(evolve(case, weights=fmt, exact_weight_bytes=None)).candidate(
            serve.chosen.cut, serve.chosen.limits.kv_format
        )
        if candidate.fits != "no":
            return fmt, candidate
    return None


@remembered
def holding(serve: ServePlan) -> tuple[Candidate, ...]:
    """Other cuts on this hardware whose KV holds the SLA's concurrency at its longest context, the best first: at most one that
    differs in each of tensor parallel, pipeline, decode context parallel, attention ranks, replicas and KV format."""
    inquiry = _inquiry(serve)
    found: dict[str, Candidate] = {}
    for candidate in inquiry.search(evolve(released(inquiry.case).pins, kv_format=None)).candidates:
        if holds(candidate) and not _errors(candidate):
            change = _change(serve.chosen, candidate)
            if change:
                found.setdefault(change, candidate)
    fp8 = with_fp8_kv(serve)
    if fp8 is not None and holds(fp8):
        found.setdefault("kv", fp8)
    return tuple(found.values())


def _change(chosen: Candidate, other: Candidate) -> str:
    """The one number in which a candidate differs (replicas follow from the others); empty for none, `cut` for several."""
    names = [name for name in ("tp", "pp", "dp", "ep", "dcp") if getattr(chosen.cut, name) != getattr(other.cut, name)]
    if chosen.limits.kv_format != other.limits.kv_format:
        names.append("kv")
    if not names and chosen.cut.replicas != other.cut.replicas:
        names.append("replicas")
    return names[0] if len(names) == 1 else "cut" if names else ""


@remembered
def sequence_limit(serve: ServePlan) -> int | None:
    """The max_num_seqs that the chosen cut's KV cache holds of typical requests, in the engine's steps; None where none fit."""
    fit = _own(serve).fit(serve.chosen.cut, serve.chosen.limits.kv_format, serve.chosen.limits)
    if fit.held_typical is None or fit.held_typical.value < 1:
        return None
    held = math.floor(fit.held_typical.value)
    return held if held < SEQUENCE_STEP else held // SEQUENCE_STEP * SEQUENCE_STEP


@remembered
def nearest_meeting(serve: ServePlan) -> Candidate | None:
    """The best plan on this hardware that meets every bound at its expected value, the cut's pins released; None where
    nothing does."""
    best = best_here(serve)
    return best if does(best) else None


@remembered
def best_here(serve: ServePlan) -> Candidate:
    """The best plan on this hardware, the cut's pins released, whether it meets the bounds or not."""
    return _open(serve).candidates[0]


@remembered
def better_layers(serve: ServePlan) -> Partition | None:
    """A partition of the layers over the chosen stages whose tightest stage holds more KV than that of the present one: the engine's
    own, from which layers move from the tightest to the roomiest stage while that helps; None where the present one is the best."""
    chosen = serve.chosen
    if chosen.cut.pp < 2 or chosen.memory is None:
        return None
    judge = _own(serve)
    own = cut = evolve(chosen.cut, layers=None)
    layers = list(stage_layers(len(judge.case.architecture.layers), own))
    dealt = found = tuple(layers)

    def fitted(cut: Cut) -> Fit:
        return judge.fit(cut, chosen.limits.kv_format, chosen.limits)

    best = _pool(fitted(own))
    waiting = 0
    for _ in range(len(judge.case.architecture.layers)):
        memory = fitted(cut).memory
        if memory is None:
            break
        share = {stage.stage: stage.kv_cache.value / max(1, stage.layers) for stage in memory.stages}
        tightest = min(share, key=lambda stage: (share[stage], stage))
        roomiest = max(share, key=lambda stage: (share[stage], -stage))
        if tightest == roomiest or layers[tightest] < 2:
            break
        layers[tightest] -= 1
        layers[roomiest] += 1
        cut = evolve(own, layers=tuple(layers))
        pool = _pool(fitted(cut))
        waiting = 0 if pool > best else waiting + 1
        if pool < best or waiting > own.pp:
            break
        if pool > best:  # first and last stage are often equally tight: one move alone then gains nothing yet
            best, found = pool, tuple(layers)
    if best <= _pool(fitted(chosen.cut)):
        return None
    better = own if found == dealt else evolve(own, layers=found)
    return Partition(found, judge.candidate(better, chosen.limits.kv_format), found == dealt)


def _pool(fit: Fit) -> float:
    return fit.memory.kv_tokens.value if fit.memory is not None else 0.0


@remembered
def on_version(serve: ServePlan, version: tuple[int, ...]) -> Candidate:
    """The chosen cut and limits as another version of the engine would have them (KC806)."""
    case = _inquiry(serve).case
    limits = serve.chosen.limits
    pins = evolve(
        case.pins,
        max_model_len=limits.max_model_len,
        max_num_seqs=limits.max_num_seqs,
        max_num_batched_tokens=limits.max_num_batched_tokens,
        utilization=limits.utilization,
    )
    case = evolve(case, engine=evolve(case.engine, version=version), pins=pins)
    return Judge(case).candidate(serve.chosen.cut, serve.chosen.limits.kv_format)


@remembered
def smaller_cut(serve: ServePlan) -> Candidate | None:
    """For a cut pinned by hand: the plan that the planner prefers where its engine takes fewer cards, or has no pipeline where
    the pinned one has; None where the pinned cut is as good (KC308)."""
    case = released(_inquiry(serve).case)
    best = best_here(serve)
    chosen = serve.chosen
    if best.cut == chosen.cut or is_warned(best) or not does(best) or is_lossy(case, best):
        return None
    ordered = order(case, [best, chosen])
    smaller = best.cut.engine_gpus < chosen.cut.engine_gpus or best.cut.pp < chosen.cut.pp
    return best if ordered[0] is best and smaller else None


def _errors(candidate: Candidate) -> bool:
    return any(found.error and found.code != "KC505" for found in candidate.violations)


@remembered
def with_cut(serve: ServePlan, cut: Cut) -> Candidate:
    """Any cut on this hardware, judged like the chosen one."""
    return _own(serve).candidate(cut, serve.chosen.limits.kv_format)
