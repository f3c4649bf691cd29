"""What GPUs have: memory, speed of bf16 matrix products, memory bandwidth; and what a CPU is taken for."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from long1k.errors import RecipeError

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One kind of GPU.

    ``memory_bytes`` is what the driver reports in all; ``peak_flops`` that of dense bf16 matrix products
    with fp32 sums (no sparsity), in operations a second; ``bandwidth`` in bytes a second.
    """

    name: str
    memory_bytes: int
    peak_flops: float
    bandwidth: float
    source: str

    @property
    def is_cpu(self) -> bool:
        """Whether it is no GPU at all."""
        return self.name == "CPU"


def _gpu(name: str, mib: int, tflops: float, gb_a_second: float, source: str) -> Accelerator:
    return Accelerator(name, mib * MIB, tflops * 1e12, gb_a_second * 1e9, source)


# Memory: nvidia-smi (rocm-smi) of such cards.  Peaks and bandwidths: the vendors' data sheets, half of a figure
# that is given "with sparsity".
KNOWN = {
    one.name: one
    for one in (
        _gpu("H100-80", 81559, 989.4, 3350, "NVIDIA H100 data sheet, SXM5"),
        _gpu("H100-PCIE-80", 81559, 756, 2000, "NVIDIA H100 data sheet, PCIe"),
        _gpu("H200-141", 143771, 989.4, 4800, "NVIDIA H200 data sheet, SXM"),
        _gpu("B200-180", 182630, 2250, 7672, "NVIDIA DGX B200 data sheet; bandwidth from bus width and clock"),
        _gpu("A100-40", 40960, 312, 1555, "NVIDIA A100 data sheet, SXM4"),
        _gpu("A100-80", 81920, 312, 2039, "NVIDIA A100 data sheet, SXM4"),
        _gpu("L40S-48", 46068, 362, 864, "NVIDIA L40S data sheet"),
        _gpu("RTX4090-24", 24564, 165.2, 1008, "NVIDIA Ada GPU architecture white paper, fp32 sums"),
        _gpu("MI300X-192", 196592, 1307.4, 5300, "AMD Instinct MI300X data sheet"),
    )
}  # fmt: skip
CPU = Accelerator("CPU", 0, 1e11, 2e10, "assumed: 100 GFLOP/s in fp32")


@dataclass(frozen=True, slots=True)
class Machines:
    """GPUs of one kind: ``each`` on each of ``nodes`` machines."""

    gpu: Accelerator
    each: int
    nodes: int = 1

    @property
    def total(self) -> int:
        """All GPUs."""
        return self.each * self.nodes

    def __str__(self) -> str:
        return (f"{self.nodes}x" if self.nodes > 1 else "") + f"{self.each}x{self.gpu.name}"


def parse_machines(text: str) -> Machines:
    """``8xH100-80``, ``4x8xH100-80`` (four machines), ``H200-141`` (one GPU), or ``cpu``.

    Raises:
        RecipeError: no such form, or an unknown GPU; the nearest known is named.
    """
    matched = re.fullmatch(r"(?:(\d+)\s*[x×*]\s*)?(?:(\d+)\s*[x×*]\s*)?([A-Za-z][A-Za-z0-9 _-]*)", text.strip())
    if matched is None:
        raise RecipeError(f"--gpus {text}: expected a number and a kind", "e.g. --gpus 8xH100-80, or 4x8xH100-80")
    counts = [int(one) for one in matched.groups()[:2] if one is not None]
    if 0 in counts:
        raise RecipeError(f"--gpus {text}: none at all", "e.g. --gpus 1xH100-80")
    return Machines(find_gpu(matched[3]), counts[-1] if counts else 1, counts[0] if len(counts) == 2 else 1)


def find_gpu(name: str) -> Accelerator:
    """A kind of GPU by its name; the memory may be left out where only one kind has that name.

    Raises:
        RecipeError: not known; the nearest is named.
    """
    wanted = re.sub(r"[ _]+", "-", name.strip().upper()).removesuffix("GB")
    if wanted == "CPU":
        return CPU
    if wanted in KNOWN:
        return KNOWN[wanted]
    same = [known for known in KNOWN if known.rsplit("-", 1)[0] == wanted]
    if len(same) == 1:
        return KNOWN[same[0]]
    close = difflib.get_close_matches(wanted, KNOWN, 1, cutoff=0.3)
    hint = f"did you mean {' or '.join(same) or close[0]}? " if same or close else ""
    raise RecipeError(f"unknown GPU '{name}'", f"{hint}known: {', '.join(KNOWN)}, cpu")
