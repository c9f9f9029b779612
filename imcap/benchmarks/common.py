"""What the benchmarks share: rows, the machine's description, the table and the JSON file."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import subprocess
import sys
import time
from typing import Any

import tensorflow as tf

# When the first photo was decoded. Beam pickles what its functions close over, but not a module.
BEGAN: list[float] = []


def mark_beginning() -> None:
    """Notes the time of the first call."""
    if not BEGAN:
        BEGAN.append(time.monotonic())


@dataclasses.dataclass
class Row:
    """One measured figure.

    Attributes:
      name: what was measured.
      value: the median of the runs, in `unit`.
      ratio: value against the limit or the peer measured in the same run; None for these.
      to_reach: the ratio wanted; a figure where less is better has a negative one.
    """

    name: str
    value: float
    unit: str
    ratio: float | None = None
    to_reach: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the ratio is reached; None where nothing is to be reached."""
        if self.ratio is None or self.to_reach is None:
            return None
        if self.to_reach < 0:
            return self.ratio <= -self.to_reach
        return self.ratio >= self.to_reach


def machine() -> dict[str, Any]:
    """Describes the machine as far as it decides over the figures."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
    }


def _cpu_name() -> str:
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    return platform.processor()


def report(benchmark: str, rows: list[Row], out: str) -> None:
    """Prints the rows as a table, and writes them to the JSON file `out` if one is given."""
    print(f"{'':44} {'value':>10} {'unit':10} {'ratio':>7} {'reach':>7}")
    for row in rows:
        ratio = f"{row.ratio:7.2f}" if row.ratio is not None else " " * 7
        reach = f"{row.to_reach:7.2f}" if row.to_reach is not None else " " * 7
        verdict = {True: "met", False: "MISSED", None: ""}[row.met]
        print(f"{row.name:44} {row.value:10.1f} {row.unit:10} {ratio} {reach} {verdict}")
    if out:
        content = {
            "benchmark": benchmark,
            # Where files lie on this machine is nobody else's business.
            "command": re.sub(r"=/\S*/", "=", " ".join(["imcap", *sys.argv[1:]])),
            "machine": machine(),
            "rows": [{**dataclasses.asdict(row), "met": row.met} for row in rows],
        }
        with open(out, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
            file.write("\n")


def run_module(module: str, *arguments: str) -> dict[str, float]:
    """Runs `python -m module arguments` alone and returns the JSON of its last line.

    A process of its own gives each variant a fresh TensorFlow and its own peak memory.
    """
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stderr[-4000:]}")
    return json.loads(result.stdout.strip().splitlines()[-1])


def peak_memory_mb() -> float:
    """Returns this process's peak resident memory in MB."""
    with open("/proc/self/status", encoding="utf-8") as file:
        for line in file:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1000
    return 0.0
