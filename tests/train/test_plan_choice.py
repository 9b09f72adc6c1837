"""The choice of a layout, the ladder, the next smaller plan, and machines in words."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest import approx

from metier.core import Host, Mistake
from metier.core.host import Gpu
from metier.train.memory import parameters
from metier.train.plan import (
    Job,
    Layout,
    Plan,
    check,
    explain,
    find_shape,
    lay_out,
    machine_of,
    memory_of,
    next_smaller,
    plan_for,
    shape_of,
)
from metier.train.plan.choose import AT_MOST, USABLE
from metier.train.plan.table import _gb

SMALL = {
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}
GRID = list(
    itertools.product(("1b", "8b", "70b", "mixtral-8x7b"), ("1xL4-24G", "8xA100-80G,nvme=8000", "4x8xH100-80G"))
)


@pytest.mark.parametrize(("model", "host"), GRID)
def test_what_is_chosen_fits_and_nothing_that_fits_is_much_faster(model: str, host: str) -> None:
    plan = plan_for(Job(find_shape(model), rows=64), machine_of(host), ladder="down")
    if not plan.fits:
        assert not any(alternative.fits for alternative in plan.alternatives)
        return
    assert plan.memory.peak <= USABLE * plan.machine.memory and plan.memory.node <= USABLE * plan.machine.ram
    same = [other for other in plan.alternatives if other.fits and other.job.method == plan.job.method]
    assert plan.timing.seconds <= 1.05 * min(other.timing.seconds for other in same)
    every = min(other.timing.seconds for other in plan.alternatives if other.fits)
    assert plan.timing.seconds <= 1.05 * AT_MOST.get(plan.job.method, 1.0) * every


@pytest.mark.parametrize(("model", "host"), GRID)
def test_what_does_not_do_says_why(model: str, host: str) -> None:
    plan = plan_for(Job(find_shape(model)), machine_of(host), ladder="down")
    for alternative in plan.alternatives:
        if alternative.lacking:
            too_much = {"device": "peak", "host": "node", "disk": "nvme"}[alternative.lacking]
            assert f"{_gb(getattr(alternative.memory, too_much))}!" in explain(plan)
        else:
            assert alternative.fits or alternative.reason in " ".join(explain(plan).split())


@pytest.mark.parametrize("length", [2048, 8192])
@pytest.mark.parametrize(("model", "host"), [*GRID, ("405b", "64x8xH100-80G"), ("135m", "cpu:2x24G")])
def test_the_table_fits_a_terminal(model: str, host: str, length: int) -> None:
    plan = plan_for(Job(find_shape(model), rows=512, sequence_length=length), machine_of(host), ladder="down")
    assert max(len(line) for line in explain(plan).splitlines()) <= 80


def test_what_the_trainers_cannot_do_is_shown_and_never_chosen() -> None:
    plan = plan_for(Job(find_shape("70b")), machine_of("8xA100-80G"), ladder="down")
    cut = [other for other in plan.alternatives if other.layout.tensor > 1 or other.layout.context > 1]
    assert cut and not any(other.fits for other in cut) and plan.layout.tensor == plan.layout.context == 1
    assert (plan.job.method, plan.layout.sharding) == ("lora", "zero-3")


@pytest.mark.parametrize("rows", [4, 7])
def test_rows_that_the_devices_cannot_share_evenly_are_refused(rows: int) -> None:
    plan = plan_for(Job(find_shape("8b"), rows=rows), machine_of("2x3xA100-80G"), ladder="down")
    assert not plan.fits and str(rows) in plan.reason
    assert "in the recipe" not in explain(plan)


def test_rows_longer_than_any_pass_are_told_not_to_fit() -> None:
    assert not plan_for(Job(find_shape("8b"), sequence_length=10**8), machine_of("8xA100-80G"), ladder="down").fits


@pytest.mark.parametrize(
    ("host", "method"), [("8xA100-80G", "full"), ("1xA100-80G", "lora"), ("1xT4-16G,ram=16", "qlora")]
)
def test_the_ladder_goes_down_with_the_machine(host: str, method: str) -> None:
    assert plan_for(Job(find_shape("8b")), machine_of(host), ladder="down").job.method == method


def test_the_ladder_up_begins_cheap_and_names_the_rungs_above() -> None:
    plan = plan_for(Job(find_shape("70b")), machine_of("1xH100-80G,nvme=4000"), ladder="up")
    assert plan.job.method == "qlora" and "lora, then full" in plan.why


def test_rows_that_are_too_long_are_told_which_would_fit_and_that_context_parallel_is_on_paper() -> None:
    machine = machine_of("8xH100-80G")
    plan = plan_for(Job(find_shape("8b"), sequence_length=131_072), machine, ladder="down")
    assert not plan.fits and not plan.on_paper
    told = " ".join(explain(plan).split())
    assert "context parallel" in told and "these trainers have it not" in told
    length = int(told.split("rows that fit: up to ")[1].split()[0].replace(",", ""))
    assert plan_for(Job(find_shape("8b"), sequence_length=length), machine, ladder="down").fits
    assert not plan_for(Job(find_shape("8b"), sequence_length=2 * length), machine, ladder="down").fits


def test_hsdp_cuts_within_a_node_and_sums_gradients_between_nodes() -> None:
    machine, job = machine_of("4x8xA100-80G"), Job(find_shape("8b"), rows=32)
    whole = Layout(sharding="fsdp2", data=32)
    hybrid = replace(whole, replicas=4)
    assert (whole.shards, hybrid.shards, hybrid.name) == (32, 8, "HSDP")
    node = memory_of(job, Layout(sharding="fsdp2", data=8), machine)
    assert memory_of(job, hybrid, machine).optimizer == node.optimizer
    slow = machine._replace(net=machine.net / 8)
    assert lay_out(job, hybrid, slow).timing.seconds < lay_out(job, whole, slow).timing.seconds
    assert lay_out(job, hybrid, machine._replace(net=1e9)).timing.seconds > lay_out(job, hybrid, machine).timing.seconds
    assert "HSDP" in {plan.layout.name for plan in plan_for(job, machine).alternatives}


def test_gradients_of_fsdp2_add_up_whole_over_the_passes_of_a_step() -> None:
    machine, layout = machine_of("8xA100-80G"), Layout(sharding="fsdp2", data=8)
    one, two = (memory_of(Job(find_shape("8b"), rows=rows), layout, machine) for rows in (8, 16))
    assert two.gradients - one.gradients == approx(2 * find_shape("8b").parameters, rel=1e-6)


def test_four_bit_weights_are_not_cut_over_devices() -> None:
    plan = plan_for(Job(find_shape("70b"), "qlora"), machine_of("8xH100-80G"))
    assert plan.layout.sharding == "ddp"
    assert [other.layout.sharding for other in plan.alternatives if other.on_paper] == ["fsdp2"]


def test_405b_on_512_gpus_needs_cut_states() -> None:
    job = Job(find_shape("405b"), sequence_length=8192, rows=512)
    plan = plan_for(job, machine_of("64x8xH100-80G"))
    assert plan.fits and plan.layout.devices == 512 and plan.layout.sharding in ("zero-3", "fsdp2")
    fitting = {other.layout.sharding for other in plan.alternatives if other.fits}
    assert not fitting & {"ddp", "zero-1", "zero-2"}


def test_this_machine_trains_135m_whole() -> None:
    host = Host(cores=2, threads=2, memory_bytes=24 << 30)
    plan = plan_for(Job(shape_of(SMALL), tokens=100_000), machine_of(host), ladder="down")
    assert (plan.job.method, plan.layout.name) == ("full", "one process")
    assert plan.tokens_per_second == approx(200, rel=0.3)  # measured: 250 at 1024 tokens a row


def test_nothing_fits_is_said_and_the_nearest_is_shown() -> None:
    plan = plan_for(Job(find_shape("405b")), machine_of("1xT4-16G"), ladder="down")
    assert not plan.fits and next_smaller(plan) is None
    assert "nothing fits" in explain(plan)


def smaller_ones(plan: Plan) -> list[Plan]:
    found = []
    while smaller := next_smaller(plan, measured=int(2 * plan.machine.memory)):
        found.append(smaller)
        plan = smaller
        if len(found) > 20:
            break
    return found


def test_the_next_smaller_plan_fits_and_is_smaller() -> None:
    machine = machine_of("1xA100-80G")
    plan = lay_out(Job(find_shape("8b")), Layout(8), machine)
    smaller = next_smaller(plan)
    assert smaller is not None and smaller.fits and smaller.memory.peak < plan.memory.peak
    assert smaller.changes and smaller.words


def test_smaller_plans_come_in_the_order_of_what_they_cost() -> None:
    job, wide = Job(shape_of(SMALL), sequence_length=1024), machine_of("cpu:2x64G")
    plan = lay_out(job, Layout(4), wide)

    def with_room_for(layout: Layout, method: str = "full") -> Plan | None:
        peak = memory_of(replace(job, method=method), layout, wide).peak  # type: ignore[arg-type]
        return next_smaller(replace(plan, machine=wide._replace(memory=int(peak / USABLE) + 1)))

    half, again = with_room_for(Layout(2)), with_room_for(Layout(1, "full"))
    assert half is not None and half.changes == {"micro_batch": 2}
    assert again is not None and again.changes == {"micro_batch": 1, "gradient_checkpointing": True}
    adapted = with_room_for(Layout(1, "full"), "lora")
    assert adapted is not None and (adapted.job.method, adapted.changes["rank"]) == ("lora", 16)
    shorter = next_smaller(replace(plan, machine=wide._replace(memory=int(1.02 * adapted.memory.peak))))
    assert shorter is not None and shorter.job.method == "qlora"
    assert next_smaller(replace(plan, machine=machine_of("cpu:2x0.8G"))) is None


def test_a_measured_peak_scales_what_is_predicted() -> None:
    plan = lay_out(Job(shape_of(SMALL), sequence_length=1024), Layout(1), machine_of("cpu:2x6G"))
    assert plan.fits
    seen = next_smaller(plan, measured=int(1.8 * plan.memory.peak))
    assert seen is not None
    alone = memory_of(seen.job, seen.layout, seen.machine).peak
    assert seen.memory.peak == approx(1.8 * alone, rel=0.01)


def test_check_compares_and_says_so() -> None:
    good = check(1_050, 1_000, 2_000)
    assert good.within and good.fits and good.error == approx(0.05)
    bad = check(1_200, 1_000, 900)
    assert not bad.within and not bad.fits


@pytest.mark.parametrize("change", [{"sequence_length": 4096}, {"method": "full"}, {"precision": "fp32"}])
def test_more_work_never_needs_less(change: dict[str, object]) -> None:
    machine, job = machine_of("8xA100-80G"), Job(find_shape("8b"), "lora", "bf16")
    more = replace(job, **change)  # type: ignore[arg-type]
    assert memory_of(more, Layout(), machine).peak > memory_of(job, Layout(), machine).peak


@pytest.mark.parametrize("sharding", ["zero-1", "zero-2", "zero-3", "fsdp2"])
def test_more_devices_never_need_more_of_each(sharding: str) -> None:
    machine, job = machine_of("64x8xA100-80G"), Job(find_shape("8b"), rows=4096)
    peaks = [
        memory_of(job, Layout(sharding=sharding, data=data), machine).peak  # type: ignore[arg-type]
        for data in (2, 8, 64, 512)
    ]
    assert peaks == sorted(peaks, reverse=True)


@pytest.mark.parametrize(
    ("text", "nodes", "devices", "gigabytes"),
    [("8xA100-80G", 1, 8, 80), ("64x8xH100-80G", 64, 8, 80), ("cpu:2x24G", 1, 1, 24), ("1xh200", 1, 1, 141)],
)
def test_machines_are_read_from_words(text: str, nodes: int, devices: int, gigabytes: int) -> None:
    machine = machine_of(text)
    assert (machine.nodes, machine.devices, machine.memory) == (nodes, devices, gigabytes * 10**9)


def test_a_machine_has_what_is_said_of_it() -> None:
    machine = machine_of("2x8xA100-80G, ram=500G, nvme=7000, net=100")
    assert (machine.ram, machine.nvme, machine.net) == (500 * 10**9, 7000 * 10**9, 12.5e9)


def test_many_devices_without_machines_are_in_machines_of_eight() -> None:
    machine = machine_of("512xH100-80G,net=200")
    assert machine == machine_of("64x8xH100-80G,net=200")


@pytest.mark.parametrize(
    "text",
    [
        *("", "8", "8xFOO-80G", "8xA100-81G", "0x8xA100-80G", "8xA100-80G,ssd=3", "cpu:2"),
        *("cpu:0x24G", "2x8xA100-80G,net=0", "12xA100-80G", "1x512xA100-80G", "cpu:2x1.2.3G"),
    ],
)
def test_a_machine_that_cannot_be_read_is_a_mistake_with_a_hint(text: str) -> None:
    with pytest.raises(Mistake) as told:
        machine_of(text)
    assert told.value.hint


def test_the_cards_of_this_machine_are_known_by_the_names_nvidia_smi_gives_them() -> None:
    host = Host(8, 8, 512 << 30, (Gpu("NVIDIA A100-SXM4-80GB", 81920 << 20),) * 2)
    machine = machine_of(host)
    assert (machine.accelerator, machine.all_devices, machine.peak_flops) == ("A100-80G", 2, 312e12)
    unknown = machine_of(Host(8, 8, 64 << 30, (Gpu("Some Card", 12 << 30),)))
    assert unknown.memory == 12 << 30 and not unknown.on_cores


@pytest.mark.parametrize("wanted", ["7b", "8B-llama", "llama-3.1-8b", "405B", "135M", "0.5b-qwen2.5"])
def test_shapes_are_known_by_size_and_family(wanted: str) -> None:
    assert find_shape(wanted).parameters > 1e8


@pytest.mark.parametrize("wanted", ["9000B", "llama", "no/such/folder"])
def test_an_unknown_model_is_a_mistake_with_a_hint(wanted: str) -> None:
    with pytest.raises(Mistake) as told:
        find_shape(wanted)
    assert told.value.hint


def test_weights_in_the_place_of_a_configuration_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "model.gguf").open("wb") as file:
        file.truncate(1 << 25)
    with pytest.raises(Mistake, match="no config"):
        find_shape(tmp_path / "model.gguf")


def test_a_configuration_without_a_shape_names_what_is_missing() -> None:
    with pytest.raises(Mistake, match="hidden_size"):
        shape_of({"num_hidden_layers": 2})
    with pytest.raises(KeyError):
        parameters({})


@pytest.mark.parametrize(
    "config",
    [
        [],
        {**SMALL, "num_attention_heads": 0},
        {**SMALL, "num_key_value_heads": "8"},
        {"text_config": "none"},
    ],
)
def test_a_configuration_that_is_none_is_a_mistake(config: Any) -> None:
    with pytest.raises(Mistake):
        shape_of(config)


@pytest.mark.parametrize(("family", "tied"), [("gemma2", True), ("llama", False)])
def test_embeddings_are_tied_by_default_where_transformers_ties_them(family: str, tied: bool) -> None:
    from transformers import AutoConfig

    told = {key: value for key, value in SMALL.items() if key != "tie_word_embeddings"}
    assert AutoConfig.for_model(family).tie_word_embeddings is tied is shape_of({**told, "model_type": family}).tied


def test_a_word_that_no_training_has_is_a_mistake() -> None:
    with pytest.raises(Mistake, match="precision"):
        Job(find_shape("8b"), precision="int3")  # type: ignore[arg-type]
