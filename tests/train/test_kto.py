"""KTO: its loss by hand, its reference point, what it refuses, and a training by it."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from metier.core import LocalPath, Mistake, Workshop
from metier.core.chat import Message
from metier.core.types import Judgement
from metier.instruct.chat_data import JudgementData
from metier.instruct.formats import BadRow, verdict
from metier.train import Kto
from metier.train.kto import lint, mismatched, unfair
from metier.train.packing import Group, Row, optimizer_batches
from metier.train.schedule import Schedule, schedule
from metier.train.trainer import Settings
from metier.train.tune import tune
from metier.train.unpaired import Judged, UnpairedTrainer, kto_loss
from tests.train.bench import HOST, Given, Interrupting, Thumbs, largest_difference, same, weights, work_in
from tests.train.test_processes import launch, losses

SETTINGS = Settings(learning_rate=1e-3, warmup=0.1, weight_decay=0.0, seed=0)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_the_loss_is_that_of_the_paper_by_hand() -> None:
    # good, 2 nats above the reference: 1 - sigmoid(0.5 * (2 - 1.5)); bad, 3 above: 1 - sigmoid(0.5 * (1.5 - 3)).
    found = kto_loss(torch.tensor([2.0, 3.0]), torch.tensor([True, False]), 1.5, 0.5, 1.0, 1.3)
    assert found.tolist() == pytest.approx([1 - sigmoid(0.25), 1.3 * (1 - sigmoid(-0.75))])


def test_at_the_reference_each_answer_costs_half_its_weight_and_good_ones_rise() -> None:
    gained = torch.zeros(2, requires_grad=True)
    loss = kto_loss(gained, torch.tensor([True, False]), 0.0, 0.1, 1.0, 2.0)
    assert loss.tolist() == pytest.approx([0.5, 1.0])
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert gained.grad is not None and gained.grad[0] < 0 < gained.grad[1]


def rows_of(seed: int, count: int) -> list[Row]:
    rng = random.Random(seed)
    rows = []
    for index in range(count):
        prompt, answer = ([rng.randrange(3, 200) for _ in range(length)] for length in (6 + index % 3, 3 + index % 4))
        rows.append(Row(f"r{index}", prompt + answer, [False] * len(prompt) + [True] * len(answer)))
    return rows


def test_a_mismatched_row_has_its_own_prompt_and_the_answer_of_another_prompt() -> None:
    rows = [*rows_of(0, 6), *(row._replace(name=f"{row.name}b") for row in rows_of(0, 6))]
    found = mismatched(rows, 100, random.Random(0))
    answers = {row.name: [i for i, m in zip(row.ids, row.mask, strict=True) if m] for row in rows}
    for row in rows:
        other, start = found[row.name], row.mask.index(True)
        assert list(other.ids[:start]) == list(row.ids[:start]) and other.mask.index(True) == start
        assert list(other.ids[start:]) in answers.values() and list(other.ids[start:]) != answers[row.name]
    assert all(len(row.ids) <= 10 for row in mismatched(rows, 10, random.Random(0)).values())


def made_of(rows: list[Row], window: int, beta: float = 0.1) -> tuple[Schedule, Judged]:
    groups = [Group((row,), 0) for row in rows]
    good = {row.name: at % 3 > 0 for at, row in enumerate(rows)}
    judged = Judged(good, mismatched(rows, 64, random.Random(0)), beta, 1.0, 1.3)
    return schedule([optimizer_batches(groups, [1] * len(rows), 8)], window), judged


def log_p(model: Any, row: Row) -> float:
    with torch.no_grad():
        log_p_TV = model(torch.tensor([row.ids])).logits[0].log_softmax(-1)
    return sum(float(log_p_TV[at - 1, row.ids[at]]) for at in range(1, len(row.ids)) if row.mask[at])


def test_the_trained_loss_is_that_of_plain_logits_however_the_step_is_cut(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    monkeypatch.setattr("metier.train.adapt.bf16_pays", lambda host: False)
    model, rows = AutoModelForCausalLM.from_pretrained(tiny_model_folder), rows_of(0, 8)
    prepare = UnpairedTrainer.prepare

    def moved(self: UnpairedTrainer) -> None:  # a reference that finds answers less likely, and others' much less
        prepare(self)
        self.reference = {name: [own - 3, other - 5] for name, (own, other) in self.reference.items()}

    monkeypatch.setattr(UnpairedTrainer, "prepare", moved)
    losses = []
    for window in (10_000, 1):
        plan, judged = made_of(rows, window, beta=0.2)
        assert (plan.steps, plan.accumulate) == (1, 1 if window > 1 else 8)
        work = work_in(tmp_path / str(window))
        tune(tiny_model_folder, plan, SETTINGS, work, lambda *args, j=judged: UnpairedTrainer(*args, judged=j))
        losses.append(work.figures["train_loss"]["first"])
    # Both are 3 and 5 nats above it, so z0 is 5: good costs 1 - sigmoid(0.2 (3 - 5)), bad 1 - sigmoid(0.2 (5 - 3)).
    good = sum(judged.good.values())
    want = (good * (1 - sigmoid(-0.4)) + 1.3 * (8 - good) * (1 - sigmoid(0.4))) / 8
    assert losses == pytest.approx([want, want], abs=1e-4)
    kept = {name: [own + 3, other + 5] for name, (own, other) in _reference(tiny_model_folder, tmp_path, rows).items()}
    for row in rows:
        assert kept[row.name] == pytest.approx([log_p(model, row), log_p(model, judged.mismatched[row.name])], abs=1e-3)


def _reference(base: Path, folder: Path, rows: list[Row]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}

    class Kept(UnpairedTrainer):
        def prepare(self) -> None:
            super().prepare()
            found.update(self.reference)

    plan, judged = made_of(rows, 10_000)
    tune(base, plan, SETTINGS, work_in(folder / "kept"), lambda *args: Kept(*args, judged=judged))
    return found


def test_a_batch_has_the_loss_the_reference_point_and_the_gradient_of_trls_own_trainer(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRL makes the rows and the mismatched pairs: each prompt with the answer before it in the batch.

    By design ours takes another partner, a row of any batch, and the optimizer step instead of the forward pass: see
    `UnpairedTrainer`. Given the same partners and one pass, nothing may differ.
    """
    import trl
    from datasets import Dataset
    from transformers import AutoModelForCausalLM

    from metier.train.network import load_network, load_tokenizer

    monkeypatch.setattr("metier.train.adapt.bf16_pays", lambda host: False)
    tokenizer = load_tokenizer(tiny_model_folder)
    told = [
        {"prompt": "the table holds " * (at % 3 + 1), "completion": "one row " * (at % 4 + 1), "label": at % 3 > 0}
        for at in range(8)
    ]
    policy = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    reference = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    seeded = torch.Generator().manual_seed(0)
    with torch.no_grad():  # less sure of any answer than the policy, or the reference point would be 0
        for parameter in reference.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=seeded) * 0.02)
    options = {"beta": 0.3, "desirable_weight": 1.0, "undesirable_weight": 1.3, "per_device_train_batch_size": 8}
    config = trl.KTOConfig(str(tmp_path), **options, max_length=None, use_cpu=True, bf16=False, report_to=[])
    rows_told = Dataset.from_list(told)
    theirs = trl.KTOTrainer(policy, reference, args=config, train_dataset=rows_told, processing_class=tokenizer)
    examples = [theirs.train_dataset[at] for at in range(8)]
    theirs.model.train()
    batch = theirs.data_collator([{k: v for k, v in one.items() if k in _OF_TRL} for one in examples])
    loss = theirs.compute_loss(theirs.model, batch)
    loss.backward()
    kl = theirs._metrics["train"]["kl"][-1]
    assert kl > 0.01

    def row(name: str, one: dict[str, Any], answer: str) -> Row:
        ids = one["prompt_ids"], one[answer]
        return Row(name, [*ids[0], *ids[1]], [False] * len(ids[0]) + [True] * len(ids[1]))

    rows = [row(f"r{at}", one, "completion_ids") for at, one in enumerate(examples)]
    other = {f"r{at}": row(f"r{at}", one, "KL_completion_ids") for at, one in enumerate(examples)}
    judged = Judged({f"r{at}": one["label"] for at, one in enumerate(examples)}, other, 0.3, 1.0, 1.3)
    plan = schedule([[[Group((one,), 0) for one in rows]]], 10_000)
    network, work = load_network(tiny_model_folder), work_in(tmp_path / "ours")
    with work.progress("train") as bar:
        ours = UnpairedTrainer(
            network, tokenizer, plan, SETTINGS, tmp_path / "checkpoints", work, bar, (), judged=judged
        )
    network.load_state_dict(reference.state_dict())
    ours.prepare()
    network.load_state_dict(policy.state_dict())
    batches, total = ours.get_batch_samples(iter(ours.get_train_dataloader()), 1, torch.device("cpu"))
    found = ours.compute_loss(network.train(), batches[0], num_items_in_batch=total)
    found.backward()
    assert ours._divergence == pytest.approx(kl, abs=1e-5)
    assert float(found) == pytest.approx(float(loss), abs=1e-5)
    wanted = dict(policy.named_parameters())
    for name, parameter in network.named_parameters():
        assert torch.allclose(parameter.grad, wanted[name].grad, atol=1e-5), name


_OF_TRL = ("prompt_ids", "completion_ids", "KL_completion_ids", "label")


class Cut(Interrupting, UnpairedTrainer):
    """Saves after every step, and dies in its second."""

    last = 2


def test_an_interrupted_training_ends_with_the_very_same_weights(tiny_model_folder: Path, tmp_path: Path) -> None:
    plan, judged = made_of(rows_of(0, 24), 64)
    assert plan.steps == 3
    tune(
        tiny_model_folder, plan, SETTINGS, work_in(tmp_path / "through"), lambda *a: UnpairedTrainer(*a, judged=judged)
    )
    with pytest.raises(KeyboardInterrupt):
        tune(tiny_model_folder, plan, SETTINGS, work_in(tmp_path / "cut"), lambda *a: Cut(*a, judged=judged))
    work = work_in(tmp_path / "cut")
    swapped = judged._replace(good={name: not good for name, good in judged.good.items()})
    with pytest.raises(Mistake, match="no longer the same") as caught:
        tune(tiny_model_folder, plan, SETTINGS, work, lambda *a: UnpairedTrainer(*a, judged=swapped))
    assert (caught.value.found or "").startswith("judgements: ")
    tune(tiny_model_folder, plan, SETTINGS, work, lambda *a: UnpairedTrainer(*a, judged=judged))
    assert work.figures["checkpoints_resumed_from"] == [1]
    assert same(weights(tmp_path / "through/model"), weights(tmp_path / "cut/model"))


def test_kto_parts_good_from_bad_and_counts_its_rows(tiny_model_folder: Path, tmp_path: Path) -> None:
    step = Kto(
        base=Given(at=str(tiny_model_folder)),
        judgements=Thumbs(),
        epochs=8,
        learning_rate=1e-3,
        batch_answers=10,
        most_lost=50,
        validation_share=0.2,
        evaluations=2,
    )
    model = Workshop(tmp_path, HOST).make(step)
    first, *_, last = model.events("log")
    assert first["loss"] == pytest.approx(0.5, abs=1e-2)
    assert last["good"] - last["bad"] > first["good"] - first["bad"] + 1
    assert model.record.figures["answers"] == {"good": 10, "bad": 10}
    assert model.record.ledger.lines[0].kept == 20
    assert model.record.figures["validation_loss"]["before"] == pytest.approx(0.5, abs=1e-2)


def test_passes_of_the_reference_point_are_no_larger_than_those_of_the_training(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    seen: list[list[str]] = []

    class Seen(UnpairedTrainer):
        def _passes(self, names: Sequence[str]) -> list[list[str]]:
            passes = super()._passes(names)
            assert [name for some in passes for name in some] == list(names)
            most = max(len(window.ids) for window in self.schedule.windows)
            sizes = [[len(self.judged.mismatched[name].ids) for name in some] for some in passes]
            assert all(sum(own) <= most or len(own) == 1 for own in sizes)
            seen.extend(passes)
            return passes

    plan, judged = made_of(rows_of(0, 16), 40)
    tune(tiny_model_folder, plan, SETTINGS, work_in(tmp_path), lambda *args: Seen(*args, judged=judged))
    assert len(seen) > 2 * plan.steps and max(map(len, seen)) > 1


@pytest.mark.slow
def test_two_processes_that_share_a_step_unevenly_train_as_one_does(tiny_model_folder: Path, tmp_path: Path) -> None:
    made = []
    for word, processes in (("one:kto", 1), ("ddp:kto", 2)):
        code, said = launch(tmp_path, tiny_model_folder, word, processes=processes)
        assert code == 0, said
        (folder,) = (tmp_path / word.partition(":")[0]).glob("kto-*")
        made.append(folder)
    one, two = map(losses, made)
    assert two == pytest.approx(one, abs=1e-4) and len(one) > 2
    assert largest_difference(weights(made[0] / "model"), weights(made[1] / "model")) < 1e-4


def test_one_kind_that_is_left_out_as_too_long_is_told(tiny_model_folder: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": "How many?", "completion": text, "label": label}
        for text, label in (("Three.", True), ("one row for each order. " * 40, False))
    ]
    file = tmp_path / "thumbs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    judgements = JudgementData(files=(LocalPath(file),))
    step = Kto(base=Given(at=str(tiny_model_folder)), judgements=judgements, sequence_length=64, too_long="drop")
    with pytest.raises(Mistake, match="both kinds") as caught:
        Workshop(tmp_path / "shop", HOST).make(step)
    assert "1 good and 0 bad; too long" in (caught.value.found or "")


def judgement(answer: str, good: bool, prompt: str = "q") -> Judgement:
    return Judgement("j", [Message("user", prompt)], answer, good)


def test_an_answer_judged_both_ways_or_empty_is_left_out_with_the_reason() -> None:
    rows = [judgement("a", True), judgement("a", False), judgement(" ", False), judgement("a", True, "other")]
    kept, dropped = lint(rows)
    assert kept == rows[3:]
    assert dropped == {"judged both good and bad": 2, "an answer is empty": 1}


def test_what_evens_the_kinds_out_is_said_in_numbers() -> None:
    assert unfair(10, 10, 1, 1) is None and unfair(12, 9, 1, 1) is None
    assert "bad_weight: 4 evens" in (unfair(40, 10, 1, 1) or "")
    assert unfair(40, 10, 1, 4) is None
    assert "good_weight: 3 evens" in (unfair(10, 30, 1, 1) or "")
    assert "teaches nothing" in (unfair(10, 10, 1, 0) or "")


LABELS = [(True, True), ("false", False), (1, True), (0, False), ("bad", False), ("Up", True)]


@pytest.mark.parametrize(("label", "good"), LABELS)
def test_labels_are_read_as_people_write_them(label: Any, good: bool) -> None:
    found = verdict({"prompt": "How many?", "completion": "Three.", "label": label})
    assert found == ([Message("user", "How many?")], "Three.", good)


def test_a_label_that_says_nothing_is_refused() -> None:
    for fields, said in (({}, "no 'label'"), ({"label": 0.5}, "neither good nor bad")):
        with pytest.raises(BadRow, match=said):
            verdict({"prompt": "How many?", "completion": "Three.", **fields})


def test_a_file_of_labels_becomes_judgements_and_one_kind_alone_is_refused(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    row = {"messages": [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": "Three."}]}
    file = tmp_path / "thumbs.jsonl"
    file.write_text("".join(json.dumps({**row, "label": True, "id": at}) + "\n" for at in range(3)))
    step = JudgementData(files=(LocalPath(file),))
    shop = Workshop(tmp_path / "shop", HOST)
    assert [one.answer for one in shop.make(step).rows()] == ["Three."] * 3
    with pytest.raises(Mistake, match="both kinds") as caught:
        shop.make(Kto(base=Given(at=str(tiny_model_folder)), judgements=step))
    assert "3 good and 0 bad" in (caught.value.found or "")
