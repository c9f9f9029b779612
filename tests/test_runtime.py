"""Process-wide settings of malloc and oneDNN, and the choice of a dtype by measurement."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import processes
import pytest

from imcap import runtime
from imcap.errors import UserError

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="sets glibc's malloc")


def run_script(script: str, *arguments: str) -> float:
    """Runs Python code in a process of its own; returns the number that it prints."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_ONEDNN")}
    finished = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=processes.ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env=environment,
    )
    return float(finished.stdout)


RESERVED_BY_THREADS = """
import sys, threading
from imcap import runtime
if sys.argv[1] == "one":
    runtime.share_one_heap()

def allocate():
    [bytearray(100_000) for _ in range(100)]
    barrier.wait()
    barrier.wait()

barrier = threading.Barrier(5)
for _ in range(4):
    threading.Thread(target=allocate).start()
barrier.wait()
reserved = 0
with open("/proc/self/maps") as file:
    for line in file:
        begin, end = (int(part, 16) for part in line.split()[0].split("-"))
        # glibc reserves 64 MiB of addresses for each heap beside the main one.
        reserved += line.split()[1] == "---p" and end - begin > 16 << 20
barrier.wait()
print(reserved)
"""


@needs_glibc
def test_threads_share_one_heap():
    assert run_script(RESERVED_BY_THREADS, "many") > run_script(RESERVED_BY_THREADS, "one") == 0


KEPT_OF_FOUR_FREED_BLOCKS = """
import sys
from imcap import runtime

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

size = int(sys.argv[1]) << 20
for name in sys.argv[2:]:
    getattr(runtime, name)()
# After such a block was freed, glibc serves the next ones from the heap, up to 32 MiB.
bytearray(size)
before = resident()
blocks = []
for _ in range(4):
    blocks += [bytearray(b"1") * size, bytearray(b"1") * 100_000]
del blocks[::2]
print((resident() - before) / size)
"""


@needs_glibc
def test_freed_blocks_are_returned_or_kept():
    def kept(size_mib: int, *settings: str) -> float:
        return run_script(KEPT_OF_FOUR_FREED_BLOCKS, str(size_mib), *settings)

    assert kept(20, "return_large_blocks") < 1 < kept(20)
    assert kept(40) < 1 < kept(40, "keep_large_blocks")
    assert kept(40, "return_large_blocks", "keep_large_blocks") > 1


def call_in_fork(function: Callable, folder: Path, *arguments: object) -> float:
    """Returns what a function returns in a process in which TensorFlow has not run yet."""
    path = folder / "returned"
    process = processes.fork(write_result, str(path), function, *arguments)
    process.join(120)
    assert process.exitcode == 0
    return float(path.read_text())


def write_result(path: str, function: Callable, *arguments: object) -> None:
    for name in [name for name in os.environ if name.startswith("TF_ONEDNN")]:
        del os.environ[name]
    Path(path).write_text(str(float(function(*arguments))))


def ratio_after_doubling_the_kernel(weights: str) -> float:
    if weights == "frozen":
        runtime.assume_frozen_weights()
    import tensorflow as tf

    kernel = tf.Variable(tf.ones([3, 3, 8, 16]))
    convolve = tf.function(lambda images: tf.nn.conv2d(images, kernel, 1, "SAME"))
    images = tf.ones([8, 14, 14, 8])
    before = convolve(images)
    kernel.assign(2 * kernel)
    return tf.reduce_max(convolve(images) / before)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="oneDNN runs on x86")
@pytest.mark.parametrize(("weights", "ratio"), [("frozen", 1.0), ("free", 2.0)])
def test_convolutions_cache_frozen_weights(tmp_path, weights, ratio):
    assert call_in_fork(ratio_after_doubling_the_kernel, tmp_path, weights) == ratio


def ratio_of_two_versions(folder: str) -> float:
    runtime.assume_frozen_weights()
    import tensorflow as tf

    class Convolution(tf.Module):
        def __init__(self, weight):
            self.kernel = tf.Variable(tf.fill([3, 3, 8, 16], weight))

        @tf.function(input_signature=[tf.TensorSpec([None, 14, 14, 8])])
        def __call__(self, images):
            return tf.nn.conv2d(images, self.kernel, 1, "SAME")

    images = tf.ones([8, 14, 14, 8])
    versions = []
    for weight in (1.0, 2.0):
        path = os.path.join(folder, str(weight))
        tf.saved_model.save(Convolution(weight), path)
        versions.append(tf.saved_model.load(path))
        outputs = [version(images) for version in versions]
    return tf.reduce_max(outputs[1] / outputs[0])


@pytest.mark.skipif(platform.machine() != "x86_64", reason="oneDNN runs on x86")
def test_a_model_that_is_loaded_later_has_its_own_frozen_weights(tmp_path):
    assert call_in_fork(ratio_of_two_versions, tmp_path, str(tmp_path)) == 2.0


SHAPES = [(320, 256, 512), (64, 128, 256)]


@pytest.mark.parametrize(
    ("float32", "bfloat16", "reason"),
    [
        (237, 412, "bfloat16: 412 GFLOP/s, float32: 237"),
        # A processor with avx512_bf16 among its flags, and without AMX.
        (237, 81, "float32: 237 GFLOP/s, bfloat16: 81"),
        # The difference is noise.
        (200, 205, "float32: 200 GFLOP/s, bfloat16: 205"),
    ],
)
def test_auto_chooses_the_faster_dtype_and_gives_the_rates(float32, bfloat16, reason):
    measured = []

    def measure(shapes):
        measured.append(shapes)
        return {"float32": float32, "bfloat16": bfloat16}

    choice = runtime.choose_dtype("auto", SHAPES, measure)
    assert choice == (reason.split(":")[0], reason)
    assert measured == [SHAPES]


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_requested_dtype_is_returned_without_measuring(name):
    def measure(shapes):
        raise AssertionError

    assert runtime.choose_dtype(name, SHAPES, measure).name == name


def test_measuring_takes_well_under_a_second_at_any_size():
    import tensorflow as tf

    tf.ones([2]).numpy()  # TensorFlow starts.
    start = time.perf_counter()
    rates = runtime.measure_gemms([(1_000_000, 1024, 2048), (1, 64, 64), (1, 30_000, 10_000)])
    assert time.perf_counter() - start < 2  # Beside other tests; alone it takes 0.3 s.
    assert set(rates) == {"float32", "bfloat16"}
    assert min(rates.values()) > 0


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 3), ("200000 100000", 2), ("50000 100000", 1)]
)
def test_the_cores_are_those_of_the_affinity_and_of_the_quota(tmp_path, monkeypatch, quota, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 4, 5})
    (tmp_path / "cpu.max").write_text(quota + "\n")
    monkeypatch.setattr(runtime, "_CPU_QUOTA", str(tmp_path / "cpu.max"))
    assert runtime.available_cores() == cores


def test_a_negative_number_of_threads_is_refused():
    with pytest.raises(UserError, match="--threads=-1"):
        runtime.limit_threads(-1)
