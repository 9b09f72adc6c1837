"""General benchmarks through lm-eval: equal to its own model, kept task by task, clear where data are missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metier.core import Failure, Mistake, Workshop
from metier.core.artifact import Artifact
from metier.core.types import Scores
from metier.evaluate import LmEval
from metier.evaluate.compare import compare
from metier.evaluate.gate import check
from metier.models.tiny import TinyModel
from tests.evaluate.benchmark_folder import benchmark_folder, write_rows

pytest.importorskip("lm_eval")

ALL = ("own_choices", "own_letters", "own_answers", "own_texts")


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Keep what `datasets` writes in the tests' own folder."""
    import datasets

    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("datasets")
    yield
    datasets.config.HF_DATASETS_CACHE = before


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return benchmark_folder(tmp_path_factory.mktemp("benchmarks"))


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("runs"))


def step(folder: Path, *tasks: str, seed: int = 0, **more: Any) -> LmEval:
    return LmEval(model=TinyModel(vocab_size=400, seed=seed), tasks=tasks, folder=folder, precision="float32", **more)


@pytest.fixture(scope="module")
def scores(workshop: Workshop, folder: Path) -> Scores:
    return workshop.make(step(folder, *ALL))


@pytest.fixture(scope="module")
def theirs(workshop: Workshop, folder: Path) -> dict[str, Any]:
    """The same tasks by lm-eval's own Hugging Face model."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from metier.evaluate.harness.tasks import Catalogue, quiet

    model = workshop.make(TinyModel(vocab_size=400)).model_folder
    catalogue = Catalogue(folder)
    with quiet():
        tasks = [catalogue.build(leaf) for leaf in catalogue.leaves(ALL)]
        found = simple_evaluate(
            HFLM(pretrained=str(model), dtype="float32", device="cpu", batch_size=1),
            tasks=tasks,
            task_manager=TaskManager(include_defaults=False),
            bootstrap_iters=0,
        )
    assert found is not None
    return dict(found)


def rows(scores: Artifact, name: str, split: str) -> dict[str, dict[str, Any]]:
    lines = map(json.loads, (scores.folder / "answers.jsonl").read_text().splitlines())
    return {row["id"]: row for row in lines if (row["name"], row["split"]) == (name, split)}


@pytest.mark.parametrize(
    ("task", "metric"),
    [("own_choices", "acc"), ("own_choices", "acc_norm"), ("own_letters", "acc"), ("own_answers", "exact_match")],
)
def test_every_item_is_graded_as_by_lm_evals_own_model(
    scores: Scores, theirs: dict[str, Any], task: str, metric: str
) -> None:
    found = rows(scores, task, metric)
    samples = theirs["samples"][task]
    assert len(found) == len(samples) == 12
    for sample in samples:
        row = found[f"{task}/{sample['doc_id']}"]
        assert row["score"] == sample[metric]
        if task == "own_answers":
            assert row["answer"] == sample["filtered_resps"][0]
        else:
            told = [float(part) for part in row["reason"].split("nats: ")[1].split(", ")]
            assert told == pytest.approx([nats for nats, _ in sample["filtered_resps"]], abs=2e-3)
    figure = next(one for one in scores.figures() if (one.name, one.split) == (task, metric))
    assert figure.value == pytest.approx(theirs["results"][task][f"{metric},none"])
    assert figure.low is not None and figure.high is not None and figure.low <= figure.value <= figure.high


def test_the_loss_of_whole_texts_is_that_of_lm_evals_rolling_windows(scores: Scores, theirs: dict[str, Any]) -> None:
    found = rows(scores, "perplexity", "own_texts")
    for sample in theirs["samples"]["own_texts"]:
        assert found[f"own_texts/{sample['doc_id']}"]["nats"] == pytest.approx(-sample["filtered_resps"][0], rel=1e-5)
    figure = next(one for one in scores.figures() if one.name == "perplexity_per_byte")
    assert figure.value == pytest.approx(theirs["results"]["own_texts"]["byte_perplexity,none"], rel=1e-5)


def test_a_text_longer_than_the_model_is_read_in_lm_evals_windows(workshop: Workshop, tmp_path: Path) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from metier.core import Host
    from metier.core.engine import EngineChat
    from metier.evaluate.harness.engine_lm import EngineLM

    model = workshop.make(TinyModel(vocab_size=400)).model_folder
    ours = EngineLM(EngineChat(model, Host.here(), "float32"))
    text = "An index makes a lookup fast. " * 700
    asked = [Instance("loglikelihood_rolling", {}, (text,), 0), Instance("loglikelihood_rolling", {}, ("one",), 0)]
    assert len(ours.tok_encode(text)) > 2 * ours.max_length
    theirs = HFLM(pretrained=str(model), dtype="float32", device="cpu", batch_size=1)
    expected = theirs.loglikelihood_rolling(asked, disable_tqdm=True)
    assert ours.loglikelihood_rolling(asked) == pytest.approx(expected, rel=1e-5)
    long = [Instance("loglikelihood", {}, (text, " fast"), 0), Instance("loglikelihood", {}, ("", "one"), 0)]
    for mine, other in zip(ours.loglikelihood(long), theirs.loglikelihood(long, disable_tqdm=True), strict=True):
        assert mine[0] == pytest.approx(other[0], abs=1e-3) and mine[1] == other[1]
    assert ours.cut == 1


def test_a_metric_of_all_answers_together_is_a_figure_without_rows(scores: Scores, theirs: dict[str, Any]) -> None:
    figure = next(one for one in scores.figures() if one.split == "mcc")
    assert figure.value == pytest.approx(theirs["results"]["own_choices"]["mcc,none"])
    assert not rows(scores, "own_choices", "mcc")


def test_the_card_says_which_version_shots_and_data_a_figure_belongs_to(scores: Scores) -> None:
    card = json.loads((scores.folder / "exam.json").read_text())
    assert card["counts"] == {"own_choices": 12, "own_letters": 12, "own_answers": 12, "own_texts": 5}
    told = card["tasks"]["own_letters"]
    assert (told["version"], told["shots"], told["of"]) == ("1", 2, 12) and len(told["data"]) == 64


def test_two_models_are_compared_and_gated_item_by_item(workshop: Workshop, folder: Path, scores: Scores) -> None:
    other = workshop.make(step(folder, *ALL, seed=1))
    names = {(one.name, one.split) for one in compare(scores, other)}
    assert names == {
        ("own_choices", "acc"), ("own_choices", "acc_norm"), ("own_letters", "acc"), ("own_answers", "exact_match"),
        ("perplexity", "own_texts"), ("perplexity_per_byte", "own_texts"),
    }  # fmt: skip
    assert len(check(scores, other)) == 5


def test_other_shots_are_another_exam(workshop: Workshop, folder: Path) -> None:
    pair = [workshop.make(step(folder, "own_letters", shots=shots, limit=4)) for shots in (0, 1)]
    with pytest.raises(Mistake, match="unlike exams"):
        compare(*pair)


def test_a_group_is_one_figure_over_all_its_tasks(workshop: Workshop, folder: Path) -> None:
    made = workshop.make(step(folder, "own_panel", limit=3))
    assert {(one.name, one.split, one.n) for one in made.figures() if one.split == "acc"} == {("own_panel", "acc", 6)}
    assert {row["task"] for row in rows(made, "own_panel", "acc").values()} == {"own_choices", "own_letters"}


def test_a_data_set_beside_the_recipe_stands_in_for_the_hubs(workshop: Workshop, folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "benchmarks"
    (copy / "team" / "choices").mkdir(parents=True)
    text = (folder / "choices.yaml").read_text().replace("dataset_path: json", "dataset_path: team/choices")
    (copy / "own.yaml").write_text(
        text.replace("dataset_kwargs: {data_files: {test: choices.jsonl, train: shots.jsonl}}\n", "")
    )
    for split, source in {"test": "choices.jsonl", "train": "shots.jsonl"}.items():
        (copy / "team" / "choices" / f"{split}.jsonl").write_bytes((folder / source).read_bytes())
    made = workshop.make(step(copy, "own_choices", limit=3))
    assert made.figures()[0].n == 3


def test_an_unknown_benchmark_is_named_with_the_nearest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metier.evaluate.harness import tasks

    catalogue = tasks.Catalogue(folder)
    monkeypatch.setattr(catalogue, "_indexes", lambda ids: [next(tasks.Catalogue(folder)._indexes(ids))])
    with pytest.raises(Mistake, match="no benchmark 'own_choice'") as error:
        catalogue.leaves(["own_choice"])
    assert "own_choices" in str(error.value)


def test_another_version_than_wanted_is_refused_before_anything_runs(workshop: Workshop, folder: Path) -> None:
    with pytest.raises(Mistake, match="another version") as error:
        workshop.make(step(folder, "own_choices", versions={"own_choices": "2"}))
    assert "version 3, wanted 2" in str(error.value)


def test_a_task_asked_for_twice_is_refused(folder: Path) -> None:
    from metier.evaluate.harness.tasks import Catalogue

    with pytest.raises(Mistake, match="asked for twice"):
        Catalogue(folder).leaves(["own_panel", "own_letters"])


def test_data_that_a_hub_does_not_give_say_how_to_bring_them(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import huggingface_hub.constants

    from metier.evaluate.harness.tasks import Catalogue

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    (tmp_path / "own.yaml").write_text(
        (folder / "answers.yaml").read_text().replace("dataset_path: json", "dataset_path: team/absent")
    )
    catalogue = Catalogue(tmp_path)
    (leaf,) = catalogue.leaves(["own_answers"])
    (tmp_path / "choices.jsonl").touch()
    with pytest.raises(Mistake, match="no hub gives them") as error:
        catalogue.build(leaf)
    assert "--local-dir FOLDER/team/absent" in str(error.value)


def test_a_file_of_another_layout_stops_its_task_and_the_others_are_kept(
    workshop: Workshop, folder: Path, tmp_path: Path
) -> None:
    broken = benchmark_folder(tmp_path / "benchmarks", questions=3)
    (broken / "answers.yaml").write_text((broken / "answers.yaml").read_text().replace("choices.jsonl", "old.jsonl"))
    write_rows(broken / "old.jsonl", [{"stem": "what?", "key": "that"}])
    asked = step(broken, "own_answers", "own_letters")
    with pytest.raises(Mistake, match="1 of 2 benchmarks did not run: own_answers") as error:
        workshop.make(asked)
    assert "'question' is undefined" in str(error.value) and "What ran is kept" in str(error.value)
    (kept,) = (workshop.folder).glob("lm-eval-*/.scratch-tasks/own_letters.json")
    assert len(json.loads(kept.read_text())["rows"]) == 3


def test_a_finished_task_is_not_run_again(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metier.evaluate.harness.engine_lm import EngineLM

    runs = Workshop(tmp_path)
    asked = step(folder, "own_letters", "own_answers", limit=3)
    answer, scored = EngineLM.generate_until, []

    def killed(*_: Any, **__: Any) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(EngineLM, "generate_until", killed)
    with pytest.raises(KeyboardInterrupt):
        runs.make(asked)
    monkeypatch.setattr(EngineLM, "generate_until", answer)
    monkeypatch.setattr(EngineLM, "loglikelihood", lambda *_, **__: scored.append(1))
    made = runs.make(asked)
    assert not scored and {one.name for one in made.figures()} == {"own_letters", "own_answers"}
    assert not (made.folder / ".scratch-tasks").exists()


def test_a_benchmark_that_runs_out_of_memory_is_not_called_one_of_other_data(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from metier.evaluate.harness.engine_lm import EngineLM

    def full(*_: Any, **__: Any) -> list[str]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nof which")

    monkeypatch.setattr(EngineLM, "generate_until", full)
    with pytest.raises(Failure, match="'own_answers' ran out of memory") as error:
        Workshop(tmp_path).make(step(folder, "own_answers", limit=2))
    assert "20.00 GiB" in str(error.value) and "precision: bfloat16" in str(error.value)


def test_a_task_that_runs_programs_is_sent_to_the_sandbox(tmp_path: Path, folder: Path) -> None:
    from metier.evaluate.harness.tasks import Catalogue

    (tmp_path / "own.yaml").write_text((folder / "answers.yaml").read_text() + "unsafe_code: true\n")
    (tmp_path / "choices.jsonl").write_bytes((folder / "choices.jsonl").read_bytes())
    catalogue = Catalogue(tmp_path)
    with pytest.raises(Mistake, match="runs what the model writes"):
        catalogue.build(catalogue.leaves(["own_answers"])[0])


def test_a_generation_setting_is_followed_or_refused_by_name(workshop: Workshop) -> None:
    from lm_eval.api.instance import Instance

    from metier.core import Host
    from metier.core.engine import EngineChat
    from metier.evaluate.harness.engine_lm import EngineLM

    model = EngineLM(EngineChat(workshop.make(TinyModel(vocab_size=400)).model_folder, Host.here(), "float32"))

    def answer(**settings: Any) -> str:
        given = {"until": ["\n\n"], "max_gen_toks": 8, **settings}
        return model.generate_until([Instance("generate_until", {}, ("An index makes", given), 0)])[0]

    assert answer() == answer(do_sample=False, temperature=0.7, top_p=0.5, top_k=3)
    assert answer(repetition_penalty=50.0) != answer()
    assert answer(do_sample=True, temperature=1.0, top_k=1) == answer()
    assert answer(num_beams=1) == answer()
    with pytest.raises(Mistake, match="'num_beams'"):
        answer(num_beams=4)
    with pytest.raises(Mistake, match="longer answers than the model can read"):
        answer(max_gen_toks=5000)


def test_an_empty_continuation_is_certain_and_its_context_is_whole(tiny_model_folder: Path) -> None:
    from metier.core import Host
    from metier.core.engine import EngineChat
    from metier.evaluate.harness.engine_lm import EngineLM

    engine = EngineLM(EngineChat(tiny_model_folder, Host.here()))
    context, more = [5, 6, 7], [8, 9]
    (nothing, something), (alone,) = (
        engine._loglikelihood_tokens([(("", ""), context, tokens) for tokens in rows]) for rows in ([[], more], [more])
    )
    assert nothing == (0.0, True) and something == pytest.approx(alone)
    assert engine._loglikelihood_tokens([(("", ""), context, [])]) == [(0.0, True)]
    assert engine.cut == 0
