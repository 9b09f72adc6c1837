"""The ledger's bars, the choice of answers, the loss curves and the words of the report."""

from __future__ import annotations

import doctest
import json
import math
from pathlib import Path

import pytest
from pytest import approx

from metier.core import Artifact, Failure, Workshop
from metier.core.artifact import Record
from metier.core.ledger import Ledger, Line
from metier.core.types import Score, Scores
from metier.evaluate.report import flow as flow_module
from metier.evaluate.report.answers import Graded, Outcome, choose, graded, read_items, tally
from metier.evaluate.report.benchmarks import figures
from metier.evaluate.report.flow import bars, flow
from metier.evaluate.report.made import flat, made
from metier.evaluate.report.metrics import Subject
from metier.evaluate.report.training import Point, curve, smoothed, thinned
from metier.evaluate.report.words import counted, name_of
from metier.evaluate.report.words_en import ENGLISH, NAMES
from tests.evaluate.report_material import FakeDocuments, FakeModel

ONE, TWO = Subject("execution", "new_wording"), Subject("execution", "repair")


def test_the_bars_of_a_line_fall_from_all_that_came_to_what_was_kept() -> None:
    found = bars(Line(unit="document", came=10, kept=4, dropped={"short": 1, "copy": 5}))
    assert [(bar.what, bar.units) for bar in found] == [("came", 10), ("dropped", 5), ("dropped", 1), ("kept", 4)]
    assert [bar.start + bar.width for bar in found] == approx([1.0, 1.0, 0.5, 0.4])
    assert bars(Line(unit="document", came=0, kept=0))[0].width == 0
    assert doctest.testmod(flow_module, extraglobs={"Line": Line}).failed == 0


def chain(folder: Path) -> list[Artifact]:
    first = FakeDocuments(dropped={"empty": 66})
    second = FakeDocuments(source=first, came=700, dropped={"copy": 100})
    return Workshop(folder).make_all([second, first])


def test_the_ledger_is_told_from_the_source_on_and_added_up_again(tmp_path: Path) -> None:
    found = flow(chain(tmp_path))
    assert [stage.title for stage in found.stages] == ["fake-read", "fake-read (2)"]
    assert [stage.handovers[0].line.came for stage in found.stages] == [766, 700]
    assert found.stages[1].handovers[0].senders == ["fake-read"]
    assert (found.lines_checked, found.handovers_checked, found.senders_elsewhere) == (2, 1, 0)


def test_a_sender_that_is_not_on_the_page_is_counted_as_such(tmp_path: Path) -> None:
    found = flow(chain(tmp_path)[:1])
    assert (found.lines_checked, found.handovers_checked, found.senders_elsewhere) == (1, 0, 1)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("kept", 601, "does not add up for documents"), ("came", 699, "does not add up for documents")],
)
def test_a_line_that_does_not_add_up_fails(tmp_path: Path, field: str, value: int, message: str) -> None:
    artifacts = chain(tmp_path)
    change(artifacts[0], {field: value})
    with pytest.raises(Failure, match=message):
        flow(artifacts)


def test_units_that_are_lost_between_two_steps_fail(tmp_path: Path) -> None:
    artifacts = chain(tmp_path)
    change(artifacts[0], {"came": 690, "kept": 590})
    with pytest.raises(Failure, match="between 'source' and 'fake-read"):
        flow(artifacts)


def test_benchmarks_without_rows_stand_without_an_interval_and_do_not_stop_the_others(tmp_path: Path) -> None:
    given = [benchmark(tmp_path, name, model, value) for name in ("bleu", "mmlu") for model, value in MODELS.items()]
    found = figures(given, {})
    bleu, mmlu = (found.difference("base", "SFT", Subject(name, "all")) for name in ("bleu", "mmlu"))
    assert bleu is not None and bleu.low is None and not bleu.paired and bleu.value == approx(0.25)
    assert mmlu is not None and mmlu.low is not None and mmlu.paired


MODELS = {"base": 0.25, "SFT": 0.5}


def benchmark(folder: Path, name: str, model: str, value: float) -> Scores:
    """A benchmark of 40 items; "bleu" is one figure of all of them together, and has no rows."""
    made = folder / f"{name}-{model}"
    made.mkdir()
    rows = [{"name": name, "split": "all", "id": str(at), "score": float(at < 40 * value)} for at in range(40)]
    (made / "answers.jsonl").write_text("" if name == "bleu" else "".join(json.dumps(row) + "\n" for row in rows))
    (made / "exam.json").write_text(json.dumps({"digest": name, "conditions": {}, "counts": {}}))
    told = Score(name, model, "all", value, None, None, 40)
    (made / "scores.json").write_text(json.dumps([told._asdict()]))
    record = Record(
        step="lm-eval", version=1, key=made.name, recipe={}, inputs={"model": [model]}, ledger=Ledger(),
        output_sha256="", output_bytes=0, finished="", seconds=0,
    )  # fmt: skip
    (made / "record.json").write_text(record.model_dump_json())
    return Scores(made)


def change(artifact: Artifact, fields: dict[str, int]) -> None:
    path = artifact.folder / "record.json"
    record = json.loads(path.read_text())
    record["ledger"]["lines"][0].update(fields)
    path.write_text(json.dumps(record))


def items(outcome: Outcome, subject: Subject, count: int) -> list[Graded]:
    return [Graded(subject, f"{outcome}-{subject.split}-{at}", outcome) for at in range(count)]


def test_ten_answers_are_three_won_three_lost_two_kept_two_missed_of_all_kinds_in_turn() -> None:
    every = [one for outcome in Outcome for subject in (ONE, TWO) for one in items(outcome, subject, 9)]
    chosen = choose(every)
    assert [one.outcome for one in chosen] == [
        *[Outcome.WON] * 3,
        *[Outcome.LOST] * 3,
        *[Outcome.KEPT] * 2,
        *[Outcome.MISSED] * 2,
    ]
    assert [one.subject for one in chosen] == [ONE, TWO, ONE, ONE, TWO, ONE, ONE, TWO, ONE, TWO]
    assert choose(list(reversed(every))) == chosen


def test_places_that_an_outcome_cannot_fill_go_to_the_others() -> None:
    chosen = choose([*items(Outcome.WON, ONE, 20), *items(Outcome.LOST, ONE, 1)])
    assert tally(chosen) == {Outcome.WON: 9, Outcome.LOST: 1, Outcome.KEPT: 0, Outcome.MISSED: 0}
    assert len(choose(items(Outcome.MISSED, ONE, 4))) == 4
    assert choose([]) == []


def test_an_item_is_won_where_the_base_was_wrong_and_the_final_is_right() -> None:
    def marks(**scores: float | None) -> dict[str, dict[str, object]]:
        return {id: {"id": id, "answer": "x", "score": score} for id, score in scores.items()}

    found = graded({ONE: marks(a=0, b=1, c=1, d=0.2, e=None)}, {ONE: marks(a=1, b=0, c=0.5, d=0.49, e=1)})
    assert [one.outcome for one in found] == [Outcome.WON, Outcome.LOST, Outcome.KEPT, Outcome.MISSED]


def test_an_item_that_is_answered_twice_fails(tmp_path: Path) -> None:
    row = {"name": "execution", "split": "repair", "id": "1"}
    (tmp_path / "answers.jsonl").write_text(2 * (json.dumps(row) + "\n"))
    with pytest.raises(Failure, match="answers '1' of execution"):
        read_items(tmp_path, "sft", [])
    with pytest.raises(Failure, match="are missing"):
        read_items(tmp_path / "elsewhere", "sft", [])


def test_a_loss_curve_takes_the_later_log_of_a_step_and_tells_of_losses_that_are_not_finite(tmp_path: Path) -> None:
    found = curve(Workshop(tmp_path).make(FakeModel(steps=160, fragile=True)))
    assert found is not None
    assert (len(found.points), found.again, found.not_finite) == (159, 10, 1)
    assert [point.step for point in found.points] == sorted({point.step for point in found.points})
    assert all(math.isfinite(point.loss) for point in found.points)


def test_a_training_that_logged_nothing_has_no_curve(tmp_path: Path) -> None:
    assert curve(Workshop(tmp_path).make(FakeModel(steps=0))) is None


def test_means_are_over_neighbours_and_over_fewer_at_the_ends() -> None:
    assert smoothed([1, 2, 6, 3], 3) == approx([1.5, 3, 11 / 3, 4.5])
    assert smoothed([1, 2], 1) == [1, 2]


def test_thinning_a_curve_keeps_its_peaks() -> None:
    points = [Point(step, step, 9.0 if step == 777 else 1.0 + step / 1e6, None) for step in range(2000)]
    found = thinned(points, 100)
    assert len(found) <= 101 and max(point.loss for point in found) == 9.0
    assert [point.step for point in found] == sorted(point.step for point in found)


def test_steps_warnings_versions_and_machines_are_told_once(tmp_path: Path) -> None:
    artifact = Workshop(tmp_path).make(FakeModel(steps=100, fragile=True))
    found = made([artifact, artifact], ENGLISH)
    assert len(found.records) == 1 and len(found.hosts) == 1
    assert found.warnings[0][0] == "fake-train"
    assert all(not differ for _, _, differ in found.versions)


def test_nested_values_are_told_one_by_one_and_rows_by_their_first_text() -> None:
    files = [{"a": 1}, {"file": "x.gguf", "kl": 2}]
    told = {"ids": True, "q4": {"kl": 0.0212, "tops": [1, 2]}, "files": files, "nothing": None}
    assert list(flat(told, "", ENGLISH)) == [
        ("ids", "yes"),
        ("q4 › kl", "0.0212"),
        ("q4 › tops", "1, 2"),
        ("files › 1 › a", "1"),
        ("files › x.gguf › file", "x.gguf"),
        ("files › x.gguf › kl", "2"),
    ]


def test_known_figures_have_names_and_unknown_ones_keep_theirs() -> None:
    assert len({name for name, _ in NAMES.values()}) == len(NAMES)
    assert name_of(Subject("new_figure", "some_split"), ENGLISH) == "new figure (some split)"
    assert counted(1, "row", ENGLISH) == "1 row" and counted(1424, "row", ENGLISH) == "1,424 rows"
