"""Several processes train as one does, however the weights are cut over them."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
import transformers
import trl

from metier.core import Artifact, Mistake
from metier.train.adapt import network_for
from metier.train.arguments import arguments, check_settings, may_leave_out, shared
from metier.train.collate import EMPTY, collate
from metier.train.distributed import dealt, layout
from metier.train.options import Settings
from metier.train.plan import Job, Layout, find_shape, lay_out, machine_of
from metier.train.plan.launch import accelerate_line
from metier.train.plan.write import write_plan
from metier.train.reference import reference_of
from metier.train.reinforce import TRACES
from metier.train.schedule import Schedule
from metier.train.tune import _warn_of_empty
from metier.train.validation import Validation
from tests.train.bench import HOST, largest_difference, weights, work_in
from tests.train.processes import zero

ROOT = Path(__file__).parents[2]
LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP")


def free_port() -> str:
    """Return a port that nobody listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return str(taken.getsockname()[1])


def launch(folder: Path, model: Path, *words: str, processes: int = 2, **variables: str) -> tuple[int, str]:
    """Train the tiny model, see `processes`; return the exit code and what was said on standard error."""
    program = [sys.executable, "-m"]
    if processes > 1:
        program += ["torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", free_port(), "-m"]
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
    done = subprocess.run(
        [*program, "tests.train.processes", str(folder), str(model), *words],
        cwd=ROOT, env=environment | {"OMP_NUM_THREADS": "1", **variables}, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    return done.returncode, done.stdout[-2000:] + done.stderr[-6000:]


def trained(workshop: Path) -> dict[str, Path]:
    """Return the folders of the trainings in a workshop, by their names in the workshop."""
    return {path.name: path for step in ("cpt", "sft", "dpo", "kto") for path in workshop.glob(f"{step}-*")}


def losses(folder: Path) -> list[float]:
    """Return the losses of all steps: were they written by two processes, each would be there twice."""
    return [event["loss"] for event in Artifact(folder).events("log")]


def figures(folder: Path) -> list[dict[str, float]]:
    """Return all that is told of each step."""
    events = Artifact(folder).events("log")
    return [{name: value for name, value in event.items() if name not in ("time", "kind")} for event in events]


@pytest.fixture(scope="module")
def alone(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workshop in which one process trained."""
    folder = tmp_path_factory.mktemp("alone")
    code, said = launch(folder, tiny_model_folder, "one:cpt", "one:again", "one:dpo-lora", processes=1)
    assert code == 0 and "Setting accelerator to CPU" not in said, said
    return folder / "one"


def assert_same(alone: Path, several: Path, count: int) -> None:
    """Assert that so many trainings have the losses of each step and the weights that one process gives."""
    one, two = trained(alone), trained(several)
    assert set(two) <= set(one) and len(two) == count
    for name in two:
        assert losses(two[name]) == pytest.approx(losses(one[name]), abs=1e-4) and len(losses(one[name])) > 1
        assert figures(two[name]) == [pytest.approx(told, abs=1e-3) for told in figures(one[name])]
        assert largest_difference(weights(one[name] / "model"), weights(two[name] / "model")) < 1e-4


@pytest.mark.slow
def test_data_parallel_and_fsdp2_give_the_losses_and_weights_of_one_process(
    tiny_model_folder: Path, alone: Path, tmp_path: Path
) -> None:
    words = ("ddp:cpt", "ddp:sft", "ddp:dpo-lora", "fsdp2:sft", "fsdp2:dpo-lora")
    code, said = launch(tmp_path, tiny_model_folder, *words)
    assert code == 0, said
    assert_same(alone, tmp_path / "ddp", 3)
    assert_same(alone, tmp_path / "fsdp2", 2)


@pytest.mark.slow
def test_the_stages_of_zero_give_them_and_fsdp2_goes_on_from_the_weights_of_zero_3(
    tiny_model_folder: Path, alone: Path, tmp_path: Path
) -> None:
    words = ("zero-1:sft", "zero-2:sft", "zero-3:sft", "zero-3:dpo-lora", "zero-3-offload:sft", "zero-3/fsdp2:again")
    code, said = launch(tmp_path, tiny_model_folder, *words)
    assert code == 0, said
    for where, count in (("zero-1", 1), ("zero-2", 1), ("zero-3", 3), ("zero-3-offload", 1)):
        assert_same(alone, tmp_path / where, count)


@pytest.fixture(scope="module")
def looked_at(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workshop in which one process trained, with looks into the model and rows set aside."""
    folder = tmp_path_factory.mktemp("looked-at")
    words = [f"one:{name}" for name in ("watched", "dpo-watched", "kto-watched", "freeze")]
    code, said = launch(folder, tiny_model_folder, *words, processes=1)
    assert code == 0, said
    return folder / "one"


def assert_same_looks(alone: Path, several: Path) -> None:
    """Assert that looks and validations of trainings saw what they see on one process."""
    one = trained(alone)
    for name, folder in trained(several).items():
        for kind, tolerance in (("look", 1e-3), ("validation", 1.1e-5)):
            here, there = Artifact(folder).events(kind), Artifact(one[name]).events(kind)
            assert [event["step"] for event in here] == [event["step"] for event in there]
            for event, other in zip(here, there, strict=True):
                told = {key: value for key, value in event.items() if key not in ("time", "seconds", "kind")}
                assert told == pytest.approx({key: other[key] for key in told}, abs=tolerance)
        answers = [[one["answer"] for one in event["samples"]] for event in Artifact(folder).events("samples")]
        assert answers == [
            [one["answer"] for one in event["samples"]] for event in Artifact(one[name]).events("samples")
        ]
        assert Artifact(folder).record.figures["watch"].get("looks") == len(Artifact(one[name]).events("look"))


@pytest.mark.slow
@pytest.mark.parametrize("layouts", [("ddp", "zero-2"), ("zero-3", "fsdp2")])
def test_looks_and_validation_see_on_two_processes_what_they_see_on_one(
    tiny_model_folder: Path, looked_at: Path, tmp_path: Path, layouts: tuple[str, ...]
) -> None:
    code, said = launch(tmp_path, tiny_model_folder, *(f"{way}:watched" for way in layouts))
    assert code == 0 and "left out" not in said, said
    for way in layouts:
        assert_same(looked_at, tmp_path / way, 1)
        assert_same_looks(looked_at, tmp_path / way)
        (folder,) = trained(tmp_path / way).values()
        assert len(Artifact(folder).events("look")) == 2 and len(Artifact(folder).events("validation")) == 3


@pytest.mark.slow
def test_preferences_are_validated_and_last_layers_trained_on_two_processes_as_on_one_without_a_warning(
    tiny_model_folder: Path, looked_at: Path, tmp_path: Path
) -> None:
    code, said = launch(tmp_path, tiny_model_folder, "ddp:dpo-watched", "ddp:kto-watched", "ddp:freeze")
    assert code == 0 and "arning" not in said and "[W" not in said, said
    assert_same(looked_at, tmp_path / "ddp", 3)
    assert_same_looks(looked_at, tmp_path / "ddp")


@pytest.mark.slow
def test_a_loss_that_is_not_finite_on_one_process_takes_all_back_to_the_step_that_one_process_goes_back_to(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    code, said = launch(tmp_path, tiny_model_folder, "one:returns", processes=1, METIER_TEST_BREAK="3:loss")
    assert code == 0, said
    layouts = ("ddp", "zero-2", "zero-3", "fsdp2")
    code, said = launch(tmp_path, tiny_model_folder, *(f"{way}:returns" for way in layouts), METIER_TEST_BREAK="3:loss")
    assert code == 0, said
    (alone,) = trained(tmp_path / "one").values()
    for way in layouts:
        (folder,) = trained(tmp_path / way).values()
        record = Artifact(folder).record
        assert record.figures["watch"]["rollbacks"] == [{"step": 3, "to": 2, "check": "not_finite"}]
        one, two = losses(alone), losses(folder)
        assert [str(loss) for loss in (one[2], two[2])] == ["None", "None"]  # JSON has no NaN
        assert len(one) == len(two) == 4 and two[3] == pytest.approx(one[3], abs=1e-4)
        assert largest_difference(weights(alone / "model"), weights(folder / "model")) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "what"), [("ddp", "loss"), ("zero-2", "gradient"), ("zero-3", "loss"), ("fsdp2", "gradient")]
)
def test_what_is_not_finite_on_one_process_stops_all_with_one_message(
    tiny_model_folder: Path, tmp_path: Path, way: str, what: str
) -> None:
    code, said = launch(tmp_path, tiny_model_folder, f"{way}:sft", METIER_TEST_BREAK=f"3:{what}")
    assert code != 0 and said.count("error: the training diverged at step 3") == 1, said


@pytest.mark.slow
def test_grpo_says_on_two_processes_that_it_takes_slower_ways(tiny_model_folder: Path, tmp_path: Path) -> None:
    code, said = launch(tmp_path, tiny_model_folder, "ddp:grpo")
    assert code == 0 and said.count("on 2 processes answers are drawn by transformers") == 1, said
    (made,) = map(Artifact, (tmp_path / "ddp").glob("grpo-*"))
    kept = (made.folder / TRACES).read_text().splitlines()
    assert len(kept) == made.record.figures["answers"] == 16  # those of all processes


@pytest.mark.slow
def test_a_checkpoint_of_zero_is_refused_on_other_processes_once_and_its_weights_can_be_taken_out(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    code, said = launch(tmp_path, tiny_model_folder, "zero-3:sft", METIER_TEST_END="2")
    assert "asked to end: saved after step" in said, said
    code, said = launch(tmp_path, tiny_model_folder, "zero-3:sft", processes=3)
    assert code != 0 and said.count("error: the checkpoint of step 2") == 1, said
    assert "with zero-3 on 2 processes only" in said and "found: started with zero-3 on 3 processes" in said
    assert "exitcode  : 2" in said and "exitcode  : 1" not in said
    (told,) = re.findall(r'`python -c "(.+?)"`', said)
    taken = tmp_path / "taken"
    told = told.replace("BASE", str(tiny_model_folder)).replace("FOLDER", str(taken))
    subprocess.run([sys.executable, "-c", told], check=True, capture_output=True)
    network = network_for(taken, Settings(1e-3, 0.1, 0.0, 0, precision="fp32"), HOST)
    base = weights(tiny_model_folder)
    moved = {name: weight for name, weight in network.state_dict().items() if name in base}
    assert moved.keys() == base.keys() and 0 < largest_difference(moved, base) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["ddp", "fsdp2"])
def test_accelerate_launches_on_cores_what_a_plan_writes(
    tiny_model_folder: Path, alone: Path, tmp_path: Path, sharding: Literal["ddp", "fsdp2"]
) -> None:
    job = Job(find_shape("8b"), rows=64, precision="fp32")
    plan = lay_out(job, Layout(sharding=sharding, data=2), machine_of("cpu:2x2x24G"))
    write_plan(plan, tmp_path)
    _, _, *line = accelerate_line(plan, "").replace("HEAD_NODE", "127.0.0.1").partition(" -m ")[0].split()
    line[line.index("accelerate.yaml")] = str(tmp_path / "accelerate.yaml")
    line[line.index("--main_process_port") + 1] = free_port()
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
    started = []
    for machine in ("0", "1"):  # two machines, as the plan has it, on this one
        words = [machine if word == "RANK" else word for word in line]
        program = [sys.executable, "-m", "accelerate.commands.launch", *words, "-m", "tests.train.processes"]
        started.append(
            subprocess.Popen(
                [*program, str(tmp_path), str(tiny_model_folder), "given:sft"], cwd=ROOT,
                env=environment | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
    said = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], "".join(said)
    assert_same(alone, tmp_path / "given", 1)
    assert "1 wait for it" in said[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ended", "resumed", "processes"), [("ddp", "ddp/one", 1), ("fsdp2", "fsdp2", 3), ("zero-2", "zero-2", 2)]
)
def test_sigterm_to_one_of_two_ends_both_with_143_and_the_training_goes_on_as_if_nothing_had_been(
    tiny_model_folder: Path, alone: Path, tmp_path: Path, ended: str, resumed: str, processes: int
) -> None:
    code, said = launch(tmp_path, tiny_model_folder, f"{ended}:sft", METIER_TEST_END="2")
    assert code != 0 and "asked to end: saved after step" in said and "exitcode  : 143" in said, said
    (folder,) = (tmp_path / ended).glob("sft-*")
    assert list(folder.glob("checkpoints/checkpoint-*/complete.json")) and not (folder / "record.json").exists()
    code, said = launch(tmp_path, tiny_model_folder, f"{resumed}:sft", processes=processes)
    assert code == 0 and "going on from step" in said, said
    assert_same(alone, tmp_path / ended, 1)


def test_empty_passes_make_every_step_even() -> None:
    assert dealt(5, 3, 1) is None
    assert dealt(6, 2, 2) == [0, 1, 2, 3, 4, 5]
    assert dealt(5, 3, 2) == [0, 1, 2, None, 3, 4]
    assert dealt(4, 3, 2) == [0, 1, 2, None, 3, None]
    assert dealt(3, 1, 4) == [0, None, None, None, 1, None, None, None, 2, None, None, None]
    assert int((collate([EMPTY])["targets"] >= 0).sum()) == 0


def test_every_process_reads_as_many_windows_of_the_validation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    windows = [EMPTY._replace(names=[str(at)]) for at in range(5)]
    monkeypatch.setenv("WORLD_SIZE", "3")
    read = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        read.append(list(Validation(None, windows, tmp_path)._own()))
    assert [len(own) for own in read] == [2, 2, 2] and read[2][1] == EMPTY
    assert sorted(name for own in read for window in own for name in window.names) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(("more", "left_out"), [({}, False), ({"num_local_experts": 8}, True)])
def test_a_pass_leaves_weights_out_where_there_are_experts(more: dict[str, int], left_out: bool) -> None:
    config = transformers.LlamaConfig(**more)
    assert may_leave_out(SimpleNamespace(config=config)) is left_out


def test_passes_that_cannot_be_shared_evenly_are_refused_where_none_can_be_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert shared(4) == 2
    with pytest.raises(Mistake, match="3 forward passes cannot be shared by 2"):
        shared(3)
    monkeypatch.delenv("WORLD_SIZE")
    assert shared(3) == 3


def test_processes_that_wait_for_others_in_most_passes_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    work = work_in(tmp_path)
    windows = [EMPTY] * 20
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "8")
    _warn_of_empty(Schedule(windows, 7), work)
    assert not work.warnings  # 2 of 24
    _warn_of_empty(Schedule(windows, 9), work)
    (warning,) = work.warnings
    assert warning.startswith("50% of all forward passes are empty: an optimizer step is cut into 9 for 8 processes")


def test_lora_computes_in_16_bits_under_zero_and_is_refused_there_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path, tmp_path: Path
) -> None:
    for name, value in zero(tmp_path, 2).items():
        monkeypatch.setenv(name, value)
    settings = Settings(1e-3, 0.1, 0.0, 0, method="lora", precision="bf16")
    network = network_for(tiny_model_folder, settings, HOST).bfloat16()  # as DeepSpeed does, which has no autocast
    told = collate([EMPTY._replace(targets=[5, 7])])
    loss = network(**{name: told[name] for name in ("input_ids", "position_ids", "targets", "blocks")}).sum()
    assert torch.isfinite(loss)
    with pytest.raises(Mistake, match="without GPUs zero-2 trains in float32 only"):
        check_settings(settings, HOST)


def test_the_layout_is_what_the_launcher_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    assert layout() == "whole"
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    assert layout() == "fsdp2"
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(Mistake, match="second version only"):
        layout()
    for name, value in zero(tmp_path, 3).items():
        monkeypatch.setenv(name, value)
    assert layout() == "zero-3"
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", str(tmp_path / "none.json"))
    with pytest.raises(Mistake, match="cannot be read"):
        layout()


@pytest.mark.parametrize("wish", ["fp32", "auto"])
def test_the_recipe_says_the_number_format_and_not_the_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: Literal["fp32", "auto"]
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    monkeypatch.setattr("metier.train.adapt.bf16_pays", lambda host: True)
    made = arguments(trl.SFTConfig, tmp_path, 10, 1, Settings(1e-3, 0.1, 0.0, 0, precision=wish), HOST)
    assert made.mixed_precision == {"fp32": "no", "auto": "bf16"}[wish]


def test_trained_weights_are_never_taken_for_the_reference(tmp_path: Path) -> None:
    checkpoints = SimpleNamespace(folder=tmp_path, fingerprint="f")
    settings = SimpleNamespace(precision="fp32")
    trainer: Any = SimpleNamespace(
        loaded=True,
        model=torch.nn.Linear(1, 1),
        checkpoints=checkpoints,
        settings=settings,
        work=SimpleNamespace(host=HOST),
    )
    with pytest.raises(Mistake, match="the reference of this training is gone"):
        reference_of(trainer, lambda window: {})
    kept = {"fingerprint": "f", "number format": "fp32", "nats": {"a": [1.0]}}
    (tmp_path / "reference.json").write_text(json.dumps(kept))
    assert reference_of(trainer, lambda window: {}) == {"a": [1.0]}
