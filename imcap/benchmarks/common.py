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
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from imcap import filesystem
from imcap.errors import UserError
from imcap.training.steps import StepOutput

# Set by mark_first_image. Beam pickles the functions of a pipeline together with the variables that
# they use, but imports modules by name, so that this one is shared with the caller.
_first_image: list[float] = []
# How Python begins the last line of a traceback.
_USER_ERROR = re.escape(f"{UserError.__module__}.{UserError.__qualname__}")


def mark_first_image() -> None:
    """Keeps the time of the first call in this process."""
    if not _first_image:
        _first_image.append(time.monotonic())


def first_image_time() -> float:
    """Returns when `mark_first_image` was first called, as `time.monotonic` does."""
    return _first_image[0]


@dataclasses.dataclass
class Row:
    """One measured figure.

    Attributes:
      name: what was measured.
      value: the median of the runs.
      unit: of `value`, such as `images/s`, `ms` or `MB`.
      ratio: `value` divided by that of the limit or peer in the same run; None if there is none.
      at_least: the smallest `ratio` wanted; None if there is none.
      at_most: the largest `ratio` wanted; None if there is none.
    """

    name: str
    value: float
    unit: str
    ratio: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether `ratio` is as wanted; None if there is no ratio, or none is wanted."""
        if self.ratio is None or (self.at_least is None and self.at_most is None):
            return None
        is_enough = self.at_least is None or self.ratio >= self.at_least
        return is_enough and (self.at_most is None or self.ratio <= self.at_most)

    def as_dict(self) -> dict[str, Any]:
        """Returns the row as the JSON file holds it; its `to_reach` is `-at_most` or `at_least`."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "ratio": self.ratio,
            "to_reach": self.at_least if self.at_most is None else -self.at_most,
            "met": self.met,
        }


def machine() -> dict[str, Any]:
    """Describes what of the machine affects the figures."""
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


def format_table(rows: Sequence[Row]) -> str:
    """Returns the rows as a table, a line each."""
    width = max((len(row.name) for row in rows), default=1)
    lines = [f"{'':{width}} {'value':>10} {'unit':11} {'ratio':>7} {'wanted':>10}"]
    for row in rows:
        ratio = f"{row.ratio:7.2f}" if row.ratio is not None else " " * 7
        wanted = f">= {row.at_least:.2f}" if row.at_least is not None else ""
        wanted = f"<= {row.at_most:.2f}" if row.at_most is not None else wanted
        verdict = {True: "met", False: "MISSED", None: ""}[row.met]
        value = f"{row.value:10.{1 if row.value >= 1 else 3}f}"
        lines.append(f"{row.name:{width}} {value} {row.unit:11} {ratio} {wanted:>10} {verdict}")
    return "\n".join(lines)


def write_json(path: str, benchmark: str, rows: Sequence[Row]) -> None:
    """Writes the rows with the command line and the machine; raises UserError if it cannot.

    The folders of paths in the command line are left out: they may be private.
    """
    content = {
        "benchmark": benchmark,
        "command": re.sub(r"=/\S*/", "=", " ".join(["imcap", *sys.argv[1:]])),
        "machine": machine(),
        "rows": [row.as_dict() for row in rows],
    }
    filesystem.write_json(path, content, indent=2)


def run_module(module: str, *arguments: str) -> dict[str, float]:
    """Runs `python -m module arguments` and returns the JSON in its last line of output.

    A process of its own has a fresh TensorFlow and its own peak memory.

    Raises:
      UserError: the process raised it.
      RuntimeError: the process failed otherwise; with the end of what it wrote to stderr.
    """
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if result.returncode:
        if mistakes := re.findall(rf"^{_USER_ERROR}: (.+)$", result.stderr, re.MULTILINE):
            raise UserError(mistakes[-1])
        ended = f"ended with status {result.returncode}"
        raise RuntimeError(f"{' '.join(command)} {ended}:\n{result.stderr[-4000:]}")
    return json.loads(result.stdout.strip().splitlines()[-1])


def seconds(function: Callable[[], object]) -> float:
    """Returns the seconds that a call takes."""
    began = time.monotonic()
    function()
    return time.monotonic() - began


def measure_in_turns(
    measures: Mapping[str, Callable[[], float]], repeats: int
) -> dict[str, list[float]]:
    """Returns the results of functions that are called one after another, `repeats` times, by
    name."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(repeats):
        for name, measure in measures.items():
            found[name].append(measure())
    return found


def run_steps(step: Callable[[Any], StepOutput], batches: Sequence[Any]) -> None:
    """Runs training steps and waits for the last one."""
    for batch in batches:
        output = step(batch)
    output.shown.numpy()


def peak_memory_mb() -> float:
    """Returns this process's peak resident memory in MB."""
    with open("/proc/self/status", encoding="utf-8") as file:
        for line in file:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1000
    return 0.0
