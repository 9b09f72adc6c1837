"""Drawing and scoring of answers: the distribution that is drawn from, the way back, what is read once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from metier.core import Failure, Workshop
from metier.train import reinforce as reinforce_module
from metier.train import rollout
from metier.train.adapt import with_adapter
from metier.train.network import load_plain
from metier.train.options import Lora
from metier.train.reinforce import RewardTrainer, with_gradient
from metier.train.rollout import Drawing, plain, scored, window_with
from tests.train.bench import HOST, weights
from tests.train.test_grpo import Lengths, traces, training

MEMORY = 1 << 30
NO_ENDS: frozenset[int] = frozenset()


@pytest.fixture
def network(tiny_model_folder: Path) -> Iterator[Any]:
    yield load_plain(tiny_model_folder, torch.float32, "sdpa").train()


@pytest.fixture
def sharp(network: Any) -> Any:
    """Return the network with a head of its own, whose logits spread by 1.5: neither even shares nor one answer."""
    head = network.get_output_embeddings()
    drawn = torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(0))
    head.weight = torch.nn.Parameter(drawn * 1.5 / head.in_features**0.5)
    return network


def padded(prompts: list[list[int]], answers: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Return ids and mask as TRL lays them out, prompts padded on the left and answers on the right."""
    before, behind = max(map(len, prompts)), max(map(len, answers))
    pairs = list(zip(prompts, answers, strict=True))
    ids = [[0] * (before - len(p)) + p + a + [0] * (behind - len(a)) for p, a in pairs]
    mask = [[0] * (before - len(p)) + [1] * len(p + a) + [0] * (behind - len(a)) for p, a in pairs]
    return torch.tensor(ids), torch.tensor(mask), behind


def a_pass() -> tuple[torch.Tensor, torch.Tensor, int]:
    long, short = list(range(40, 75)), [7, 8, 9]
    prompts = [long, short, long, short, [7, 8, 10]]
    return padded(prompts, [[11, 12, 13], [14], [15, 16, 17, 18], [11, 12], [19, 20, 21]])


def by_hand(
    network: Any, ids_BT: torch.Tensor, mask_BT: torch.Tensor, answer: int, t: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ln p and entropy of each answer token, each row read by itself, [B, C]."""
    log_p, entropy = torch.zeros(len(ids_BT), answer), torch.zeros(len(ids_BT), answer)
    for at, (ids, mask) in enumerate(zip(ids_BT, mask_BT, strict=True)):
        row, said = ids[mask == 1], int(mask[-answer:].sum())
        log_p_TV = (network(input_ids=row[None]).logits[0, -said - 1 : -1] / t).log_softmax(-1)
        log_p[at, :said] = log_p_TV.gather(1, row[-said:, None])[:, 0]
        entropy[at, :said] = -(log_p_TV.exp() * log_p_TV).sum(-1)
    return log_p, entropy


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_answers_score_as_they_do_alone_and_have_the_same_way_back(network: Any, temperature: float) -> None:
    ids_BT, mask_BT, answer = a_pass()
    weight_BC = torch.linspace(-1, 1, len(ids_BT) * answer).view(len(ids_BT), answer)
    found = scored(network, ids_BT, mask_BT, answer, temperature, entropy=True)
    (found.log_p * weight_BC).sum().backward()  # type: ignore[no-untyped-call]
    grads = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
    network.zero_grad()
    log_p_BC, entropy_BC = by_hand(network, ids_BT, mask_BT, answer, temperature)
    (log_p_BC * weight_BC).sum().backward()  # type: ignore[no-untyped-call]
    assert torch.allclose(found.log_p, log_p_BC, atol=1e-5)
    assert found.entropy is not None and torch.allclose(found.entropy, entropy_BC, atol=1e-5)
    for name, parameter in network.named_parameters():
        assert torch.allclose(grads[name], parameter.grad, atol=1e-5), name


def test_a_prompt_is_read_once_for_all_its_answers_unless_it_is_short() -> None:
    ids_BT, mask_BT, answer = a_pass()
    window, places = window_with(ids_BT, mask_BT, answer)
    # 34 shared tokens of the long prompt, its last one before each of its two answers; short prompts are repeated
    assert len(window.ids) == 34 + (1 + 3) + (1 + 4) + (3 + 1) + (3 + 2) + (3 + 3)
    assert window.trained == len(places) == 3 + 4 + 1 + 2 + 3
    targets = [target for target in window.targets if target >= 0]
    assert targets == ids_BT[:, -answer:].reshape(-1)[places].tolist()


def test_a_block_is_never_longer_than_its_mask_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "LONGEST_SHARED", 50)
    window, _ = window_with(*padded([list(range(30))] * 7, [[5] * 9] * 7))
    assert [block.length for block in window.blocks] == [29 + 2 * 10] * 3 + [39]


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_answers_are_drawn_from_the_models_distribution_at_the_temperature(sharp: Any, temperature: float) -> None:
    with torch.no_grad():
        drawing = Drawing(sharp, NO_ENDS, MEMORY)
        prompt, draws = [5, 6, 7], 4000
        first = Counter(ids[0] for ids in drawing.answers([prompt] * draws, temperature, 1, seed=3))
        share_V = (sharp(input_ids=torch.tensor([prompt])).logits[0, -1] / temperature).softmax(-1)
    # Pearson's statistic over the tokens expected ten times and more, the others together
    common = [token for token, share in enumerate(share_V.tolist()) if share * draws >= 10]
    rest = 1 - float(share_V[common].sum())
    expected = [float(share_V[token]) * draws for token in common] + [max(rest, 1e-9) * draws]
    observed = [first[token] for token in common]
    observed.append(draws - sum(observed))
    statistic = sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True) if e >= 1)
    freedom = len(common)
    assert freedom > 10
    assert statistic < freedom + 4 * math.sqrt(2 * freedom)


def test_the_likelihood_of_drawn_answers_is_what_the_scores_say(sharp: Any) -> None:
    prompt, draws = list(range(30, 60)), 400
    with torch.no_grad():
        answers = Drawing(sharp, NO_ENDS, MEMORY).answers([prompt] * draws, 1.0, 3, seed=0)
        found = scored(sharp, *padded([prompt] * draws, answers), temperature=1.0, entropy=True)
    assert found.entropy is not None
    # E[-ln p] is the entropy, at each token given those before it
    surprise = -found.log_p - found.entropy
    assert abs(float(surprise.mean())) < 4 * float(surprise.std()) / math.sqrt(surprise.numel())


def test_equal_prompts_get_different_answers_and_a_seed_gives_the_same_again(network: Any) -> None:
    drawing = Drawing(network, frozenset(range(0, 600, 3)), MEMORY)
    prompts = [[5, 6, 7], [5, 6, 7], [8, 9], [5, 6, 7], [8, 9]]
    found = drawing.answers(prompts, 1.0, 6, seed=1)
    assert len({tuple(found[at]) for at in (0, 1, 3)}) == 3 and found[2] != found[4]
    assert found == drawing.answers(prompts, 1.0, 6, seed=1) != drawing.answers(prompts, 1.0, 6, seed=2)
    for ids in found:  # an end stands only, and always, where the answer ends early
        assert all(token % 3 for token in ids[:-1]) and (len(ids) == 6 or ids[-1] % 3 == 0)


def test_drawing_follows_the_weights_and_an_adapter_and_leaves_the_model_as_it_was(network: Any) -> None:
    adapted = with_adapter(network, Lora(rank=4), seed=0).train()
    drawing = Drawing(adapted, NO_ENDS, MEMORY)
    before = drawing.answers([[5, 6, 7]] * 4, 1e-4, 8, seed=0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(0))
    after = drawing.answers([[5, 6, 7]] * 4, 1e-4, 8, seed=0)
    greedy = adapted.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=8, do_sample=False)[0, 3:].tolist()
    assert before != after == [greedy] * 4
    assert adapted.training and plain(adapted).config._attn_implementation == "sdpa"


def test_answers_without_an_advantage_are_not_read_and_change_nothing() -> None:
    inputs = {
        "advantages": torch.tensor([0.0, 1.0, 0.0, -1.0]),
        "completion_ids": torch.arange(8).view(4, 2),
        "num_items_in_batch": torch.tensor(8),
    }
    found = with_gradient(inputs)
    assert found["advantages"].tolist() == [1.0, -1.0]
    assert found["completion_ids"].tolist() == [[2, 3], [6, 7]]
    assert int(found["num_items_in_batch"]) == 8
    flat = with_gradient({**inputs, "advantages": torch.zeros(4)})
    assert flat["advantages"].tolist() == [0.0]


def losses(folder: Path, at: Path, monkeypatch: pytest.MonkeyPatch, own: bool) -> tuple[list[float], dict[str, Any]]:
    """Train two steps on the same answers, scored by this room or by TRL, and return losses and weights."""
    begin = RewardTrainer.__init__
    drawn = iter([[[token, token + 1, 3][: 1 + token % 3] for token in range(20, 28)] for _ in range(2)])

    def started(self: Any, *given: Any) -> None:
        begin(self, *given)
        self._packs = own
        self._generate_single_turn = lambda *_, **__: (next(drawn), None)

    with monkeypatch.context() as patch:
        patch.setattr(RewardTrainer, "__init__", started)
        if not own:
            patch.setattr(reinforce_module, "with_gradient", dict)
        made = Workshop(at, HOST).make(training(folder, steps=2))
    return [event["loss"] for event in made.events("log")], weights(made.model_folder)


def test_packed_scores_train_as_trls_padded_rows_do(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reinforce_module, "scorer_for", lambda name: Lengths())
    ours, our_weights = losses(tiny_model_folder, tmp_path / "ours", monkeypatch, own=True)
    theirs, their_weights = losses(tiny_model_folder, tmp_path / "theirs", monkeypatch, own=False)
    assert ours == pytest.approx(theirs, abs=2e-5) and any(abs(loss) > 1e-4 for loss in ours)
    # Adam's first steps are as long for a small gradient as for a large one: rounding shows in a few weights
    apart = torch.cat([(our_weights[name] - their_weights[name]).abs().flatten() for name in our_weights])
    assert float(apart.mean()) < 1e-5


def test_an_architecture_that_the_engine_does_not_know_is_drawn_from_by_transformers(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: Any) -> None:
        raise Failure("the engine cannot run this model")

    monkeypatch.setattr(reinforce_module, "Drawing", unknown)
    model = Workshop(tmp_path, HOST).make(training(tiny_model_folder, steps=1))
    assert len(traces(model.folder)) == 8
