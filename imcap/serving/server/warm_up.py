"""Calls of a model before its first request."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from imcap.serving.captioner import Captioner, Failure
from imcap.serving.saved_model import DEFAULT_SIGNATURE, SIGNATURES
from imcap.serving.server.batching import Batcher


async def warm_up(model: Captioner, batcher: Batcher) -> None:
    """Calls a model with every size of batch, so that no request waits for kernels to be compiled.

    The calls are made between the batches of requests.

    Raises:
      RuntimeError: the model cannot caption a black image.
      tf.errors.OpError: the model failed.
    """
    for signature in SIGNATURES:
        for size in batcher.sizes if signature == DEFAULT_SIGNATURE else [1]:
            await batcher.call(functools.partial(_try, model, signature, size))


def _try(model: Captioner, signature: str, size: int) -> None:
    import tensorflow as tf

    image = tf.io.encode_jpeg(tf.zeros([32, 32, 3], tf.uint8)).numpy()
    inputs: dict[str, Sequence[bytes]] = {
        name: [image if name == "image_bytes" else b"a"] * size for name in SIGNATURES[signature][0]
    }
    for row in model.predict(inputs, signature):
        if isinstance(row, Failure):
            raise RuntimeError(f"{signature}: {row.reason}")
