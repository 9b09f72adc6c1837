"""What the figures say in plain words: what was learnt, what was lost, whether it is clear, and what to do next."""

from __future__ import annotations

from typing import NamedTuple

from metier.evaluate.report.figures import Difference, Figures, Verdict
from metier.evaluate.report.metrics import Kind, Subject, each_once
from metier.evaluate.report.numbers import tell, tell_change, tell_change_interval
from metier.evaluate.report.words import Words, name_of

GAP = 0.2
"""A share that is so much lower in new wording (or for new kinds) than in trained ones is worth a word."""


class Story(NamedTuple):
    """The headline's sentences, the differences from base to final by what they show, and the next things to do."""

    sentences: list[str]
    better: list[Difference]
    worse: list[Difference]
    neither: list[Difference]
    next_steps: list[str]


def story(figures: Figures, words: Words) -> Story:
    """Return what the figures of base and final model say."""
    if len(figures.models) < 2:
        return Story([words["one_model"].format(base=figures.base)], [], [], [], [])
    found = figures.outcome()
    once = each_once([one.subject for one in found])
    found = [one for one in found if one.subject in once]
    better = [one for one in found if one.verdict is Verdict.BETTER and not one.subject.metric.forgetting]
    worse = [one for one in found if one.verdict is Verdict.WORSE]
    neither = [one for one in found if one not in better and one not in worse]
    judged = [one for one in found if one.subject.metric.higher_is_better is not None]
    sentences = [_learnt(figures, judged, words), _lost(figures, judged, words)]
    sentences += [_told_way(way, words, "way") for way in _ways(figures, once)]
    sentences += _controls(figures, once, words)
    return Story(sentences, better, worse, neither, next_steps(figures, judged, words))


def _of(found: list[Difference], verdict: Verdict) -> int:
    return sum(one.verdict is verdict for one in found)


def _learnt(figures: Figures, found: list[Difference], words: Words) -> str:
    trade = [one for one in found if not one.subject.metric.forgetting]
    count, better, worse = len(trade), _of(trade, Verdict.BETTER), _of(trade, Verdict.WORSE)
    told = {"base": figures.base, "final": figures.final, "count": count, "better": better}
    if not trade:
        return words["learnt_unmeasured"].format(**told)
    if better == count:
        return words["learnt_one" if count == 1 else "learnt_all"].format(**told)
    unclear = count - better - worse
    parts = [words["rest_worse"].format(worse=worse)] if worse else []
    parts += [words["rest_unclear"].format(unclear=unclear)] if unclear else []
    rest = "".join(parts)
    return words["learnt_some" if better else "learnt_none"].format(**told, rest=rest)


def _lost(figures: Figures, found: list[Difference], words: Words) -> str:
    before = [one for one in found if one.subject.metric.forgetting]
    if not before:
        return words["lost_unmeasured"]
    worse = _of(before, Verdict.WORSE)
    return words["lost_some" if worse else "lost_none"].format(base=figures.base, count=len(before), worse=worse)


def _controls(figures: Figures, once: list[Subject], words: Words) -> list[str]:
    found = []
    for control in figures.controls:
        for one in _against(control, figures, once):
            told = {"final": one.model, "control": control, "what": name_of(one.subject, words)}
            interval = f" [{tell_change_interval(one, words)}]" if one.low is not None else ""
            change = tell_change(one, words) + interval
            found.append(words[f"control_{one.verdict}"].format(**told, change=change))
    return found


class _Way(NamedTuple):
    """What examples or passages change for the final model: the figures in which it clearly gains and loses."""

    label: str
    final: str
    better: list[Subject]
    worse: list[Subject]


def _ways(figures: Figures, once: list[Subject]) -> list[_Way]:
    found = []
    for label in figures.ways:
        changes = [one for one in figures.differences(figures.final, label) if one.subject in once]
        better, worse = (
            [one.subject for one in changes if one.verdict is wanted] for wanted in (Verdict.BETTER, Verdict.WORSE)
        )
        found.append(_Way(label, figures.final, better, worse))
    return found


def _told_way(way: _Way, words: Words, begin: str) -> str:
    end = "_both" if way.better and way.worse else "_better" if way.better else "_worse" if way.worse else "_same"
    better, worse = (words["list"].join(f"“{name_of(s, words)}”" for s in found) for found in (way.better, way.worse))
    return words[begin + end].format(way=way.label, final=way.final, better=better, worse=worse)


def _against(control: str, figures: Figures, once: list[Subject]) -> list[Difference]:
    """Return how the final model differs from a control in perplexity on the trade's text: what controls are for."""
    texts = [s for s in once if s.metric.kind is Kind.PERPLEXITY and not s.metric.forgetting]
    found = [figures.difference(control, figures.final, subject) for subject in texts]
    return [one for one in found if one is not None]


def costliest_stage(figures: Figures, subject: Subject) -> Difference | None:
    """Return the clear step for the worse between two neighbouring stages that is the largest, or None."""
    steps = zip(figures.stages, figures.stages[1:], strict=False)
    found = [figures.difference(before, after, subject) for before, after in steps]
    worse = [one for one in found if one is not None and one.verdict is Verdict.WORSE]
    return max(worse, key=lambda one: abs(one.value), default=None)


def next_steps(figures: Figures, found: list[Difference], words: Words) -> list[str]:
    """Return what to do next, most urgent first. Every advice follows from the figures by a fixed rule."""
    trade = [one for one in found if not one.subject.metric.forgetting]
    advice: list[str | None] = []
    if not _of(trade, Verdict.BETTER):
        advice.append(words["next_nothing"])
    advice += [
        words["next_worse"].format(what=name_of(one.subject, words)) for one in trade if one.verdict is Verdict.WORSE
    ]
    advice += [_told_way(way, words, "next_way") for way in _ways(figures, [one.subject for one in found])]
    advice += [_forgetting(figures, found, words), _control(figures, found, words)]
    advice += [_gap(figures, "new_wording", "next_wording", words), _gap(figures, "new_kind", "next_kinds", words)]
    advice += [_last_stage(figures, words), _more_items(figures, trade, words)]
    given = [text for text in advice if text is not None]
    if _of(trade, Verdict.BETTER) and not _of(found, Verdict.WORSE):
        given.append(words["next_serve"])
    return given


def _forgetting(figures: Figures, found: list[Difference], words: Words) -> str | None:
    lost = [one for one in found if one.subject.metric.forgetting and one.verdict is Verdict.WORSE]
    stages = [(one.subject, costliest_stage(figures, one.subject)) for one in lost]
    for subject, stage in stages:
        if stage is not None:
            return words["next_forgetting"].format(what=name_of(subject, words), stage=stage.model)
    return None


def _control(figures: Figures, found: list[Difference], words: Words) -> str | None:
    once = [one.subject for one in found]
    for control in figures.controls:
        for one in _against(control, figures, once):
            if one.verdict is not Verdict.BETTER:
                return words["next_control"].format(what=name_of(one.subject, words), final=one.model, control=control)
    return None


def _gap(figures: Figures, split: str, advice: str, words: Words) -> str | None:
    seen = figures.get(figures.final, Subject("execution", "seen_wording"))
    new = figures.get(figures.final, Subject("execution", split))
    if seen is None or new is None or seen.value - new.value < GAP:
        return None
    subject = Subject("execution", split)
    return words[advice].format(seen=tell(subject, seen.value), new=tell(subject, new.value))


def _last_stage(figures: Figures, words: Words) -> str | None:
    if len(figures.stages) < 3:
        return None
    before, last = figures.stages[-2:]
    changes = [one for one in figures.differences(before, last) if not one.subject.metric.forgetting]
    if not changes or _of(changes, Verdict.BETTER):
        return None
    return words["next_stage"].format(final=last, before=before)


def _more_items(figures: Figures, trade: list[Difference], words: Words) -> str | None:
    unclear = [one for one in trade if one.verdict is Verdict.UNCLEAR]
    rows = [figures.get(figures.final, one.subject) for one in unclear]
    counts = [row.n for row in rows if row is not None and row.n is not None]
    return words["next_more_items"].format(count=len(unclear), n=min(counts)) if counts else None
