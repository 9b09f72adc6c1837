"""Read a model in the middle of its training, and leave no trace."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def undisturbed(trainer: Any) -> Iterator[None]:
    """Return a context without gradients and dropout, after which random states, modes and records are as before.

    Args:
        trainer: a `Watched` trainer.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    of_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    modes = [(part, part.training) for part in trainer.model.modules()]
    recording, trainer.recording = getattr(trainer, "recording", True), False
    trainer.model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training
        trainer.recording = recording
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if of_gpus:
            torch.cuda.set_rng_state_all(of_gpus)
