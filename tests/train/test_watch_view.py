from __future__ import annotations

import json
import os
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from metier.cli.watch import watch
from metier.core import Failure
from metier.train.attempt import its_end_told
from metier.train.watch.curves import Curve, limits, plot, sparkline
from metier.train.watch.seen import Seen
from metier.train.watch.view import View
from tests.train.bench import work_in


def line(kind: str, **fields: Any) -> str:
    return json.dumps({"time": fields.pop("time", 1000.0), "kind": kind, **fields}) + "\n"


def log(step: int, loss: float | None = 2.0, **more: Any) -> str:
    told = {"tokens": 100 * step, "loss": loss, "lr": 1e-4, "grad_norm": 1.0, **more}
    return line("log", step=step, of=40, time=1000.0 + 2 * step, **told)


SAMPLES = [
    {
        "prompt": "Which table?\nassistant\n",
        "answer": "This one.\x1b[31m",
        "general": False,
        "ended": True,
        "repeated": 0.0,
    },
    {"prompt": "Go on", "answer": "the cat " * 30, "general": True, "ended": False, "repeated": 0.8},
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A training at step 30 of 40, with all that can happen to one."""
    folder = tmp_path / "sft-0123456789abcdef"
    folder.mkdir()
    look = {"text": 3.7, "replies": 0.6, "repeated": 0.05, "unended": 0.5, "seconds": 1.0}
    text = line("begun") + line("samples", step=0, samples=SAMPLES) + line("look", step=0, **look)
    text += line("training", of=40, tokens=4000) + line("validation", step=0, loss=2.6)
    text += "".join(log(step, 3 - step / 20, loss_manual=2.0, loss_general=3.0) for step in range(1, 31))
    text += line("look", step=20, **{**look, "replies": 1.3}) + line("validation", step=20, loss=1.9)
    found = "nats a token of the base's own replies: 1.30 after step 20"
    told = {"check": "forgetting", "action": "warn", "what": "the model forgets", "found": found}
    text += line("finding", step=20, **told) + line("rollback", step=25, to=15, check="spike", rate=1.0)
    text += line("samples", step=20, samples=SAMPLES)
    (folder / "events.jsonl").write_text(text)
    return folder


def drawn(folder: Path, width: int = 80) -> str:
    seen = Seen(folder)
    seen.read()
    out = StringIO()
    Console(file=out, width=width).print(View(seen, folder.name))
    return out.getvalue()


def test_a_sparkline_runs_from_the_lowest_to_the_highest_mean() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 0, 7, 7], 2) == "▁█"
    assert sparkline([3, 3], 9) == "▅▅"
    assert sparkline([float("nan")], 9) == sparkline([], 9) == ""
    assert sparkline([0, 7], 2, plain=True).isascii()


def test_a_plot_puts_dots_where_the_values_are() -> None:
    ((cell,),) = plot([Curve([(0, 1.0)])], 1, 1, (0, 1), (0, 1))
    assert cell.character == "⠁"  # the upper left dot
    ((cell,),) = plot([Curve([(1, 0.0)])], 1, 1, (0, 1), (0, 1))
    assert cell.character == "⢀"  # the lower right one
    rows = plot([Curve([(0, 0.0), (1, 1.0)])], 4, 2, (0, 1), (0, 1))
    assert [[cell.curve is not None for cell in row] for row in rows] == [
        [False, False, True, True],
        [True, True, False, False],
    ]
    assert all(cell.character in " *" for row in plot([Curve([(0, 0.0)])], 4, 2, (0, 1), (0, 1), True) for cell in row)
    assert not any(cell.curve is not None for row in plot([Curve([(0, 9.0)])], 4, 2, (0, 1), (0, 1)) for cell in row)


def test_one_spike_does_not_flatten_the_rest_of_a_plot() -> None:
    values = [2 - at / 100 for at in range(100)]
    assert limits([*values, 50.0])[1] < 4
    assert limits(values)[0] < 1.01 < 2.0 < limits(values)[1]
    assert limits([]) == (0.0, 1.0)
    low, high = limits([2.0])
    assert low < 2.0 < high


def test_a_training_is_known_from_its_events(run: Path) -> None:
    seen = Seen(run)
    assert seen.read()
    assert (seen.step, seen.of, seen.tokens, seen.total_tokens) == (30, 40, 3000, 4000)
    assert seen.tokens_per_second == pytest.approx(50)
    assert seen.seconds_per_step == pytest.approx(2)
    assert seen.state(now=1070) == "running"
    assert seen.state(now=10_000) == "silent"
    assert seen.other_curves == ["loss_manual", "loss_general"]
    assert not seen.read()


def test_events_are_read_as_they_come_and_half_a_line_waits(run: Path) -> None:
    seen = Seen(run)
    seen.read()
    more = log(31)
    with (run / "events.jsonl").open("a") as out:
        out.write(more[:20])
        out.flush()
        assert not seen.read()
        assert seen.step == 30
        out.write(more[20:])
    assert seen.read()
    assert seen.step == 31


def test_steps_done_again_after_a_kill_count_once(run: Path) -> None:
    with (run / "events.jsonl").open("a") as out:
        out.write('{"time": 1, "ki\n' + line("resume", step=10, of=40) + log(11, 9.0))
    seen = Seen(run)
    seen.read()
    assert (seen.step, len(seen.steps), seen.resumed) == (11, 11, [10])
    assert seen.curve("loss")[-1] == (11, 9.0)
    assert not seen.findings
    assert not seen.rollbacks
    assert sorted(seen.looks) == sorted(seen.validation) == [0]


def test_an_attempt_that_left_no_checkpoint_does_not_count(run: Path) -> None:
    with (run / "events.jsonl").open("a") as out:
        out.write(line("begun") + line("validation", step=0, loss=2.7) + log(1, 3.0))
    seen = Seen(run)
    seen.read()
    assert (seen.step, len(seen.steps), seen.validation) == (1, 1, {0: 2.7})
    assert not seen.findings
    assert seen.samples is None
    with (run / "events.jsonl").open("a") as out:
        out.write(log(2) + line("resume", step=1, of=40) + log(2, 2.5))
    seen.read()
    assert (seen.curve("loss"), seen.resumed) == ([(1, 3.0), (2, 2.5)], [1])


def test_a_file_begun_anew_is_read_anew(run: Path) -> None:
    seen = Seen(run)
    seen.read()
    (run / "events.jsonl").write_text(log(1))
    seen.read()
    assert (seen.step, len(seen.steps)) == (1, 1)


def test_a_finished_and_a_stopped_training_are_told_apart(run: Path) -> None:
    seen = Seen(run)
    told = {"check": "divergence", "action": "stop", "what": "the training diverged", "found": "loss 9"}
    with (run / "events.jsonl").open("a") as out:
        out.write(line("finding", step=30, **told))
    seen.read()
    assert seen.state() == "stopped"
    (run / "record.json").write_text("{}")
    assert seen.state() == "done"


def test_a_training_that_ended_before_it_was_done_says_why_until_it_goes_on(run: Path) -> None:
    for error, why in ((SystemExit(143), "asked to end"), (KeyboardInterrupt(), "interrupted"), (Failure("no"), "no")):
        with pytest.raises(type(error)), its_end_told(work_in(run)):
            raise error
        seen = Seen(run)
        seen.read()
        assert (seen.state(), seen.summary()["ended"], seen.seconds_left) == ("ended", why, None)
        assert f"ended: {why}" in drawn(run, 80)
    with (run / "events.jsonl").open("a") as out:
        out.write(line("resume", step=20, of=40, time=time.time()))
    seen.read()
    assert (seen.state(time.time()), seen.ended) == ("running", None)


@pytest.mark.parametrize("width", [60, 80, 132])
def test_the_view_keeps_to_the_width_and_says_all_there_is(run: Path, width: int) -> None:
    text = drawn(run, width)
    assert all(len(one) <= width for one in text.splitlines())
    for word in ("step 30 of 40", "3,000 tokens", "50 tokens/s", "validation 1.900", "gradient norm", "loss of manual"):
        assert word in text
    for word in ("own replies", "the model forgets", "rolled back", "Which table?", "This one.", "loops: 80%"):
        assert word in text
    assert "\x1b[31m" not in text  # what a model says commands no terminal


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"{", b'{"kind": "log"}\n', b"[1]\n", b"\xff\xfe\x00", b'{"kind": "log", "step": "x", "time": 1}\n'],
)
def test_an_empty_cut_or_foreign_file_is_no_traceback(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "events.jsonl").write_bytes(content)
    result = CliRunner().invoke(watch, [str(tmp_path), "--once"])
    assert result.exit_code == 0, result.exception
    assert "no event yet" in result.output or "silent" in result.output


def test_a_loss_that_was_not_finite_is_drawn_around(run: Path) -> None:
    with (run / "events.jsonl").open("a") as out:
        out.write(log(31, None))
    assert "step 31 of 40" in drawn(run)


def test_once_prints_and_ends_and_json_is_for_programs(run: Path) -> None:
    once = CliRunner().invoke(watch, [str(run), "--once", "--width", "80"])
    assert once.exit_code == 0
    assert "step 30 of 40" in once.output
    told = json.loads(CliRunner().invoke(watch, [str(run), "--json"]).output)
    assert (told["step"], told["last"]["tokens"], told["findings"][0]["check"]) == (30, 3000, "forgetting")


def test_without_a_name_the_training_last_heard_of_is_shown(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "cpt-fedcba9876543210"
    other.mkdir()
    (other / "events.jsonl").write_text(log(5))
    os.utime(run / "events.jsonl", (1, 1))
    asked = ["-w", str(tmp_path), "-r", str(tmp_path / "none.yaml"), "--once"]
    assert "cpt-fedcba9876543210" in CliRunner().invoke(watch, asked).output
    assert "step 30" in CliRunner().invoke(watch, ["sft-0123456789abcdef", *asked]).output


def test_an_unknown_name_is_a_mistake_that_names_what_there_is(tmp_path: Path) -> None:
    from metier.core.errors import Mistake

    result = CliRunner().invoke(watch, ["sft", "-w", str(tmp_path), "-r", str(tmp_path / "none.yaml")])
    assert isinstance(result.exception, Mistake)
    assert "no training 'sft'" in str(result.exception)
    result = CliRunner().invoke(watch, ["-w", str(tmp_path), "-r", str(tmp_path / "none.yaml")])
    assert isinstance(result.exception, Mistake)
    (tmp_path / "examine-1").mkdir()
    (tmp_path / "examine-1" / "record.json").write_text("{}")
    result = CliRunner().invoke(watch, ["examine-1", "-w", str(tmp_path), "-r", str(tmp_path / "none.yaml")])
    assert isinstance(result.exception, Mistake) and "'examine-1' is no training" in str(result.exception)
