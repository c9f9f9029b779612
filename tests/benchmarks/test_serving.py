"""What `imcap bench serve` makes of its measurements, and what it refuses."""

from __future__ import annotations

import os
import sys

import pytest
from refusals import refusal

from imcap import benchmarks
from imcap.benchmarks import serving


def figures(rate: float, p50: float) -> dict[str, float]:
    """What the load tool says."""
    return {"images_per_second": rate, "p50_ms": p50, "p95_ms": 200.0, "p99_ms": 300.0, "errors": 0}


def run(rate: float = 19.0, p50: float = 90.0) -> dict[str, dict[str, float]]:
    bare = {"best_images_per_second": 20.0, "single_ms": 80.0}
    loads = {"1": figures(10, p50), "8": figures(18, 500), "32": figures(rate, 1600)}
    return {"plain": bare | {"single_ms": 100.0}, "frozen": bare, **loads}


def test_the_server_is_compared_with_frozen_calls_of_the_same_run():
    rows = {row.name: row for row in serving.compare([run(), run(17.0, 96.0), run(19.0, 88.0)])}
    rate, latency = rows["imcap serve, 32 clients"], rows["imcap serve, 1 clients: p50"]
    assert (rate.value, rate.ratio, rate.met) == (19.0, 0.95, True)
    assert (latency.value, latency.ratio, latency.met) == (90.0, 1.125, True)
    assert rows["imcap serve, 8 clients"].met is None
    assert rows["SavedModel, one image: p50"].value == 100.0
    missed = {row.name for row in serving.compare([run(17.0, 96.0)]) if row.met is False}
    assert missed == {"imcap serve, 32 clients", "imcap serve, 1 clients: p50"}


@pytest.mark.parametrize(
    ("cores", "server", "load"), [([3], [3], [3]), ([0, 1], [0], [1]), ([0, 2, 5], [0, 2], [5])]
)
def test_the_load_tool_has_a_core_of_its_own(cores, server, load):
    assert serving.split_cores(cores) == (server, load)


@pytest.fixture
def load_tool(tmp_path, monkeypatch):
    """A stand-in for wrk, as it is installed nowhere by itself: prints what its script prints."""
    path = tmp_path / "wrk"
    line = '{"seconds": 2.0, "requests": 30, "errors": 1, "p50_ms": 7, "p95_ms": 8, "p99_ms": 9}'
    script = f"#!{sys.executable}\nimport sys\nassert '--connections=8' in sys.argv, sys.argv\n"
    path.write_text(f"{script}print('Running')\nprint('''{line}''')\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def test_what_the_load_tool_prints_is_read(load_tool):
    found = serving.run_load("http://localhost/", ["load.lua", "0.json"], 8, 2)
    assert (found["images_per_second"], found["errors"], found["p99_ms"]) == (15.0, 1, 9)


def test_missing_arguments_are_refused():
    message = refusal(benchmarks.measure, "serve", None, models=["model"])
    assert message == "imcap bench serve needs one --model=DIR and --image_dir=DIR"


def test_a_missing_load_tool_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert "apt-get install wrk" in refusal(serving.benchmark_serving, "model", "images", 1)
