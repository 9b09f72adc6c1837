"""Several processes of one run: the first makes, the others follow, and nobody waits for the dead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from metier.core import Failure, Mistake, Workshop
from metier.core.lead import FirstEnded, Lead
from metier.core.processes import OtherEnded, Processes, this_process, to_be_said

ROOT = Path(__file__).parents[2]
PROGRAM = textwrap.dedent(
    """
    import os, sys, time
    from pathlib import Path
    from typing import ClassVar
    from metier.core import Artifact, Failure, Host, Progress, Step, Workshop

    class Alone(Step[Artifact]):
        name: ClassVar[str] = "test-alone"
        fails: bool = False
        def run(self, work):
            time.sleep(0.5)
            if self.fails:
                raise Failure("it broke")
            (work.folder / "by").write_text(os.environ["RANK"])
            work.figure("pid", os.getpid())

    class Together(Step[Artifact]):
        name: ClassVar[str] = "test-together"
        on_all_processes: ClassVar[bool] = True
        after: Step[Artifact]
        def run(self, work):
            (work.shared / ("took-part-" + os.environ["RANK"])).write_text("")
            (work.folder / ("wrote-" + os.environ["RANK"])).write_text("")
            work.event("ran", rank=os.environ["RANK"])
            work.say("said by " + os.environ["RANK"])
            while len(list(work.shared.glob("took-part-*"))) < 2:
                time.sleep(0.02)

    class Killed(Step[Artifact]):
        name: ClassVar[str] = "test-killed"
        def run(self, work):
            os.kill(os.getpid(), 9)

    shop = Workshop(Path(sys.argv[1]), Host(1, 1, 1 << 30), Progress.here())
    alone = Alone(fails=sys.argv[2] == "fails")
    step = Killed() if sys.argv[2] == "killed" else Together(after=alone)
    print(shop.make(step).folder)
    """
)


def run_two(folder: Path, how: str, *others: str) -> list[tuple[int, str]]:
    """Return the exit code and the standard error of both processes."""
    started = []
    for rank in (1, 0):
        told = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_PORT": "1234"}
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(folder), how], cwd=ROOT, env={**os.environ, **told},
                stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
            )
        )  # fmt: skip
    ends = [process.communicate(timeout=60)[1] for process in started]
    return [(process.returncode, said) for process, said in zip(started, ends, strict=True)][::-1]


def test_the_first_process_makes_and_all_take_part_where_a_step_says_so(tmp_path: Path) -> None:
    (code, said), (other, heard) = run_two(tmp_path, "works")
    assert (code, other, heard) == (0, 0, "")
    assert "said by 0" in said and "said by 1" not in said and said.count("1 wait for it") == 1
    alone, together = (next(tmp_path.glob(f"test-{name}-*")) for name in ("alone", "together"))
    assert (alone / "by").read_text() == "0"
    assert {path.name for path in together.glob("*-?")} == {"took-part-0", "took-part-1", "wrote-0"}
    assert [json.loads(line)["rank"] for line in (together / "events.jsonl").read_text().splitlines()] == ["0"]
    assert json.loads((together / "record.json").read_text())["attempts"] == 1


def test_when_the_first_process_fails_the_others_end_without_a_word(tmp_path: Path) -> None:
    (code, said), (other, heard) = run_two(tmp_path, "fails")
    assert code == 1 and "it broke" in said
    assert other == 1 and heard == ""


def test_when_the_first_process_is_killed_the_others_end(tmp_path: Path) -> None:
    (code, _), (other, heard) = run_two(tmp_path, "killed")
    assert code == -9 and other == 1 and heard == ""


def test_a_failure_of_an_earlier_run_is_not_taken_for_one_of_this(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead = Lead(tmp_path)
    with pytest.raises(ValueError, match="broken"), lead.working():
        raise ValueError("broken")
    with pytest.raises(FirstEnded):
        lead.told()
    monkeypatch.setattr("metier.core.lead.launched", lambda: 1e12)
    assert lead.told() is None


def test_what_goes_wrong_in_another_process_only_is_told_by_it_with_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metier.core.lead._GRACE_SECONDS", 0.3)
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    lead = Lead(tmp_path)
    with lead.working(), pytest.raises(ValueError, match="mine") as told, lead.following():
        raise ValueError("mine")
    assert told.value.__notes__ == [this_process()] and "process 3 of 8" in this_process()


def test_what_all_processes_meet_is_told_by_the_first_alone_and_they_end_with_its_code(tmp_path: Path) -> None:
    lead = Lead(tmp_path)
    with pytest.raises(Mistake), lead.working():
        raise Mistake("the model has no tokenizer", found="on the first")
    for error in (Mistake("the model has no tokenizer", found="on another"), OtherEnded("the first is gone")):
        with pytest.raises(FirstEnded) as ended, lead.following():
            raise error
        assert ended.value.code == 2
    with pytest.raises(Failure, match="no memory") as told, lead.following():  # what the first did not say
        raise Failure("no memory")
    assert told.value.__notes__ == [this_process()]


CLI = "from metier.cli import main; main()"


def run_command(folder: Path, *words: str) -> list[tuple[int, str]]:
    """Return the exit code and the standard error of two processes of `metier`."""
    started = []
    for rank in (0, 1):
        told = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_PORT": "1234"}
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", CLI, *words], cwd=folder, env={**os.environ, **told, "TMPDIR": str(folder)},
                stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
            )
        )  # fmt: skip
    ends = [process.communicate(timeout=60)[1] for process in started]
    return [(process.returncode, said) for process, said in zip(started, ends, strict=True)]


def test_a_faulty_recipe_is_told_once_and_all_processes_end_with_its_code(tmp_path: Path) -> None:
    (tmp_path / "metier.yaml").write_text("sft: {step: stf}\n")
    (code, said), (other, heard) = run_command(tmp_path, "run")
    assert code == other == 2 and "stf" in said and heard == ""


def test_a_wrong_option_is_told_once(tmp_path: Path) -> None:
    (code, said), (other, heard) = run_command(tmp_path, "run", "--no-such-option")
    assert code == other == 2 and "--no-such-option" in said and heard == ""


def test_another_process_tells_what_the_first_of_its_machine_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metier.core.processes._START_SECONDS", 0.3)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("WORLD_SIZE", "2")

    def said(rank: int, what: str) -> tuple[bool, list[str]]:
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        error = Mistake(what)
        return to_be_said(error), getattr(error, "__notes__", [])

    alone = said(1, "no GPU")
    assert alone == (True, [this_process()])
    assert said(0, "no recipe") == (True, [])
    assert said(1, "no recipe") == (False, [])
    assert said(1, "no GPU") == alone
    monkeypatch.setattr("metier.core.processes.launched", lambda: 1e12)
    assert said(1, "no recipe")[0]  # an earlier run said that


def test_one_process_is_the_first_of_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert Processes.here() == (0, 1, 0) and Workshop(tmp_path).processes.first
    monkeypatch.setenv("RANK", "9")
    monkeypatch.setenv("WORLD_SIZE", "16")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert Processes.here() == (9, 16, 1) and not Processes.here().first
