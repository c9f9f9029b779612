"""A real SavedModel with a captioner's signatures that needs no training."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

WHITE = 255
OTHER = "schön"  # The second hypothesis for every image.
_IMAGES = tf.TensorSpec([None], tf.string, name="image_bytes")


class Grey(tf.Module):
    """Captions an image with its mean brightness, such as `grey 51`.

    A white image needs more memory than is allowed. With a `barrier`, images of `held_height` (0:
    of any height) create the file BARRIER.LEVEL, wait until the file BARRIER exists, and fail if it
    cannot be read.
    """

    def __init__(self, barrier: str = "", held_height: int = 0, with_ranks: bool = True) -> None:
        super().__init__()
        self._barrier, self._held_height, self._with_ranks = barrier, held_height, with_ranks

    @tf.function(input_signature=[_IMAGES], autograph=False)
    def serve(self, image_bytes):
        mean = self._brightness(image_bytes)
        best = tf.strings.join(["grey ", tf.strings.as_string(tf.cast(mean, tf.int32))])
        outputs = {
            "caption": best,
            "score": -mean / 256,
            "captions": tf.stack([best, tf.fill(tf.shape(best), OTHER)], axis=1),
            # The second caption has the better score and the lower rank.
            "scores": tf.stack([-mean / 256, tf.zeros_like(mean)], axis=1),
        }
        if self._with_ranks:
            outputs["ranks"] = tf.stack([-mean / 128, tf.fill(tf.shape(mean), -9.0)], axis=1)
        shape = {"captions": [None, 2], "scores": [None, 2], "ranks": [None, 2]}
        return {n: tf.ensure_shape(value, shape.get(n, [None])) for n, value in outputs.items()}

    @tf.function(
        input_signature=[_IMAGES, tf.TensorSpec([None], tf.string, name="caption")], autograph=False
    )
    def score(self, image_bytes, caption):
        length = tf.cast(tf.strings.length(caption), tf.float32)
        return {"score": -self._brightness(image_bytes) / 256 - length}

    @tf.function
    def _brightness(self, image_bytes):
        spec = tf.TensorSpec([], tf.float32)
        return tf.map_fn(self._one_brightness, image_bytes, fn_output_signature=spec)

    @tf.function
    def _one_brightness(self, encoded):
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        mean = tf.reduce_mean(tf.cast(image, tf.float32))
        if tf.reduce_min(image) == WHITE:
            tf.raw_ops.Stage(values=[image], memory_limit=1)
        return self._wait_at_barrier(mean, tf.shape(image)[0]) if self._barrier else mean

    @tf.function
    def _wait_at_barrier(self, mean, height):
        if self._held_height == 0 or height == self._held_height:
            level = tf.strings.as_string(tf.cast(mean, tf.int32))
            tf.io.write_file(tf.strings.join([self._barrier, ".", level]), "")
            mean += _wait_for(self._barrier)
        return mean


@tf.function
def _wait_for(path):
    """Returns 0.0 once the file exists and has been read."""
    found = _find(path)
    while tf.size(found) == 0:
        found = _find(path)
    return 0.0 * tf.cast(tf.strings.length(tf.io.read_file(found[0])), tf.float32)


def _find(path):
    # The timestamp keeps TensorFlow from evaluating the file's name only once, as a constant.
    nothing = tf.strings.substr(tf.strings.as_string(tf.timestamp()), 0, 0)
    return tf.io.matching_files(tf.strings.join([path, nothing]))


def png(level: int, height: int = 4) -> bytes:
    """An image of one brightness, 6 pixels wide."""
    return tf.io.encode_png(tf.fill([height, 6, 3], tf.constant(level, tf.uint8))).numpy()


def export(folder: Path, model: Grey | None = None) -> str:
    """Saves a model as the version that `folder` is, and returns the folder's name."""
    model = model or Grey()
    signatures = {"serving_default": model.serve, "score": model.score}
    tf.saved_model.save(model, str(folder), signatures=signatures)
    return str(folder)
