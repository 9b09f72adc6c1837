"""Progress says how far, how fast and how long."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from metier.core import Host, Work
from metier.core.progress import Progress
from tests.core.steps import Count


def test_a_line_says_done_rate_time_left_and_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    out = io.StringIO()
    progress = Progress(out)
    progress.prefix = "[2/9] sft: "
    with progress.bar("train", 4000, "tokens") as bar:
        clock[0] += 20
        bar.advance(1000, loss=1.2345)
        assert out.getvalue() == "[2/9] sft: train 1,000/4,000 tokens · 50 tokens/s · 1 min 00 s left · loss 1.23\n"


def test_what_an_earlier_attempt_did_does_not_count_for_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with Progress().bar("train", 100, "tokens") as bar:
        bar.resume_at(90)
        clock[0] += 5
        bar.advance(5)
        assert "95/100 tokens · 1 tokens/s · 5 s left" in bar.line(clock[0])


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end() -> None:
    out = io.StringIO()
    with Progress(out).bar("reading", 1000, "files") as bar:
        for _ in range(1000):
            bar.advance()
    assert out.getvalue().count("\n") == 1


def test_nothing_to_do_is_not_told() -> None:
    out = io.StringIO()
    with Progress(out).bar("reading", total=0, unit="characters"):
        pass
    assert out.getvalue() == ""


def test_every_line_of_a_step_says_which_step_it_is(tmp_path: Path) -> None:
    out = io.StringIO()
    progress = Progress(out)
    work = Work(Count(), tmp_path, Host(1, 1, 1 << 30), {}, progress)
    work.say("before any step")
    progress.prefix = "[2/9] sft: "
    work.say("rehearsal in 3 s")
    work.warn("replay is short")
    work.say("a  b\n1  2")  # a table keeps its columns
    assert out.getvalue().splitlines() == [
        "before any step",
        "[2/9] sft: rehearsal in 3 s",
        "[2/9] sft: warning: replay is short",
        "[2/9] sft:",
        "a  b",
        "1  2",
    ]
    assert work.warnings == ["replay is short"]
