"""What counts as better, by how much, and where it stands on the radar; numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
from pytest import approx

from metier.core import Failure
from metier.core.types import Score
from metier.evaluate.report.figures import Difference, Figures, Verdict, unpaired
from metier.evaluate.report.metrics import Subject, each_once, radar_value
from metier.evaluate.report.numbers import duration, percent, significant, tell_change, tell_change_interval, ticks
from metier.evaluate.report.story import costliest_stage, story
from metier.evaluate.report.words import name_of
from metier.evaluate.report.words_en import ENGLISH

PERPLEXITY = Subject("perplexity", "held_out")
EXECUTION = Subject("execution", "new_wording")
REPLIES = Subject("chat_reply_perplexity", "general_prompts")


def score(subject: Subject, value: float, low: float | None, high: float | None, n: int | None = 100) -> Score:
    return Score(subject.name, "m", subject.split, value, low, high, n)


def test_an_unpaired_interval_of_shares_is_the_root_of_squares_of_the_nearer_arms() -> None:
    # 0.5 [0.4, 0.6] against 0.7 [0.6, 0.8]: 0.2 -+ sqrt(0.1^2 + 0.1^2)
    found = unpaired("base", "sft", score(EXECUTION, 0.5, 0.4, 0.6), score(EXECUTION, 0.7, 0.6, 0.8))
    assert (found.value, found.low, found.high) == approx((0.2, 0.2 - math.sqrt(0.02), 0.2 + math.sqrt(0.02)))
    assert found.verdict is Verdict.BETTER and not found.paired


def test_perplexities_are_compared_as_ratios() -> None:
    found = unpaired("base", "cpt", score(PERPLEXITY, 10, 10, 10), score(PERPLEXITY, 8, 7.5, 8.5))
    assert found.value == approx(-0.2)
    assert (found.low, found.high) == approx((-0.25, -0.15))
    assert found.verdict is Verdict.BETTER
    assert tell_change(found, ENGLISH) == "−20.0%" and tell_change_interval(found, ENGLISH) == "−25.0% to −15.0%"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-0.1, 0.1, "unclear"), (0.0, 0.1, "unclear"), (0.01, 0.1, "better"), (-0.1, -0.01, "worse")],
)
def test_a_difference_is_clear_only_if_its_interval_excludes_no_change(low: float, high: float, verdict: str) -> None:
    assert Difference(EXECUTION, "base", "sft", 0.0, low, high, True).verdict == verdict


def test_an_unknown_figure_is_never_called_better_or_worse() -> None:
    unknown = Subject("words_per_answer", "chat")
    assert Difference(unknown, "base", "sft", 1.0, 0.5, 1.5, True).verdict is Verdict.CHANGED
    assert Difference(unknown, "base", "sft", 1.0, None, None, True).verdict is Verdict.UNKNOWN


def test_an_interval_without_a_finite_end_is_no_interval() -> None:
    rows = [score(EXECUTION, 0.5, -math.inf, math.inf)]
    row = Figures({"base": rows}).rows[0]
    assert (row.low, row.high, row.model) == (None, None, "base")


def test_a_figure_that_is_not_a_number_or_stands_twice_fails() -> None:
    with pytest.raises(Failure, match="not a finite number"):
        Figures({"base": [score(EXECUTION, math.nan, None, None)]})
    with pytest.raises(Failure, match="twice"):
        Figures({"base": [score(EXECUTION, 0.5, None, None)] * 2})


def test_the_radar_goes_from_zero_to_one_and_further_out_is_better() -> None:
    assert radar_value(EXECUTION, 0.41, None) == 0.41
    assert radar_value(PERPLEXITY, 10, 10) == 0.5  # as good as the base
    assert radar_value(PERPLEXITY, 8, 10) == approx(0.6)  # 20% below it
    assert radar_value(PERPLEXITY, 30, 10) == 0.0  # three times the base's, and not below the centre
    assert radar_value(REPLIES, 4, 2) == 0.5  # twice the base's
    assert radar_value(REPLIES, 2, 2) == 1.0
    assert radar_value(Subject("sql_to_general_prompts", "general_prompts"), 0.25, None) == 0.75
    assert radar_value(PERPLEXITY, 8, None) is None


def test_two_perplexities_of_one_text_count_once() -> None:
    per_byte, general = Subject("perplexity_per_byte", "held_out"), Subject("perplexity_per_byte", "general")
    assert each_once([PERPLEXITY, per_byte, general]) == [PERPLEXITY, general]


def test_no_number_is_rounded_to_nothing_or_to_everything() -> None:
    assert [percent(share) for share in (0, 1, 0.0004, 0.99996, 0.4125)] == ["0", "100", "0.04", "99.996", "41.2"]
    assert percent(-0.00031, sign=True) == "−0.03"
    assert [significant(value) for value in (10.194, 0.000123456, 1204, 1.5)] == [
        "10.19",
        "0.0001235",
        "1,204",
        "1.500",
    ]
    assert [duration(seconds, ENGLISH) for seconds in (0.004, 4.04, 59.6, 725, 12000)] == [
        "4 ms",
        "4.0 s",
        "1 min 0 s",
        "12 min 5 s",
        "3 h 20 min",
    ]


@pytest.mark.parametrize(("low", "high"), [(0, 327680), (2.31, 2.9), (0.0, 0.0), (5.0, 5.0), (-1, 1)])
def test_ticks_cover_what_is_drawn(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low and found[-1] >= high and 2 <= len(found) <= 8


def figures(**values: tuple[float, float]) -> Figures:
    """Return models with execution and the base's replies, as (execution, reply perplexity), intervals of 1%."""
    return Figures(
        {
            label: [
                score(EXECUTION, share, max(0.0, share - 0.01), share + 0.01),
                score(REPLIES, replies, replies * 0.99, replies * 1.01),
            ]
            for label, (share, replies) in values.items()
        }
    )


def test_the_story_says_what_was_learnt_what_was_lost_and_which_stage_it_cost() -> None:
    found = figures(base=(0.0, 2.0), cpt=(0.0, 2.1), sft=(0.4, 2.6))
    told = story(found, ENGLISH)
    assert told.sentences == [
        "“sft” is clearly better than “base” in the one measure of the trade.",
        "Of 1 measures of what “base” could do before, 1 got clearly worse.",
    ]
    assert [one.subject for one in told.better] == [EXECUTION] and [one.subject for one in told.worse] == [REPLIES]
    stage = costliest_stage(found, REPLIES)
    assert stage is not None and stage.model == "sft"
    assert "came with “sft”" in told.next_steps[0]


def test_nothing_learnt_is_said_first() -> None:
    told = story(figures(base=(0.4, 2.0), cpt=(0.4, 2.0)), ENGLISH)
    assert "not clearly better" in told.sentences[0]
    assert told.next_steps[0] == ENGLISH["next_nothing"]
    assert ENGLISH["next_serve"] not in told.next_steps


def test_a_last_stage_that_shows_no_gain_is_questioned_and_a_gain_without_loss_is_served() -> None:
    told = story(figures(base=(0.0, 2.0), sft=(0.4, 2.0), dpo=(0.4, 2.0)), ENGLISH)
    assert told.next_steps == [ENGLISH["next_stage"].format(final="dpo", before="sft"), ENGLISH["next_serve"]]


@pytest.mark.parametrize(
    ("with_passages", "end"),
    [((0.6, 3.0), "both"), ((0.6, 2.0), "better"), ((0.2, 2.0), "worse"), ((0.4, 2.0), "same")],
)
def test_what_came_out_is_the_last_model_asked_plainly_and_what_passages_change_for_it_is_said(
    with_passages: tuple[float, float], end: str
) -> None:
    plain = figures(base=(0.0, 2.0), sft=(0.4, 2.0))
    rows = {label: [row for row in plain.rows if row.model == label] for label in plain.models}
    rows["sft+RAG"] = figures(x=with_passages).rows
    found = Figures(rows, asked={"sft+RAG": "sft"})
    assert (found.final, found.ways) == ("sft", ["sft+RAG"])
    told = story(found, ENGLISH)
    execution, replies = (f"“{name_of(subject, ENGLISH)}”" for subject in (EXECUTION, REPLIES))
    names = {"way": "sft+RAG", "final": "sft", "better": execution}
    names["worse"] = execution if end == "worse" else replies
    assert told.sentences[2] == ENGLISH[f"way_{end}"].format(**names)
    assert told.next_steps[0] == ENGLISH[f"next_way_{end}"].format(**names)


def test_a_base_that_was_only_asked_in_other_ways_is_compared_with_the_last_of_them() -> None:
    rows = {label: figures(x=(share, 2.0)).rows for label, share in (("base", 0.1), ("base+RAG", 0.4))}
    found = Figures(rows, asked={"base+RAG": "base"})
    assert (found.final, found.ways) == ("base+RAG", [])
    assert "“base+RAG” is clearly better than “base”" in story(found, ENGLISH).sentences[0]


def test_a_general_text_that_improves_is_not_called_learnt() -> None:
    general = Subject("perplexity", "general")
    rows = {label: [score(general, value, value, value)] for label, value in (("base", 20.0), ("cpt", 17.0))}
    told = story(Figures(rows), ENGLISH)
    assert told.better == [] and [one.verdict for one in told.neither] == [Verdict.BETTER]


def test_perplexities_that_cannot_be_compared_are_not_compared_unpaired_either() -> None:
    rows = {label: [score(PERPLEXITY, value, value - 1, value + 1)] for label, value in (("a", 20.0), ("b", 10.0))}
    figures = Figures(rows)
    assert figures.difference("a", "b", PERPLEXITY) is not None
    figures = Figures(rows)
    figures.compare = lambda *_: {PERPLEXITY: None}
    assert figures.difference("a", "b", PERPLEXITY) is None and figures.differences("a", "b") == []
