"""Baselines: what a model is shown besides the question, and whether it does as well as a trained one."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections import Counter
from pathlib import Path

import pytest
from pytest import approx

from metier.core import Failure, Host, Mistake, Workshop
from metier.core.artifact import Record
from metier.core.chat import Message
from metier.core.ledger import Ledger
from metier.core.types import Conversation, Document, Scores
from metier.evaluate import Examine, MakeExam
from metier.evaluate.answer_log import AnswerLog
from metier.evaluate.baselines import Enough, Setting, enough, setting_of, untrained
from metier.evaluate.compare import compare
from metier.evaluate.few_shot import Examples, example_choices, with_examples
from metier.evaluate.in_context import InContext, with_passages
from metier.evaluate.lexical import MOST_TERMS, Found, LexicalIndex, cut, terms
from tests.evaluate.exam_steps import SomeDocuments, SomeTasks, given, sentence, task

HOST = dataclasses.replace(Host.here(), threads=1, gpus=())


def document(id: str, text: str, title: str = "") -> Document:
    return Document(id, text, "test", title)


# --- passages


def test_the_ranking_is_bm25_as_written_in_the_papers() -> None:
    texts = ["cat dog", "cat bird bird cat fish", "horse", "cow pig hen", "sheep goat"]
    with LexicalIndex(document(str(at), text) for at, text in enumerate(texts)) as index:
        found = index.search("cat bird", 5)
    words = [text.split() for text in texts]
    mean = sum(map(len, words)) / len(words)

    def score(of: list[str]) -> float:
        total = 0.0
        for term in ("cat", "bird"):
            df = sum(term in other for other in words)
            idf = math.log((len(words) - df + 0.5) / (df + 0.5))
            tf = of.count(term)
            total += idf * tf * 2.2 / (tf + 1.2 * (1 - 0.75 + 0.75 * len(of) / mean))
        return total

    assert [passage.id for passage in found] == ["1", "0"]
    assert [passage.score for passage in found] == approx([score(words[1]), score(words[0])])


def test_chinese_is_found_by_pairs_of_characters() -> None:
    assert list(terms("SQL 数据库！Index_3")) == ["sql", "数据", "据库", "index", "3"]
    texts = {"index": "索引让查找更快。", "table": "数据库把每一行写入表。", "law": "合同自签字之日起生效。"}
    with LexicalIndex(document(id, text) for id, text in texts.items()) as index:
        assert [found.id for found in index.search("数据库的表在哪里？", 3)] == ["table"]
        assert index.search("？！", 3) == [] and index.search("nothing of it", 3) == []


def test_what_would_be_syntax_to_the_index_is_only_words() -> None:
    with LexicalIndex([document("a", 'a "quoted" NEAR AND (OR) thing*')]) as index:
        assert [found.id for found in index.search('" OR NEAR( AND * ^x - quoted"', 2)] == ["a"]


def test_the_same_passage_of_two_documents_is_given_once() -> None:
    with LexicalIndex([document("a", "one cat"), document("b", "one cat"), document("c", "cat two")]) as index:
        assert [found.id for found in index.search("cat", 3)] == ["a", "c"]


def test_of_a_long_query_the_rarest_words_are_looked_for() -> None:
    common = [f"common{at}" for at in range(MOST_TERMS)]
    texts = {f"d{at}": " ".join(common) for at in range(20)} | {"rare": f"zebra {' '.join(common)}", "none": "nothing"}
    with LexicalIndex(document(id, text) for id, text in texts.items()) as index:
        # the rare word stands last; words that no passage holds take no place
        query = " ".join([*common, *(f"unheard{at}" for at in range(100)), "zebra"])
        assert index.search(query, 1)[0].id == "rare"
        assert index.search(" ".join(f"unheard{at}" for at in range(100)), 1) == []


@pytest.mark.parametrize("size", [20, 57, 1000])
def test_passages_hold_the_whole_text_and_none_is_too_long(size: int) -> None:
    rng = random.Random(0)
    sentences = ["".join(rng.choices("abc def", k=rng.randint(3, 90))).strip() + "." for _ in range(60)]
    text = "".join(sentence + rng.choice([" ", "\n\n", "\n"]) for sentence in sentences) + "长" * 50
    found = cut(text, size)
    assert max(map(len, found)) <= size
    assert "".join("".join(found).split()) == "".join(text.split())


def test_passages_stand_before_the_question_in_its_language() -> None:
    found = [Found("a", "Locks", "One writer.", 1.0), Found("b", "", "Many readers.", 0.5)]
    assert with_passages("How many?", found) == (
        "Passages from the documents:\n\n[1] Locks\nOne writer.\n\n[2] Many readers.\n\nQuestion: How many?"
    )
    assert with_passages("有多少个 writer？", found).endswith("问题： 有多少个 writer？")


# --- examples


def train_rows() -> list[Conversation]:
    return [task("train", schema, at) for schema in range(5) for at in (1, 2)]


def test_no_example_is_the_asked_row_or_of_its_cluster() -> None:
    rows = train_rows()
    for seed in range(10):
        shown = Examples(rows, seed)
        for row in rows:
            found = shown.of(row.task, 10, row.cluster, row.id)
            assert len(found) == 8 and row.cluster not in {one.cluster for one in found}
    lone = [row._replace(cluster=None) for row in rows]
    assert rows[0].id not in {one.id for one in Examples(lone).of(rows[0].task, 10, None, rows[0].id)}


def test_examples_are_of_many_clusters_and_drawn_by_the_seed() -> None:
    rows = train_rows()
    drawn = {tuple(row.id for row in Examples(rows, seed).of("text-to-sql", 4, None, "")) for seed in range(8)}
    assert len(drawn) > 1
    again = Examples(list(reversed(rows)), 3).of("text-to-sql", 4, None, "")
    assert [row.id for row in again] == [row.id for row in Examples(rows, 3).of("text-to-sql", 4, None, "")]
    assert len({row.cluster for row in again}) == 4
    assert Examples(rows).of("another task", 4, None, "") == []


def test_examples_are_turns_behind_the_questions_own_system_message() -> None:
    asked = task("seen", 0, 1).messages[:-1]
    other = task("train", 3, 2)
    same = other._replace(messages=[asked[0], *other.messages[1:]])
    shown = with_examples(asked, [other, same])
    assert [message.role for message in shown] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert shown[0] == asked[0] and shown[-1] == asked[-1]
    assert shown[1].content == f"{other.messages[0].content}\n\n{other.messages[1].content}"
    assert shown[3] == other.messages[1]


def test_example_choices_are_answered_with_the_right_options_own_words() -> None:
    rows = example_choices(document(f"d{at}", prose(at)) for at in range(12))
    assert len(rows) >= 8
    for row in rows:
        question, answer = (message.content for message in row.messages)
        assert question.startswith("Which") and answer and row.cluster in {f"d{at}" for at in range(12)}
        assert answer in " ".join(prose(int(str(row.cluster)[1:])).split())


def prose(seed: int) -> str:
    rng = random.Random(seed)
    return "\n\n".join(sentence(rng) for _ in range(8))


def context(longest: int, **more: object) -> InContext:
    index = LexicalIndex(document(str(at), f"cat {at} " + "word " * 10) for at in range(4))
    settings = {"examples": Examples(train_rows()), "shots": 3, "index": index, "passages": 3} | more
    return InContext(
        lambda messages: sum(len(message.content.split()) for message in messages),
        lambda text: len(text.split()),
        longest,
        **settings,  # type: ignore[arg-type]
    )


def test_what_does_not_fit_is_left_out_examples_first_and_counted() -> None:
    asked = [Message("user", "Where is the cat?")]
    whole = context(10_000)
    assert [len(part) for part in whole.ask(asked, 10, "text-to-sql")[1:]] == [3, 3]
    narrow = context(10 + 4 + 6 + 2 * 15)  # the question, the answer, and room for two passages
    found = narrow.ask(asked, 10, "text-to-sql")
    assert found.shots == [] and len(found.passages) == 2
    gone = "does not fit the model's window"
    assert narrow.counts == {"shot": Counter({gone: 3}), "passage": Counter({gone: 1, "kept": 2})}
    tight = context(10_000, passage_tokens=15)
    assert len(tight.ask(asked, 10, None).passages) == 1
    assert tight.counts["passage"]["over the budget of tokens"] == 2


def test_a_question_without_examples_or_passages_is_asked_as_it_is() -> None:
    asked = [Message("user", "Hello?")]
    found = context(10_000).ask(asked, 10, "another task")
    assert found == (asked, [], [])


# --- the step


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("shop"), HOST)


@pytest.fixture(scope="module")
def exam(tiny_model_folder: Path) -> MakeExam:
    return MakeExam(
        corpus=SomeDocuments(),
        tasks=(SomeTasks(),),
        origin=given(tiny_model_folder),
        characters=1500,
        choices=6,
        general_prompts=4,
        max_tokens=6,
        window=64,
        precision="float32",
    )


def test_a_baseline_sits_the_same_exam_and_is_compared_with_the_plain_model(
    shop: Workshop, exam: MakeExam, tiny_model_folder: Path
) -> None:
    model = given(tiny_model_folder)
    plain = shop.make(Examine(model=model, exam=exam))
    both = shop.make(Examine(model=model, exam=exam, shots=2, retrieval=SomeDocuments(), passages=2))
    assert (both.folder / "exam.json").read_bytes() == (plain.folder / "exam.json").read_bytes()
    assert setting_of(plain) == Setting() and setting_of(both).words == "few-shot (2) + RAG (2)"
    assert {figure.model for figure in both.figures()} == {"test-given-model+few-shot+RAG"}
    names = {one.name for one in compare(plain, both)}
    assert names == {"execution", "agreement", "multiple_choice", "sql_to_general_prompts"}
    rows = {(row["name"], row["id"]): row for row in AnswerLog(both.folder / "answers.jsonl").rows.values()}
    shown = rows["execution", "seen/0/1"]
    assert len(shown["shots"]) == 2 and all(id.startswith("train/") for id in shown["shots"])
    assert all(len(row["shots"]) == 2 for (name, _), row in rows.items() if name == "multiple_choice")
    assert all(row["shots"] == [] for (name, _), row in rows.items() if name in ("agreement", "sql_to_general_prompts"))
    assert all(1 <= len(row["passages"]) <= 2 for (name, _), row in rows.items() if name == "multiple_choice")
    lines = {line.unit: line for line in both.record.ledger.lines}
    # eight tasks and six choices have two examples each; three questions in prose have none to show
    assert lines["shot"].kept == 2 * (8 + 6) and lines["shot"].dropped == {"no example of the task": 6}
    assert lines["passage"].came == 2 * (11 + 6 + 4)
    assert not list(both.folder.glob(".scratch*"))
    verdict = enough({"plain": plain}, both)
    assert [one.name for one in verdict.rivals[0].differences] == ["execution", "agreement", "multiple_choice"]
    assert list(untrained({"base": plain, "both": both})) == ["base", "both"]


def test_an_answer_with_passages_is_that_of_the_whole_prompt(
    shop: Workshop, exam: MakeExam, tiny_model_folder: Path
) -> None:
    from metier.core.chat import Decoding
    from metier.core.engine import EngineChat
    from metier.evaluate.material import read_material

    made = shop.make(Examine(model=given(tiny_model_folder), exam=exam, retrieval=SomeDocuments(), passages=1))
    row = read_material(shop.make(exam).folder).rows[0]
    told = AnswerLog(made.folder / "answers.jsonl").rows["execution", "seen", row.id]  # type: ignore[index]
    with LexicalIndex(shop.make(SomeDocuments()).rows()) as index:
        found = index.search(row.messages[1].content, 1)
    asked = [row.messages[0], Message("user", with_passages(row.messages[1].content, found))]
    chat = EngineChat(tiny_model_folder, HOST, "float32")
    assert told["answer"] == chat.complete([asked], Decoding(max_tokens=6))[0][0].text


def test_shots_without_training_rows_are_a_mistake_before_anything_runs(
    exam: MakeExam, tiny_model_folder: Path
) -> None:
    with pytest.raises(ValueError, match="give them as `examples`"):
        Examine(model=given(tiny_model_folder), exam=exam, shots=2, examples=(), example_documents=None)
    with pytest.raises(ValueError, match="`shots` says to show none"):
        Examine(model=given(tiny_model_folder), exam=exam, examples=(SomeTasks(),))


# --- the verdict


def examination(folder: Path, right: int, *, n: int = 400, setting: Setting | None = None, model: str = "m") -> Scores:
    """An examination of `n` questions, of which the first `right` are answered, whose model answers no SQL."""
    folder.mkdir()
    rows = [{"name": "execution", "split": "seen", "id": str(at), "score": float(at < right)} for at in range(n)]
    rows += [{"name": "sql_to_general_prompts", "split": "general_prompts", "id": "g", "score": 0.0}]
    if setting is None:
        rows += [
            {"name": "perplexity", "split": "held_out", "id": "t", "cluster": "t", "nats": 1.0, "tokens": 2, "bytes": 3}
        ]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "exam.json").write_text(json.dumps({"conditions": {}, "counts": {}, "digest": "one"}))
    if setting is not None:
        (folder / "setting.json").write_text(json.dumps(setting._asdict()))
    record = Record(
        step="examine", version=1, key=folder.name, recipe={}, inputs={"model": [model]}, ledger=Ledger(),
        output_sha256="", output_bytes=0, finished="", seconds=0,
    )  # fmt: skip
    (folder / "record.json").write_text(record.model_dump_json())
    return Scores(folder)


SKIPPED = ("perplexity", "chat_reply_perplexity")


def verdict(folder: Path, plain: int, shots: int, rag: int, final: int, n: int = 400) -> Enough:
    models = {
        "base": examination(folder / "a", plain, n=n),
        "base+RAG": examination(folder / "b", rag, n=n, setting=Setting(0, 4, SKIPPED)),
        "base+few-shot": examination(folder / "c", shots, n=n, setting=Setting(3, 0, SKIPPED)),
        "SFT": examination(folder / "d", final, n=n, model="other"),
    }
    return enough(untrained(models), models["SFT"], "SFT")


def test_rag_alone_is_enough_where_it_answers_as_much_as_the_trained_model(tmp_path: Path) -> None:
    found = verdict(tmp_path, 100, 150, 300, 300)
    assert [rival.label for rival in found.rivals] == ["base", "base+few-shot", "base+RAG"]
    assert [rival.worse for rival in found.rivals] == [True, True, False]
    assert found.found is not None and found.found.close
    assert found.words == "RAG (4) is enough: base+RAG is within 3 points of SFT on every figure."


def test_the_cheapest_that_is_enough_is_named(tmp_path: Path) -> None:
    found = verdict(tmp_path, 100, 300, 300, 300)
    assert found.found is not None and found.found.label == "base+few-shot"


def test_where_every_baseline_is_worse_the_training_was_needed(tmp_path: Path) -> None:
    found = verdict(tmp_path, 100, 150, 160, 300)
    assert found.found is None and found.words.startswith("The training was needed: base, base+few-shot, base+RAG")


def test_a_small_exam_does_not_show_that_a_baseline_is_as_good(tmp_path: Path) -> None:
    found = verdict(tmp_path, 2, 11, 12, 14, n=20)
    best = found.found
    assert best is not None and best.label == "base+few-shot" and not best.close and best.most > 0.1
    assert "may be enough" in found.words and f"{100 * best.most:.0f} points" in found.words
    # three of twenty lost, none gained: one in eight by chance
    assert best.chances == [approx(1 / 8)]


def test_what_cannot_be_judged_is_said(tmp_path: Path) -> None:
    one, other = examination(tmp_path / "a", 3, n=9), examination(tmp_path / "b", 3, n=9)
    with pytest.raises(Mistake, match="no baseline"):
        enough({}, one)
    for scores in (one, other):
        path = scores.folder / "answers.jsonl"
        path.write_text("".join(line + "\n" for line in path.read_text().splitlines() if "execution" not in line))
    with pytest.raises(Mistake, match="grades nothing"):
        enough({"a": one}, other)
    (one.folder / "setting.json").write_text("{}")
    with pytest.raises(Failure, match=r"setting\.json"):
        setting_of(one)
    with pytest.raises(Failure, match=r"setting\.json"):
        compare(one, other)
