"""The gate: worked arithmetic of the test, and simulated false alarms, power and coverage."""

from __future__ import annotations

import json
import math
import random
import re
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from pytest import approx

from metier.core import Failure, Mistake
from metier.core.types import Scores
from metier.evaluate.compare import SETTING, compare
from metier.evaluate.gate import (
    ALPHA,
    SOUGHT,
    Paired,
    chance,
    check,
    drawn_chance,
    holm,
    items_needed,
    noise_floor,
)
from metier.evaluate.report.facts import _gate
from metier.evaluate.report.material import Material
from metier.evaluate.statistics import paired_difference, perplexity_ratio


def test_five_losses_of_five_have_one_chance_in_two_to_the_fifth() -> None:
    assert chance(Paired([-1.0] * 5 + [0.0] * 95, [1.0] * 100, range(100))) == 1 / 32


def test_the_chance_is_that_of_mcnemars_exact_test() -> None:
    # 8 lost, 2 gained: P(at most 2 of 10 fair coins) = (1 + 10 + 45) / 1024
    assert chance(Paired([-1.0] * 8 + [1.0] * 2, [1.0] * 10, range(10))) == 56 / 1024


def test_a_cluster_that_is_lost_whole_counts_once() -> None:
    assert chance(Paired([-1.0] * 12, [1.0] * 12, [0] * 4 + [1] * 4 + [2] * 4)) == 1 / 8


def test_a_gain_and_no_change_are_no_loss() -> None:
    assert chance(Paired([0.0] * 9, [1.0] * 9, range(9))) == 1.0
    assert chance(Paired([1.0] * 9, [1.0] * 9, range(9))) == 1.0


def test_sums_that_are_no_whole_numbers_are_tested_as_the_flips_would_be_counted_by_hand() -> None:
    sums = [-3.11, 0.52, -2.47, -1.93, 0.81, -1.2, -0.64, 0.33]
    patterns = [sum(s if bits >> at & 1 else -s for at, s in enumerate(sums)) for bits in range(256)]
    by_hand = sum(total <= sum(sums) for total in patterns) / 256
    assert chance(Paired(sums, [1.0] * 8, range(8))) == approx(by_hand, abs=2 / 256)


@pytest.mark.parametrize("lost", [930, 975, 1000])
def test_drawn_flips_have_the_chance_that_counted_ones_have(lost: int) -> None:
    gains = [-1.0] * lost + [1.0] * (1900 - lost) + [-2.0] * 60 + [2.0] * 40
    exact = chance(Paired(gains, [1.0] * 2000, range(2000)))
    for seed in range(3):
        # within 4 standard errors of 100,000 draws
        assert drawn_chance(gains, seed=seed) == approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 100_000))


def test_thousands_of_changed_clusters_are_drawn_and_none_is_without_a_say(monkeypatch: pytest.MonkeyPatch) -> None:
    gains = [-1.0] * 3080 + [1.0] * 2923  # no multiple of eight
    normal = 0.5 * math.erfc(156 / math.sqrt(2 * 6003))  # half a step of 2 beside -157; alike clusters are normal
    assert chance(Paired(gains, [1.0] * 6003, range(6003))) == approx(normal, abs=0.002)
    assert chance(Paired([-0.1] * 6000, [1.0] * 6000, range(6000))) == 1 / 100_001
    assert chance(Paired([0.1] * 6000, [1.0] * 6000, range(6000))) == 1.0
    monkeypatch.setattr("metier.evaluate.gate._WORK", 1)
    assert chance(Paired([-0.1, -0.1, 0.1, -0.1], [1.0] * 4, range(4))) == approx(5 / 16, abs=0.006)


def test_a_loss_within_the_margin_is_no_alarm() -> None:
    gains = [-1.0] * 6 + [0.0] * 94  # 6 points
    assert chance(Paired(gains, [1.0] * 100, range(100))) == 1 / 64
    assert chance(Paired(gains, [1.0] * 100, range(100), tolerated=0.08)) > 0.5


def test_holm_by_hand() -> None:
    # .01 x 3, max(.03, .02 x 2), max(.04, .3 x 1)
    assert holm([0.02, 0.3, 0.01]) == approx([0.04, 0.3, 0.03])


def test_the_noise_floor_and_the_sample_size_are_one_formula() -> None:
    pair = share_exam(random.Random(3), 400, 4)
    floor = noise_floor(pair, 0.01)
    assert floor is not None and items_needed(pair, 0.01, floor) == approx(400, rel=0.03)


@pytest.mark.slow
def test_a_loss_of_the_noise_floor_is_found_in_80_of_100_exams_of_the_same_size() -> None:
    rng, found = random.Random(8), 0
    for _ in range(1000):
        floor = noise_floor(share_exam(rng, 400, 4, share=0.9), ALPHA / 6)
        assert floor is not None
        found += chance(share_exam(rng, 400, 4, floor, 0.9)) <= ALPHA / 6
    assert 0.8 <= found / 1000 <= 0.92


def test_too_few_clusters_to_see_anything_is_said() -> None:
    # three clusters have eight patterns of signs: no p-value below 1/8
    pair = Paired([-1.0, 0.0, 1.0] * 4, [1.0] * 12, [0, 1, 2] * 4)
    assert noise_floor(pair, ALPHA) is None and items_needed(pair, ALPHA, SOUGHT) is None
    # eight clusters have 1/256; at a level of 1/1000 it takes ten, 30 items, at the least
    eight = Paired([-1.0, 0.0, 1.0] * 8, [1.0] * 24, [at // 3 for at in range(24)])
    assert noise_floor(eight, 0.001) is None and (items_needed(eight, 0.001, 0.9) or 0) >= 30


def share_exam(rng: random.Random, n: int, per: int, loss: float = 0.0, share: float = 0.6) -> Paired:
    """Two models that answer alike but for chance: questions of one cluster are about as hard."""
    gains = []
    for at in range(n):
        if at % per == 0:
            skill = rng.betavariate(2, 2)
        first = rng.random() < skill
        second = first if rng.random() < share else rng.random() < skill
        gains.append(float(second and rng.random() >= 2 * loss) - float(first))
    return Paired(gains, [1.0] * n, [at // per for at in range(n)])


def perplexity_exam(rng: random.Random, n: int, loss: float = 0.0) -> Paired:
    units = [float(rng.randint(100, 600)) for _ in range(n)]
    page = [rng.gauss(0, 0.02) for _ in range(n)]
    return Paired(
        [(page[at // 2] + rng.gauss(-loss, 0.04)) * units[at] for at in range(n)], units, [a // 2 for a in range(n)]
    )


def false_alarms(pairs: int, seed: int) -> float:
    rng, alarms = random.Random(seed), 0
    for _ in range(pairs):
        shares = [share_exam(rng, n, per) for n, per in ((60, 1), (80, 4), (120, 6), (40, 2))]
        shares.append(share_exam(rng, 120, 1, share=0.97))  # hardly an item differs
        texts = [perplexity_exam(rng, 40), perplexity_exam(rng, 24)]
        alarms += min(holm([chance(pair) for pair in shares + texts])) <= ALPHA
    return alarms / pairs


def power(pairs: int, per: int, share: float, seed: int) -> float:
    """Let one exam of equal models say how many items it needs, and look for 3 points with as many, among 6 figures."""
    rng, found = random.Random(seed), 0
    for _ in range(pairs):
        needed = items_needed(share_exam(rng, 400, per, share=share), ALPHA / 6, SOUGHT)
        assert needed is not None
        lost = share_exam(rng, math.ceil(needed / per) * per, per, SOUGHT, share)
        found += chance(lost) <= ALPHA / 6  # Holm's first rank: the other five do not help
    return found / pairs


def test_equal_models_are_stopped_in_at_most_5_of_100_comparisons_of_seven_figures() -> None:
    assert false_alarms(80, seed=1) <= ALPHA


def test_three_points_are_found_with_the_stated_number_of_items() -> None:
    assert power(100, per=4, share=0.9, seed=2) >= 0.8


@pytest.mark.slow
def test_false_alarms_in_4000_comparisons() -> None:
    assert false_alarms(4000, seed=3) <= ALPHA


@pytest.mark.slow
@pytest.mark.parametrize(("per", "share"), [(1, 0.6), (4, 0.6), (4, 0.9), (4, 0.97)])
def test_power_in_400_comparisons(per: int, share: float) -> None:
    assert power(400, per, share, seed=4) >= 0.8


@pytest.mark.slow
def test_three_per_cent_of_a_perplexity_are_found_with_the_stated_number_of_texts() -> None:
    rng, found, loss = random.Random(5), 0, math.log1p(SOUGHT)
    for _ in range(1000):
        needed = items_needed(perplexity_exam(rng, 60), ALPHA / 6, loss)
        assert needed is not None
        found += chance(perplexity_exam(rng, 2 * math.ceil(needed / 2), loss)) <= ALPHA / 6
    assert found / 1000 >= 0.8


@pytest.mark.slow
@pytest.mark.parametrize(("per", "loss"), [(1, 0.0), (4, 0.0), (4, 0.03)])
def test_intervals_of_shares_cover_95_of_100(monkeypatch: pytest.MonkeyPatch, per: int, loss: float) -> None:
    monkeypatch.setattr("metier.evaluate.statistics.ROUNDS", 500)
    assert share_coverage(1500, per, loss) == approx(0.95, abs=0.02)


def test_intervals_of_shares_cover_about_95_of_100(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.evaluate.statistics.ROUNDS", 200)
    assert share_coverage(120, 4, 0.0) == approx(0.95, abs=0.04)  # two standard errors of 120 are 0.04


def share_coverage(exams: int, per: int, loss: float) -> float:
    rng, covered = random.Random(6), 0
    for _ in range(exams):
        pair = share_exam(rng, 120, per, loss)
        found = paired_difference([0.0] * 120, pair.gains, pair.clusters, rng.getrandbits(32))
        covered += found.low <= -loss <= found.high
    return covered / exams


@pytest.mark.slow
def test_intervals_of_perplexities_cover_95_of_100(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.evaluate.statistics.ROUNDS", 500)
    rng, covered = random.Random(7), 0
    for _ in range(1500):
        pair = perplexity_exam(rng, 80, 0.05)
        lost = [-gain for gain in pair.gains]
        found = perplexity_ratio([0.0] * 80, lost, pair.units, pair.clusters, rng.getrandbits(32))
        covered += found.low <= math.exp(0.05) <= found.high
    assert covered / 1500 == approx(0.95, abs=0.02)


def examination(folder: Path, right: int, nats: float = 2.0, exam: str = "one", only: int | None = None) -> Scores:
    """An examination of 40 questions, of which the first `right` are answered, and of 12 texts at `nats` a byte."""
    folder.mkdir()
    rows: list[dict[str, object]] = [
        {"name": "execution", "split": "repair", "id": str(at), "score": float(at < right)} for at in range(40)
    ]
    rows += [
        {"name": "perplexity", "split": "held_out", "id": f"t{at}", "cluster": f"t{at}", "tokens": 25, "bytes": 100,
         "nats": 100 * nats + at % 3}
        for at in range(12)
    ]  # fmt: skip
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:only]))
    (folder / "exam.json").write_text(json.dumps({"conditions": {}, "counts": {}, "digest": exam}))
    return Scores(folder)


def test_a_lost_figure_stops_and_others_do_not(tmp_path: Path) -> None:
    found = check(examination(tmp_path / "a", 30), examination(tmp_path / "b", 18, nats=1.9))
    assert [(one.difference.name, one.lost) for one in found] == [("execution", True), ("perplexity_per_byte", False)]
    # 12 lost of 12 that differ, the smaller of two p-values: 2 x 2**-12
    assert found[0].p == approx(2 / 4096)


def test_lower_perplexity_is_no_loss_and_higher_is(tmp_path: Path) -> None:
    best, worse = examination(tmp_path / "a", 30), examination(tmp_path / "b", 30, nats=2.1)
    assert [one.lost for one in check(best, worse)] == [False, True]
    assert not any(one.lost for one in check(worse, best))
    # e**0.1 is 10.5% more a byte
    assert not any(one.lost for one in check(best, worse, {"perplexity_per_byte": 0.2}))
    assert not any(one.lost for one in check(best, worse, {"": 0.2, "execution/repair": 0.0}))


def test_more_of_what_is_not_wanted_is_a_loss(tmp_path: Path) -> None:
    for name, right in (("a", 0), ("b", 12)):
        examination(tmp_path / name, right, only=40)
        answers = tmp_path / name / "answers.jsonl"
        answers.write_text(answers.read_text().replace('"execution"', '"sql_to_general_prompts"'))
    first, second = Scores(tmp_path / "a"), Scores(tmp_path / "b")
    assert check(first, second)[0].lost and not check(second, first)[0].lost


def test_what_cannot_be_compared_is_the_users_mistake(tmp_path: Path) -> None:
    one, other = examination(tmp_path / "a", 30), examination(tmp_path / "b", 30, exam="another")
    for second, words in ((other, "unlike exams"), (one, "against itself"), (Scores(tmp_path), "no finished")):
        with pytest.raises(Mistake, match=words):
            check(one, second)
    same = examination(tmp_path / "c", 29)
    for margins, words in (({"spelling": 0.1}, "no figure of this exam"), ({"": -0.1}, "not below zero")):
        with pytest.raises(Mistake, match=words):
            check(one, same, margins)
    with pytest.raises(Failure, match="different items"):
        check(one, examination(tmp_path / "d", 30, only=50))


def test_an_examination_without_answers_is_a_failure_and_no_comparison_of_nothing(tmp_path: Path) -> None:
    one, other = examination(tmp_path / "a", 30), examination(tmp_path / "b", 29)
    for scores in (one, other):
        (scores.folder / "answers.jsonl").unlink()
    with pytest.raises(Failure, match="holds no answers"):
        compare(one, other)
    (one.folder / "answers.jsonl").write_text("nonsense\n")
    with pytest.raises(Failure, match="cannot be read"):
        compare(one, other)


def test_models_asked_in_unlike_ways_are_not_gated_but_can_be_compared(tmp_path: Path) -> None:
    plain, shown, alike = (examination(tmp_path / name, 30) for name in "abc")
    for scores, shots in ((shown, 4), (alike, 0)):
        told = {"shots": shots, "passages": 0, "skipped": ["perplexity"] if shots else []}
        (scores.folder / SETTING).write_text(json.dumps(told))
    for before, after in ((plain, shown), (shown, plain)):
        with pytest.raises(Mistake, match="unlike ways") as raised:
            check(before, after)
        assert "b: few-shot (4)" in str(raised.value) and "a: plain" in str(raised.value)
    assert [one.name for one in compare(plain, shown)] == ["execution"]
    assert len(check(plain, alike)) == 2  # a folder that does not say was asked plainly
    for final, gated in ((shown, 0), (alike, 2)):  # nor does a report of the two stop
        two = SimpleNamespace(figures=SimpleNamespace(base="one", final="two"), models={"one": plain, "two": final})
        assert len(_gate(cast(Material, two))) == gated


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_likelihood_or_grade_that_is_no_number_is_a_failure_and_nothing_lost(tmp_path: Path, number: str) -> None:
    good, bad, odd = (examination(tmp_path / name, 30) for name in "abc")
    answers = bad.folder / "answers.jsonl"
    answers.write_text(re.sub(r'"nats": [\d.]+', f'"nats": {number}', answers.read_text()))
    with pytest.raises(Failure, match="b holds an answer whose 'nats' is no finite number") as raised:
        check(good, bad)
    assert "'t0', perplexity (held_out)" in str(raised.value)
    answers = odd.folder / "answers.jsonl"
    answers.write_text(answers.read_text().replace('"score": 1.0', f'"score": {number}'))
    with pytest.raises(Failure, match="c holds an answer whose 'score'"):
        check(good, odd)


def test_figures_of_all_answers_together_have_nothing_to_pair(tmp_path: Path) -> None:
    one, other = (examination(tmp_path / name, 30, only=0) for name in "ab")
    with pytest.raises(Failure, match="holds no answers"):
        compare(one, other)
    for scores in (one, other):
        (scores.folder / "scores.json").write_text("[]")
    with pytest.raises(Mistake, match="nothing to pair item by item") as raised:
        check(one, other)
    assert "run again" not in str(raised.value)


def test_replies_read_by_unlike_tokenizers_are_held_against_each_other_per_byte(tmp_path: Path) -> None:
    for name, more in (("a", 0), ("b", 1)):
        examination(tmp_path / name, 30, nats=2.0 + more / 10)
        answers = tmp_path / name / "answers.jsonl"
        text = answers.read_text().replace('"perplexity"', '"chat_reply_perplexity"')
        answers.write_text(text.replace('"tokens": 25', f'"tokens": {25 - more}'))
    found = check(Scores(tmp_path / "a"), Scores(tmp_path / "b"))
    assert [(one.difference.name, one.lost) for one in found] == [
        ("execution", False), ("chat_reply_perplexity_per_byte", True),
    ]  # fmt: skip
    assert found[1].difference.value == approx(math.exp(0.1))
