"""The search for a decoding: greedy is kept unless another is clearly better on rows that nobody searched on."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from metier.core import Host, Mistake, Step, Work, Workshop
from metier.core.chat import Decoding, Message, Reply
from metier.core.llamacpp import Sampling
from metier.core.recipe import load_recipe
from metier.core.types import Conversation, Conversations, Model
from metier.evaluate import DecodingSearch, MakeExam
from metier.evaluate.answer_log import AnswerLog
from metier.evaluate.decoding_default import generation_config
from metier.evaluate.decoding_search import confirmed, halved, label, require_both
from metier.evaluate.halving import Round, halving, rounds
from metier.evaluate.material import read_material
from tests.evaluate.exam_steps import SomeDocuments, given

HOST = dataclasses.replace(Host.here(), threads=1, gpus=())


# --- successive halving


def test_each_round_has_a_third_of_the_candidates_on_three_times_the_items() -> None:
    assert rounds(27, 270, 3, 10) == [Round(27, 30), Round(9, 90), Round(3, 270)]
    assert rounds(27, 60, 3, 16) == [Round(27, 20), Round(9, 60)]
    assert rounds(27, 40, 3, 16) == [Round(27, 40)]
    assert rounds(1, 40, 3, 16) == [Round(1, 40)]


def test_halving_finds_the_best_with_less_work_than_the_grid() -> None:
    truth = [0.5 + at / 100 for at in range(27)]
    work = 0

    def measure(some: Sequence[int], items: int) -> list[float]:
        nonlocal work
        work += len(some) * items
        return [truth[at] for at in some]

    standings = halving(27, rounds(27, 270, 3, 10), measure, always=(0,))
    assert [at for at, one in enumerate(standings) if one.round == 2] == [0, 24, 25, 26]
    assert standings[26].items == 270 and standings[1].items == 30
    assert work < 27 * 270 / 2


def test_of_equal_candidates_the_earlier_goes_on() -> None:
    standings = halving(9, rounds(9, 90, 3, 10), lambda some, items: [0.5] * len(some))
    assert [one.round for one in standings] == [1, 1, 1, 0, 0, 0, 0, 0, 0]


def test_no_cluster_is_in_both_halves() -> None:
    rows = list(questions(90))
    found = halved(rows, random.Random(1))
    assert not {row.cluster for row in found.search} & {row.cluster for row in found.confirm}
    assert sorted(row.id for part in found for row in part) == sorted(row.id for row in rows)
    assert abs(len(found.search) - len(found.confirm)) <= 3


@pytest.mark.parametrize(
    ("sizes", "enough"),
    [
        ([40], False),  # all in one half
        ([20, 6, 5, 5, 4], False),  # four clusters to confirm on: the rarest pattern of signs is one in 16
        ([20, 4, 4, 4, 4, 4], True),  # five: one in 32
        ([1] * 31, False),
        ([1] * 32, True),
    ],
)
def test_both_halves_have_rows_and_clusters_enough(sizes: Sequence[int], enough: bool) -> None:
    rows = [
        Conversation(f"{cluster}/{at}", [], "t", "held_out", "test", f"c{cluster}", None)
        for cluster, size in enumerate(sizes)
        for at in range(size)
    ]
    halves = halved(rows, random.Random(0))
    if enough:
        require_both(halves)
        return
    with pytest.raises(Mistake, match="16 others of 5 clusters to confirm on"):
        require_both(halves)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("temperatures", (-1,)),
        ("top_ps", (1.0, 0.0)),
        ("top_ks", (-1,)),
        ("repetition_penalties", (0,)),
        ("max_tokens", (64, -1)),
    ],
)
def test_a_value_that_no_decoding_has_is_refused_by_its_field_as_the_recipe_loads(
    tmp_path: Path, field: str, values: Sequence[float]
) -> None:
    recipe = tmp_path / "metier.yaml"
    recipe.write_text(
        "base: {step: tiny-model}\nasked: {step: test-decoding-questions}\n"
        f"better: {{step: decoding-search, model: $base, tasks: [$asked], {field}: {list(values)}}}\n"
    )
    with pytest.raises(Mistake, match=rf"'better.{field}' does not fit: {values[-1]:g} is none: input should be"):
        load_recipe(recipe)


# --- the default


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(),
        Decoding(repetition_penalty=1.1),
        Decoding(temperature=0.7, top_p=0.9, top_k=0),
        Decoding(temperature=1.0),
    ],
)
def test_transformers_and_llamacpp_read_the_same_default(tmp_path: Path, decoding: Decoding) -> None:
    from transformers import GenerationConfig

    before = {"eos_token_id": 7, "temperature": 0.2, "top_k": 20, "min_p": 0.1, "do_sample": True, "max_length": 99}
    config = generation_config(before, decoding, limited=True)
    (tmp_path / "generation_config.json").write_text(json.dumps(config))
    loaded = GenerationConfig.from_pretrained(tmp_path)
    assert loaded.eos_token_id == 7 and loaded.max_new_tokens == decoding.max_tokens
    assert (loaded.do_sample, loaded.repetition_penalty) == (decoding.temperature > 0, decoding.repetition_penalty)
    read = Sampling.of_model(tmp_path)
    assert (read.temperature, read.repetition_penalty) == (decoding.temperature, decoding.repetition_penalty)
    assert (read.top_p, read.top_k, read.min_p, read.max_tokens) == (decoding.top_p, decoding.top_k, 0.0, 128)
    if decoding.temperature:
        assert (loaded.temperature, loaded.top_p, loaded.top_k) == (
            decoding.temperature,
            decoding.top_p,
            decoding.top_k,
        )


# --- the step


def questions(count: int, together: int = 3) -> Iterator[Conversation]:
    for at in range(count):
        split = "train" if at % 10 == 0 else "held_out"
        messages = [Message("user", f"What is value {at}?"), Message("assistant", "yes")]
        check = {"scorer": "agreement", "reference": "yes"}
        yield Conversation(f"q{at}", messages, "doc-qa", split, "test", f"c{at // together}", check)


class Questions(Step[Conversations]):
    """Questions whose right answer is "yes"; every tenth is trained on."""

    name: ClassVar[str] = "test-decoding-questions"
    count: int = 240
    together: int = 3

    def run(self, work: Work) -> None:
        made = Conversations.write(work.folder, questions(self.count, self.together))
        work.count("conversation", made, made, made={"conversation": made})


class Answers:
    """Stands in for the engine: says "yes" as often as `share` of a decoding has it, by a draw of its own."""

    def __init__(self, share: Callable[[Decoding], float], stop_after: int | None = None) -> None:
        self.share, self.stop_after, self.given = share, stop_after, 0

    def __call__(self, *_: Any) -> Answers:
        return self

    def complete(
        self,
        conversations: Sequence[Sequence[Message]],
        decoding: Decoding,
        seen: Callable[[int, list[Reply]], None],
        until: Callable[[int, str], bool],
    ) -> None:
        for at, messages in enumerate(conversations):
            if self.given == self.stop_after:
                raise KeyboardInterrupt
            self.given += 1
            luck = random.Random(f"{messages[-1].content} {label(decoding)}").random()
            seen(at, [Reply("yes" if luck < self.share(decoding) else "no", 1, True)])


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "shop", HOST)


def search(
    shop: Workshop, folder: Path, monkeypatch: pytest.MonkeyPatch, answers: Answers, **fields: Any
) -> tuple[Model, dict[str, Any]]:
    monkeypatch.setattr("metier.core.engine.EngineChat", answers)
    step = DecodingSearch(model=given(folder), tasks=(Questions(),), **fields)
    made = shop.make(step)
    return made, json.loads((made.folder / "decoding.json").read_text())


def test_a_clearly_better_decoding_becomes_the_models_default(
    shop: Workshop, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    better = Answers(lambda decoding: 0.9 if decoding.repetition_penalty > 1 else 0.5)
    made, told = search(shop, tiny_model_folder, monkeypatch, better)
    assert told["winner"]["repetition_penalty"] == 1.1 and not told["greedy_kept"]
    top, *rest = told["candidates"]
    assert top["label"] == told["best_of_search"] and top["minus_best"] is None
    assert all(row["minus_best"]["value"] == pytest.approx(row["value"] - 0.9, abs=0.2) for row in rest)
    assert told["confirmed"]["chance"] <= 0.05 and told["confirmed"]["difference"]["low"] > 0
    assert Sampling.of_model(made.model_folder).repetition_penalty == 1.1
    source = shop.make(given(tiny_model_folder)).model_folder
    for path in source.glob("*.safetensors"):
        assert (made.model_folder / path.name).stat().st_ino == path.stat().st_ino
    names = {path.name for path in source.iterdir()}
    assert {path.name for path in made.model_folder.iterdir()} == names
    assert len(told["candidates"]) == len({row["label"] for row in told["candidates"]}) == 2 + 3 * 2 * 2 * 2


@pytest.mark.parametrize("method", ["halving", "grid"])
def test_greedy_is_kept_where_all_are_alike(
    shop: Workshop, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    made, told = search(shop, tiny_model_folder, monkeypatch, Answers(lambda _: 0.5), method=method)
    assert told["greedy_kept"] and told["winner"]["temperature"] == 0
    # the best of 26 alike looks better where it was searched, and is not where it was not
    assert told["candidates"][0]["value"] > 0.5 and told["confirmed"]["difference"]["low"] < 0
    assert Sampling.of_model(made.model_folder).temperature == 0
    dropped = {row["dropped_after_round"] for row in told["candidates"]}
    assert dropped == ({None} if method == "grid" else {1, None})


@pytest.mark.slow
def test_an_equal_decoding_takes_greedys_place_in_at_most_5_of_100_searches() -> None:
    rows, rng, taken = list(questions(120)), random.Random(0), 0
    for _ in range(2000):
        greedy, other = ([float(rng.random() < 0.5) for _ in rows] for _ in range(2))
        taken += confirmed(greedy, other, rows).chance <= 0.05
    assert taken / 2000 <= 0.05


def test_no_row_of_the_exam_or_of_training_is_searched_on(
    shop: Workshop, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exam = MakeExam(
        corpus=SomeDocuments(), tasks=(Questions(),), origin=given(tiny_model_folder), prose_per_split=40,
        general_prompts=0, characters=0, choices=0,
    )  # fmt: skip
    asked = {row.id for row in read_material(shop.make(exam).folder).rows}
    made, _ = search(shop, tiny_model_folder, monkeypatch, Answers(lambda _: 0.5), exam=exam)
    searched = {place.id for place in AnswerLog(made.folder / "answers.jsonl").rows}
    assert len(asked) == 40 and len(searched) == 240 - 24 - 40 and not asked & searched
    assert not {f"q{at}" for at in range(0, 240, 10)} & searched
    with pytest.raises(Mistake, match="a search needs 32 rows"):
        search(shop, tiny_model_folder, monkeypatch, Answers(lambda _: 0.5), split="nowhere")


def test_rows_of_one_cluster_are_refused_before_the_model_is_loaded(
    shop: Workshop, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("metier.core.engine.EngineChat", loaded)
    with pytest.raises(Mistake, match="to confirm on"):
        shop.make(DecodingSearch(model=given(tiny_model_folder), tasks=(Questions(together=240),)))


def test_a_search_killed_half_way_goes_on_and_finds_the_same(
    shop: Workshop, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def share(decoding: Decoding) -> float:
        return 0.9 - decoding.temperature / 2

    whole = Answers(share)
    _, told = search(shop, tiny_model_folder, monkeypatch, whole)
    other = Workshop(tmp_path / "other", HOST)
    with pytest.raises(KeyboardInterrupt):
        search(other, tiny_model_folder, monkeypatch, Answers(share, stop_after=700))
    rest = Answers(share)
    _, again = search(other, tiny_model_folder, monkeypatch, rest)
    assert again == told and rest.given == whole.given - 700


def test_a_real_model_is_searched_and_still_loads(shop: Workshop, tiny_model_folder: Path) -> None:
    from metier.core.engine import EngineChat

    step = DecodingSearch(
        model=given(tiny_model_folder), tasks=(Questions(),), temperatures=(0.0, 1.0), top_ps=(0.9,), top_ks=(5,),
        repetition_penalties=(1.0,), max_tokens=(4,), limit=32, precision="float32",
    )  # fmt: skip
    made = shop.make(step)
    told = json.loads((made.folder / "decoding.json").read_text())
    assert [row["label"] for row in told["candidates"]] == [
        "greedy, 4 tokens",
        "temperature 1, top_p 0.9, top_k 5, 4 tokens",
    ]
    assert told["greedy_kept"]  # a model that knows nothing answers nothing either way
    assert EngineChat(made.model_folder, HOST, "float32").stops == EngineChat(tiny_model_folder, HOST, "float32").stops
