"""Which dtype matrix products take in training."""

from __future__ import annotations

import tensorflow as tf

_CPU_FLAGS = ("avx512_bf16", "amx_bf16")
_AMPERE = (8, 0)  # The first GPUs that multiply bfloat16.


def compute_dtype(name: str) -> str:
    """Returns `name`, or for `auto` bfloat16 where the device multiplies it, else float32.

    Weights, logits and the loss are float32 in any case. A processor without such instructions
    emulates bfloat16, many times slower.
    """
    if name != "auto":
        return name
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        is_able = all(d.get("compute_capability", (0, 0)) >= _AMPERE for d in details)
    else:
        is_able = any(flag in _cpu_flags() for flag in _CPU_FLAGS)
    return "bfloat16" if is_able else "float32"


def _cpu_flags() -> list[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = [line for line in file if line.startswith("flags")]
    except OSError:  # Not Linux.
        return []
    return lines[0].split() if lines else []
