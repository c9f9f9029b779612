"""All threads share one heap once asked to."""

from __future__ import annotations

import subprocess
import sys

import processes
import pytest

_CHURN = """
import sys, threading
from imcap import memory
if sys.argv[1] == "one":
    memory.share_one_heap()

def allocate():
    [bytearray(100_000) for _ in range(100)]
    met.wait()
    met.wait()

met = threading.Barrier(5)
for _ in range(4):
    threading.Thread(target=allocate).start()
met.wait()
reserved = 0
with open("/proc/self/maps") as file:
    for line in file:
        begin, end = (int(part, 16) for part in line.split()[0].split("-"))
        reserved += line.split()[1] == "---p" and end - begin > 16 << 20
met.wait()
print(reserved)
"""


def _heaps(mode: str) -> int:
    """Returns how many heaps beside the main one have reserved their 64 MiB of addresses."""
    command = [sys.executable, "-c", _CHURN, mode]
    found = subprocess.run(
        command, cwd=processes.ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return int(found.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heaps are Linux' own")
def test_threads_make_no_heaps_of_their_own():
    assert _heaps("many") > _heaps("one") == 0


_FREED = """
import sys
from imcap import memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

size = int(sys.argv[1]) << 20
for name in sys.argv[2:]:
    getattr(memory, name)()
# Once it has seen such blocks freed, glibc by itself takes them from the heap, up to 32 MiB.
bytearray(size)
before = resident()
blocks = []
for _ in range(4):
    blocks += [bytearray(b"1") * size, bytearray(b"1") * 100_000]
del blocks[::2]
print((resident() - before) / size)
"""


def _kept_of_four(size_mib: int, *names: str) -> float:
    """Returns how many of four freed blocks, each below one in use, stay resident."""
    command = [sys.executable, "-c", _FREED, str(size_mib), *names]
    found = subprocess.run(
        command, cwd=processes.ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return float(found.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap is Linux' own")
def test_freed_blocks_are_returned_or_kept_as_asked():
    assert _kept_of_four(20, "return_large_blocks") < 1 < _kept_of_four(20)
    assert _kept_of_four(40) < 1 < _kept_of_four(40, "keep_large_blocks")
    assert _kept_of_four(40, "return_large_blocks", "keep_large_blocks") > 1
