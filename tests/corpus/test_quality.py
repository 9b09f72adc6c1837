from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest

from metier.core import Failure, LocalPath, Mistake, Workshop
from metier.core.types import Documents
from metier.corpus.documents import new_document
from metier.corpus.kernel import texts as column_of
from metier.corpus.quality import Classifier, Quality, SavedClassifier, TeachQuality
from metier.corpus.quality.classifier import Linear, logistic, rounded
from metier.corpus.quality.fit import fit, minimum, platt, shares
from metier.corpus.quality.measure import Suspect, accuracy, folds, investigate, rank_share, wilson
from metier.corpus.saved import Saved
from tests.corpus.pages import prose


def good_text(seed: int) -> str:
    return f"This chapter explains how the {prose(seed, 60).lower()} When it is done, you can read the next chapter."


def bad_text(seed: int) -> str:
    rng = random.Random(seed)
    return "\n".join(f"* {prose(rng.randrange(10**6), 4).lower()} (fixes: #{rng.randrange(9999)})" for _ in range(14))


def jsonl(path: Path, texts: list[str]) -> LocalPath:
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    return LocalPath(path)


def examples(folder: Path, count: int = 60) -> dict[str, LocalPath]:
    return {
        "good": jsonl(folder / "good.jsonl", [good_text(seed) for seed in range(count)]),
        "bad": jsonl(folder / "bad.jsonl", [bad_text(seed) for seed in range(count)]),
    }


def test_the_minimum_of_a_bowl_is_its_bottom() -> None:
    bottom, widths = np.array([1.0, -2.0, 3.0]), np.array([1.0, 100.0, 0.1])

    def bowl(at: np.ndarray) -> tuple[float, np.ndarray]:
        return float((widths * (at - bottom) ** 2).sum()), 2 * widths * (at - bottom)

    assert minimum(bowl, np.zeros(3)) == pytest.approx(bottom, abs=0.05)


def test_shares_are_of_all_ngrams_of_a_text() -> None:
    matrix = shares(["a a b", "", "b"], 12, 1)
    assert sorted(matrix.values[matrix.rows == 0]) == pytest.approx([1 / 3, 2 / 3])
    assert matrix.values[matrix.rows == 2].tolist() == [1.0] and not (matrix.rows == 1).any()


def test_a_word_that_only_one_class_has_gets_the_weight() -> None:
    texts = ["yes common", "yes common", "no common", "no common"]
    found = list(fit(shares(texts, 12, 1), np.array([True, True, False, False]), (0.01,)))[-1]
    weights = {
        word: found.weights[int(shares([word], 12, 1).columns[0])] for word in ("yes", "no", "common", "never seen")
    }
    assert weights["yes"] > 1 > -1 > weights["no"] == pytest.approx(-weights["yes"], rel=0.01)
    assert weights["common"] == pytest.approx(0, abs=0.01) and weights["never seen"] == 0


def test_platt_scaling_finds_the_slope_that_made_the_labels() -> None:
    rng = np.random.default_rng(0)
    margins = rng.normal(0, 1, 40_000)
    good = rng.random(40_000) < logistic(2 * margins)  # as many good as bad in the mean
    slope, intercept = platt(margins, good)
    assert slope == pytest.approx(2, abs=0.1) and intercept == pytest.approx(0, abs=0.1)


def test_the_classes_weigh_the_same_however_many_examples_each_has() -> None:
    rng = np.random.default_rng(0)
    margins = np.concatenate([rng.normal(1, 1, 1000), rng.normal(-1, 1, 50_000)])
    slope, intercept = platt(margins, np.arange(51_000) < 1000)
    # Two normal distributions of deviation 1 at ±1 have log odds of 2x; where they are equally frequent, 0 at 0.
    assert slope == pytest.approx(2, abs=0.15) and intercept == pytest.approx(0, abs=0.15)


def test_wilson_gives_the_textbook_interval() -> None:
    # 8 of 10: Wilson's interval is 0.490 to 0.943.
    assert wilson(0.8, 10) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
    assert wilson(0.0, 0) == (0.5, 0.0, 1.0)


def test_rank_share_counts_pairs_and_halves_ties() -> None:
    good = np.array([True, True, False, False])
    assert rank_share(np.array([3.0, 2.0, 1.0, 0.0]), good) == 1.0
    assert rank_share(np.array([0.0, 1.0, 2.0, 3.0]), good) == 0.0
    assert rank_share(np.array([2.0, 1.0, 1.0, 0.0]), good) == pytest.approx(3.5 / 4)


def test_accuracy_is_balanced() -> None:
    good = np.arange(100) < 10
    assert accuracy(np.zeros(100), good).value == 0.5  # 90% of the answers are right, and nothing was learnt


def test_weights_are_rounded_to_integers_without_loss_that_matters() -> None:
    weights = np.array([0.1, -3.25, 1e-6, 0.0])
    whole, unit = rounded(weights)
    assert whole.dtype == np.int32 and whole / unit == pytest.approx(weights, abs=1e-8)
    assert rounded(np.zeros(4))[0].tolist() == [0, 0, 0, 0]


def test_near_copies_are_in_one_fold() -> None:
    texts = [prose(seed, 200) for seed in range(40)]
    copies = [text.replace(".", "", 1) for text in texts]
    places = folds(shares([*texts, *copies, "", ""], 18, 2))
    assert (places[:40] == places[40:80]).all()
    assert set(places.tolist()) == {0, 1, 2, 3, 4}


def test_probability_is_the_logistic_of_the_scaled_mean() -> None:
    weights = np.zeros(1 << 12, np.int32)
    weights[int(shares(["good"], 12, 1).columns[0])] = 1000
    model = Linear(weights, unit=100.0, order=1, bias=-1.0, slope=2.0, intercept=0.5)
    # "good or good bad": the mean of 10, 0, 10, 0 is 5; the margin 4; the logit 8.5.
    told = model.probabilities(column_of(["good or good bad", ""]))
    assert told.tolist() == pytest.approx([1 / (1 + math.exp(-8.5)), 1 / (1 + math.exp(1.5))])


def test_length_does_not_change_a_score() -> None:
    model = Linear(np.arange(1 << 12, dtype=np.int32), 1e4, 1, 0.0, 1.0, 0.0)
    one, many = model.margins(column_of(["the cat sat ", "the cat sat " * 1000]))
    assert one == pytest.approx(many)


def test_a_suspect_that_tells_the_classes_apart_is_guilty_unless_the_classifier_does_without_it() -> None:
    good = np.arange(200) < 100
    places = np.arange(200) % 5
    same = Suspect("language", ["en" if one else "de" for one in good])
    assert investigate(same, good, good, places).guilty
    mixed = Suspect("language", ["en" if n % 2 else "de" for n in range(200)])
    assert not investigate(mixed, np.full(200, True), good, places).guilty
    # English is 80% good, German 80% bad; the classifier is right in both languages.
    leaning = Suspect("language", ["en" if one == (n % 5 > 0) else "de" for n, one in enumerate(good)])
    assert not investigate(leaning, np.full(200, True), good, places).guilty
    assert investigate(leaning, np.array([(n % 5 > 0) for n in range(200)]), good, places).guilty


def test_what_was_taught_is_measured_explained_and_used(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path / "runs")
    teach = TeachQuality(**examples(tmp_path))
    made = workshop.make(teach)
    held = made.record.figures["held_out"]
    assert held["accuracy"] > 0.95 and held["low"] > 0.9 and held["n"] == 120
    assert "*" in made.record.figures["speaks_for_bad"] and "you" in " ".join(made.record.figures["speaks_for_good"])
    assert (made.folder / "features.tsv").read_text().startswith("speaks for\twords\n")
    rows = [(good_text(900 + n) if n % 2 else bad_text(900 + n)) for n in range(40)]
    Documents.write(tmp_path / "given", (new_document(f"{n}.txt", text) for n, text in enumerate(rows)))
    kept = workshop.make(Quality(corpus=Saved(folder=LocalPath(tmp_path / "given")), classifier=teach))
    assert [row.text for row in Documents(kept.folder).rows()] == rows[1::2]
    assert kept.record.ledger.lines[0].dropped == {"score below 0.5": 20}
    assert sum(part["documents"] for part in kept.record.figures["scores"]) == 40
    half = workshop.make(Quality(corpus=Saved(folder=LocalPath(tmp_path / "given")), classifier=teach, keep_share=0.25))
    assert half.record.ledger.made("document") == 10


def test_teaching_twice_gives_the_same_classifier(tmp_path: Path) -> None:
    given = examples(tmp_path)
    one, two = (Workshop(tmp_path / name).make(TeachQuality(**given)).folder for name in ("a", "b"))
    for name in ("weights.npy", "classifier.json"):
        assert (one / "classifier" / name).read_bytes() == (two / "classifier" / name).read_bytes()


def refusal(folder: Path, good: list[str], bad: list[str]) -> Mistake:
    given = {"good": jsonl(folder / "good.jsonl", good), "bad": jsonl(folder / "bad.jsonl", bad)}
    with pytest.raises(Mistake) as raised:
        Workshop(folder / "runs").make(TeachQuality(**given))
    assert raised.value.found and raised.value.hint
    return raised.value


def test_classes_that_teach_nothing_are_refused(tmp_path: Path) -> None:
    good, bad = [good_text(n) for n in range(60)], [bad_text(n) for n in range(60)]
    assert "too few bad examples" in refusal(tmp_path, good, bad[:29]).what
    assert "too few good examples" in refusal(tmp_path, [good[0]] * 500, bad).what
    assert "overlap" in refusal(tmp_path, good, good).what
    assert "overlap" in refusal(tmp_path, good, [*bad, *(text.upper() for text in good[:10])]).what
    alike = [good_text(n) for n in range(60, 120)]
    assert "cannot be told" in refusal(tmp_path, good, alike).what


def test_an_example_in_both_classes_is_used_in_neither(tmp_path: Path) -> None:
    good, bad = [good_text(n) for n in range(40)], [bad_text(n) for n in range(40)]
    given = {"good": jsonl(tmp_path / "g.jsonl", good), "bad": jsonl(tmp_path / "b.jsonl", [*bad, good[3], "", bad[0]])}
    made = Workshop(tmp_path / "runs").make(TeachQuality(**given))
    lines = {line.unit: line for line in made.record.ledger.lines}
    assert lines["good example"].dropped == {"in both classes": 1}
    assert lines["bad example"].dropped == {"in both classes": 1, "no text": 1, "the same text again": 1}
    assert sum("only" in warning for warning in made.record.warnings) == 2


def test_classes_that_differ_in_language_alone_are_warned_of(tmp_path: Path) -> None:
    german = "der die das und ist nicht ein mit auf sich für wenn aber auch nur noch wird sind dann haus weg tag"
    english = "the of and is not one with on for when but also only then house way day will are this that"

    def sentence(words: str, seed: int) -> str:
        rng = random.Random(seed)
        return " ".join(rng.choice(words.split()) for _ in range(80)) + "."

    given = {
        "good": jsonl(tmp_path / "g.jsonl", [sentence(english, n) for n in range(60)]),
        "bad": jsonl(tmp_path / "b.jsonl", [sentence(german, n) for n in range(60)]),
    }
    made = Workshop(tmp_path / "runs").make(TeachQuality(**given))
    assert any("the language alone" in warning for warning in made.record.warnings)


def test_classes_that_differ_in_length_alone_are_warned_of(tmp_path: Path) -> None:
    # Long texts end in a mark that short ones lack, so there is something to learn, but only with the length.
    given = {
        "good": jsonl(tmp_path / "g.jsonl", [prose(n, 300) + "\n\n---\n" for n in range(60)]),
        "bad": jsonl(tmp_path / "b.jsonl", [prose(n + 500, 30) for n in range(60)]),
    }
    made = Workshop(tmp_path / "runs").make(TeachQuality(**given))
    assert any("the length alone" in warning for warning in made.record.warnings)


def test_examples_come_as_lines_files_or_documents_too(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("\n".join(good_text(n) for n in range(40)))
    folder = tmp_path / "bad"
    folder.mkdir()
    for n in range(40):
        (folder / f"{n}.txt").write_text(bad_text(n))
    made = Workshop(tmp_path / "runs").make(TeachQuality(good=LocalPath(tmp_path / "good.txt"), bad=LocalPath(folder)))
    assert [line.kept for line in made.record.ledger.lines] == [40, 40]
    Documents.write(tmp_path / "given", (new_document(f"site/{n}", good_text(n)) for n in range(40)))
    again = Workshop(tmp_path / "runs").make(
        TeachQuality(good=Saved(folder=LocalPath(tmp_path / "given")), bad=LocalPath(folder))
    )
    assert again.record.figures["held_out"]["accuracy"] > 0.9


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("good.pdf", b"%PDF-1.4", "holds no examples"),
        ("good.jsonl", b'{"content": "x"}\n', "has no 'text'"),
        ("good.jsonl", b"{not json\n", "is no JSON"),
        ("good.txt", b"\0\1\2\xff\xfe" * 50, "is no text"),
        ("nowhere.jsonl", None, ""),
    ],
)
def test_files_without_examples_are_refused(tmp_path: Path, name: str, content: bytes | None, what: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    bad = jsonl(tmp_path / "bad.jsonl", [bad_text(n) for n in range(40)])
    with pytest.raises(Mistake) as raised:
        Workshop(tmp_path / "runs").make(TeachQuality(good=LocalPath(tmp_path / name), bad=bad))
    assert what in raised.value.what


def test_a_damaged_classifier_is_told_and_not_used(tmp_path: Path) -> None:
    model = Linear(np.zeros(1 << 12, np.int32), 1.0, 2, 0.0, 1.0, 0.0)
    for number, (name, content) in enumerate(
        [
            ("weights.npy", b"no numbers"),
            ("classifier.json", b"{}"),
            ("classifier.json", b'{"format": 0, "unicode": ""}'),
        ]
    ):
        made = Classifier(tmp_path / str(number))
        made.folder.mkdir()
        made.save(model)
        assert made.model().order == 2
        (made.folder / "classifier" / name).write_bytes(content)
        from metier.corpus.quality.classifier import load

        load.cache_clear()
        with pytest.raises(Failure) as raised:
            made.model()
        assert raised.value.hint


def test_a_classifier_of_another_run_is_taken_as_it_is(tmp_path: Path) -> None:
    first = Workshop(tmp_path / "one").make(TeachQuality(**examples(tmp_path)))
    second = Workshop(tmp_path / "two").make(SavedClassifier(folder=LocalPath(first.folder)))
    text = column_of([good_text(7), bad_text(7)])
    assert (second.model().probabilities(text) == first.model().probabilities(text)).all()
    with pytest.raises(Mistake, match="holds no classifier"):
        Workshop(tmp_path / "two").make(SavedClassifier(folder=LocalPath(tmp_path / "one")))


def test_a_threshold_and_a_share_are_one_too_many(tmp_path: Path) -> None:
    teach = TeachQuality(**examples(tmp_path))
    Documents.write(tmp_path / "given", [new_document("a", "b")])
    with pytest.raises(Mistake, match="not both"):
        Quality(corpus=Saved(folder=LocalPath(tmp_path / "given")), classifier=teach, threshold=0.3, keep_share=0.5)
