"""Reinforcement: the loss by hand, rewards by scorers, traces, a kill and its resuming."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from pydantic import ValidationError

from metier.core import Failure, Mistake, Step, Work, Workshop
from metier.core.chat import Message
from metier.core.scorers import Score, answer_of
from metier.core.types import Conversation, Conversations
from metier.train import Grpo
from metier.train import reinforce as reinforce_module
from metier.train.network import load_tokenizer
from metier.train.prompts import asked, order
from metier.train.reinforce import RewardTrainer, forget_traces, opened_thought
from tests.train.bench import HOST, WORDS, Given, largest_difference, same, weights


class Graded(Step[Conversations]):
    """Conversations that are graded by agreement with a reference; one has no check, one is not for training."""

    name: ClassVar[str] = "test-graded"
    rows: int = 8
    broken: bool = False

    def run(self, work: Work) -> None:
        rng = random.Random(0)
        made = []
        for index in range(self.rows):
            question = " ".join(rng.choices(WORDS, k=4))
            check: dict[str, Any] | None = {"scorer": "agreement", "reference": " ".join(WORDS)}
            if self.broken:
                check = {"scorer": "agreement"}
            messages = [Message("user", question), Message("assistant", "the table")]
            made.append(Conversation(f"g{index}", messages, "test", check=check))
        made[-1] = made[-1]._replace(split="held_out")
        made[-2] = made[-2]._replace(check=None)
        work.count("conversation", len(made), Conversations.write(work.folder, made), made={"conversation": len(made)})


def training(folder: Path, **fields: Any) -> Grpo:
    given: dict[str, Any] = {
        "base": Given(at=str(folder)),
        "data": (Graded(),),
        "steps": 4,
        "prompts_per_step": 2,
        "generations": 4,
        "answers_per_pass": 4,
        "max_tokens": 6,
        "learning_rate": 1e-2,
        "precision": "fp32",
    }
    return Grpo(**{**given, **fields})


class Lengths:
    """Grades an answer by how long it is: a model without sense still gets grades that differ."""

    def score(self, check: Mapping[str, Any], answer: str) -> Score:
        return Score(len(answer) % 7 / 7, f"{len(answer)} characters")


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reinforce_module, "scorer_for", lambda name: Lengths())


def traces(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "traces.jsonl").read_text().splitlines()]


def test_a_thought_is_not_graded_and_one_that_does_not_end_is_no_answer(tiny_model_folder: Path) -> None:
    assert answer_of("<think>\nSELECT 1?\n</think>\nSELECT 2") == "\nSELECT 2"
    assert answer_of("\n<think>\nSELECT 1?") == "" and answer_of("SELECT 1") == "SELECT 1"
    assert answer_of("SELECT 1?\n</think>SELECT 2") == "SELECT 2"  # begun by the template
    tokenizer = load_tokenizer(tiny_model_folder)
    question = [Message("user", "How many?")]
    assert opened_thought(tokenizer, question) == ""
    tokenizer.chat_template = tokenizer.chat_template + "{% if add_generation_prompt %}<think>\n{% endif %}"
    assert opened_thought(tokenizer, question) == "<think>"


def test_every_answer_is_graded_kept_and_counted(tiny_model_folder: Path, tmp_path: Path) -> None:
    model = Workshop(tmp_path, HOST).make(training(tiny_model_folder, format=r"\w.*", method="lora"))
    found = traces(model.folder)
    assert len(found) == 4 * 2 * 4 == model.record.figures["answers"]
    assert {line["step"] for line in found} == {0, 1, 2, 3}
    for step in range(4):
        assert all(
            len([line for line in found if line["step"] == step and line["row"] == row]) == 4
            for row in {line["row"] for line in found if line["step"] == step}
        )
    assert all(0 <= line["reward"] <= 1 and "shared" in line["reason"] for line in found)
    assert not {"g6", "g7"} & {line["row"] for line in found}
    (line, *_) = model.record.ledger.lines
    assert line.dropped == {"not in the train split": 1, "no check to grade by": 1}
    logged = model.events("log")
    assert len(logged) == 4 and {"reward", "reward_std", "groups_alike", "answer_tokens"} <= logged[0].keys()
    assert (model.folder / "adapter").is_dir() and model.record.figures["merge"]["bound"] > 0
    assert largest_difference(weights(model.model_folder), weights(tiny_model_folder)) > 0


def test_the_loss_is_the_clipped_ratio_times_the_advantage_averaged_over_tokens(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lengths: None
) -> None:
    seen: list[tuple[float, float]] = []
    compute = RewardTrainer.compute_loss

    def by_hand(self: Any, model: Any, inputs: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        loss = compute(self, model, inputs, *args, **kwargs)
        with torch.no_grad():
            ids_BT = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
            attended_BT = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
            answer = inputs["completion_ids"].shape[1]
            logits_BTV = model(input_ids=ids_BT, attention_mask=attended_BT).logits[:, -answer - 1 : -1]
            log_p_BT = logits_BTV.log_softmax(-1).gather(2, inputs["completion_ids"][..., None])[..., 0]
            old_BT = inputs["old_per_token_logps"] if inputs.get("old_per_token_logps") is not None else log_p_BT
            ratio_BT = (log_p_BT - old_BT).exp()
            advantage_B1 = inputs["advantages"][:, None]
            clipped_BT = torch.minimum(ratio_BT * advantage_B1, ratio_BT.clamp(0.8, 1.2) * advantage_B1)
            # DAPO: the mean over the tokens of all answers of the step.
            want = -(clipped_BT * inputs["completion_mask"]).sum() / inputs["num_items_in_batch"]
        seen.append((float(loss.detach()), float(want)))
        return loss

    monkeypatch.setattr(RewardTrainer, "compute_loss", by_hand)
    Workshop(tmp_path, HOST).make(training(tiny_model_folder, steps=2))
    assert len(seen) == 4 and any(abs(want) > 1e-4 for _, want in seen)
    for loss, want in seen:
        assert loss == pytest.approx(want, abs=1e-5)


def test_advantages_are_grades_against_the_mean_of_their_prompt(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lengths: None
) -> None:
    found: list[torch.Tensor] = []
    score = RewardTrainer._generate_and_score_completions

    def kept(self: Any, inputs: Any) -> Any:
        made = score(self, inputs)
        found.append(made["advantages"])
        return made

    monkeypatch.setattr(RewardTrainer, "_generate_and_score_completions", kept)
    model = Workshop(tmp_path, HOST).make(training(tiny_model_folder, steps=1))
    rewards_PG = torch.tensor([line["reward"] for line in traces(model.folder)]).reshape(2, 4)
    centred_PG = rewards_PG - rewards_PG.mean(1, keepdim=True)
    want_PG = centred_PG / (rewards_PG.std(1, keepdim=True) + 1e-4)
    # The answers of a step are shuffled over its passes.
    assert want_PG.abs().max() > 0.5
    assert torch.allclose(found[0].sort().values, want_PG.flatten().sort().values, atol=1e-4)


class Stopped(RewardTrainer):
    """Saves after every step, and dies in the sixth, in the second pass over the prompts."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.cadence.due = lambda *_: True  # type: ignore[method-assign]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs, start_time)
        if self.state.global_step == 6:
            raise KeyboardInterrupt


def test_a_training_that_was_stopped_draws_the_same_answers_and_ends_with_the_same_weights(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lengths: None
) -> None:
    step = training(tiny_model_folder, steps=8)
    through = Workshop(tmp_path / "through", HOST).make(step)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(reinforce_module, "RewardTrainer", Stopped)
        Workshop(tmp_path / "cut", HOST).make(step)
    cut = Workshop(tmp_path / "cut", HOST).make(step)
    assert cut.record.figures["checkpoints_resumed_from"] == [5]
    assert largest_difference(weights(through.model_folder), weights(tiny_model_folder)) > 1e-3
    assert traces(cut.folder) == traces(through.folder)
    assert same(weights(cut.model_folder), weights(through.model_folder))


def test_a_check_that_cannot_be_used_stops_and_is_no_reward_of_zero(tiny_model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="no 'reference'"):
        Workshop(tmp_path, HOST).make(training(tiny_model_folder, data=(Graded(broken=True),)))


def test_rows_that_cannot_be_graded_are_not_enough() -> None:
    with pytest.raises(ValidationError, match="answers_per_pass"):
        training(Path("x"), answers_per_pass=3)
    with pytest.raises(ValidationError, match="no meaning here"):
        training(Path("x"), validation_share=0.1)
    with pytest.raises(ValidationError, match="no regular expression"):
        training(Path("x"), format="(")


def test_too_few_rows_with_a_check_are_a_mistake(tiny_model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="too few rows"):
        Workshop(tmp_path, HOST).make(training(tiny_model_folder, data=(Graded(rows=3),)))


def test_a_prompt_that_leaves_no_room_for_an_answer_is_named_before_any_training(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(Mistake, match="row g0 leaves no room") as told:
        Workshop(tmp_path, HOST).make(training(tiny_model_folder, max_tokens=100_000))
    assert "max_tokens 100000" in str(told.value)


def test_traces_of_steps_that_are_done_again_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_text('{"step": 0}\n{"step": 1}\n{"step": 2}\n{"st')
    forget_traces(path, 2)
    assert path.read_text() == '{"step": 0}\n{"step": 1}\n'
    forget_traces(tmp_path / "none.jsonl", 2)


def test_what_a_row_asks_is_all_up_to_its_last_answer() -> None:
    talk = [Message("user", "a"), Message("assistant", "b"), Message("user", "c"), Message("assistant", "d")]
    assert asked(Conversation("x", talk, "t")) == talk[:3]
    assert asked(Conversation("x", talk[:3], "t")) == talk[:3]


def test_each_prompt_is_asked_once_before_any_is_asked_again() -> None:
    found = order(5, 12, seed=0)
    assert sorted(found[:5]) == sorted(found[5:10]) == list(range(5))
    assert found[:5] != found[5:10] and len(found) == 12
    assert order(5, 12, seed=0) == found != order(5, 12, seed=1)
