"""Limits on the images of a request, checked before any of them is decoded."""

from __future__ import annotations

from collections.abc import Sequence

from imcap.serving import rest
from imcap.serving.server.limits import Limits


def check_images(images: Sequence[bytes], limits: Limits, where: str) -> None:
    """Refuses images that would take too much memory or time.

    Args:
      images: encoded; what is not an image is left to the model, which says what it is instead.
      limits: the server's.
      where: how a message begins; `{}` stands for the image's index.

    Raises:
      RequestError: 400, one is too large.
    """
    for index, image in enumerate(images):
        if len(image) > limits.image_bytes:
            problem = f"a file of more than {limits.max_image_mib} MiB (--max_image_mib)"
        elif declared_pixels(image) > limits.max_image_megapixels * 1_000_000:
            limit = limits.max_image_megapixels
            problem = f"declares more than {limit} million pixels (--max_image_megapixels)"
        else:
            continue
        raise rest.RequestError(400, f"{where.format(index)}{problem}")


def declared_pixels(image: bytes) -> int:
    """Returns how many pixels an image file's header declares; 0 if it has no header.

    It is read as the model reads it: other libraries refuse some of the files that TensorFlow
    decodes.
    """
    import tensorflow as tf

    from imcap import images

    try:
        # Eagerly: a function's operations would wait for a thread that computes the model's.
        with tf.device("CPU"):
            return int(images.declared_pixels(tf.constant(image)))
    except tf.errors.InvalidArgumentError:
        return 0
