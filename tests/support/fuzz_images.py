"""Image files changed at random: an image or a reason comes out, never a crash.

    pip install atheris==3.0.0
    python tests/support/fuzz_images.py -max_total_time=1800 -timeout=20 -rss_limit_mb=4096

What was read last is the file `last-input` in the present folder; give it as the argument to see it
fail again. Atheris: https://github.com/google/atheris
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

MAX_PIXELS = 1_000_000


def seeds() -> dict[str, bytes]:
    """Returns files of every kind by name, and such that declare a size that they do not have."""
    import image_files

    declaring = {
        f"{kind} {size}": getattr(image_files, f"{kind}_declaring")(*size)
        for kind in ("png", "jpeg", "bmp", "gif", "webp")
        for size in ((1, 1), (60_000, 60_000))
    }
    return {name: data for name, (data, _) in image_files.FILES.items()} | declaring


def make_target() -> Callable[[bytes], None]:
    """Returns a function that decodes and serves a file, and raises where neither an image nor a
    reason for its refusal comes out."""
    import tensorflow as tf

    from imcap import images
    from imcap.serving.server import image_limits

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    def load(image_bytes: tf.Tensor) -> tf.Tensor:
        return images.load(image_bytes, 32, MAX_PIXELS)

    def target(data: bytes) -> None:
        pixels = image_limits.declared_pixels(data)
        try:
            image = load(data)
        except tf.errors.InvalidArgumentError as error:
            assert error.message
        else:
            assert image.shape == (32, 32, 3)
            assert 0 < pixels <= MAX_PIXELS, "the server sees another size than the model"

    return target


def main(arguments: Sequence[str]) -> None:
    """Changes files until the time is over or one fails; `arguments` are libFuzzer's."""
    import atheris

    files, target = list(seeds().values()), make_target()

    def run(data: bytes) -> None:
        Path("last-input").write_bytes(data)
        target(data)

    def change(_: bytes, max_size: int, seed: int) -> bytes:
        # TensorFlow's decoders do not tell which of their code has run, so that libFuzzer would
        # keep none of the files to start from.
        chosen = random.Random(seed)
        data = chosen.choice(files)
        for _ in range(chosen.randint(1, 4)):
            data = atheris.Mutate(data, max_size)
        return data

    is_file = any(not argument.startswith("-") for argument in arguments)
    atheris.Setup(
        [sys.argv[0], "-max_len=9000", *arguments],
        run,
        custom_mutator=None if is_file else change,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
