"""The arithmetic behind a figure: its formula with names, with values, where each came from, and how sure it is."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Final

from kcluster.planner.types import Candidate, Plan
from kcluster.units import Figure, human, show_formula

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class UnknownFigure(ValueError):
    """A name that no figure of the plan has; the message lists those that there are."""


def why(plan: Plan, figure: str) -> str:
    """The derivation of every figure of that name, serve by serve.

    `figure` is a name of `figures_of` (`memory.weights_gib`), the beginning of one (`memory.weights`), or a group (`memory`).

    Raises:
        UnknownFigure: no serve has such a figure.
    """
    parts = []
    known: dict[str, None] = {}
    for serve in plan.serves:
        figures = figures_of(serve.chosen)
        known.update(dict.fromkeys(figures))
        names = _matching(figures, figure.strip())
        if not names:
            continue
        head = [serve.name] if len(plan.serves) > 1 else []
        seen: dict[Figure, str] = {}
        parts.append("\n".join([*head, *(line for name in names for line in _tree(name, figures[name], 0, seen))]))
    if not parts:
        raise UnknownFigure(_unknown(figure, tuple(known)))
    return "\n\n".join(parts) + "\n"


def figures_of(candidate: Candidate) -> dict[str, Figure]:
    """Every figure of a candidate by the name that `plan --format json` gives it, in its order."""
    found: dict[str, Figure] = {}
    budget, talk, timed = candidate.memory, candidate.communication, candidate.performance
    if budget is not None:
        found |= {
            "memory.gpu_memory_gib": budget.total,
            "memory.usable_gib": budget.usable,
            "memory.weights_gib": budget.weights,
            "memory.activation_gib": budget.activation,
            "memory.cuda_graph_gib": budget.cuda_graph,
            "memory.non_torch_gib": budget.non_torch,
            "memory.kv_cache_gib": budget.kv_cache,
            "memory.kv_bytes_per_token": budget.kv_bytes_per_token,
            "memory.kv_fixed_bytes_per_sequence": budget.kv_fixed_bytes_per_sequence,
            "memory.kv_cache_tokens": budget.kv_tokens,
            "memory.max_concurrency": budget.max_concurrency,
            "memory.kv_for_one": budget.kv_for_one,
        }
        if len(budget.stages) > 1:
            for stage in budget.stages:
                found[f"memory.stages.{stage.stage}.weights_gib"] = stage.weights
                found[f"memory.stages.{stage.stage}.kv_cache_gib"] = stage.kv_cache
    if talk is not None:
        found |= {
            "communication.allreduce_bytes_per_step": talk.allreduce_bytes_per_step,
            "communication.allreduce_seconds_per_step": talk.allreduce_seconds_per_step,
            "communication.pipeline_bytes_per_step": talk.pipeline_bytes_per_step,
            "communication.pipeline_seconds_per_step": talk.pipeline_seconds_per_step,
            "communication.prefill_allreduce_bytes": talk.prefill_allreduce_bytes,
            "communication.prefill_pipeline_bytes": talk.prefill_pipeline_bytes,
            "communication.prefill_pipeline_seconds": talk.prefill_pipeline_seconds,
            "communication.alltoall_bytes_per_step": talk.alltoall_bytes_per_step,
            "communication.alltoall_seconds_per_step": talk.alltoall_seconds_per_step,
        }
    if timed is not None:
        found |= {
            "performance.ttft_s": timed.ttft,
            "performance.itl_s": timed.itl,
            "performance.tokens_per_second_per_request": timed.tokens_per_second,
            "performance.output_tokens_per_second": timed.throughput,
            "performance.answer_s": timed.answer,
            "performance.batch": timed.batch,
            "performance.prefill_s": timed.prefill,
            "performance.step_s": timed.step.total,
        }
        for name, part in timed.step.parts:
            found[f"performance.step.{name.replace(' ', '_').replace('-', '_').lower()}_s"] = part
    return found


def _matching(figures: dict[str, Figure], wanted: str) -> list[str]:
    """The exact name, its unit left out or not; else all names of the group or that begin so."""
    for name in (wanted, f"{wanted}_gib", f"{wanted}_s"):
        if name in figures:
            return [name]
    return [name for name in figures if wanted and name.startswith(wanted)]


def _unknown(wanted: str, known: tuple[str, ...]) -> str:
    if not known:
        return f"no figure {wanted!r}: the plan has no memory and no times"
    near = get_close_matches(wanted, known, n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(near)}?" if near else "."
    return f"no figure {wanted!r}{hint} There are: {', '.join(known)}"


def _tree(name: str, figure: Figure, depth: int, seen: dict[Figure, str]) -> list[str]:
    indent = "  " * depth
    head = f"{indent}{name} = {_value(figure)}"
    if not figure.formula or not figure.inputs:
        own = figure.name if figure.name and figure.name != name else ""
        notes = "; ".join(text for text in (own, figure.source) if text)
        return [f"{head}   [{notes}]" if notes else head]
    if figure in seen:
        return [f"{head}   (see {seen[figure]} above)"]
    seen[figure] = name
    lines = [head, f"{indent}  = {show_formula(figure.formula)}", f"{indent}  = {show_formula(_filled(figure))}"]
    if figure.source:
        lines.append(f"{indent}  source: {figure.source}")
    for key, part in figure.inputs:
        lines += _tree(key, part, depth + 2, seen)
    return lines


def _value(figure: Figure) -> str:
    """The value with its range, and how wide that is."""
    value = human(figure.value, figure.unit)
    low, high = figure.range()
    if low == high:
        return value
    text = f"{value}, expected between {human(low, figure.unit)} and {human(high, figure.unit)}"
    if figure.value > 0 and low > 0:
        text += f" (−{(1 - low / figure.value) * 100:.0f} % / +{(high / figure.value - 1) * 100:.0f} %)"
    return text


def _filled(figure: Figure) -> str:
    """The formula with the values in place of the names."""
    values = {key: human(part.value, part.unit) for key, part in figure.inputs}
    return _NAME.sub(lambda match: values.get(match[0], match[0]), figure.formula)
