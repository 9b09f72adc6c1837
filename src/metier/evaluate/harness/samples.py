"""What lm-eval found, as this room keeps figures: a row for each answer, a score with its interval for each metric."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

from metier.core.types import Score
from metier.evaluate.execution import grade_interval
from metier.evaluate.harness.tasks import Leaf
from metier.evaluate.perplexity import TEXT, perplexities

_LONGEST = 4000  # characters of a question or an answer that are kept for the reader, from its end


class Ran(NamedTuple):
    """One finished task.

    `card` is what its figures belong to, `rows` its graded answers, `whole` the figures that are of all answers
    together (BLEU, F1), `told` lm-eval's own summary.
    """

    card: dict[str, Any]
    rows: list[dict[str, Any]]
    whole: list[Score]
    told: dict[str, float]


def folded(
    leaf: Leaf, task: Any, results: Mapping[str, Any], card: Mapping[str, Any], tokens: Callable[[str], int]
) -> Ran:
    """Return one task's results, of `lm_eval.evaluator.evaluate`, as rows and figures.

    A metric is a grade of each answer where its mean over answers is taken and more is better; its rows are paired when
    models are compared. Others are one figure each, without rows and without an interval.

    Args:
        tokens: counts a text's tokens, for perplexities.
    """
    samples: Sequence[Mapping[str, Any]] = results["samples"][leaf.name]
    summary = results["results"][leaf.name]
    rows: list[dict[str, Any]] = []
    if task.OUTPUT_TYPE == "loglikelihood_rolling":
        rows = [_read(leaf, sample, tokens) for sample in _of_first_filter(samples)]
    aggregations, better = task.aggregation(), task.higher_is_better()
    values: dict[tuple[str, str], list[Any]] = {}
    for sample in samples:
        for metric in sample["metrics"]:
            values.setdefault((metric, sample["filter"]), []).append(sample[metric])
    grades = {
        (metric, kind) for (metric, kind), found in values.items() if _are_grades(metric, found, aggregations, better)
    }
    for sample in samples:
        rows += [_graded(leaf, task, sample, one) for one in sample["metrics"] if (one, sample["filter"]) in grades]
    graded = {row["split"] for row in rows}
    whole, told = [], {}
    for key, value in summary.items():
        metric, _, kind = key.partition(",")
        if not kind or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        told[_split(metric, kind)] = float(value)
        if _split(metric, kind) not in graded and task.OUTPUT_TYPE != "loglikelihood_rolling":
            split = _split(metric, kind)
            whole.append(Score(leaf.name, "", split, float(value), None, None, summary.get("sample_len")))
    return Ran(dict(card), rows, whole, told)


def figures(rows: Iterable[Mapping[str, Any]], model: str) -> list[Score]:
    """Return the figures of all rows, by name and split, in the order in which they come."""
    parts: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        parts.setdefault((row["name"], row["split"]), []).append(row)
    found: list[Score] = []
    for (name, split), part in parts.items():
        if "nats" in part[0]:
            found += perplexities(part, model)
        else:
            found.append(Score(name, model, split, *grade_interval(part)))
    return found


def _are_grades(metric: str, values: Sequence[Any], aggregations: Mapping[str, Any], better: Mapping[str, Any]) -> bool:
    if not all(isinstance(value, Real) and 0 <= float(value) <= 1 for value in values):
        return False
    how = aggregations.get(metric)
    return (how is None or getattr(how, "__name__", how) == "mean") and better.get(metric) is not False


def _graded(leaf: Leaf, task: Any, sample: Mapping[str, Any], metric: str) -> dict[str, Any]:
    answer, reason = _answer(task, sample, metric)
    return {
        "name": leaf.asked,
        "split": _split(metric, sample["filter"]),
        "id": f"{leaf.name}/{sample['doc_id']}",
        "task": leaf.name,
        "dimension": f"task: {leaf.asked}",
        "cluster": f"{leaf.name}/{sample['doc_id']}",
        "question": str(_arguments(sample)[0][0])[-_LONGEST:],
        "expected": _expected(task, sample),
        "answer": answer[-_LONGEST:],
        "score": float(sample[metric]),
        "reason": reason,
    }


def _answer(task: Any, sample: Mapping[str, Any], metric: str) -> tuple[str, str]:
    """Return what the model answered, and what decided it."""
    if task.OUTPUT_TYPE == "generate_until":
        return str(sample["filtered_resps"][0]), f"{metric} of the answer as {sample['filter']} reads it"
    found = [response[0] if isinstance(response, list | tuple) else response for response in sample["filtered_resps"]]
    told = f"{metric}; nats: {', '.join(f'{float(nats):.3f}' for nats in found)}"
    if task.OUTPUT_TYPE != "multiple_choice":
        return str(_arguments(sample)[0][1]), told
    choices = task.doc_to_choice(sample["doc"])
    sizes = {"acc_norm": [len(one) for one in choices], "acc_bytes": [len(one.encode()) for one in choices]}
    weights = [nats / max(1, size) for nats, size in zip(found, sizes.get(metric, [1] * len(choices)), strict=False)]
    return str(choices[max(range(len(weights)), key=lambda at: weights[at])]), told


def _expected(task: Any, sample: Mapping[str, Any]) -> str:
    target = sample["target"]
    if task.OUTPUT_TYPE == "multiple_choice" and not task.multiple_input:
        choices = task.doc_to_choice(sample["doc"])
        wanted = target if isinstance(target, list) else [target]
        return " | ".join(
            str(choices[one]) if isinstance(one, int) and one < len(choices) else str(one) for one in wanted
        )
    return str(target)[-_LONGEST:]


def _read(leaf: Leaf, sample: Mapping[str, Any], tokens: Callable[[str], int]) -> dict[str, Any]:
    text = str(_arguments(sample)[0][0])
    nats = float(sample["filtered_resps"][0])
    place = f"{leaf.name}/{sample['doc_id']}"
    return {
        "name": TEXT,
        "split": leaf.asked,
        "id": place,
        "task": leaf.name,
        "cluster": place,
        "nats": -nats,
        "tokens": tokens(text),
        "bytes": len(text.encode()),
    }


def _of_first_filter(samples: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [sample for sample in samples if sample["filter"] == samples[0]["filter"]]


def _split(metric: str, kind: str) -> str:
    return metric if kind == "none" else f"{metric},{kind}"


def _arguments(sample: Mapping[str, Any]) -> Sequence[Any]:
    found: Sequence[Any] = sample["arguments"]
    return found
