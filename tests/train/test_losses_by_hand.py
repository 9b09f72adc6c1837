"""What a trainer logs is the loss worked out from plain logits, one row at a time, without packing."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from metier.core import Artifact
from metier.train.options import Settings
from metier.train.packing import Group, Row, common_prefix, optimizer_batches, share_prefixes, shareable
from metier.train.preference import Objective, PreferenceTrainer
from metier.train.schedule import schedule
from metier.train.tune import tune
from tests.train.bench import rows_with_prefixes, work_in

SETTINGS = Settings(learning_rate=1e-3, warmup=0.1, weight_decay=0.0, seed=0, precision="fp32")


def answer_log_p(model: Any, row: Row) -> list[float]:
    with torch.no_grad():
        log_p_TV = model(torch.tensor([row.ids])).logits[0].log_softmax(-1)
    return [float(log_p_TV[at - 1, row.ids[at]]) for at in range(1, len(row.ids)) if row.mask[at]]


@pytest.fixture(scope="module")
def plain(tiny_model_folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model_folder).eval()


def test_sft_logs_the_mean_over_all_answer_tokens_of_the_step(
    tiny_model_folder: Path, tmp_path: Path, plain: Any
) -> None:
    rows = rows_with_prefixes(0, 12)
    groups = share_prefixes(rows, 128, 3, random.Random(0))
    made = schedule([optimizer_batches(groups, [len(group.rows) for group in groups], 12)], 64)
    assert made.steps == 1 and made.accumulate > 1 and any(group.prefix for group in groups)
    tune(tiny_model_folder, made, SETTINGS, work_in(tmp_path))
    (logged,) = Artifact(tmp_path).events("log")
    by_hand = [value for row in rows for value in answer_log_p(plain, row)]
    assert logged["loss"] == pytest.approx(-sum(by_hand) / len(by_hand), abs=2e-5)  # logged with five digits


def test_dpo_logs_the_mean_over_pairs_of_minus_log_sigmoid_of_beta_times_the_margin(
    tiny_model_folder: Path, tmp_path: Path, plain: Any
) -> None:
    rows = rows_with_prefixes(3, 12)
    pairs = [
        (rows[at], rows[at + 1]._replace(ids=[*rows[at].ids[:24], *rows[at + 1].ids[24:]], name=rows[at].name))
        for at in range(0, 12, 2)
    ]
    groups = [Group(pair, common_prefix(pair[0].ids, pair[1].ids, min(map(shareable, pair)))) for pair in pairs]
    drift = {pair[0].name: [float(at), -0.5 * at] for at, pair in enumerate(pairs)}

    class Drifted(PreferenceTrainer):
        def prepare(self) -> None:  # a reference that is not the policy, so that margins differ
            super().prepare()
            for name, (chosen, rejected) in drift.items():
                self.reference[name] = [self.reference[name][0] - chosen, self.reference[name][1] - rejected]

    made = schedule([optimizer_batches(groups, [1] * 6, 6)], 64)
    assert made.steps == 1 and made.accumulate > 1
    tune(
        tiny_model_folder,
        made,
        SETTINGS,
        work_in(tmp_path),
        lambda *args: Drifted(*args, objective=Objective("sigmoid", 0.3), most_lost=100.0),
    )
    (logged,) = Artifact(tmp_path).events("log")
    want = [math.log(1 + math.exp(-0.3 * (chosen - rejected))) for chosen, rejected in drift.values()]
    assert logged["loss"] == pytest.approx(sum(want) / len(want), abs=2e-4)
    chosen = [sum(answer_log_p(plain, pair[0])) for pair in pairs]
    assert logged["chosen"] == pytest.approx(sum(chosen) / len(chosen), abs=1e-3)
