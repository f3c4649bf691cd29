"""What a process and all that it started take of the machine: processors, memory, GPUs, disk."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Resources:
    """A moment's use; None where it cannot be measured.

    Args:
        cpu_percent: of one processor, over all processes (200: two processors busy).
        memory_gib: resident in all processes together; what they share counts more than once.
        gpu_gib: (used, of), over the GPUs that these processes may see, whoever uses them.
        disk_free_gib: where the run lies.
    """

    cpu_percent: float | None
    memory_gib: float | None
    gpu_gib: tuple[float, float] | None
    disk_free_gib: float | None

    def line(self) -> str:
        """In words."""
        parts = []
        if self.cpu_percent is not None:
            parts.append(f"CPU {self.cpu_percent:.0f} %")
        if self.memory_gib is not None:
            parts.append(f"memory {self.memory_gib:.1f} GiB")
        if self.gpu_gib is not None:
            parts.append(f"GPU memory {self.gpu_gib[0]:.1f} of {self.gpu_gib[1]:.0f} GiB")
        if self.disk_free_gib is not None:
            parts.append(f"disk {self.disk_free_gib:,.1f} GiB free")
        return " · ".join(parts)


class Measured:
    """Measures this process and its descendants again and again; processor time counts from one look to the next."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[int, psutil.Process] = {}
        self.gpus = shutil.which("nvidia-smi")

    def look(self) -> Resources:
        """Now; never an error."""
        cpu: float | None = 0.0
        memory: float | None = 0.0
        try:
            here, before = psutil.Process(), self.known
            self.known = {}  # what has ended is forgotten
            for one in (here, *here.children(recursive=True)):
                # The same object is asked each time: it remembers the processor time of the last look.
                process = before.get(one.pid, one)
                if process != one:
                    process = one
                try:
                    cpu = (cpu or 0.0) + process.cpu_percent()
                    memory = (memory or 0.0) + process.memory_info().rss
                except psutil.Error:
                    continue
                self.known[one.pid] = process
        except (psutil.Error, OSError, RuntimeError):
            cpu = memory = None
        try:
            disk: float | None = shutil.disk_usage(self.folder).free / GIB
        except OSError:
            disk = None
        return Resources(cpu, None if memory is None else memory / GIB, self._gpu(), disk)

    def _gpu(self) -> tuple[float, float] | None:
        """Asked of the driver, so that no process has to load torch for it, and engines of any kind are seen."""
        if self.gpus is None:
            return None
        command = [self.gpus, "--query-gpu=memory.used,memory.total", "--format=csv,noheader,nounits"]
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible:
            command += ["-i", visible]
        try:
            text = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
            pairs = [[float(part) / 1024 for part in line.split(",")] for line in text.splitlines() if line.strip()]
            return sum(used for used, _ in pairs), sum(total for _, total in pairs)
        except (OSError, ValueError, subprocess.SubprocessError):
            self.gpus = None  # not asked again
            return None


def started_at(pid: int) -> float | None:
    """When a process of this machine began (seconds since 1970).

    None: there is none of that number, or it cannot be known (a machine without /proc, say).
    """
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except (psutil.Error, OSError, ValueError, RuntimeError):
        return None


def is_alive(pid: int) -> bool:
    """Whether this machine has a process of that number, whoever owns it."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
