"""A plan as one page that needs nothing else: plots, tables, no network, light and dark.

Text of a spec reaches the page escaped alone; the page's own policy lets no other script or style run than its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from kcluster.diagnostics import Diagnostic
from kcluster.planner.judge import asked_value
from kcluster.planner.ranking import does
from kcluster.planner.types import Candidate, Plan, ServePlan
from kcluster.render.places import name_of
from kcluster.render.plan_html_bars import (
    memory_legend,
    memory_plot,
    memory_table,
    stages_plot,
    time_legend,
    time_plot,
    time_table,
)
from kcluster.render.plan_html_markup import Markup, element, escaped, joined, table
from kcluster.render.plan_html_plots import field_plot, kv_curves, kv_plot, kv_table, legend, marks
from kcluster.render.plan_html_style import SCRIPT, STYLE
from kcluster.render.plan_words import (
    card_name,
    cards_words,
    counted,
    cut_words,
    engine_words,
    model_words,
    ranged,
    tokens,
)
from kcluster.units import human
from kcluster.values import frozen
from kcluster.version import VERSION


@frozen
class Planned:
    """One spec of a page: its path as findings name it, its plan (None where findings left none) and its findings."""

    path: str
    plan: Plan | None
    diagnostics: tuple[Diagnostic, ...]


def plan_html(specs: Sequence[Planned]) -> str:
    """All specs on one page, as UTF-8 text without lone surrogates. The same input gives the same page."""
    title = f"{specs[0].path} – kcluster plan" if len(specs) == 1 else f"{len(specs)} plans – kcluster"
    head = joined(
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy()),
        element("title", title),
        element("style", Markup(STYLE)),
    )
    sections = [_spec(one, f"s{number}", alone=len(specs) == 1) for number, one in enumerate(specs)]
    body = joined(
        element("header", element("h1", title.rpartition(" – ")[0]), _contents(specs)),
        element("main", *sections),
        element("footer", f"kcluster {VERSION}. Ranges hold the measured value nine times in ten."),
        element("script", Markup(SCRIPT)),
    )
    page = element("html", element("head", head), element("body", body), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def _policy() -> str:
    """Nothing from elsewhere, and of what is here only the style and the script of this package, by their hashes. The style
    attribute of the tip is set by the script through its properties, which the policy leaves to it."""
    from base64 import b64encode
    from hashlib import sha256

    def digest(text: str) -> str:
        return b64encode(sha256(text.encode()).digest()).decode()

    return (
        f"default-src 'none'; style-src 'sha256-{digest(STYLE)}'; script-src 'sha256-{digest(SCRIPT)}'; base-uri 'none'; "
        "form-action 'none'"
    )


def _contents(specs: Sequence[Planned]) -> Markup:
    """Links to every serve where there are several."""
    entries = [
        element(
            "li", element("a", serve.name if len(specs) == 1 else f"{spec.path}: {serve.name}", href=f"#s{at}-{index}")
        )
        for at, spec in enumerate(specs)
        for index, serve in enumerate(spec.plan.serves if spec.plan is not None else ())
    ]
    if len(entries) < 2:
        return Markup("")
    return element("nav", element("ul", *entries), aria_label="serves")


def _spec(one: Planned, key: str, *, alone: bool) -> Markup:
    parts: list[str] = [] if alone else [element("h2", one.path)]
    if one.plan is None:
        parts.append(element("p", "There is no plan: the findings say why.", class_="no"))
    else:
        parts += [_serve(serve, f"{key}-{index}") for index, serve in enumerate(one.plan.serves)]
    parts.append(_findings(one.diagnostics))
    return element("section", *parts, aria_label=one.path)


def _serve(serve: ServePlan, key: str) -> Markup:
    chosen = serve.chosen
    engine = f"{model_words(serve)} on {cards_words(serve)}, {engine_words(serve)}"
    cards = [_field(serve, key), _memory(serve, key), _time(serve, key), _kv(serve, key)]
    cards += [_sla(serve), _links(serve), _placement(serve), _alternatives(serve)]
    return element(
        "article",
        element("h2", f"{serve.name}: {cut_words(chosen)}"),
        element("p", engine, class_="soft"),
        _facts(serve),
        element("div", *(card for card in cards if card), class_="cards"),
        id=key,
    )


def _facts(serve: ServePlan) -> Markup:
    chosen = serve.chosen
    rows: list[tuple[str, str, str]] = [
        (
            {"yes": "starts", "no": "does not start", "uncertain": "may not start"}[chosen.fits],
            "the engine",
            chosen.fits,
        )
    ]
    if chosen.verdicts:
        text = {"yes": "met", "no": "missed", "uncertain": "uncertain"}[chosen.meets_sla]
        rows.append((text, "the SLA", chosen.meets_sla))
    timed = chosen.performance
    if timed is not None:
        users = counted(serve.load.concurrency, "user", "users")
        rows += [
            (human(timed.throughput.value, "tokens/s"), f"throughput at {users}", ""),
            (human(timed.itl.value, "s"), "a token", ""),
            (human(timed.ttft.value, "s"), "to the first token", ""),
            (timed.bound_by, "what binds", ""),
        ]
    if chosen.memory is not None and chosen.memory.kv_cache.value > 0:
        rows.append((human(chosen.memory.kv_cache.value, "bytes"), "KV cache a GPU", ""))
    items = [
        element("li", element("b", text, **({"class_": kind} if kind else {})), element("span", name))
        for text, name, kind in rows
    ]
    return element("ul", *items, class_="facts")


def _card(title: str, *parts: str, wide: bool = False) -> Markup:
    return element("figure", element("h3", title), *parts, class_="card wide" if wide else "card")


def _folded(name: str, inside: Markup) -> Markup:
    return element("details", element("summary", name), inside)


def _field(serve: ServePlan, key: str) -> Markup:
    plot = field_plot(serve, f"{key}-field")
    if plot is None:
        return Markup("")
    kinds = {mark.kind for mark in marks(serve) if mark.candidate.performance is not None}
    entries = [("k-chosen", "chosen, with its range"), ("k-close", "would do; ranks lower"), ("k-rejected", "rejected")]
    shown = legend(*(entry for entry in entries if entry[0].removeprefix("k-") in kinds))
    untimed = sum(1 for mark in marks(serve) if mark.candidate.performance is None)
    note = f"{counted(untimed, 'candidate has', 'candidates have')} no predicted time and stand in the table alone."
    return _card("Throughput against latency", plot, shown, *([element("p", note, class_="soft")] if untimed else []))


def _memory(serve: ServePlan, key: str) -> Markup:
    plot = memory_plot(serve, f"{key}-memory")
    if plot is None or serve.chosen.memory is None:
        return Markup("")
    stages = stages_plot(serve, f"{key}-stages")
    more = [element("h3", "By pipeline stage of the chosen cut"), stages] if stages is not None else []
    table_ = _folded("as a table", memory_table(serve))
    return _card("Memory of the fullest GPU", plot, memory_legend(), *more, table_)


def _time(serve: ServePlan, key: str) -> Markup:
    plot = time_plot(serve, f"{key}-time")
    if plot is None or serve.chosen.performance is None:
        return Markup("")
    return _card("Time of a token by cause", plot, time_legend(serve), _folded("as a table", time_table(serve)))


def _kv(serve: ServePlan, key: str) -> Markup:
    curves = kv_curves(serve)
    if not curves:
        return Markup("")
    shown = legend(("k-asked", "what the SLA asks"), ("k-range", "range of the prediction"))
    return _card(
        "KV cache: how many requests of which length",
        kv_plot(serve, f"{key}-kv", curves), shown, _folded("as a table", kv_table(curves)),
    )  # fmt: skip


def _sla(serve: ServePlan) -> Markup:
    load = serve.load
    text = (
        f"{counted(load.concurrency, 'request', 'requests')} at a time, {tokens(load.prompt)} + {tokens(load.completion)} tokens, "
        f"at most {tokens(load.context)}"
    )
    verdicts = serve.chosen.verdicts
    if not verdicts:
        return _card("SLA", element("p", f"No bound is asked. Judged at {text}."))
    rows = [
        (
            one.bound.name,
            asked_value(one.bound),
            ranged(one.predicted),
            element("span", one.met, class_=f"pill {one.met}"),
        )
        for one in verdicts
    ]
    least = _least(serve)
    made = table(("bound", "asked", "expected (range)", "met"), rows, f"At {text}", numeric=frozenset({1, 2}))
    return _card("SLA", made, *([element("p", least, class_="soft")] if least else []))


def _least(serve: ServePlan) -> str:
    """The least hardware of this kind on which no bound is missed at its expected value; empty where none is."""
    from kcluster.planner.least import least_hardware, most_nodes

    if does(serve.chosen) or not serve.chosen.placement:
        return ""
    nodes = serve.serve.cluster.nodes
    least = least_hardware(serve)
    if least is None:
        return (
            f"Least hardware: none; {counted(most_nodes(len(nodes)), 'such node', 'such nodes')} would not do either."
        )
    where = f"{least.gpus_per_node} × {card_name(nodes[0].cards[0].name)}"
    where = f"{least.nodes} × {where}" if least.nodes > 1 else where
    return f"Least hardware that would meet every bound: {where}, {cut_words(least.candidate)}."


def _links(serve: ServePlan) -> Markup:
    talk = serve.chosen.communication
    if talk is None or not talk.links:
        return Markup("")
    rows = [(name, human(load.value, "bytes/s"), human(able.value, "bytes/s")) for name, load, able in talk.links]
    steps = (
        ("all-reduce", talk.allreduce_bytes_per_step, talk.allreduce_seconds_per_step),
        ("pipeline", talk.pipeline_bytes_per_step, talk.pipeline_seconds_per_step),
        ("all-to-all", talk.alltoall_bytes_per_step, talk.alltoall_seconds_per_step),
    )
    moved = [
        (name, human(size.value, "bytes"), human(seconds.value, "s")) for name, size, seconds in steps if size.value > 0
    ]
    loads = table(("link", "load", "carries"), rows, "At the load of the SLA", numeric=frozenset({1, 2}))
    step = table(("of one decode step", "bytes", "time"), moved, "One engine, one step", numeric=frozenset({1, 2}))
    return _card("Links", loads, *([step] if moved else []))


def _placement(serve: ServePlan) -> Markup:
    engines = serve.chosen.placement
    if not engines:
        return Markup("")
    rows = []
    for replica, engine in enumerate(engines):
        for dp, rank in enumerate(engine.ranks):
            for stage, group in enumerate(rank):
                nodes = dict.fromkeys(place.node for place in group)
                cards = [
                    f"{serve.hosts[node]} [{', '.join(str(serve.serve.gpu_ids[node][place.gpu]) for place in group if place.node == node)}]"
                    for node in nodes
                ]
                rows.append((f"replica {replica}", str(dp), str(stage), " + ".join(cards)))
    made = table(("engine", "dp rank", "stage", "host [GPUs]"), rows, "Where each tensor-parallel group sits")
    idle = [element("p", f"{counted(serve.chosen.idle, 'card is', 'cards are')} idle.")] if serve.chosen.idle else []
    return _card("Placement", element("div", made, class_="long"), *idle)


def _alternatives(serve: ServePlan) -> Markup:
    head = ("cut", "starts", "SLA", "tokens a second", "a token", "first token", "weights", "KV", "why not")
    heads = [
        element("th", text, scope="col", class_="number" if 3 <= column <= 7 else "")
        for column, text in enumerate(head)
    ]
    rows = [_row(mark.candidate, mark.why, mark.kind == "chosen") for mark in marks(serve)]
    caption = f"{serve.considered:,} cuts considered, the best first"
    made = element(
        "table", element("caption", caption), element("thead", element("tr", *heads)), element("tbody", *rows)
    )
    scroll = element("div", made, class_="scroll long", tabindex="0", role="region", aria_label="candidates")
    return _card("Candidates", scroll, wide=True)


def _row(candidate: Candidate, why: str, is_chosen: bool) -> Markup:
    timed, budget = candidate.performance, candidate.memory
    numbers = (
        human(timed.throughput.value, "tokens/s") if timed else "–",
        human(timed.itl.value, "s") if timed else "–",
        human(timed.ttft.value, "s") if timed else "–",
        human(budget.weights.value, "bytes") if budget else "–",
        human(max(0.0, budget.kv_cache.value), "bytes") if budget else "–",
    )
    sla = candidate.meets_sla if candidate.verdicts else "–"
    return element(
        "tr",
        element("th", cut_words(candidate), scope="row"),
        element("td", candidate.fits, class_=candidate.fits),
        element("td", sla, class_=sla if candidate.verdicts else "note"),
        *(element("td", text, class_="number") for text in numbers),
        element("td", why, class_="why"),
        class_="cut picked" if is_chosen else "cut",
    )


def _findings(diagnostics: tuple[Diagnostic, ...]) -> Markup:
    if not diagnostics:
        return element("p", "No findings.", class_="soft")
    items = []
    for found in diagnostics:
        start = found.source.position(found.span.start)
        severity = f"{found.severity} (suppressed)" if found.suppressed else found.severity
        kind = "note" if found.suppressed else found.severity
        extra = [*found.notes, *(f"help: {text}" for text in found.help)]
        items.append(
            element(
                "li",
                element("span", severity, class_=f"pill {kind}"),
                Markup(" "),
                element("code", f"{found.code} {name_of(found.code)}"),
                joined(f" {found.message} "),
                element("span", f"{found.source.path}:{start.line}:{start.column}", class_="soft"),
                *(element("div", escaped(text), class_="soft") for text in extra),
            )
        )
    return element(
        "section", element("h2", "Findings"), element("div", element("ul", *items, class_="findings"), class_="card")
    )
