"""The encoder as the records job runs it: one graph per process, fed in few batch sizes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from imcap import encoders, records, runtime

# An option of TensorFlow's graph optimizer. Weights and sums stay float32.
_BFLOAT16_CONVOLUTIONS = "auto_mixed_precision_onednn_bfloat16"
# Two batches at once: at the end of every layer some cores wait for the others, 7% of the time
# with ResNet50 on two cores, unless there is another batch to work on.
THREADS = 2


class EncoderGraph:
    """An encoder as one graph, shared by all threads of a worker."""

    def __init__(
        self, config: ConfigDict, dtype: str, encoder: encoders.Encoder | None = None
    ) -> None:
        """Builds the graph; it is traced by the first call.

        Args:
          config: a config's `encoder` part.
          dtype: of the features in records, a name in records.DTYPES.
          encoder: what `config` describes, where it is built already.
        """
        encoder = encoder or encoders.build(config)
        size = config.image_size
        self._batch_size = encoders.batch_size(config)
        float_dtype = records.float_dtype(dtype)
        self._graph = tf.function(
            lambda batch: tf.cast(encoder(batch), float_dtype),
            input_signature=[tf.TensorSpec([None, size, size, 3], tf.float32)],
            autograph=False,
        )

    def __call__(
        self,
        images: Sequence[tf.Tensor],
        crops: Sequence[Sequence[tf.Tensor]] = (),
        keys: Sequence[str] = (records.FEATURES,),
    ) -> list[np.ndarray]:
        """Encodes views of images.

        Args:
          images: float32 [size, size, 3] each.
          crops: of each image, uint8 [size, size, 3] each.
          keys: of the views, see `records.Views.keys`.

        Returns:
          Of each view features [images, positions, channels], `records.float_dtype(dtype)`.
        """
        views = _views(images, crops, keys)
        return [encode_in_parts(self._graph, view, self._batch_size) for view in views]


def _views(
    images: Sequence[tf.Tensor], crops: Sequence[Sequence[tf.Tensor]], keys: Sequence[str]
) -> Iterator[tf.Tensor]:
    """Yields a batch of each view, float32 [images, size, size, 3], when the one before is done."""
    crop = 0
    for key in keys:
        if key == records.FEATURES:
            yield tf.stack(images)
        elif key == records.FLIPPED:
            yield tf.reverse(tf.stack(images), [2])
        else:
            yield tf.cast(tf.stack([own[crop] for own in crops]), tf.float32)
            crop += 1


def encode_in_parts(
    encode: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor, batch_size: int
) -> np.ndarray:
    """Encodes images, [images, size, size, 3], in the few batch sizes of `part_sizes`."""
    parts, start = [], 0
    for size in part_sizes(len(images), batch_size):
        part = images[start : start + size]
        # A batch of one takes other kernels, which round differently.
        part = tf.repeat(part, 2, axis=0) if size == 1 else part
        parts.append(encode(part).numpy()[:size])
        start += size
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def part_sizes(count: int, batch_size: int) -> list[int]:
    """Returns sizes that add up to `count`: full batches, and powers of two for the rest.

    oneDNN and cuDNN compile their kernels for each size of batch: 0.6 s for a new one with
    ResNet50 on a CPU, and shards end in every size.
    """
    rest = count % batch_size
    powers = [1 << bit for bit in reversed(range(rest.bit_length())) if rest >> bit & 1]
    return [batch_size] * (count // batch_size) + powers


@functools.cache
def threads() -> ThreadPoolExecutor:
    """Returns the threads that all shards of this process share."""
    return ThreadPoolExecutor(THREADS, "encoder")


def prepare_process(compute_dtype: str) -> None:
    """Sets this process' allocator and graph optimizer for an encoder.

    These hold for the whole process, so call it where nothing but the encoder runs from now on.
    Workers call it when Beam sets up the DoFn that encodes: processes of the local runner start
    in Beam's own code, and the allocator of the stages before that DoFn is set otherwise.
    """
    runtime.keep_large_blocks()
    options = {_BFLOAT16_CONVOLUTIONS: compute_dtype == "bfloat16"}
    tf.config.optimizer.set_experimental_options(options)
