"""The judge as a step: any Chat judges, nothing is asked twice, and what it says is marked by how far it is trusted."""

from __future__ import annotations

import csv
import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from metier.core import Failure, LocalPath, Mistake, Step, Work, Workshop
from metier.core.chat import REFUSALS, Decoding, Endpoint, Message, Refused, Reply, ScriptedChat
from metier.core.journal import read_journal
from metier.core.types import Scores
from metier.evaluate.examine import IN_SQL
from metier.evaluate.judge import Judge
from metier.evaluate.judge.asking import by_requests, hear
from metier.evaluate.judge.contest import read_contest
from metier.evaluate.report.sections import judged
from tests.evaluate.exam_steps import given

JUDGE = Endpoint(base_url="http://localhost:1/v1", model="a-judge")
ITEMS = 12
Script = Callable[[Sequence[Message]], str]


class Wrote(Step[Scores]):
    """An examination in which every answer is `word` and the number of the question."""

    name: ClassVar[str] = "test-wrote"
    word: str
    exam: str = "one"
    lost: int | None = None

    def run(self, work: Work) -> None:
        rows: list[dict[str, Any]] = [
            {"name": "agreement", "split": "held_out", "id": f"q{at}", "cluster": f"page {at // 2}",
             "question": f"What is {at}?", "expected": f"fine {at}", "answer": f"{self.word} {at}", "score": 0.5}
            for at in range(ITEMS)
        ]  # fmt: skip
        rows.append({**rows[0], "name": "multiple_choice", "id": "m"})
        rows.append({"name": "perplexity", "split": "held_out", "id": "t", "nats": 1.0, "tokens": 1, "bytes": 1})
        kept = [row for at, row in enumerate(rows) if at != self.lost]
        (work.folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
        (work.folder / "exam.json").write_text(json.dumps({"digest": self.exam}))


MODELS: dict[str, Step[Scores]] = {"good": Wrote(word="a fine answer"), "poor": Wrote(word="bad")}


def fair(messages: Sequence[Message]) -> str:
    """Prefer whatever says "fine"."""
    first, second = messages[1].content.split("[Answer B]")
    a, b = "fine" in first.split("[Answer A]")[1], "fine" in second
    return json.dumps({"reason": "words", "winner": "tie" if a == b else "A" if a else "B"})


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Script], ScriptedChat]:
    def put(script: Script) -> ScriptedChat:
        chat = ScriptedChat(script)
        monkeypatch.setattr("metier.core.chat.OpenAIChat", lambda _: chat)
        return chat

    return put


Scripted = Callable[[Script], ScriptedChat]


def values(found: Scores) -> dict[tuple[str, str], float]:
    return {(one.name, one.model): one.value for one in found.figures()}


def test_every_pair_is_asked_both_ways_and_the_better_wins(tmp_path: Path, scripted: Scripted) -> None:
    chat = scripted(fair)
    found = Workshop(tmp_path).make(Judge(models=MODELS, endpoint=JUDGE))
    assert len(chat.asked) == 2 * ITEMS and "[Reference answer]\nfine 0" in chat.asked[0][1].content
    told = values(found)
    assert (told["judge_wins", "good"], told["judge_losses", "poor"], told["judge_ties", "good"]) == (1, 1, 0)
    assert told["judge_elo", "good"] > 1000 > told["judge_elo", "poor"]
    assert {one.split for one in found.figures()} == {"pairwise_unvalidated"}
    assert "unvalidated" in found.record.warnings[0]
    assert found.record.ledger.made("judged pair") == ITEMS
    assert found.record.figures["bias"]["disagreed"]["value"] == 0
    assert found.record.figures["bias"]["longer_wins"]["value"] == 1  # "a fine answer" is the longer
    row = json.loads((found.folder / "verdicts.jsonl").read_text().splitlines()[0])
    assert (row["id"], row["verdicts"], row["winner"]) == ("q0", ["A", "B"], "good")


def test_a_judge_that_always_takes_the_first_decides_nothing(tmp_path: Path, scripted: Scripted) -> None:
    scripted(lambda _: "A")
    found = Workshop(tmp_path).make(Judge(models=MODELS, endpoint=JUDGE))
    told = found.record.figures["bias"]
    assert (told["for_first"], told["disagreed"]["value"], values(found)["judge_ties", "good"]) == (ITEMS, 1, 1)


@pytest.mark.parametrize(("contradicted", "believed"), [(5, True), (6, False), (12, False)])
def test_a_judge_that_contradicts_itself_as_often_as_a_coin_is_not_trusted_though_it_agrees_with_people(
    tmp_path: Path, scripted: Scripted, contradicted: int, believed: bool
) -> None:
    def script(messages: Sequence[Message]) -> str:
        number = re.search(r"What is (\d+)\?", messages[1].content)
        return "A" if number and int(number[1]) < contradicted else fair(messages)

    scripted(script)
    people = tmp_path / "labels.csv"
    winners = ["tie" if at < contradicted else "good" for at in range(ITEMS)]
    rows = "".join(f"q{at},good,poor,{winner}\n" for at, winner in enumerate(winners))
    people.write_text(f"id,first,second,winner\n{rows}")
    step = Judge(models=MODELS, endpoint=JUDGE, labels=LocalPath(people), min_kappa=-1)
    found = Workshop(tmp_path / "shop").make(step)
    told = json.loads((found.folder / "judge.json").read_text())
    told_of = [warning for warning in found.record.warnings if "contradicts itself" in warning]
    assert bool(told_of) is not believed
    assert {one.split for one in found.figures()} <= {"pairwise", "pairwise_not_trusted"}
    assert judged(found).contradicts is not believed
    if believed:
        return
    assert told["trusted"] is False and {one.split for one in found.figures()} == {"pairwise_not_trusted"}
    share = f"{contradicted / ITEMS:.0%} of {ITEMS} pairs were decided otherwise"
    assert share in told_of[0] and f"({contradicted} both times for the first, 0 for the second" in told_of[0]
    looser = Judge(models=MODELS, endpoint=JUDGE, labels=LocalPath(people), min_kappa=-1, max_disagreed=1.0)
    again = Workshop(tmp_path / "shop").make(looser)
    assert ("contradicts itself" in " ".join(again.record.warnings)) is (contradicted == ITEMS)


def test_nonsense_is_asked_once_more_and_then_counted(tmp_path: Path, scripted: Scripted) -> None:
    def script(messages: Sequence[Message]) -> str:
        asked = messages[1].content
        if "What is 3?" in asked:
            return "What a fine day."
        if "What is 4?" in asked and len(messages) == 2:
            return "Hm."
        return fair(messages)

    chat = scripted(script)
    found = Workshop(tmp_path).make(Judge(models=MODELS, endpoint=JUDGE))
    # of two questions, both orders are asked again
    assert len(chat.asked) == 2 * ITEMS + 4
    (line,) = found.record.ledger.lines
    assert (line.came, line.kept) == (ITEMS, ITEMS - 1)
    assert line.dropped == {"no verdict: the reply says none, twice": 1}


def test_a_judge_that_says_nothing_at_all_is_a_failure_and_no_figure(tmp_path: Path, scripted: Scripted) -> None:
    scripted(lambda _: "I am only a model.")
    with pytest.raises(Failure, match="no verdict at all"):
        Workshop(tmp_path).make(Judge(models=MODELS, endpoint=JUDGE))


def test_a_judge_that_times_out_keeps_what_is_done_and_goes_on(tmp_path: Path, scripted: Scripted) -> None:
    def slow(messages: Sequence[Message]) -> str:
        if "What is 7?" in messages[1].content:
            raise Failure("did not answer", found="timed out")
        return fair(messages)

    step = Judge(models=MODELS, endpoint=JUDGE, requests_at_once=1)
    scripted(slow)
    with pytest.raises(Failure, match="does not answer") as stopped:
        Workshop(tmp_path).make(step)
    kept = re.search(r"timed out; (\d+) of 24 verdicts are kept", stopped.value.found or "")
    # one at a time, in order: the seven questions before it at the least
    assert kept is not None and 14 <= int(kept[1]) <= 22
    chat = scripted(fair)
    found = Workshop(tmp_path).make(step)
    assert len(chat.asked) == 24 - int(kept[1]) and values(found)["judge_wins", "good"] == 1


class Slow(ScriptedChat):
    """A Chat that takes its time, so that questions wait for their turn."""

    def complete(self, conversations: Sequence[Sequence[Message]], decoding: Decoding) -> list[list[Reply]]:
        time.sleep(0.005)
        return super().complete(conversations, decoding)


def asked_of(script: Script, kept: Path, at_once: int = 4, count: int = 40) -> tuple[ScriptedChat, Callable[[], Any]]:
    """Return a slow chat, and what asks it `count` questions, "0" to "39"."""
    chat = Slow(script)
    questions = {str(at): [Message("user", str(at))] for at in range(count)}
    return chat, lambda: hear(by_requests(chat, Decoding(), at_once), questions, lambda text: text, kept)


@pytest.mark.parametrize("failing", [range(1), range(10, 11), range(10, 40)])
def test_a_failure_ends_what_waits_for_its_turn(tmp_path: Path, failing: range) -> None:
    def script(messages: Sequence[Message]) -> str:
        if int(messages[0].content) in failing:
            raise Failure("no answer", found="500")
        return "A"

    chat, ask = asked_of(script, tmp_path / "replies.jsonl")
    with pytest.raises(Failure, match="does not answer") as stopped:
        ask()
    assert len(chat.asked) <= failing[0] + 8 and len(read_journal(tmp_path / "replies.jsonl")) >= failing[0] - 4
    assert "500" in (stopped.value.found or "")


def test_an_interruption_asks_nothing_more(tmp_path: Path) -> None:
    def script(messages: Sequence[Message]) -> str:
        if messages[0].content == "10":
            raise KeyboardInterrupt
        return "A"

    chat, ask = asked_of(script, tmp_path / "replies.jsonl")
    with pytest.raises(KeyboardInterrupt):
        ask()
    assert len(chat.asked) <= 18


def test_what_the_endpoint_refuses_has_no_verdict_and_the_others_have(tmp_path: Path) -> None:
    def script(messages: Sequence[Message]) -> str:
        if int(messages[0].content) % 8 == 5:
            raise Refused("too long", found="400")
        return "A"

    _, ask = asked_of(script, tmp_path / "replies.jsonl")
    heard = ask()
    assert set(heard.silent) == {"5", "13", "21", "29", "37"} and len(heard.verdicts) == 35
    assert set(heard.silent.values()) == {"no verdict: the endpoint refused the request"}
    assert heard.refused == "400"
    chat, ask = asked_of(lambda _: "B", tmp_path / "replies.jsonl")
    assert ask().verdicts["5"] == "B" and len(chat.asked) == 5


@pytest.mark.parametrize("at_once", [1, 4, 64])
def test_many_refusals_are_no_end_where_others_are_answered_now_or_were(tmp_path: Path, at_once: int) -> None:
    def script(messages: Sequence[Message]) -> str:
        if int(messages[0].content) % 2:
            raise Refused("too long", found="400")
        return "A"

    for _ in range(3):
        _, ask = asked_of(script, tmp_path / "replies.jsonl", at_once, 100)
        heard = ask()
        assert len(heard.verdicts) == len(heard.silent) == 50


@pytest.mark.parametrize("count", [3, 400])
def test_an_endpoint_that_refuses_everything_is_said_with_its_words(tmp_path: Path, count: int) -> None:
    def script(messages: Sequence[Message]) -> str:
        raise Refused("no", found="400: unknown parameter")

    chat, ask = asked_of(script, tmp_path / "replies.jsonl", count=count)
    with pytest.raises(Failure, match="does not answer") as stopped:
        ask()
    assert "unknown parameter" in (stopped.value.found or "") and len(chat.asked) <= REFUSALS + 4


def test_what_the_origin_said_to_a_general_prompt_is_no_reference(tmp_path: Path) -> None:
    folders = {}
    for label in ("base", "tuned"):
        folders[label] = tmp_path / label
        folders[label].mkdir()
        row = {
            "name": IN_SQL,
            "split": "general_prompts",
            "id": "a",
            "question": "Who?",
            "expected": "I.",
            "answer": "I.",
        }
        (folders[label] / "answers.jsonl").write_text(json.dumps(row) + "\n")
        (folders[label] / "exam.json").write_text("{}")
    (question,) = read_contest({label: Scores(folder) for label, folder in folders.items()})
    assert question.expected is None and question.answers == {"base": "I.", "tuned": "I."}


def labels(path: Path, wrong: int) -> LocalPath:
    """Labels of all questions, of which `wrong` say that the poor answer is better; as first stands either model."""
    with path.open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["id", "first", "second", "winner"])
        for at in range(ITEMS):
            pair = ("good", "poor") if at % 2 else ("poor", "good")
            rows.writerow([f"q{at}", *pair, "poor" if at < wrong else "good"])
    return LocalPath(path)


def half(messages: Sequence[Message]) -> str:
    """Find the poor answers to the first six questions better."""
    upside_down = any(f"What is {at}?" in messages[1].content for at in range(6))
    return fair(messages).translate(str.maketrans("AB", "BA")) if upside_down else fair(messages)


@pytest.mark.parametrize(("wrong", "split", "trusted"), [(6, "pairwise", True), (0, "pairwise_not_trusted", False)])
def test_figures_are_marked_by_the_agreement_with_people(
    tmp_path: Path, scripted: Scripted, wrong: int, split: str, trusted: bool
) -> None:
    scripted(half)
    step = Judge(models=MODELS, endpoint=JUDGE, labels=labels(tmp_path / "labels.csv", wrong))
    found = Workshop(tmp_path / "runs").make(step)
    told = json.loads((found.folder / "judge.json").read_text())
    assert told["trusted"] is trusted and told["agreement"]["labels"] == ITEMS
    assert {one.split for one in found.figures()} == {split}
    assert any("not to be trusted" in warning for warning in found.record.warnings) is not trusted


def test_a_rubric_gives_grades_and_what_follows_from_them(tmp_path: Path, scripted: Scripted) -> None:
    def script(messages: Sequence[Message]) -> str:
        good = "fine" in messages[1].content.split("[Answer]")[1]
        return json.dumps({"right": 5 if good else 2, "short": 4})

    scripted(script)
    step = Judge(models=MODELS, endpoint=JUDGE, way="rubric", criteria={"right": "is right", "short": "is short"})
    found = Workshop(tmp_path).make(step)
    told = values(found)
    assert (told["judge_grade_right", "good"], told["judge_grade_all", "poor"]) == (5, (2 + 4) / 2)
    assert told["judge_wins", "good"] == 1 and found.record.ledger.made("judged answer") == 2 * ITEMS
    assert list(found.record.figures["bias"]) == ["longer_wins"]


def test_one_model_can_be_graded_but_not_compared(tmp_path: Path, scripted: Scripted) -> None:
    scripted(lambda _: '{"correctness": 3, "completeness": 3, "clarity": 3}')
    one = {"good": MODELS["good"]}
    assert (
        values(Workshop(tmp_path).make(Judge(models=one, endpoint=JUDGE, way="rubric")))["judge_grade_all", "good"] == 3
    )
    with pytest.raises(ValidationError, match="too few"):
        Judge(models=one, endpoint=JUDGE)
    with pytest.raises(ValidationError, match="a judge is wanted"):
        Judge(models=MODELS)


def test_a_limit_draws_questions_and_three_models_meet_in_three_pairs(tmp_path: Path, scripted: Scripted) -> None:
    chat = scripted(fair)
    models = {**MODELS, "third": Wrote(word="a fine answer")}
    found = Workshop(tmp_path).make(Judge(models=models, endpoint=JUDGE, limit=5, figures=("agreement",)))
    # good and third are word for word alike: a tie that is not asked
    assert len(chat.asked) == 5 * 2 * 2 and found.record.ledger.made("judged pair") == 15
    assert values(found)["judge_ties", "third"] == 0.5


def test_what_cannot_be_judged_is_said_before_anything_is_asked(tmp_path: Path, scripted: Scripted) -> None:
    chat = scripted(fair)
    unlike = {"good": MODELS["good"], "other": Wrote(word="x", exam="another")}
    lost = {"good": MODELS["good"], "other": Wrote(word="x", lost=2)}
    for step, kind, words in (
        (Judge(models=unlike, endpoint=JUDGE), Mistake, "unlike exams"),
        (Judge(models=lost, endpoint=JUDGE), Failure, "answer of 'other' to 'q2' is missing"),
        (Judge(models=MODELS, endpoint=JUDGE, figures=("multiple_choice",)), Mistake, "no question of"),
    ):
        with pytest.raises(kind, match=words):
            Workshop(tmp_path).make(step)
    assert not chat.asked


@pytest.mark.slow
def test_a_model_folder_judges_in_this_process(tmp_path: Path, tiny_model_folder: Path) -> None:
    # random weights say nothing that can be read: asked twice each, and no figure comes of it
    step = Judge(models=MODELS, model=given(tiny_model_folder), limit=2, max_tokens=8)
    with pytest.raises(Failure, match="no verdict at all"):
        Workshop(tmp_path).make(step)
    (replies,) = tmp_path.glob("judge-*/replies.jsonl")
    assert len(replies.read_text().splitlines()) == 2 * 2 * 2
