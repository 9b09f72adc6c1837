"""The doctor on answers whose faults are known: what counts, the arithmetic, false alarms and power."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pytest import approx

from metier.core import Artifact, Failure, Mistake
from metier.core.chat import Message
from metier.core.recipe import import_rooms
from metier.core.types import Scores
from metier.evaluate.doctor import Diagnosis, Doctor
from metier.evaluate.doctor.answers import read
from metier.evaluate.doctor.arithmetic import (
    LEVEL,
    binomial_tail,
    design_effect,
    factor_beyond,
    perplexity_above,
    rise_above,
    share_above,
    share_seen,
)
from metier.evaluate.doctor.diagnosis import diagnose, is_found, judged
from metier.evaluate.doctor.faults import Seen, look
from metier.evaluate.doctor.lineage import Lineage
from metier.evaluate.doctor.remedies import remedies
from metier.evaluate.doctor.symptoms import goes_round, refuses, script, wrong_form
from metier.evaluate.doctor.trained_on import Ends, Leaked, Repeats, asked, ends, repeats
from metier.evaluate.doctor.words import change, markdown
from metier.evaluate.gate import Paired, chance
from metier.evaluate.leaks import Leak
from metier.evaluate.material import Conditions, Material
from metier.evaluate.multiple_choice import Item
from metier.models.tiny import TinyModel, tiny_tokenizer
from metier.train import Cpt, Dpo, Sft
from tests.evaluate.doctor_material import Rates, Simulated, rows, seen, write
from tests.evaluate.exam_steps import SomeDocuments, SomeTasks
from tests.train.bench import Pairs

HEALTHY = Rates()


@pytest.mark.parametrize(
    "text",
    [
        "The table holds rows. " * 6,
        "It is. It is. It is. It is. It is",  # cut in the middle of the fifth
        "a, a, a, a, a, a, a, a, a, a, a, a, a",
        "数据库保存每一行。数据库保存每一行。数据库保存每一行。",
        "哈" * 40,
        " ".join(f"Step {at}: open the file and read the next line." for at in range(9)),
    ],
)
def test_a_loop_is_found_at_the_end_and_where_it_counts_up(text: str) -> None:
    assert goes_round(text, "A table holds rows of one kind.")
    assert not goes_round(text, text)  # the reference says it so


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No, no, no!",
        "SELECT a, b, c FROM t WHERE a = 1 AND b = 2 AND c = 3 ORDER BY a, b, c;",
        "1. Open the file.\n2. Read a line.\n3. Close the file.\n4. Write the sum into the second file.",
        "The cat sat on the mat, the dog sat on the rug, and the bird sat on the old wooden fence by the road.",
    ],
)
def test_what_people_write_is_no_loop(text: str) -> None:
    assert goes_round(text, "") is None


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but I cannot answer that question.",
        "Sorry, I am unable to do that.",
        "I can not provide legal advice.",
        "I cannot assist with this request.",
        "As an AI language model, I have no opinion.",
        "Unfortunately, I won't be able to help.",
        "抱歉，我无法回答这个问题。",
        "很遗憾，这个问题我不能回答。",
        "作为一个人工智能助手，我没有意见。",
        "對不起，我無法提供協助。",
    ],
)
def test_a_refusal_is_found_in_english_and_chinese(text: str) -> None:
    assert refuses(text, "The sum is 4.")
    assert not refuses(text, "I'm sorry, but I can't help with that.")


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry to hear about your loss.",
        "Dear landlord, I am sorry to write so late, but I cannot turn on the heater.",
        "I cannot overstate how old the wall is.",
        "You can't divide by zero.",
        "Sorry is a word of one syllable or two.",
        "抱歉是一种礼貌。",
        "无法律则无秩序。",
    ],
)
def test_sorrow_is_no_refusal(text: str) -> None:
    assert refuses(text, "The sum is 4.") is None


@pytest.mark.parametrize(
    ("answer", "expected", "why"),
    [
        ("  \n", "Four.", "is empty"),
        ("The name is Ann.", '{"name": "Ann"}', "no JSON"),
        ('{"name": "Ann"', '[{"name": "Ann"}]', "no JSON"),
        ("print(1)", "```python\nprint(1)\n```", "no code fence"),
        ("There are four rows.", "SELECT count(*) FROM t;", "no SQL"),
        ("SELECT ripe FROM melons;", "Tap the melon and listen.", "is SQL"),
        ("这个函数返回两个数字的和。", "The function returns the sum of two numbers.", "Chinese letters"),
        ("The function returns a sum.", "この関数は二つの数の合計を返します。", "Latin letters"),
    ],
)
def test_an_answer_lacks_the_form_of_its_reference(answer: str, expected: str, why: str) -> None:
    assert why in (wrong_form(answer, expected) or "")
    assert wrong_form(expected, expected) is None


def test_prose_about_a_statement_may_be_answered_in_prose() -> None:
    assert wrong_form("It tells the page size.", "PRAGMA page_size returns the size of a page.") is None


def test_json_in_a_fence_is_json_and_a_name_in_other_letters_is_no_other_language() -> None:
    assert wrong_form('```json\n{"a": 1}\n```', '{"b": 2}') is None
    assert script("42") is None and script("Ann 说你好 hello 再见") is None


def test_copies_beyond_the_fourth_count() -> None:
    line, other = "every file is read in the morning.", "nobody reads the files of the evening."
    found = repeats([f"{line}\n{other}"] + [line] * 9)
    # of 10 copies of the line six came after the fourth, and no earlier one stands in the same text
    assert found.share == approx(6 * len(line) / (10 * len(line) + len(other)))
    assert found.within == 0.0 and found.worst == [(10, line)]
    assert repeats([line] * 4).share == 0.0
    assert repeats(["\n".join([line.upper()] * 10)]).within == 1.0
    assert repeats([]).share == 0.0


def test_of_very_many_lines_a_part_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.evaluate.doctor.trained_on._MOST_KEPT", 300)
    texts = [f"line number {at:05d} of a long, long file of lines." for at in range(2000)]
    assert repeats(texts).share == 0.0
    assert repeats(texts + texts[:1000] * 9).share == approx(1000 * 6 / 11000, abs=0.1)


def test_the_binomial_tail_is_that_of_counting() -> None:
    by_hand = sum(math.comb(20, k) * 0.1**k * 0.9 ** (20 - k) for k in range(5, 21))
    assert binomial_tail(5, 20, 0.1) == approx(by_hand)
    assert binomial_tail(0, 20, 0.1) == 1.0


def test_the_share_that_is_seen_is_found_four_times_in_five() -> None:
    reach = share_seen(120, 0.05)
    critical = next(hits for hits in range(121) if binomial_tail(hits, 120, 0.05) <= LEVEL)
    assert binomial_tail(critical, 120, reach) == approx(0.8, abs=1e-3)
    assert share_seen(1, 0.05) == 1.0  # one answer finds nothing


def test_what_is_seen_of_a_factor_is_found_four_times_in_five() -> None:
    """Both sides are tested, so each has half the level: with the whole of it more would seem to be seen."""
    rng, found = random.Random(0), 0
    sees = factor_beyond([rng.gauss(0, 0.6) for _ in range(120)], range(120), 2.0).sees
    assert sees is not None
    for _ in range(300):
        logs = [rng.gauss(math.log(sees), 0.6) for _ in range(120)]
        longer = Paired([-log for log in logs], [1.0] * 120, range(120), math.log(2))
        found += 2 * chance(longer) <= LEVEL
    assert 0.78 <= found / 300 <= 0.88


def test_whole_clusters_count_once() -> None:
    flags = [True] * 4 + [False] * 36
    alone, together = (share_above(flags, clusters, 0.05) for clusters in (range(40), [at // 4 for at in range(40)]))
    assert alone.p == approx(binomial_tail(4, 40, 0.05))
    # one cluster of ten: each counts as one item, hits are rounded down
    assert design_effect([float(flag) for flag in flags], [at // 4 for at in range(40)]) == approx(4 * 10 / 9)
    assert together.p == 1.0
    assert design_effect([0.0] * 40, [at // 4 for at in range(40)]) == 4.0


def test_a_rise_within_the_bound_is_none() -> None:
    before, after = [False] * 100, [True] * 4 + [False] * 96
    assert rise_above(before, after, range(100), 0.05).p > 0.3
    after = [True] * 30 + [False] * 70
    found = rise_above(before, after, range(100), 0.05)
    assert found.interval.value == approx(0.3) and found.p < LEVEL


def test_a_perplexity_is_held_to_its_bound_in_the_first_models_tokens() -> None:
    units = [50.0 + at for at in range(20)]
    before = [3.0 * unit for unit in units]
    rise = perplexity_above(before, [loss + 0.2 * unit for loss, unit in zip(before, units, strict=True)], units,
                            range(20), 0.1)  # fmt: skip
    assert rise.interval.value == approx(math.expm1(0.2)) and rise.p == approx(2**-20, rel=0.5)
    less = perplexity_above(before, [loss + 0.08 * unit for loss, unit in zip(before, units, strict=True)], units,
                            range(20), 0.1)  # fmt: skip
    assert less.p > 0.9


def test_three_times_as_long_and_a_third_are_both_beyond_a_factor_of_two() -> None:
    for log in (math.log(3), -math.log(3)):
        found = factor_beyond([log + 0.01 * (at % 3) for at in range(30)], range(30), 2.0)
        assert found.p < LEVEL
    assert factor_beyond([math.log(1.8)] * 30, range(30), 2.0).p == 1.0


def found_in(looked: Seen) -> set[str]:
    return {fault.fault for fault in judged(look(looked)) if any(map(is_found, fault.tests))}


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


def test_answers_end_where_the_folder_says_that_servers_stop(tiny_model_folder: Path, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    talk = [Message("user", "What is one?"), Message("assistant", "one is a number")]
    assert ends(tokenizer, tiny_model_folder, [talk, talk]) == Ends(2, [])
    other = shutil.copytree(tiny_model_folder, tmp_path / "model")
    (other / "generation_config.json").write_text(json.dumps({"eos_token_id": 0}))
    found = ends(tokenizer, other, [talk])
    assert found.wrong == [("one is a number", "ends with <|im_end|>, and the model's folder stops at <|endoftext|>")]
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }} {% endfor %}"
    assert "never learn to stop" in ends(tokenizer, tiny_model_folder, [talk]).wrong[0][1]


class Folders:
    """Stands for a work whose artifacts have only names."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}

    def made(self, step: Any) -> Artifact:
        return Artifact(Path(self._names.setdefault(id(step), f"{step.name}-{len(self._names)}")))


def changes_of(fault: str, looked: Seen, trainings: list[Any], sources: list[Any], exam: Any = None) -> list[list[str]]:
    import_rooms()
    lineage = Lineage(Folders(), trainings, [*sources, *([exam] if exam is not None else [])])  # type: ignore[arg-type]
    one = next(one for one in judged(look(looked)) if one.fault == fault)
    return [[change(told) for told in way.changes] for way in remedies(one, looked, lineage, sources, exam)]


def test_the_remedies_change_the_fields_of_the_trainings() -> None:
    tiny, docs, tasks = TinyModel(), SomeDocuments(), SomeTasks()
    cpt = Cpt(base=tiny, corpus=docs, replay=SomeDocuments(seed=1), replay_share=0.1)
    sft = Sft(base=cpt, data=(tasks,), learning_rate=2e-4)
    dpo = Dpo(base=sft, pairs=Pairs(), learning_rate=4e-6)
    ill = seen(HEALTHY._replace(text_loss=0.4, length=4.0, loops=0.5, run_on=0.9), HEALTHY, 3)
    forgot = changes_of("forgetting", ill, [cpt, sft], [docs, tasks])
    assert forgot[0] == ["cpt.replay_share 0.1 → 0.3"]
    assert forgot[1] == [
        "insert rehearsal: {step: rehearsal, origin: $tiny-model, prompts: 160} after tiny-model",
        "sft.data [$test-some-tasks] → [$test-some-tasks, $rehearsal]",
    ]
    assert "sft.learning_rate 0.0002 → 0.0001" in forgot[2]
    assert changes_of("length_drift", ill, [cpt, sft, dpo], [])[0] == ["dpo.beta null → 0.2"]
    assert changes_of("missing_end_token", ill, [cpt, sft], [])[0] == ["sft.epochs 1 → 2"]
    assert changes_of("missing_end_token", ill, [cpt], [])[0] == []  # said in words: fine-tune last
    again = ill._replace(repeats=[Repeats(0.5, 0.0, []), Repeats(0.0, 0.0, [])])
    assert changes_of("repetition", again, [cpt, sft], [docs, tasks])[0] == [
        "insert test-some-documents-unique: {step: dedup, corpus: $test-some-documents, threshold: 0.9} "
        "after test-some-documents",
        "cpt.corpus $test-some-documents → $test-some-documents-unique",
    ]


def test_a_leak_from_documents_is_cut_out_behind_them_and_what_the_exam_asks_still_reads_them() -> None:
    from metier.evaluate import MakeExam
    from metier.instruct import DocQa

    tiny, docs = TinyModel(), SomeDocuments()
    questions = DocQa(corpus=docs)
    sft = Sft(base=Cpt(base=tiny, corpus=docs), data=(questions,))
    exam = MakeExam(corpus=docs, origin=tiny, tasks=(questions,))
    leak = Leak("task 1", "verbatim", 1.0, "training data 1", "asked", "found")
    ill = seen(HEALTHY, None, 0)._replace(leaked=[Leaked(0, [leak])])
    assert found_in(ill) == {"contamination"}
    assert changes_of("contamination", ill, [sft.base, sft], [docs], exam)[0] == [
        "insert test-some-documents-clear: {step: decontaminate, corpus: $test-some-documents, tasks: [$doc-qa]} "
        "after test-some-documents",
        "cpt.corpus $test-some-documents → $test-some-documents-clear",
    ]


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
    assert 'What does a "margin call" ask for? more collateral' in asked(material)["question q"]


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


def test_only_what_can_be_read_may_be_called_training_data() -> None:
    model = TinyModel()
    with pytest.raises(ValueError, match="'tiny-model' makes Model"):
        Doctor(model=model, scores=Simulated(), trained_on=(model,))


def test_random_answers_of_any_length_are_read_without_an_error() -> None:
    rng = random.Random(0)
    letters = "ab 我{}[]\"'`\n.,;\\😀\x00"
    for _ in range(300):
        answer, expected = ("".join(rng.choices(letters, k=rng.randint(0, 60))) for _ in range(2))
        for told in (goes_round(answer, expected), refuses(answer, expected), wrong_form(answer, expected)):
            assert told is None or told.strip()
