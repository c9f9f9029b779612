"""Process-wide settings of malloc and oneDNN, and the choice of the dtype that is fastest here."""

from __future__ import annotations

import ctypes
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from imcap.errors import UserError

# Rows, columns that are summed over, and columns of the result: [m, k] times [k, n].
GemmShape = tuple[int, int, int]

# Parameters of mallopt, from glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8

_CPU_QUOTA = "/sys/fs/cgroup/cpu.max"  # Quota and period in µs; of Linux's control groups, v2.

_DTYPES = ("float32", "bfloat16")
# bfloat16 rounds to 8 bits and needs casts, so that it has to be faster by more than noise.
_REQUIRED_SPEEDUP = 1.1
_REPEATS = 5
_SECONDS = 0.5  # After the first product of each shape and dtype.
# On a CPU, the size of a measured product: 2 ms on two cores, and 40 ms where bfloat16 is emulated.
_MAX_CPU_FLOP = 4e8
_MAX_CPU_SIDE = 4096


def share_one_heap() -> None:
    """Makes all threads of this process allocate from one heap; call it before there are many.

    glibc gives every few threads a heap of their own. tf.data hands records from thread to thread,
    so that memory freed in one heap is not reused by another: training on 1.2 GB of records grew by
    0.5 GB an epoch. With one heap memory stays constant after the first epochs, at the same speed.
    """
    _set_malloc_parameter(_M_ARENA_MAX, 1)


def return_large_blocks() -> None:
    """From now on, returns every block of 1 MiB or more to the system as soon as it is freed.

    By default, glibc serves such blocks from the heap once it has seen a few freed, and the heap
    cannot shrink below the highest block in use. A shuffle's buffers grow by doubling: with a
    million rows that costs 50 MB.
    """
    _set_malloc_parameter(_M_MMAP_THRESHOLD, 1 << 20)


def keep_large_blocks() -> None:
    """From now on, keeps freed blocks of any size for later allocations.

    A CNN allocates the same tensors for every batch, and the system zeroes each page that it maps:
    ResNet50 is 1.5% faster on blocks that are kept. The server's captions take 8% less CPU time.
    """
    _set_malloc_parameter(_M_MMAP_MAX, 0)
    _set_malloc_parameter(_M_TRIM_THRESHOLD, 1 << 29)


def _set_malloc_parameter(parameter: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:  # Only glibc has it.
        mallopt(parameter, value)


def assume_frozen_weights() -> None:
    """Lets convolutions on a CPU cache their weights in oneDNN's own layout.

    Call it before TensorFlow runs, and only where no weight changes for as long as the process
    lives: a convolution keeps the weights of its first call. Without it oneDNN reorders the weights
    for every batch, 6% of ResNet50's time with 8 images.
    """
    os.environ.setdefault("TF_ONEDNN_ASSUME_FROZEN_WEIGHTS", "1")


def available_cores() -> int:
    """Returns how many cores this process may use: by its affinity, and by its container's quota.

    TensorFlow and `os.cpu_count` do not read the quota: on two cores of 64 they start 64 threads.
    """
    allowed = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
    cores = len(allowed)
    if os.path.exists(_CPU_QUOTA):
        with open(_CPU_QUOTA, encoding="ascii") as file:
            quota, period = file.read().split()
        if quota != "max":
            cores = min(cores, max(1, round(int(quota) / int(period))))
    return cores


def limit_threads(threads: int = 0) -> None:
    """Lets an operation use `threads` cores, 0: `available_cores`; call it before TensorFlow runs.

    Raises:
      UserError: `threads` is negative.
      RuntimeError: TensorFlow has run already.
    """
    if threads < 0:
        raise UserError(f"--threads={threads}: must be at least 0")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads or available_cores())


class DtypeChoice(NamedTuple):
    """A dtype for matrix products, and why it was chosen, such as `bfloat16: 412 GFLOP/s, …`."""

    name: str
    reason: str


def choose_dtype(
    requested: str,
    shapes: Sequence[GemmShape],
    measure: Callable[[Sequence[GemmShape]], dict[str, float]] | None = None,
) -> DtypeChoice:
    """Returns the dtype for matrix products: for `auto`, the one that is faster on this device.

    CPU flags do not tell: a Xeon with `avx512_bf16` and without AMX multiplies bfloat16 at a third
    of float32's rate.

    Args:
      requested: `auto`, or a dtype's name, which is returned unchanged.
      shapes: the matrix products (m, k, n) that take most of the time; see `measure_gemms`.
      measure: what times the products; `measure_gemms` by default.
    """
    if requested != "auto":
        return DtypeChoice(requested, "set in the config")
    rates = (measure or measure_gemms)(shapes)
    is_faster = rates["bfloat16"] >= _REQUIRED_SPEEDUP * rates["float32"]
    name, other = ("bfloat16", "float32") if is_faster else ("float32", "bfloat16")
    return DtypeChoice(name, f"{name}: {rates[name]:.0f} GFLOP/s, {other}: {rates[other]:.0f}")


def measure_gemms(shapes: Sequence[GemmShape], dtypes: Sequence[str] = _DTYPES) -> dict[str, float]:
    """Times matrix products in some dtypes on the default device.

    It takes well under a second: the dtypes are timed in turns, up to five times, until half a
    second has passed. On a CPU, large products are cut to a size that has the same rate.

    Args:
      shapes: (m, k, n) of each product.
      dtypes: their names; float32 and bfloat16 by default.

    Returns:
      GFLOP/s by dtype: of all products together, each by the median of its times.
    """
    import tensorflow as tf  # Here, as malloc's and oneDNN's settings must come before it.

    is_gpu = bool(tf.config.list_physical_devices("GPU"))
    shapes = [shape if is_gpu else _limit_size(shape) for shape in shapes]
    products = {
        (dtype, shape): _product(tf.as_dtype(dtype), shape) for shape in shapes for dtype in dtypes
    }
    for product in products.values():
        product()  # The first call compiles the kernel.
    times: dict[tuple[str, GemmShape], list[float]] = {key: [] for key in products}
    end = time.perf_counter() + _SECONDS
    for repeat in range(_REPEATS):
        for key, product in products.items():
            if not repeat or time.perf_counter() < end:
                times[key].append(_seconds(product))
    return {dtype: _rate(times, dtype) for dtype in dtypes}


def _limit_size(shape: GemmShape) -> GemmShape:
    m, k, n = (min(side, _MAX_CPU_SIDE) for side in shape)
    return max(1, min(m, int(_MAX_CPU_FLOP / (2 * k * n)))), k, n


def _product(dtype: str, shape: GemmShape) -> Callable[[], object]:
    """Returns a function that multiplies two matrices and waits for the result."""
    import tensorflow as tf

    m, k, n = shape
    left, right = tf.ones([m, k], dtype), tf.ones([k, n], dtype)
    # One element is fetched: a GPU computes asynchronously until then.
    return lambda: tf.linalg.matmul(left, right)[0, 0].numpy()


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _rate(times: dict[tuple[str, GemmShape], list[float]], dtype: str) -> float:
    medians = {shape: statistics.median(t) for (name, shape), t in times.items() if name == dtype}
    return sum(2e-9 * m * k * n for m, k, n in medians) / sum(medians.values())
