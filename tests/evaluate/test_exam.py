"""Exams and examinations through the workshop, with a tiny model of random weights."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from metier.core import Failure, Host, LocalPath, Mistake, Workshop
from metier.core.chat import Reply
from metier.core.types import Document, Scores
from metier.evaluate import Examine, LeakCheck, MakeExam, OwnExam, Rehearsal
from metier.evaluate.answer_log import AnswerLog, Place
from metier.evaluate.compare import Difference, Kind, Verdict, compare
from metier.evaluate.execution import examine_rows, statement_is_whole
from metier.evaluate.forgetting import Request
from metier.evaluate.leak_check import GENERATED
from metier.evaluate.material import passages, read_material, sample_rows
from metier.evaluate.rehearsal import rehearsed, whole_sentences
from metier.models.tiny import make_tiny_model
from tests.evaluate.exam_steps import SomeDocuments, SomeTasks, given, task

HOST = dataclasses.replace(Host.here(), threads=1, gpus=())


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("shop"), HOST)


def exam_for(folder: Path, **fields: object) -> MakeExam:
    settings: dict[str, object] = {
        "corpus": SomeDocuments(),
        "general": SomeDocuments(count=6, seed=1),
        "tasks": (SomeTasks(),),
        "origin": given(folder),
        "characters": 3000,
        "general_characters": 1500,
        "choices": 8,
        "general_prompts": 6,
        "max_tokens": 8,
        "window": 64,
        "precision": "float32",
    }
    return MakeExam(**(settings | fields))


@pytest.fixture(scope="module")
def scores(shop: Workshop, tiny_model_folder: Path) -> Scores:
    return shop.make(Examine(model=given(tiny_model_folder), exam=exam_for(tiny_model_folder)))


def test_an_examination_gives_every_figure_with_an_interval_around_it(scores: Scores) -> None:
    figures = {(figure.name, figure.split): figure for figure in scores.figures()}
    assert set(figures) == {
        ("perplexity", "held_out"),
        ("perplexity_per_byte", "held_out"),
        ("perplexity", "general"),
        ("perplexity_per_byte", "general"),
        ("chat_reply_perplexity", "general_prompts"),
        ("execution", "seen"),
        ("agreement", "held_out"),
        ("multiple_choice", "held_out"),
        ("sql_to_general_prompts", "general_prompts"),
    }
    for figure in figures.values():
        assert figure.low is not None and figure.high is not None
        assert figure.low <= figure.value <= figure.high
        assert figure.model == "test-given-model"
    assert figures["execution", "seen"].n == 8
    assert figures["multiple_choice", "held_out"].n == 8
    assert scores.record.figures["multiple_choice_chance"] == 0.25


def test_answers_hold_what_the_report_reads_once_for_each_item(scores: Scores) -> None:
    rows = [json.loads(line) for line in (scores.folder / "answers.jsonl").read_text().splitlines()]
    places = [(row["name"], row["split"], row["id"]) for row in rows]
    assert len(set(places)) == len(places)
    for row in rows:
        wanted = {"nats", "bytes", "tokens"} if "nats" in row else {"question", "expected", "answer", "score", "reason"}
        assert wanted <= set(row)


def test_an_examination_killed_half_way_goes_on_and_gives_the_same(
    shop: Workshop, scores: Scores, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = Examine(model=given(tiny_model_folder), exam=exam_for(tiny_model_folder), label="again")
    whole = (scores.folder / "answers.jsonl").read_bytes()

    def killed(self: AnswerLog, rows: object) -> None:
        add_all(self, rows)  # type: ignore[arg-type]
        if len(self.rows) > 20:
            assert self.path is not None
            with self.path.open("ab") as out:
                out.write(b'{"name": "execution", "spl')  # a line cut in its middle
            raise KeyboardInterrupt

    add_all = AnswerLog.add_all
    with monkeypatch.context() as patched:
        patched.setattr(AnswerLog, "add_all", killed)
        with pytest.raises(KeyboardInterrupt):
            shop.make(again)
    found = shop.make(again)
    assert (found.folder / "answers.jsonl").read_bytes() == whole
    assert [figure.value for figure in found.figures()] == [figure.value for figure in scores.figures()]


def test_an_examination_outside_a_workshop_gives_the_same_answers(scores: Scores, tiny_model_folder: Path) -> None:
    rows = [task("seen", schema, at) for schema in range(4) for at in (1, 2)]
    figures, answers = examine_rows(tiny_model_folder, rows, HOST, max_tokens=8)
    assert [figure.split for figure in figures] == ["seen"]
    assert [row["id"] for row in answers] == [row.id for row in rows]


def test_two_models_are_compared_item_by_item_and_the_verdict_is_the_intervals(
    shop: Workshop, scores: Scores, tiny_model_folder: Path, tmp_path: Path
) -> None:
    other = make_tiny_model(tmp_path / "other", seed=1)
    found = shop.make(Examine(model=given(other), exam=exam_for(tiny_model_folder)))
    first, second = ({(f.name, f.split): f.value for f in one.figures()} for one in (scores, found))
    rows = compare(scores, found)
    assert {(row.name, row.split) for row in rows} == set(first)
    for row in rows:
        at = (row.name, row.split)
        assert (row.first, row.second) == pytest.approx((first[at], second[at]))
        ratio = row.kind is Kind.RATIO
        assert row.value == pytest.approx(second[at] / first[at] if ratio else second[at] - first[at])
        assert row.low <= row.value <= row.high
        clear = not row.low <= (1 if ratio else 0) <= row.high
        assert (row.verdict is not Verdict.UNCLEAR) == clear and str(row.verdict) in row.words


def test_a_model_compared_with_itself_has_neither_learnt_nor_lost(scores: Scores) -> None:
    for row in compare(scores, scores):
        assert row.value == (1.0 if row.kind is Kind.RATIO else 0.0)
        assert row.verdict is Verdict.UNCLEAR


def test_results_of_unlike_exams_are_not_compared(shop: Workshop, scores: Scores, tiny_model_folder: Path) -> None:
    other = shop.make(Examine(model=given(tiny_model_folder), exam=exam_for(tiny_model_folder, max_tokens=9)))
    with pytest.raises(Mistake, match="unlike exams"):
        compare(scores, other)


def test_the_same_exam_is_drawn_twice_and_another_seed_draws_another(
    shop: Workshop, tiny_model_folder: Path, tmp_path: Path
) -> None:
    exam = exam_for(tiny_model_folder)
    first = read_material(shop.make(exam).folder)
    again = read_material(Workshop(tmp_path, HOST).make(exam).folder)
    assert first == again and first.digest == again.digest
    assert read_material(shop.make(exam_for(tiny_model_folder, seed=1)).folder).digest != first.digest


def test_what_stands_in_the_training_documents_is_not_asked(shop: Workshop, tiny_model_folder: Path) -> None:
    exam = shop.make(exam_for(tiny_model_folder, corpus=SomeDocuments(leak=True)))
    lines = {line.unit: line for line in exam.record.ledger.lines}
    assert lines["passage"].dropped["stands in the training data"] == 1
    material = read_material(exam.folder)
    assert "doc2" not in {passage.source for passage in material.passages if passage.split == "held_out"}
    assert "doc2" not in {item.source for item in material.items}


def test_an_exam_of_ones_own_is_asked_too_and_open_questions_are_drawn(
    shop: Workshop, tiny_model_folder: Path, tmp_path: Path
) -> None:
    table = tmp_path / "own.csv"
    table.write_text(
        "question,A,B,answer,reference\nWhich of two?,this,that,B,\nWho pays the fee?,,,,The buyer pays.\n"
    )
    own = OwnExam(files=(LocalPath(table),))
    corpus = SomeDocuments(titled=True)
    exam = shop.make(exam_for(tiny_model_folder, corpus=corpus, own=(own,), open_questions=3))
    material = read_material(exam.folder)
    assert [item.options for item in material.items if item.kind == "own"] == [["this", "that"]]
    tasks = [row.task for row in material.rows]
    assert tasks.count("own") == 1 and 1 <= sum(task.startswith("open/") for task in tasks) <= 3
    assert exam.record.figures["bias"][0]["n"] == len(material.items)
    written = (exam.folder / "questions.csv").read_bytes()
    assert written.startswith(b"\xef\xbb\xbf") and b"Who pays the fee?" in written  # by which Excel knows UTF-8
    again = read_material(shop.make(OwnExam(files=(LocalPath(exam.folder / "questions.csv"),))).folder)
    assert len(again.items) == len(material.items)
    ids = set(json.loads((exam.folder / GENERATED).read_text()))
    assert ids == {row.id for row in material.rows if row.task in ("text-to-sql", "doc-qa")} != set()


def test_an_exam_that_lacks_what_was_asked_for_says_so(shop: Workshop, tiny_model_folder: Path) -> None:
    warned = shop.make(exam_for(tiny_model_folder, open_questions=3)).record.warnings
    assert any("no open question of its own" in text for text in warned)
    assert not any("no multiple-choice question" in text for text in warned)


def test_two_exams_of_ones_own_that_share_an_id_are_refused(
    shop: Workshop, tiny_model_folder: Path, tmp_path: Path
) -> None:
    own = []
    for name, question in (("a", "Who pays the fee?"), ("b", "Who is paid the fee?")):
        (tmp_path / f"{name}.csv").write_text(f"id,question,reference\n1,{question},The buyer pays.\n")
        own.append(OwnExam(files=(LocalPath(tmp_path / f"{name}.csv"),)))
    with pytest.raises(Mistake, match="have the id of another") as raised:
        shop.make(exam_for(tiny_model_folder, own=tuple(own)))
    assert "agreement '1'" in str(raised.value)


def test_an_exam_of_ones_own_is_sat_alone_and_its_answers_carry_their_dimension(
    shop: Workshop, tiny_model_folder: Path, tmp_path: Path
) -> None:
    table = tmp_path / "own.csv"
    table.write_text(
        "question,A,B,C,answer,reference,gold,databases,dimension\n"
        "Which of two?,this,that,,B,,,,reasoning\n"
        "Which of three?,red,green,blue,A,,,,\n"
        "Who pays?,,,,,The buyer.,,,terminology\n"
        "All of t?,,,,,,SELECT a FROM t,CREATE TABLE t(a INTEGER); INSERT INTO t VALUES (1),\n"
    )
    exam = OwnExam(files=(LocalPath(table),), max_tokens=8, precision="float32")
    made = shop.make(Examine(model=given(tiny_model_folder), exam=exam))
    figures = {(figure.name, figure.split): figure.n for figure in made.figures()}
    assert figures == {("agreement", "held_out"): 1, ("execution", "held_out"): 1, ("multiple_choice", "held_out"): 2}
    rows = [json.loads(line) for line in (made.folder / "answers.jsonl").read_text().splitlines()]
    assert {row["question"]: row["dimension"] for row in rows} == {
        "Which of two?": "reasoning",
        "Which of three?": "understanding",
        "Who pays?": "terminology",
        "All of t?": "task: own",
    }
    assert made.record.figures["multiple_choice_chance"] == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_a_leak_check_shows_each_question_beside_what_gives_it_away(shop: Workshop, tmp_path: Path) -> None:
    leaked = next(iter(shop.make(SomeDocuments()).rows("train"))).text.split("\n\n")[0]
    table = tmp_path / "own.jsonl"
    rows = [
        {"question": "What does <it> say?", "reference": leaked},
        {"question": "Who?", "reference": "Nobody that we know of yet."},
    ]
    table.write_text("\n".join(map(json.dumps, rows)))
    check = LeakCheck(exam=OwnExam(files=(LocalPath(table),)), trained_on=(SomeDocuments(), SomeTasks()))
    made = shop.make(check)
    (line,) = made.record.ledger.lines
    assert (line.came, line.kept, line.dropped) == (2, 1, {"leaked, verbatim": 1})
    page = (made.folder / "report.html").read_text()
    assert "&lt;it&gt;" not in page and leaked in page and "test-some-documents: test" in page
    with pytest.raises(Mistake, match="nothing to look in"):
        shop.make(LeakCheck(exam=check.exam))
    with pytest.raises(Mistake, match="cannot be looked for"):
        shop.make(LeakCheck(exam=check.exam, trained_on=(check,)))


def test_an_exam_that_was_tampered_with_is_refused(shop: Workshop, tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(shop.make(exam_for(tiny_model_folder)).folder, tmp_path / "exam")
    path = folder / "passages.jsonl"
    path.write_text(path.read_text().replace("number", "NUMBER", 1))
    with pytest.raises(Failure, match="changed after it was made"):
        read_material(folder)


def test_a_corpus_without_held_out_documents_is_a_mistake(shop: Workshop, tiny_model_folder: Path) -> None:
    with pytest.raises(Mistake, match="held out"):
        shop.make(exam_for(tiny_model_folder, corpus=SomeDocuments(count=2)))


def test_passages_are_stretches_of_the_documents_and_about_as_long_as_asked() -> None:
    import random

    documents = [
        Document(f"d{at}", "\n\n".join(f"{at} paragraph {n} of it." for n in range(99)), "x") for at in range(9)
    ]
    found = passages(documents, "held_out", 4500, 100, random.Random(0))
    assert len(found) == 9 and 4000 < sum(len(passage.text) for passage in found) <= 4500
    for passage in found:
        assert passage.text in documents[int(passage.id[1:])].text


def test_rows_are_taken_evenly_from_the_clusters() -> None:
    import random

    rows = [task("seen", schema, at) for schema in range(4) for at in range(10)]
    clusters = [row.cluster for row in sample_rows(rows, 8, random.Random(0))]
    assert {clusters.count(cluster) for cluster in clusters} == {2}
    assert sample_rows(rows, 99, random.Random(0)) == rows


def test_a_missing_answer_is_a_failure_and_not_a_smaller_exam() -> None:
    with pytest.raises(Failure, match="missing"):
        AnswerLog(None).finish([Place("execution", "seen", "1")])


def test_rehearsal_rows_are_the_origins_replies_and_none_is_a_request_of_the_exam(
    shop: Workshop, tiny_model_folder: Path
) -> None:
    made = shop.make(Rehearsal(origin=given(tiny_model_folder), prompts=8, max_tokens=24))
    line = made.record.ledger.lines[0]
    assert line.came == 8 and line.kept == len(list(made.rows())) if line.kept else True
    for row in made.rows() if line.kept else ():
        assert (row.split, row.task) == ("train", "general")
        assert [message.role for message in row.messages] == ["user", "assistant"]


def test_a_reply_that_was_cut_is_kept_as_far_as_its_last_whole_sentence() -> None:
    request = Request("rehearsal/x/0", "x", "How?")
    cut = rehearsed(request, Reply("First stir. Then wait for 2.5 hours and", 9, False))
    assert cut is not None and cut.messages[-1].content == "First stir."
    whole = rehearsed(request, Reply(" Stir and wait ", 3, True))
    assert whole is not None and whole.messages[-1].content == "Stir and wait"
    assert rehearsed(request, Reply("1. Stir and", 3, False)) is None
    assert whole_sentences("Is it so? Yes! 搅拌。然后") == "Is it so? Yes! 搅拌。"


@pytest.mark.parametrize(
    ("name", "low", "high", "verdict"),
    [
        ("perplexity", 0.7, 0.9, Verdict.LEARNT),
        ("chat_reply_perplexity", 1.2, 1.5, Verdict.LOST),
        ("execution", 0.1, 0.3, Verdict.LEARNT),
        ("execution", -0.3, -0.1, Verdict.LOST),
        ("sql_to_general_prompts", 0.1, 0.2, Verdict.LOST),
        ("agreement", -0.1, 0.1, Verdict.UNCLEAR),
    ],
)
def test_less_perplexity_and_more_right_answers_are_better(
    name: str, low: float, high: float, verdict: Verdict
) -> None:
    kind = Kind.RATIO if "perplexity" in name else Kind.DIFFERENCE
    row = Difference(name, "held_out", kind, 0.5, 0.5, (low + high) / 2, low, high, 100)
    assert row.verdict is verdict


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("SELECT 1;\n", True),
        ("SELECT a\n", False),
        ("SELECT ';\n", False),
        ("CREATE TRIGGER t AFTER INSERT ON a BEGIN\n DELETE FROM b;\n", False),
        ("CREATE TRIGGER t AFTER INSERT ON a BEGIN\n DELETE FROM b;\nEND;\n", True),
        ("```sql\nSELECT 1;\n", False),
        ("SELECT '\x00';\n", False),
    ],
)
def test_an_executed_answer_ends_with_its_first_whole_statement(text: str, whole: bool) -> None:
    assert statement_is_whole(task("seen", 0, 1), text) is whole
    prose = task("seen", 0, 1)._replace(check={"scorer": "agreement", "reference": "a"})
    assert not statement_is_whole(prose, text)
