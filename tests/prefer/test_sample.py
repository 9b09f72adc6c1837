"""Sampling of pairs through the workshop, with a tiny model of random weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from metier.core import Host, Mistake, Workshop
from metier.prefer import SamplePairs
from metier.prefer import sample as sampling
from metier.prefer.pairs import Graded
from tests.evaluate.exam_steps import SomeTasks, given

HOST = dataclasses.replace(Host.here(), threads=1, gpus=())


def step(folder: Path, **fields: object) -> SamplePairs:
    settings = {"model": given(folder), "prompts": (SomeTasks(),), "max_tokens": 8, "samples": 3, "use_reference": True}
    return SamplePairs(**(settings | fields))


def test_every_conversation_and_every_prompt_is_in_the_ledger(tiny_model_folder: Path, tmp_path: Path) -> None:
    made = Workshop(tmp_path, HOST).make(step(tiny_model_folder, prompts_limit=5))
    pairs = list(made.rows())
    conversations, prompts = made.record.ledger.lines
    # 8 train rows and 8 + 3 held out
    assert (conversations.came, conversations.kept) == (19, 5)
    assert conversations.dropped == {"held out": 11, "more than prompts_limit": 3}
    assert (prompts.came, prompts.kept) == (5, len(pairs))
    for pair in pairs:
        assert pair.chosen.startswith("SELECT a +") and pair.chosen != pair.rejected
        assert pair.chosen_score - pair.rejected_score >= 0.3
        assert pair.id.startswith("train/")


def test_a_killed_step_samples_only_what_is_left(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Workshop(tmp_path / "whole", HOST).make(step(tiny_model_folder))
    shop, graded = Workshop(tmp_path / "killed", HOST), []

    def killed(check: object, reply: object) -> Graded:
        graded.append(reply)
        if len(graded) == 11:  # in the middle of the fourth prompt
            raise KeyboardInterrupt
        return grade(check, reply)  # type: ignore[arg-type]

    grade = sampling.grade
    with monkeypatch.context() as patched:
        patched.setattr(sampling, "grade", killed)
        with pytest.raises(KeyboardInterrupt):
            shop.make(step(tiny_model_folder))
    found = shop.make(step(tiny_model_folder))
    assert list(found.rows()) == list(whole.rows())
    assert found.record.figures["answers"] == 8 * 3


def test_no_pair_at_all_is_a_mistake_that_says_why(tiny_model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="no prompt gave a pair") as raised:
        Workshop(tmp_path, HOST).make(step(tiny_model_folder, use_reference=False))
    assert raised.value.found is not None and "all answers wrong" in raised.value.found
