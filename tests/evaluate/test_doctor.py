"""The doctor on answers whose faults are known: what is found, false alarms and power."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path

import pytest

from metier.core import Failure, Mistake
from metier.core.types import Scores
from metier.evaluate.compare import SETTING
from metier.evaluate.doctor import Diagnosis, Doctor
from metier.evaluate.doctor.answers import read
from metier.evaluate.doctor.diagnosis import diagnose
from metier.evaluate.doctor.faults import look
from metier.evaluate.doctor.lineage import Lineage
from metier.evaluate.doctor.trained_on import Leaked, asked
from metier.evaluate.doctor.words import markdown
from metier.evaluate.leaks import Leak
from metier.evaluate.material import Conditions, Material
from metier.evaluate.multiple_choice import Item
from metier.models.tiny import TinyModel
from tests.evaluate.doctor_material import HEALTHY, Folders, Rates, Simulated, found_in, rows, seen, write


def alarms(model: Rates, base: Rates | None, diagnoses: int, start: int = 0) -> tuple[float, Counter[str]]:
    found = [found_in(seen(model, base, start + at)) for at in range(diagnoses)]
    return sum(map(bool, found)) / diagnoses, Counter(fault for faults in found for fault in faults)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals of few draws: the verdict does not depend on them."""
    monkeypatch.setattr("metier.evaluate.statistics.ROUNDS", 20)


@pytest.mark.usefixtures("quick")
def test_a_healthy_model_is_called_healthy_with_and_without_another_to_hold_it_against() -> None:
    assert alarms(HEALTHY, HEALTHY, 8)[0] == alarms(HEALTHY, None, 8)[0] == 0


PLANTED = [
    ("loops", 0.4, "repetition"),
    ("run_on", 0.8, "missing_end_token"),
    ("refusals", 0.35, "refusal_drift"),
    ("formless", 0.35, "format_drift"),
    ("length", 3.5, "length_drift"),
]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("rate", "value", "fault"), PLANTED)
def test_what_was_planted_in_the_answers_is_found_and_nothing_else(rate: str, value: float, fault: str) -> None:
    ill = HEALTHY._replace(**{rate: value})
    for base in (HEALTHY, None):
        assert found_in(seen(ill, base, 1)) == {fault}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("loss", ["text_loss", "reply_loss"])
def test_forgetting_is_found_against_another_model_only(loss: str) -> None:
    ill = HEALTHY._replace(**{loss: 0.35})
    assert found_in(seen(ill, HEALTHY, 1)) == {"forgetting"}
    assert found_in(seen(ill, None, 1)) == set()


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_false_alarms_in_400_diagnoses_of_models_that_use_up_every_tolerance() -> None:
    worst = Rates(0.06, 0.11, 0.05, 0.05, math.log(1.1), math.log(1.2), 1.6)
    assert alarms(worst, HEALTHY, 200)[0] <= 0.05
    assert alarms(Rates(0.045, 0.4, 0.045, 0.045, length=1.6), None, 200)[0] <= 0.05


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_power_in_50_diagnoses_each() -> None:
    for rate, value, fault in PLANTED:
        assert alarms(HEALTHY._replace(**{rate: value}), HEALTHY, 50)[1][fault] >= 45


def test_of_a_few_answers_nothing_is_said() -> None:
    looked = {fault.fault: fault for fault in look(seen(HEALTHY, HEALTHY, 0, free=6, texts=3))}
    assert all(looked[name].unchecked for name in ("refusal_drift", "format_drift", "length_drift", "forgetting"))


def test_one_item_copied_is_found_and_a_few_reworded_ones_are_the_searchs_own_errors() -> None:
    alike = Leak("question 1", "reworded", 0.9, "training data 1", "asked", "found")
    for leaks, found in (([alike], False), ([alike] * 6, True), ([alike._replace(kind="verbatim")], True)):
        leaked = [one._replace(id=f"question {at}") for at, one in enumerate(leaks)]
        looked = seen(HEALTHY, None, 0)._replace(leaked=[Leaked(0, leaked)])
        assert found_in(looked) == ({"contamination"} if found else set())


def test_an_item_copied_in_one_source_and_reworded_in_another_is_copied() -> None:
    copied = Leak("question 1", "verbatim", 1.0, "training data 1", "asked", "found")
    alike = copied._replace(kind="reworded", share=0.8, where="training data 2")
    for sources in ([[copied], [alike]], [[alike], [copied]]):
        looked = seen(HEALTHY, None, 0)._replace(leaked=[Leaked(at, one) for at, one in enumerate(sources)])
        assert found_in(looked) == {"contamination"}


def test_a_question_of_ones_own_that_quotes_a_term_is_looked_for_whole() -> None:
    item = Item("q", 'What does a "margin call" ask for?', ["more collateral", "less"], 0, "q", "own", None)
    material = Material(Conditions(), [], [item], [], [])
    assert 'What does a "margin call" ask for? more collateral' in asked(material, ())["question q"].texts


def test_the_diagnosis_is_json_and_a_page(tmp_path: Path) -> None:
    ill = seen(HEALTHY._replace(loops=0.5), HEALTHY, 2)
    lineage = Lineage(Folders(), [], [])  # type: ignore[arg-type]
    found = diagnose(look(ill), ill, lineage, [], None)
    (tmp_path / "diagnosis.json").write_text(json.dumps(found, allow_nan=False))
    assert Diagnosis(tmp_path).read() == found and not found["healthy"]
    told = {fault["fault"]: fault for fault in found["faults"]}
    assert list(told) == [
        "missing_end_token", "repetition", "forgetting", "contamination",
        "length_drift", "refusal_drift", "format_drift",
    ]  # fmt: skip
    ends_in = told["repetition"]
    assert ends_in["found"] and len(ends_in["evidence"]) >= 2 and "so it goes" in ends_in["evidence"][0]["said"]
    assert ends_in["interval"][0] < ends_in["measured"] < ends_in["interval"][1] and ends_in["p"] < 0.05
    page = markdown(found)
    assert "model against base: 1 of 7 faults found" in page and "**found**" in page
    assert page.count("would be found in 80 of 100") >= 5
    for text in ("{", json.dumps({"version": 99})):
        (tmp_path / "diagnosis.json").write_text(text)
        with pytest.raises(Failure):
            Diagnosis(tmp_path).read()


def test_unlike_exams_and_no_exams_are_the_users_mistake(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b", "c", "d")]
    for folder, exam in zip(folders, ("one", "one", "other", "one"), strict=True):
        folder.mkdir()
        write(folder, rows(HEALTHY, 0, 1)[: 50 if folder.name == "d" else None], folder.name, exam)
    a, b, c, d = map(Scores, folders)
    assert len(read(a, b).pairs) == len(read(a, None).pairs) == 168
    with pytest.raises(Mistake, match="unlike exams"):
        read(a, c)
    (folders[3] / "exam.json").write_text((folders[0] / "exam.json").read_text())
    with pytest.raises(Failure, match="different items"):
        read(a, d)
    (folders[2] / "answers.jsonl").unlink()
    with pytest.raises(Mistake, match="no answers"):
        read(c, None)
    (folders[1] / "exam.json").unlink()
    with pytest.raises(Mistake, match="with which exam"):
        read(b, None)


def test_models_asked_in_unlike_ways_and_answers_that_are_no_numbers_are_told_so(tmp_path: Path) -> None:
    a, b, c = (Scores(tmp_path / name) for name in "abc")
    for scores in (a, b, c):
        scores.folder.mkdir()
        write(scores.folder, rows(HEALTHY, 0, 1), scores.folder.name)
    (b.folder / SETTING).write_text(json.dumps({"shots": 0, "passages": 4, "skipped": ["perplexity"]}))
    with pytest.raises(Mistake, match="unlike ways") as raised:
        read(a, b)
    assert "RAG (4)" in str(raised.value)
    answers = c.folder / "answers.jsonl"
    answers.write_text(re.sub(r'"nats": [-\d.]+', '"nats": NaN', answers.read_text()))
    for pair in ((c, None), (a, c)):
        with pytest.raises(Failure, match="c holds an answer whose 'nats' is no finite number"):
            read(*pair)


def test_only_what_can_be_read_may_be_called_training_data() -> None:
    model = TinyModel()
    with pytest.raises(ValueError, match="'tiny-model' makes Model"):
        Doctor(model=model, scores=Simulated(), trained_on=(model,))
