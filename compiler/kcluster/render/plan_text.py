"""A plan for people: what runs where, where the memory and a token's time go, and the SLA against the prediction."""

from __future__ import annotations

from typing import Final

from kcluster.physics.cut import ENGINE_NAMES, EngineVersion
from kcluster.physics.memory import measured
from kcluster.planner.judge import asked_value
from kcluster.planner.types import Alternative, Candidate, Plan, ServePlan
from kcluster.render.plan_words import (
    card_name,
    cards_words,
    counted,
    cut_words,
    engine_words,
    gib,
    model_words,
    ranged,
    tokens,
)
from kcluster.units import GB, GIB, Figure, human

LABEL: Final = 22
BAR: Final = 36
RUNNERS_UP: Final = 4
SMALL: Final = 0.03
"""Parts below this share of a token's time are shown together."""

_COLORS: Final = {"yes": "32", "no": "31", "uncertain": "33", "dim": "2", "bold": "1"}


class _Paint:
    def __init__(self, on: bool) -> None:
        self._on = on

    def __call__(self, kind: str, text: str) -> str:
        return f"\x1b[{_COLORS[kind]}m{text}\x1b[0m" if self._on else text


def plan_text(plan: Plan, *, everything: bool = False, color: bool = False, width: int = 100) -> str:
    """All serves of a plan as text; `everything` adds each candidate with its verdict."""
    paint = _Paint(color)
    return "\n".join(_serve(serve, everything, paint, width) for serve in plan.serves)


def _serve(serve: ServePlan, everything: bool, paint: _Paint, width: int) -> str:
    chosen = serve.chosen
    lines = [
        f"{paint('bold', serve.name)}   {model_words(serve)} · {cut_words(chosen)} on {cards_words(serve)} · "
        f"{engine_words(serve)}"
    ]
    if chosen.fits != "yes" or chosen.violations:
        lines += _findings(chosen, paint)
    body = [*_memory(chosen), *_kv(serve), *_unmeasured(serve), *_token(serve), *_links(chosen), *_spread(serve)]
    body += _names(serve)
    if body:
        lines += ["", *body]
    if chosen.verdicts:
        lines += ["", *_sla(chosen, paint), *_least(serve)]
    lines += ["", *_others(serve, everything, paint, width)]
    return "\n".join(lines).rstrip() + "\n"


def _row(label: str, text: str) -> str:
    return f"{label:<{LABEL}}{text}"


def _findings(chosen: Candidate, paint: _Paint) -> list[str]:
    lines = []
    if chosen.fits != "yes":
        text = "does not start" if chosen.fits == "no" else "may not start"
        lines.append(paint("no" if chosen.fits == "no" else "uncertain", text))
    lines += [f"{found.code}  {found.because}" for found in chosen.violations]
    return lines


def _memory(chosen: Candidate) -> list[str]:
    budget = chosen.memory
    if budget is None:
        return []
    total = budget.total.value
    engine = budget.activation.value + budget.non_torch.value + budget.cuda_graph.value
    left = total - budget.usable.value
    parts = [
        ("weights", budget.weights.value, "█"),
        ("KV", max(0.0, budget.kv_cache.value), "▓"),
        ("engine", engine, "▒"),
        ("left", max(0.0, left), "░"),
    ]
    # What does not fit is drawn in full beside the card's own share, and no longer than a line.
    whole = max(total, sum(value for _, value, _ in parts))
    drawn = "  ".join(
        f"{name} {value / GIB:.1f} {sign * max(1, round(BAR * value / whole))}" for name, value, sign in parts
    )
    return [_row(f"GPU memory {gib(budget.total)} GiB", drawn)]


def _kv(serve: ServePlan) -> list[str]:
    from kcluster.planner.remedies import sequences_that_fit

    budget, load = serve.chosen.memory, serve.load
    if budget is None or budget.kv_cache.value <= 0:
        return []
    longest = sequences_that_fit(serve, load.context)
    typical = sequences_that_fit(serve, load.prompt + load.completion)
    cores = serve.chosen.cut.replicas * serve.chosen.cut.dp
    text = f"{human(budget.kv_tokens.value, 'tokens')}" + (
        " on each of " + counted(cores, "core", "cores") if cores > 1 else ""
    )
    if longest is not None and typical is not None:
        text += (
            f": {_floor(longest)} requests of {tokens(load.context)}, {_floor(typical)} typical ones "
            f"({tokens(load.prompt)} + {tokens(load.completion)})"
        )
    return [_row("KV", text)]


def _names(serve: ServePlan) -> list[str]:
    """What the catalog took names for that are not its own: a re-upload of a model, a family of cards."""
    model, spec = serve.serve.model, serve.serve
    known = {model.id.value: model.architecture.origin}
    for node in spec.hardware.nodes:
        for card in node.cards:
            known.setdefault(card.origin.source.slice(card.origin.span).rpartition("*")[2].strip(' "'), card.origin)
    notes = {name: origin.note.partition("; ")[0] for name, origin in known.items() if origin.kind == "catalog"}
    taken = [f"{name} {note}" for name, note in notes.items() if note.startswith("taken as ")]
    return [_row("names" if number == 0 else "", text) for number, text in enumerate(taken)]


def _unmeasured(serve: ServePlan) -> list[str]:
    """That the figures of an engine rest on another one's logs."""
    name = serve.serve.engine.name.value
    if serve.chosen.memory is None or measured(EngineVersion(name, serve.serve.engine.version.value)):
        return []
    low, high = serve.chosen.memory.kv_cache.range()
    between = f"{max(0.0, low) / GIB:.1f} to {high / GIB:.1f} GiB of KV"
    return [
        _row(
            "not measured",
            f"fitted to vLLM's logs; {ENGINE_NAMES[name]}'s own overhead may be half or twice that: {between}",
        )
    ]


def _floor(figure: Figure) -> str:
    return f"{int(figure.value):,}" if figure.value >= 1 else f"{figure.value:.1f}"


def _token(serve: ServePlan) -> list[str]:
    timed = serve.chosen.performance
    if timed is None:
        return []
    step = timed.step
    users = counted(serve.load.concurrency, "user", "users")
    parts = sorted(step.parts, key=lambda part: -part[1].value)
    shown = [(name, figure.value) for name, figure in parts if figure.value >= SMALL * step.total.value]
    rest = sum(figure.value for _, figure in parts) - sum(value for _, value in shown)
    if rest > 0.01 * step.total.value:
        shown.append(("rest", rest))
    causes = " · ".join(f"{name} {_milliseconds(value)}" for name, value in shown)
    return [_row(f"a token at {users}", f"{ranged(step.total)}: {causes} ms   bound by {timed.bound_by}")]


def _milliseconds(seconds: float) -> str:
    value = seconds * 1e3
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _links(chosen: Candidate) -> list[str]:
    talk = chosen.communication
    if talk is None or not talk.links:
        return []
    lines = []
    for number, (name, load, able) in enumerate(talk.links):
        text = f"{name}: {_rate(load.value)} of {_rate(able.value)} GB/s"
        lines.append(_row("links" if number == 0 else "", text))
    return lines


def _rate(value: float) -> str:
    rate = value / GB
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"


def _spread(serve: ServePlan) -> list[str]:
    """Where the replicas sit, in as few lines as say it."""
    chosen = serve.chosen
    if not chosen.placement:
        return []
    lines = []
    for replica, engine in enumerate(chosen.placement[:8]):
        stages = []
        for node in engine.nodes:
            cards = [place.gpu for place in engine.places if place.node == node]
            real = [serve.serve.gpu_ids[node][gpu] for gpu in cards]
            stages.append(f"{serve.hosts[node]} [{_listed(real)}]")
        label = "placement" if replica == 0 else ""
        name = f"replica {replica}: " if len(chosen.placement) > 1 else ""
        lines.append(_row(label, name + " · ".join(stages)))
    if len(chosen.placement) > 8:
        lines.append(_row("", f"and {len(chosen.placement) - 8:,} more"))
    if chosen.idle:
        lines.append(_row("idle", counted(chosen.idle, "card", "cards")))
    return lines


def _listed(numbers: list[int]) -> str:
    """`0–3` for a run, else each."""
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}–{numbers[-1]}"
    return ", ".join(str(number) for number in numbers)


def _sla(chosen: Candidate, paint: _Paint) -> list[str]:
    head = ("SLA", "asked", "expected (range)")
    rows = [(one.bound.name, asked_value(one.bound), ranged(one.predicted)) for one in chosen.verdicts]
    wide = [max(len(row[column]) for row in (head, *rows)) + 2 for column in (1, 2)]
    lines = [f"{head[0]:<{LABEL}}{head[1]:<{wide[0]}}{head[2]}"]
    for (name, target, expected), verdict in zip(rows, chosen.verdicts, strict=True):
        met = paint(verdict.met, verdict.met)
        lines.append(f"{name:<{LABEL}}{target:<{wide[0]}}{expected:<{wide[1]}}{met}")
    return lines


def _least(serve: ServePlan) -> list[str]:
    """Where a bound is missed at its expected value: the least hardware of this kind on which none would be."""
    from kcluster.planner.least import least_hardware, most_nodes
    from kcluster.planner.ranking import does

    if does(serve.chosen) or not serve.chosen.placement:
        return []
    nodes = serve.serve.cluster.nodes
    least = least_hardware(serve)
    if least is None:
        most = most_nodes(len(nodes))
        return [_row("least hardware", f"none: {counted(most, 'such node', 'such nodes')} would not do either")]
    card = card_name(nodes[0].cards[0].name)
    where = f"{least.gpus_per_node} × {card}"
    if least.nodes > 1:
        where = f"{least.nodes} × {where}"
    return [_row("least hardware", f"{where}, {cut_words(least.candidate)}")]


def _others(serve: ServePlan, everything: bool, paint: _Paint, width: int) -> list[str]:
    if everything:
        return _table(serve, paint)
    found = _telling(serve)
    if not found:
        return []
    texts = [f"{cut_words(one.candidate)} ({_because(one)})" for one in found]
    lines, line = [], "chosen over: "
    for number, text in enumerate(texts):
        piece = text + (" · " if number < len(texts) - 1 else "")
        if len(line) + len(piece) > width and line.strip():
            lines.append(line.rstrip())
            line = "  "
        line += piece
    lines.append(line.rstrip())
    hidden = len(serve.alternatives) - len(found)
    if hidden > 0:
        lines.append(paint("dim", f"{serve.considered:,} cuts considered; --all shows them"))
    return lines


def _telling(serve: ServePlan) -> list[Alternative]:
    """A few alternatives that say most: each with another reason, the best of its reason."""
    found: list[Alternative] = []
    reasons: set[str] = set()
    for one in serve.alternatives:
        reason = one.code or one.because.partition(":")[0]
        if reason not in reasons:
            reasons.add(reason)
            found.append(one)
        if len(found) == RUNNERS_UP:
            break
    return found


def _because(one: Alternative) -> str:
    return f"{one.because}, {one.code}" if one.code else one.because


def _table(serve: ServePlan, paint: _Paint) -> list[str]:
    """Every candidate with what decided."""
    head = ("", "cut", "starts", "SLA", "tok/s", "a token", "weights", "KV", "why not")
    rows = [_candidate_row(0, serve.chosen, "chosen")]
    rows += [
        _candidate_row(rank, one.candidate, f"{one.code} {one.because}".strip())
        for rank, one in enumerate(serve.alternatives, 1)
    ]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head) - 1)]
    lines = []
    for row in [head, *rows]:
        cells = [f"{cell:<{size}}" for cell, size in zip(row[:-1], widths, strict=True)]
        lines.append(("  ".join(cells) + "  " + row[-1]).rstrip())
    return [paint("dim", lines[0]), *lines[1:]]


def _candidate_row(rank: int, candidate: Candidate, why: str) -> tuple[str, ...]:
    budget, timed = candidate.memory, candidate.performance
    return (
        str(rank),
        cut_words(candidate),
        candidate.fits,
        candidate.meets_sla if candidate.verdicts else "–",
        f"{timed.throughput.value:,.0f}" if timed else "–",
        human(timed.itl.value, "s") if timed else "–",
        gib(budget.weights) if budget else "–",
        gib(budget.kv_cache) if budget else "–",
        why,
    )
