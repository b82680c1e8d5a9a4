"""What would mend a finding, in words. The planner finds the values (`kcluster.planner.remedies`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

from kcluster.physics.cut import Cut
from kcluster.planner.types import Candidate, ServePlan
from kcluster.rules.words import count, counted, quoted, ranged, shown, version_text
from kcluster.spec.types import Value
from kcluster.units import KIB, human

HIGHEST_LISTED = 3
_KEPT = 16
_answers: dict[tuple[int, str], tuple[ServePlan, object]] = {}

T = TypeVar("T")


def _once(serve: ServePlan, remedy: Callable[[ServePlan], T]) -> T:
    """A remedy's answer, searched for once a plan: several bounds that are missed ask the same question."""
    key = (id(serve), remedy.__name__)
    found = _answers.get(key)
    if found is not None and found[0] is serve:
        return found[1]  # type: ignore[return-value]
    if len(_answers) >= _KEPT:
        _answers.clear()
    answer = remedy(serve)
    _answers[key] = (serve, answer)
    return answer


def shape(cut: Cut) -> str:
    """A cut as people say it: `2 replicas of tp 4 × pp 2`."""
    parts = [f"tp {cut.tp}"]
    if cut.pp > 1:
        parts.append(f"pp {cut.pp}")
    if cut.dp > 1:
        parts.append(f"dp {cut.dp}")
    text = " × ".join(parts)
    if cut.dcp > 1:
        text += f" with dcp {cut.dcp}"
    if cut.ep:
        text += " with ep"
    return f"{counted(cut.replicas, 'replica')} of {text}" if cut.replicas > 1 else text


def tokens(length: int) -> str:
    """A length as the language writes it, rounded down to whole K from 8K on."""
    return f"{length // KIB}K" if length >= 8 * KIB else str(length)


def fitting_cuts(serve: ServePlan) -> Iterator[str]:
    """The smallest cut, format and amount of hardware in which the model starts."""
    from kcluster.planner.least import least_hardware
    from kcluster.planner.remedies import smaller_format, smallest_fit

    fitting = smallest_fit(serve)
    if fitting is not None:
        yield f"fits these cards: {with_cache(serve, fitting)}"
    smaller = smaller_format(serve)
    if smaller is not None:
        yield f"fits as it is cut: a checkpoint in `{smaller[0].name}` (`weights = {smaller[0].name}`)"
    if fitting is None:
        least = _once(serve, least_hardware)
        if least is not None:
            yield _hardware(serve, least.nodes, least.gpus_per_node, least.candidate)


def starting(serve: ServePlan, axis: Literal["tp", "pp"], sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Those of some sizes of an axis with whose memory the chosen cut starts; where none does, those that hold the weights."""
    from kcluster.planner.remedies import with_cut
    from kcluster.values import evolve

    cut = serve.chosen.cut
    # A partition by hand belongs to the stages that it was written for.
    cuts = [evolve(cut, tp=size) if axis == "tp" else evolve(cut, pp=size, layers=None) for size in sizes]
    judged = {size: with_cut(serve, one).memory for size, one in zip(sizes, cuts, strict=True)}
    started = tuple(size for size, memory in judged.items() if memory is not None and memory.starts != "no")
    return started or tuple(
        size for size, memory in judged.items() if memory is not None and memory.weights_fit != "no"
    )


def shared_contexts(serve: ServePlan, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Those of some dcp sizes that the cards' kernels take."""
    from kcluster.planner.remedies import with_cut
    from kcluster.values import evolve

    judged = {size: with_cut(serve, evolve(serve.chosen.cut, dcp=size)) for size in sizes}
    return tuple(size for size, one in judged.items() if not any(found.code == "KC307" for found in one.violations))


def with_cache(serve: ServePlan, candidate: Candidate) -> str:
    """A candidate's cut, and the KV format where it needs another one."""
    halved = candidate.limits.kv_format != serve.chosen.limits.kv_format
    return shape(candidate.cut) + (f" and `kv_cache = {candidate.limits.kv_format}`" if halved else "")


def pipeline_starts(serve: ServePlan, stages: int) -> bool:
    """Whether so many stages of one card each hold the weights."""
    from kcluster.planner.remedies import with_cut
    from kcluster.values import evolve

    memory = with_cut(serve, evolve(serve.chosen.cut, tp=1, pp=stages, dcp=1, layers=None)).memory
    return memory is not None and memory.weights_fit != "no"


def enough_cards(serve: ServePlan) -> Iterator[str]:
    """The smallest cut that starts on these cards, or the least hardware where none does."""
    from kcluster.planner.least import least_hardware

    fitting = tuple(smallest(serve))
    yield from fitting
    least = _once(serve, least_hardware) if not fitting else None
    if least is not None:
        yield _hardware(serve, least.nodes, least.gpus_per_node, least.candidate)


def smallest(serve: ServePlan) -> Iterator[str]:
    """The smallest cut that starts on these cards."""
    from kcluster.planner.remedies import smallest_fit

    fitting = smallest_fit(serve)
    if fitting is not None:
        yield f"fits these cards: {with_cache(serve, fitting)}"


def _hardware(serve: ServePlan, nodes: int, cards: int, candidate: Candidate) -> str:
    card = serve.serve.cluster.nodes[0].cards[0].id
    where = f"{count(nodes)} nodes of {count(cards)} × {card}" if nodes > 1 else f"{count(cards)} × {card}"
    return f"the least hardware of this kind: {where}, as {with_cache(serve, candidate)}"


def fitting_lengths(serve: ServePlan) -> Iterator[str]:
    """The longest length of the present cut, and what fp8 KV would hold."""
    from kcluster.planner.remedies import smallest_fit, with_fp8_kv

    length = longest(serve)
    if length:
        yield f"fits: {_shorter(serve, length)}{_at_most(serve, length)}"
    fp8 = with_fp8_kv(serve)
    if fp8 is not None and fp8.memory is not None and fp8.fits != "no":
        held = human(fp8.memory.max_concurrency.value, "requests")
        yield f"fits: `kv_cache = fp8`, which holds {held} requests of {count(fp8.limits.max_model_len)} tokens"
    if not length or serve.chosen.memory is None:
        return
    other = smallest_fit(serve)
    if other is not None and other.cut != serve.chosen.cut:
        yield f"fits these cards: {with_cache(serve, other)}"


def _shorter(serve: ServePlan, length: str) -> str:
    """What to write so that requests are no longer than a length: in the engine, and in an SLA that asks for more."""
    engine, sla = serve.serve.engine.max_model_len, serve.serve.sla
    asked = lengths(serve)
    names = ["max_model_len"] if engine is not None or not asked else []
    names += ["context"] if sla is not None and sla.context in asked else []
    return quoted((f"{name} = {length}" for name in names), "and")


def _at_most(serve: ServePlan, written: str) -> str:
    """The longest length itself, where what is written was rounded down."""
    from kcluster.planner.remedies import longest_length

    exact = _once(serve, longest_length)
    return f" ({count(exact)} tokens at most)" if exact is not None and tokens(exact) == written != str(exact) else ""


def lengths(serve: ServePlan) -> tuple[Value[int], ...]:
    """The written lengths, the engine's and the SLA's, that ask for more than the present cut holds."""
    from kcluster.planner.remedies import longest_length

    engine, sla = serve.serve.engine.max_model_len, serve.serve.sla
    both = (engine, sla.context if sla is not None else None)
    most = _once(serve, longest_length) or 0
    return tuple(value for value in both if value is not None and value.written and value.value > most)


def longest(serve: ServePlan) -> str:
    """The longest length that the present cut holds, as the language writes it; empty where there is none."""
    from kcluster.planner.remedies import longest_length

    length = _once(serve, longest_length)
    return tokens(length) if length is not None else ""


def sequences_held(serve: ServePlan) -> int | None:
    """The sequences that the KV cache holds of typical requests."""
    from kcluster.planner.remedies import sequence_limit

    return _once(serve, sequence_limit)


def better_limit(serve: ServePlan) -> int | None:
    """The sequence limit to write in the place of a higher one; None where the present one is not too high."""
    from kcluster.planner.case import case_of
    from kcluster.planner.limits import sequences_wanted

    held = sequences_held(serve)
    if held is None:
        return None
    limit = max(held, sequences_wanted(case_of(serve.serve), serve.chosen.cut))
    return limit if limit < serve.chosen.limits.max_num_seqs else None


def more_room(serve: ServePlan, code: str) -> Iterator[str]:
    """Other cuts and formats whose KV cache holds the load, and the sequences that do not preempt."""
    from kcluster.planner.remedies import holding, with_fp8_kv

    enough = holding(serve)[:HIGHEST_LISTED]
    if not enough:
        fp8 = with_fp8_kv(serve)
        held = next((found for found in fp8.violations if found.code == code), None) if fp8 is not None else None
        if held is not None:
            yield f"with `kv_cache = fp8` {held.because}"
    for candidate in enough:
        same_cut = candidate.cut == serve.chosen.cut
        what = "`kv_cache = fp8`" if same_cut else with_cache(serve, candidate)
        yield f"holds them: {what}"
    limit = sequences_held(serve)
    if limit is not None and limit < serve.chosen.limits.max_num_seqs:
        yield f"`max_num_seqs = {limit}` lets the others wait in the queue instead of being preempted"


def sequences(serve: ServePlan) -> Iterator[str]:
    """The sequence limit that the KV cache holds of typical requests; as many as come to each engine where those are more."""
    limit = better_limit(serve)
    if limit is not None:
        held = limit == sequences_held(serve)
        yield f"`max_num_seqs = {limit}` is what {'the KV cache holds of typical requests' if held else 'comes to each engine'}"
    yield "left out, it follows from the SLA and the KV cache"


def to_meet(serve: ServePlan, *, hardware_too: bool) -> Iterator[str]:
    """The nearest plan on this hardware that meets the bounds; where there is none and `hardware_too`, the least hardware that
    would, which is the dearest question of all."""
    from kcluster.planner.least import least_hardware, most_nodes
    from kcluster.planner.ranking import does
    from kcluster.planner.remedies import best_here

    best = _once(serve, best_here)
    if does(best) and best.cut != serve.chosen.cut:
        yield f"meets every bound on these cards: {shape(best.cut)}"
        return
    if best.cut != serve.chosen.cut and best.performance is not None:
        speed = shown(best.performance.tokens_per_second)
        yield f"the nearest on these cards: {shape(best.cut)} with {speed} each and {shown(best.performance.throughput)} together"
    if not hardware_too:
        return
    least = _once(serve, least_hardware)
    if least is None:
        most = most_nodes(len(serve.serve.cluster.nodes))
        yield f"no number of such nodes up to {most} meets every bound"
    elif least.gpus > serve.serve.cluster.gpus:
        yield _hardware(serve, least.nodes, least.gpus_per_node, least.candidate)


def partitions(serve: ServePlan) -> Iterator[str]:
    """A partition of the layers whose tightest stage holds more."""
    from kcluster.planner.remedies import better_layers

    better = better_layers(serve)
    if better is None or better.candidate.memory is None:
        return
    if better.dealt:
        yield "leave `layers` out, and the engine deals them out evenly"
    else:
        listing = ", ".join(str(layers) for layers in better.layers)
        yield f"`layers = [{listing}]` holds {count(better.candidate.memory.kv_tokens.value)} tokens of KV"


def more_replicas(serve: ServePlan) -> Cut | None:
    """The chosen cut with as many replicas as the nodes have room for; None where that is no more than there are."""
    from kcluster.planner.remedies import with_cut
    from kcluster.values import evolve

    cut = serve.chosen.cut
    for replicas in range(serve.serve.cluster.gpus // cut.engine_gpus, cut.replicas, -1):
        more = evolve(cut, replicas=replicas)
        if not any(found.fatal for found in with_cut(serve, more).violations):
            return more
    return None


def smaller_cut(serve: ServePlan) -> Cut | None:
    """The cut that would do where one was pinned larger; None where the pinned one is as good."""
    from kcluster.planner.remedies import smaller_cut as found

    better = found(serve)
    return better.cut if better is not None else None


def refused_by(serve: ServePlan, version: tuple[int, ...]) -> str:
    """How another version of the engine would not start this plan, with the figures; empty where it would."""
    from kcluster.planner.remedies import on_version

    candidate = on_version(serve, version)
    memory = candidate.memory
    if candidate.fits == "yes" or memory is None:
        return ""
    verb = "would not" if candidate.fits == "no" else "may not"
    length = count(candidate.limits.max_model_len)
    text = f"{verb} on {version_text(version)}, where {ranged(memory.kv_cache)} are left for KV"
    return f"{text} and one request of {length} tokens needs {shown(memory.kv_for_one)}"


def half_tp(serve: ServePlan) -> Candidate | None:
    """The chosen cut with half the tensor parallel and the same replicas, at the same load."""
    from kcluster.planner.remedies import with_cut
    from kcluster.values import evolve

    cut = serve.chosen.cut
    return with_cut(serve, evolve(cut, tp=cut.tp // 2)) if cut.tp % 2 == 0 else None
