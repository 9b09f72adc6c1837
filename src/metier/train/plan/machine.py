"""Machines to train on: this one, or one described in a word, such as 8xA100-80G."""

from __future__ import annotations

import re
from typing import NamedTuple

from metier.core import Host, Mistake

GB = 10**9


class Accelerator(NamedTuple):
    """What one device offers. Peaks are dense (no sparsity), speeds per device and direction, in bytes/s.

    link: to its neighbours in the same machine. host_link: to the memory of its machine. ram: memory
    of the machine per device, as such machines are usually built. net: to other machines, likewise.
    """

    memory: int
    peak_flops: float
    bandwidth: float
    link: float
    host_link: float
    ram: int
    net: float


def _card(
    memory: float,
    tflops: float,
    bandwidth: float,
    link: float,
    host_link: float = 25,
    ram: float = 64,
    net: float = 3.1,
) -> Accelerator:
    """Return an entry from GB, dense TFLOP/s and GB/s."""
    speeds = (bandwidth * 1e9, link * 1e9, host_link * 1e9)
    return Accelerator(int(memory * GB), tflops * 1e12, *speeds, int(ram * GB), net * 1e9)


_SXM4 = {"ram": 128.0, "net": 25.0}  # DGX A100: 1 or 2 TB for eight, eight ports of 200 Gb/s
_SXM5 = {"ram": 256.0, "net": 50.0, "host_link": 50.0}  # DGX H100: 2 TB for eight, eight ports of 400 Gb/s, PCIe 5
ACCELERATORS = {
    # name: memory GB, dense bf16 (V100, T4: fp16) TFLOP/s, memory GB/s, link GB/s in one direction.
    # NVIDIA's and AMD's data sheets of each product; NVLink is half of the total that they give, PCIe 4 x16 is 25 GB/s
    # and PCIe 5 x16 50 GB/s as measured in practice. GeForce: fp16 products summed in float32.
    "T4-16G": _card(16, 65, 320, 12, host_link=12),
    "V100-16G": _card(16, 125, 900, 150, host_link=12),
    "V100-32G": _card(32, 125, 900, 150, host_link=12),
    "RTX3090-24G": _card(24, 71, 936, 25),
    "RTX4090-24G": _card(24, 165, 1008, 25),
    "RTX5090-32G": _card(32, 209, 1792, 50, host_link=50),
    "A10-24G": _card(24, 125, 600, 25),
    "A30-24G": _card(24, 165, 933, 100),
    "A40-48G": _card(48, 150, 696, 56),
    "A6000-48G": _card(48, 155, 768, 56),
    "L4-24G": _card(24, 121, 300, 25),
    "L40S-48G": _card(48, 362, 864, 25, ram=128),
    "A100-40G": _card(40, 312, 1555, 300, **_SXM4),
    "A100-80G": _card(80, 312, 2039, 300, **_SXM4),
    "H20-96G": _card(96, 148, 4000, 450, **_SXM5),
    "H100-80G": _card(80, 989, 3350, 450, **_SXM5),
    "H100PCIE-80G": _card(80, 756, 2000, 50, host_link=50, ram=128, net=25),
    "H200-141G": _card(141, 989, 4800, 450, **_SXM5),
    "B200-180G": _card(180, 2250, 8000, 900, **_SXM5),
    "MI250X-128G": _card(128, 383, 3277, 50, ram=128, net=25),
    "MI300X-192G": _card(192, 1307, 5300, 448, **_SXM5),
}
"""Accelerators that are known by name."""

_WITHOUT_BF16 = ("T4", "V100")

CPU_FLOPS = 1e11
"""What a core computes in training, in operations a second: 250 tokens/s of 135M parameters on two with bf16."""


class Machine(NamedTuple):
    """Equal nodes with equal devices; without accelerators, the cores of a node are one device.

    memory: bytes of a device, the whole memory of a node for cores. ram: bytes of a node. nvme: bytes of a node's own
    disks, or None where nobody said. net: bytes/s per device to other nodes. bandwidth: of a device's own memory.
    """

    label: str
    nodes: int
    devices: int
    accelerator: str | None
    memory: int
    peak_flops: float
    link: float
    host_link: float
    net: float
    bandwidth: float
    ram: int
    nvme: int | None = None
    nvme_speed: float = 6e9
    bf16: bool = True

    @property
    def all_devices(self) -> int:
        """Devices of all nodes."""
        return self.nodes * self.devices

    @property
    def on_cores(self) -> bool:
        """Whether there is no accelerator."""
        return self.accelerator is None


_GPUS = re.compile(r"(?:(?P<nodes>\d+)x)?(?P<devices>\d+)x(?P<card>[a-z][a-z0-9]*)(?:-(?P<memory>\d+)gb?)?", re.I)
_CPUS = re.compile(r"cpu:(?:(?P<nodes>\d+)x)?(?P<cores>\d+)x(?P<memory>\d+(?:\.\d+)?)gb?", re.I)
_USUAL, _MOST = 8, 72  # devices of one machine: of a DGX or HGX, and of an NVL72 rack, which is one to its links
_EXAMPLES = "8xA100-80G, 64x8xH100-80G, cpu:2x24G (cores x memory); more after commas: ram=2000G, nvme=7000G, net=400"


def machine_of(host: Host | str) -> Machine:
    """Return what `host` offers for training.

    Args:
        host: this machine, or a description: DEVICESxNAME-MEMORY, NODESxDEVICESxNAME-MEMORY, or cpu:CORESxMEMORY. After
            commas: `ram=` and `nvme=` GB of a node, `net=` Gb/s per device between nodes.

    Raises:
        Mistake: the description cannot be read, or names an accelerator that is not known.
    """
    if isinstance(host, Host):
        return _of_host(host)
    first, *rest = host.replace(" ", "").split(",")
    if cores := _CPUS.fullmatch(first):
        memory = int(float(cores["memory"]) * GB)
        machine = _cores(host, int(cores["nodes"] or 1), int(cores["cores"]), memory)
    elif gpus := _GPUS.fullmatch(first):
        name = _known(gpus["card"], gpus["memory"])
        nodes, devices = _nodes_and_devices(host, gpus["nodes"], int(gpus["devices"]))
        label = host if gpus["nodes"] or nodes == 1 else ",".join([f"{nodes}x{devices}x{name}", *rest])
        machine = _cards(label, nodes, devices, name, ACCELERATORS[name].ram * devices)
    else:
        raise Mistake(f"'{host}' describes no machine", hint=f"write {_EXAMPLES}")
    if not machine.all_devices or not machine.memory or not machine.peak_flops:
        raise Mistake(f"'{host}' has no device or no memory", hint=f"write {_EXAMPLES}")
    more = _more(host, rest)
    return machine._replace(
        ram=int(more.get("ram", machine.ram)),
        nvme=int(more["nvme"]) if "nvme" in more else None,
        net=more.get("net", machine.net),
    )


def _nodes_and_devices(host: str, nodes: str | None, devices: int) -> tuple[int, int]:
    """Return machines and devices of each; where no machines were named, many devices are in machines of eight."""
    if nodes is None and devices > _USUAL and devices % _USUAL == 0:
        return devices // _USUAL, _USUAL
    if devices > (_USUAL if nodes is None else _MOST):
        raise Mistake(
            f"'{host}' puts {devices} devices into one machine",
            found="devices of one machine have fast links to each other, machines have not",
            hint="write MACHINESxDEVICESxCARD, such as 64x8xH100-80G",
        )
    return int(nodes or 1), devices


def _more(host: str, rest: list[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for word in rest:
        match = re.fullmatch(r"(ram|nvme|net)=(\d+(?:\.\d+)?)(?:g|gb)?", word, re.I)
        if match is None or not (value := float(match[2])):
            raise Mistake(f"'{word}' in '{host}' is not understood", hint=f"write {_EXAMPLES}")
        found[match[1].lower()] = value * (1e9 / 8 if match[1].lower() == "net" else GB)
    return found


def _known(card: str, memory: str | None) -> str:
    names = {name.lower(): name for name in ACCELERATORS}
    if memory and (name := names.get(f"{card}-{memory}g".lower())):
        return name
    same = [name for lower, name in names.items() if lower.split("-")[0] == card.lower()]
    if same and not memory:
        return same[-1]
    raise Mistake(
        f"the accelerator '{card}{'-' + memory + 'G' if memory else ''}' is not known",
        found=f"of that name: {', '.join(same)}" if same else None,
        hint=f"one of {', '.join(ACCELERATORS)}",
    )


def _cards(label: str, nodes: int, devices: int, name: str, ram: int) -> Machine:
    card = ACCELERATORS[name]
    speeds = (card.peak_flops, card.link, card.host_link, card.net, card.bandwidth)
    return Machine(label, nodes, devices, name, card.memory, *speeds, ram, bf16=not name.startswith(_WITHOUT_BF16))


def _cores(label: str, nodes: int, cores: int, memory: int) -> Machine:
    return Machine(label, nodes, 1, None, memory, CPU_FLOPS * cores, 10e9, 10e9, 1.25e9, 20e9, memory)


def _of_host(host: Host) -> Machine:
    if not host.gpus:
        label = f"this machine: {host.threads} cores, {host.memory_bytes / GB:.0f} GB"
        return _cores(label, 1, host.threads, host.memory_bytes)
    smallest = min(host.gpus, key=lambda gpu: gpu.memory_bytes)
    name = _nearest(smallest.name, smallest.memory_bytes)
    label = f"this machine: {len(host.gpus)} x {smallest.name}"
    if name is None:  # a card without an entry: memory is what counts, speeds are those of a modest one
        card = ACCELERATORS["A10-24G"]
        speeds = (card.peak_flops, card.link, card.host_link, card.net, card.bandwidth)
        return Machine(label, 1, len(host.gpus), smallest.name, smallest.memory_bytes, *speeds, host.memory_bytes)
    machine = _cards(label, 1, len(host.gpus), name, host.memory_bytes)
    return machine._replace(memory=smallest.memory_bytes)


def _nearest(name: str, memory: int) -> str | None:
    """Return the entry for what nvidia-smi calls a card ("NVIDIA A100-SXM4-80GB"), or None."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    same = [known for known in ACCELERATORS if known.split("-")[0].lower() in plain]
    if "H100-80G" in same and "pcie" in plain:
        return "H100PCIE-80G"

    def distance(known: str) -> tuple[int, int]:
        return -len(known.split("-")[0]), abs(ACCELERATORS[known].memory - memory)

    return min(same, key=distance, default=None)
