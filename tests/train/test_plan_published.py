"""The planner against figures that others published."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pytest import approx

from metier.train.plan import Job, Layout, Shape, find_shape, lay_out, machine_of, memory_of
from metier.train.plan.activations import checkpoint_bytes, korthikanti_bytes
from metier.train.plan.memory import NF4_BITS, states_of

DGX = machine_of("64x8xA100-80G")


def states_gigabytes(billions: float, sharding: str, devices: int) -> float:
    """Return the GB of one device's states for a model of so many billion parameters."""
    job = Job(find_shape("7b"))
    memory = memory_of(job, Layout(sharding=sharding, data=devices), DGX)  # type: ignore[arg-type]
    states = memory.parameters + memory.gradients + memory.optimizer
    return states / job.shape.parameters * billions


@pytest.mark.parametrize(
    ("billions", "devices", "cut_1", "cut_2", "cut_3"),
    [
        (7.5, 1, 120, 120, 120),
        (7.5, 4, 52.5, 41.3, 30),
        (7.5, 16, 35.6, 21.6, 7.5),
        (7.5, 64, 31.4, 16.6, 1.88),
        (7.5, 1024, 30.1, 15.1, 0.12),
        (128, 1024, 513, 257, 2),
        (1000, 1024, 4011, 2013, 15.6),
    ],
)
def test_states_are_those_of_the_zero_paper(
    billions: float, devices: int, cut_1: float, cut_2: float, cut_3: float
) -> None:
    # Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models"
    # (arXiv 1910.02054): figure 1 is the row of 64 devices (120, 31.4, 16.6, 1.9 GB), table 1 the others;
    # both are its §5 in numbers: 4 + 12/N, 2 + 14/N and 16/N bytes a parameter.
    assert states_gigabytes(billions, "ddp", devices) == approx(16 * billions)
    for sharding, published in (("zero-1", cut_1), ("zero-2", cut_2), ("zero-3", cut_3)):
        assert states_gigabytes(billions, sharding, devices) == approx(published, rel=0.03)


@pytest.mark.parametrize(
    ("layers", "width", "tebibytes"), [(80, 10240, 1.83), (100, 20480, 9.16), (128, 25600, 18.31), (195, 65536, 182.81)]
)
def test_offloaded_states_are_those_of_the_zero_infinity_paper(layers: int, width: int, tebibytes: float) -> None:
    # Rajbhandari et al. 2021, "ZeRO-Infinity" (arXiv 2104.07857), figure 2a, which is §3's eq. 2 in numbers:
    # 240 nl hd^2 bytes, 20 for each of the 12 nl hd^2 parameters.
    shape = Shape("", layers, width, 4 * width, 128, 128, width // 128, vocabulary=1, tied=True, matrices=2)
    layout = Layout(sharding="zero-3", optimizer_at="nvme", parameters_at="nvme")
    assert sum(states_of(Job(shape), layout)) / 2**40 == approx(tebibytes, rel=0.001)


def test_activation_checkpoints_are_those_of_the_zero_infinity_paper() -> None:
    # Ibid., eq. 3: 2 bsz seq hd nl / ci bytes, with a checkpoint for every layer.
    shape = find_shape("gpt3-175b")
    job, layout = Job(shape, sequence_length=1024), Layout(32, "full", "zero-3")
    assert shape.layers * checkpoint_bytes(job, layout, 32 * 1024) == 2 * 32 * 1024 * shape.width * shape.layers


@pytest.mark.parametrize("name", ["gpt-22b", "gpt3-175b", "mt-nlg-530b", "gpt-1t"])
@pytest.mark.parametrize("tensor", [1, 8])
def test_activations_of_a_gpt_layer_are_those_of_korthikanti(name: str, tensor: int) -> None:
    # Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models" (arXiv 2205.05198),
    # table 2: sbh(34 + 5as/h) is eq. 1, tensor parallel sbh(10 + 24/t + 5as/ht) eq. 2, with sequence
    # parallel eq. 4, selective recomputation 34 sbh/t eq. 6, full 2 sbh.
    shape, s, b = find_shape(name), 2048, 1
    a, h, t = shape.heads, shape.width, tensor

    def kept(sequence_parallel: bool, recompute: str = "none") -> float:
        return korthikanti_bytes(
            shape,
            s * b,
            s,
            t,
            sequence_parallel=sequence_parallel,
            recompute=recompute,  # type: ignore[arg-type]
            dropout=True,
        )

    assert kept(False) == approx(s * b * h * (10 + 24 / t + 5 * a * s / (h * t)))
    assert kept(True) == approx(s * b * h / t * (34 + 5 * a * s / h))
    assert kept(True, "selective") == approx(34 * s * b * h / t)
    assert kept(False, "full") == 2 * s * b * h


@pytest.mark.parametrize(("name", "saved"), [("gpt3-175b", 0.70), ("mt-nlg-530b", 0.65)])
def test_selective_recomputation_saves_what_was_published(name: str, saved: float) -> None:
    shape = find_shape(name)  # ibid., §5
    all_kept = korthikanti_bytes(shape, 2048, 2048, 8, dropout=True)
    assert 1 - korthikanti_bytes(shape, 2048, 2048, 8, recompute="selective", dropout=True) / all_kept == approx(
        saved, abs=0.01
    )


def test_double_quantisation_costs_an_eighth_of_a_bit() -> None:
    # Dettmers et al. 2023, "QLoRA" (arXiv 2305.14314), §3: constants fall from 0.5 to 0.127 bits a parameter, which is
    # 3 GB for 65B.
    assert approx(0.127, abs=0.0005) == NF4_BITS - 4
    linear = find_shape("65b").parameters - find_shape("65b").embedding_parameters
    assert linear * (4.5 - NF4_BITS) / 8 / 1e9 == approx(3, abs=0.1)


@pytest.mark.parametrize(("name", "card"), [("65b", "A6000-48G"), ("33b", "RTX4090-24G")])
def test_qlora_fits_the_cards_it_was_published_for_and_lora_does_not(name: str, card: str) -> None:
    # Ibid., §1 and §4: 65B on one card of 48 GB, 33B on one of 24 GB; rank 64, rows of 512, a paged optimizer.
    job = Job(find_shape(name), "qlora", "bf16", 512, rank=64, optimizer="paged_adamw_8bit", head="whole")
    machine = machine_of(f"1x{card}")
    layout = Layout(1, "full")
    peak = lay_out(job, layout, machine).memory.peak
    assert 0.8 * machine.memory < peak < machine.memory
    assert memory_of(replace(job, method="lora"), layout, machine).peak > 2 * machine.memory


def test_all_weights_of_65b_need_more_than_the_published_780_gigabytes() -> None:
    # Ibid., abstract and §1, more than 780 GB against less than 48: 16-bit weights and gradients, and Adam's two
    # moments in float32, make 12 bytes a parameter.
    shape = find_shape("65b")
    assert 12 * shape.parameters / 1e9 == approx(780, rel=0.01)
    assert memory_of(Job(shape, precision="mixed"), Layout(1, "full"), DGX).peak > 12 * shape.parameters


@pytest.mark.parametrize(("nodes", "data", "share"), [(1024, 64, 0.43), (2048, 128, 0.41)])
def test_llama_3_405b_runs_as_fast_as_published(nodes: int, data: int, share: float) -> None:
    # Grattafiori et al. 2024, "The Llama 3 Herd of Models" (arXiv 2407.21783), table 4: TP 8, CP 1, PP 16, 16M tokens a
    # step; 430 and 400 TFLOP/s a GPU are 43% and 41% of the peak.
    machine = machine_of(f"{nodes}x8xH100-80G")
    job = Job(find_shape("405b"), sequence_length=8192, rows=2048)
    plan = lay_out(job, Layout(1, "none", "megatron", data=data, tensor=8, pipeline=16), machine)
    reached = plan.timing.operations / plan.timing.seconds / machine.all_devices / machine.peak_flops
    assert reached == approx(share, rel=0.10)


def test_llama_3_405b_states_leave_room_and_its_activations_need_the_published_savings() -> None:
    # Ibid., §3.3.2: without recomputing it fits 80 GB only because tensors are freed early; ours is 1F1B's upper bound.
    machine = machine_of("1024x8xH100-80G")
    job = Job(find_shape("405b"), sequence_length=8192, rows=2048)
    layout = Layout(1, "none", "megatron", data=64, tensor=8, pipeline=16)
    memory = memory_of(job, layout, machine)
    # bf16 weights and float32 gradients of a stage of 126/16 layers, optimizer states over 64 (ibid.).
    assert memory.parameters + memory.gradients + memory.optimizer == approx(405e9 / 128 * (2 + 4 + 12 / 64), rel=0.1)
    assert 80e9 < memory.peak < 1.25 * 80e9
    assert memory_of(job, replace(layout, checkpointing="full"), machine).peak < 40e9


def test_recomputing_costs_mt_nlg_what_was_published() -> None:
    # Korthikanti et al. 2022, abstract and §6: 530B on 2240 A100, 54.2% of the peak selectively, 42.1% with full
    # recomputation, 29% slower.
    machine = machine_of("280x8xA100-80G")
    job = Job(find_shape("530b"), sequence_length=2048, rows=2240)
    reached = {}
    for checkpointing in ("none", "full"):
        layout = Layout(1, checkpointing, "megatron", data=8, tensor=8, pipeline=35)
        time = lay_out(job, layout, machine).timing
        reached[checkpointing] = time.operations / time.seconds / machine.all_devices / machine.peak_flops
    assert reached["none"] / reached["full"] == approx(54.2 / 42.1, rel=0.05)
    assert reached["none"] == approx(0.542, rel=0.15)
