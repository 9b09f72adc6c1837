"""The in-process engine against plain transformers, on a tiny model with random weights, in float32."""

from __future__ import annotations

import dataclasses
import math
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from metier.core import Host, Mistake
from metier.core.chat import Decoding, Message
from metier.core.engine import EngineChat
from metier.core.engine.generation import penalised, sample_tokens
from metier.core.engine.likelihood import windows

WORDS = ["how", "many", "rows", "price", "?", "order", "city", "数é", "SELECT"]
SYSTEMS = ["One statement. Tables: orders(id, price, city)", "One statement. Tables: books(id, title)", None]


@pytest.fixture(scope="module")
def engine(tiny_model_folder: Path) -> EngineChat:
    host = dataclasses.replace(Host.here(), threads=1, gpus=())
    return EngineChat(tiny_model_folder, host, precision="float32", rows_at_once=7)


def conversations(count: int = 24) -> list[list[Message]]:
    rng = random.Random(0)
    found = []
    for at in range(count):
        system = SYSTEMS[at % 3]
        question = " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 20)))
        found.append([*([Message("system", system)] if system else []), Message("user", question)])
    return found


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.float32).eval()


def alone(
    engine: EngineChat, model: Any, messages: list[Message], max_tokens: int, **options: float
) -> tuple[str, bool]:
    """Generate with transformers' own loop and attention, one conversation at a time."""
    ids = torch.tensor([engine.template.render(messages, generate=True).ids])
    out = model.generate(ids, max_new_tokens=max_tokens, do_sample=False, **options)[0, ids.shape[1] :].tolist()
    finished = out[-1] in engine.stops
    return engine.tokenizer.decode(out[:-1] if finished else out, skip_special_tokens=True), finished


def test_greedy_answers_are_those_of_transformers_one_by_one(engine: EngineChat, model: Any) -> None:
    asked = conversations()
    replies = engine.complete(asked, Decoding(max_tokens=20))
    for messages, (reply,) in zip(asked, replies, strict=True):
        assert (reply.text, reply.finished) == alone(engine, model, messages, 20)


@pytest.mark.parametrize("penalty", [1.3, 3.0])
def test_greedy_answers_with_a_repetition_penalty_are_those_of_transformers(
    engine: EngineChat, model: Any, penalty: float
) -> None:
    asked = conversations(12)
    replies = engine.complete(asked, Decoding(max_tokens=20, repetition_penalty=penalty))
    told = [(reply.text, reply.finished) for (reply,) in replies]
    assert told == [alone(engine, model, messages, 20, repetition_penalty=penalty) for messages in asked]
    assert told != [(reply.text, reply.finished) for (reply,) in engine.complete(asked, Decoding(max_tokens=20))]


def test_an_answer_that_ends_itself_is_finished_and_gives_its_place_away(engine: EngineChat) -> None:
    # any token can be made the one that ends a turn: take one that the model says in the middle of an answer
    asked = conversations(12)
    ids = [engine.ids(reply.text) for (reply,) in engine.complete(asked, Decoding(max_tokens=20))]
    stop = ids[0][len(ids[0]) // 2]
    stops = engine.stops
    try:
        engine.stops = stops | {stop}
        replies = engine.complete(asked, Decoding(max_tokens=20))
    finally:
        engine.stops = stops
    assert replies[0][0].finished and replies[0][0].tokens < 20
    assert all(reply.tokens == 20 for (reply,) in replies if not reply.finished)


def test_samples_do_not_depend_on_what_else_is_asked(engine: EngineChat) -> None:
    asked = conversations()
    decoding = Decoding(temperature=1.0, top_p=0.9, max_tokens=12, samples=3, seed=5)
    together = engine.complete(asked, decoding)
    assert engine.complete(list(reversed(asked[3:9])), decoding) == list(reversed(together[3:9]))
    assert engine.complete(asked[:2], decoding.model_copy(update={"seed": 6})) != together[:2]
    assert len({reply.text for reply in together[0]}) > 1


def test_replies_are_seen_as_they_come_each_once(engine: EngineChat) -> None:
    seen: dict[int, list[str]] = {}
    asked = conversations(10)
    replies = engine.complete(
        asked, Decoding(max_tokens=4), lambda at, found: seen.update({at: [reply.text for reply in found]})
    )
    assert seen == {at: [reply.text for reply in found] for at, found in enumerate(replies)}


def test_no_conversations_give_no_replies(engine: EngineChat) -> None:
    assert engine.complete([], Decoding()) == []
    assert engine.log_likelihoods([], []) == []
    assert engine.text_losses([]) == []


def test_likelihoods_are_those_of_a_plain_forward_pass(engine: EngineChat, model: Any) -> None:
    options = ("yes", "no, it is a table", "SELECT 1", "")
    contexts = [engine.template.render(messages, generate=True).ids for messages in conversations(9) for _ in options]
    continuations = [engine.ids(option) for _ in range(9) for option in options]
    found = engine.log_likelihoods(contexts, continuations)
    for context, continuation, score in zip(contexts, continuations, found, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([context + continuation])).logits[0].log_softmax(-1)
        expected = sum(float(logits[len(context) - 1 + at, token]) for at, token in enumerate(continuation))
        assert score.tokens == len(continuation)
        assert score.nats == pytest.approx(expected, abs=1e-4)


def test_continuations_that_leave_the_same_thing_to_read_are_scored_as_if_alone(engine: EngineChat, model: Any) -> None:
    # letters of one question, one question twice, and another cut between context and continuation
    question = engine.ids("Which column holds the price?\nAnswer:")
    contexts = [question] * 4 + [question[:-3], question]
    continuations = [engine.ids(letter) for letter in "ABCA"] + [question[-3:] + engine.ids("B"), engine.ids("C D")]
    with torch.inference_mode():
        said = int(model(torch.tensor([question])).logits[0, -1].argmax())
    contexts, continuations = [*contexts, question], [*continuations, [said]]
    found = engine.log_likelihoods(contexts, continuations, greedy=True)
    for context, continuation, score in zip(contexts, continuations, found, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([context + continuation])).logits[0, len(context) - 1 : -1]
        expected = logits.log_softmax(-1).gather(1, torch.tensor(continuation)[:, None])
        assert score.nats == pytest.approx(float(expected.sum()), abs=1e-4)
        assert score.greedy == (logits.argmax(-1).tolist() == continuation)
    assert found[0] == found[3] and found[-1].greedy
    assert engine.log_likelihoods(contexts[:1], continuations[:1])[0].greedy is None


def test_a_window_may_end_in_a_token_that_is_not_read(engine: EngineChat, model: Any) -> None:
    # as lm-eval's windows do: the model reads all it can, and the token after that is scored too
    longest = engine.network.longest
    ids = [(at * 7) % 300 + 3 for at in range(longest)]
    with torch.inference_mode():
        logits = model(torch.tensor([[0, *ids[:-1]]])).logits[0].log_softmax(-1)
    expected = -float(logits.gather(1, torch.tensor(ids)[:, None]).sum())
    (loss,) = engine.token_losses([ids], 0, longest + 1)
    assert loss.nats == pytest.approx(expected, rel=1e-5) and loss.tokens == longest
    with pytest.raises(Mistake, match="a window of"):
        engine.token_losses([ids], 0, longest + 2)


def test_the_loss_of_a_text_in_one_window_is_that_of_a_plain_forward_pass(engine: EngineChat, model: Any) -> None:
    texts = ["The quick é brown fox. " * n for n in (1, 3, 20)]
    for text, loss in zip(texts, engine.text_losses(texts, window=2000), strict=True):
        ids = [engine.tokenizer.convert_tokens_to_ids("<|endoftext|>"), *engine.ids(text)]
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        expected = -sum(float(logits[at, ids[at + 1]]) for at in range(len(ids) - 1))
        assert loss.nats == pytest.approx(expected, rel=1e-5)
        assert (loss.tokens, loss.text_bytes) == (len(ids) - 1, len(text.encode()))


def test_every_token_is_scored_once_whatever_the_window_and_stride() -> None:
    ids = list(range(100, 150))
    for size in (2, 7, 50, 51, 90):
        for stride in {1, size // 2 or 1, size - 1}:
            cut = windows(0, ids, 1, size, stride)
            scored = [token for window in cut for token in window.ids[len(window.ids) - window.scored :]]
            assert scored == ids
            assert all(len(window.ids) <= size and window.scored < len(window.ids) for window in cut)


def test_a_text_without_a_token_has_no_loss(engine: EngineChat) -> None:
    assert engine.text_losses([""]) == [(0.0, 0, 0)]


def test_nucleus_sampling_draws_the_fewest_likeliest_tokens_that_hold_the_share() -> None:
    # P = .5 .3 .15 .05: with top_p .6 the first two are left, as .625 and .375
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()[:, [2, 0, 3, 1]]
    draws = torch.tensor([0.0, 0.3, 0.62, 0.63, 0.999999])
    drawn = sample_tokens(logits.expand(5, -1), 0.6, draws).tolist()
    assert drawn == [1, 1, 1, 3, 3]


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (5, 1.0), (1, 1.0), (0, 0.7), (8, 0.6), (3, 0.95), (99, 0.5)])
@pytest.mark.parametrize("penalty", [1.0, 1.4])
def test_tokens_are_drawn_from_the_distribution_of_transformers_processors(
    top_k: int, top_p: float, penalty: float
) -> None:
    from transformers.generation import logits_process as theirs

    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(4, 40, generator=generator) * 2
    ids = torch.randint(0, 40, (4, 12), generator=generator)
    expected = theirs.RepetitionPenaltyLogitsProcessor(penalty)(ids, logits.clone()) / 0.7
    expected = theirs.TopKLogitsWarper(top_k)(ids, expected) if top_k else expected
    expected = theirs.TopPLogitsWarper(top_p)(ids, expected) if top_p < 1 else expected
    met = torch.zeros(4, 40, dtype=torch.bool).scatter_(1, ids, True)
    points = 2000  # the inverse at evenly spaced points gives each token its probability to within 2 / points
    uniform = (torch.arange(points) + 0.5) / points
    for row, probabilities in enumerate(expected.softmax(-1)):
        one = penalised(logits[row : row + 1], met[row : row + 1], penalty) / 0.7
        drawn = sample_tokens(one.expand(points, -1), top_p, uniform, top_k)
        shares = torch.bincount(drawn, minlength=40) / points
        assert torch.allclose(shares, probabilities, atol=2 / points)
        assert not bool(shares[probabilities == 0].any())


def test_samples_with_top_k_and_a_penalty_do_not_depend_on_what_else_is_asked(engine: EngineChat) -> None:
    asked = conversations()
    decoding = Decoding(temperature=1.0, top_k=20, repetition_penalty=1.2, max_tokens=12, samples=3)
    together = engine.complete(asked, decoding)
    assert engine.complete(list(reversed(asked[3:9])), decoding) == list(reversed(together[3:9]))


def test_a_token_of_no_mass_is_never_drawn() -> None:
    logits = torch.tensor([[-math.inf, 0.0, -math.inf]])
    for uniform in (0.0, 0.5, 1 - 2**-24):
        assert sample_tokens(logits, 1.0, torch.tensor([uniform])).tolist() == [1]
        assert sample_tokens(logits, 0.9, torch.tensor([uniform])).tolist() == [1]


def test_a_conversation_longer_than_the_model_can_read_is_a_mistake(engine: EngineChat) -> None:
    with pytest.raises(Mistake, match="longer than the model can read"):
        engine.complete([[Message("user", "price " * 3000)]], Decoding(max_tokens=4))


def test_an_answer_ends_where_the_model_can_read_no_further(engine: EngineChat) -> None:
    messages = [Message("user", "")]
    room = engine.network.longest - len(engine.template.render(messages, generate=True).ids)
    filler = engine.tokenizer.decode(engine.ids("a b")[:1])
    long = [Message("user", filler * (room - 5))]
    left = engine.network.longest - len(engine.template.render(long, generate=True).ids)
    assert 0 < left < 40
    assert engine.complete([long, messages], Decoding(max_tokens=40))[0][0].tokens <= left


def test_a_folder_without_a_tokenizer_or_a_model_is_a_mistake(tiny_model_folder: Path, tmp_path: Path) -> None:
    host = dataclasses.replace(Host.here(), threads=1, gpus=())
    with pytest.raises(Mistake, match="tokenizer"):
        EngineChat(tmp_path, host)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (tiny_model_folder / name).is_file():
            shutil.copy(tiny_model_folder / name, tmp_path)
    with pytest.raises(Mistake, match="cannot be loaded"):
        EngineChat(tmp_path, host)


def test_an_answer_can_be_ended_where_a_line_of_it_is_whole(engine: EngineChat) -> None:
    asked = conversations(12)
    free = engine.complete(asked, Decoding(max_tokens=40))
    lines: list[tuple[int, str]] = []

    def until(at: int, text: str) -> bool:
        lines.append((at, text))
        return at % 2 == 0

    ended = engine.complete(asked, Decoding(max_tokens=40), until=until)
    assert lines, "no answer of the random model has a line break: choose other conversations"
    for at, ((reply,), (whole,)) in enumerate(zip(ended, free, strict=True)):
        if at % 2 == 0 and "\n" in whole.text:
            assert reply.finished and reply.text == whole.text[: len(reply.text)] and "\n" in reply.text
        else:
            assert reply == whole


def test_groups_that_share_a_beginning_are_read_as_if_alone(engine: EngineChat, model: Any) -> None:
    # one system message, two schemas, four questions: a beginning within a beginning
    system = "You answer with one statement and nothing else, and you never explain it. Tables: "
    asked = [
        [Message("system", system + schema), Message("user", f"How many rows in {at}?")]
        for schema in ("orders(id, price, city, customer, day)", "books(id, title, author, year, pages)")
        for at in range(4)
    ]
    for messages, (reply,) in zip(asked, engine.complete(asked, Decoding(max_tokens=8)), strict=True):
        assert (reply.text, reply.finished) == alone(engine, model, messages, 8)


def test_the_engines_model_answers_like_the_plain_one_in_transformers_own_loop(engine: EngineChat, model: Any) -> None:
    # a padded batch, whose masks transformers makes itself
    rows = [engine.template.render(messages, generate=True).ids for messages in conversations(6)]
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    ours, theirs = (
        one.generate(ids, attention_mask=mask, max_new_tokens=8, do_sample=False)
        for one in (engine.network.model, model)
    )
    assert ours.tolist() == theirs.tolist()
