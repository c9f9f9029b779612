"""A loaded SavedModel that captions and scores images in memory."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from imcap.errors import UserError, one_line
from imcap.serving import saved_model
from imcap.serving.saved_model import DEFAULT_SIGNATURE


@dataclasses.dataclass(frozen=True, slots=True)
class Caption:
    """A caption that the beam search found.

    Attributes:
      caption: its words.
      score: mean log-probability per token.
      rank: what an image's captions are sorted by, highest first: total log-probability divided by
        `length ** decode.length_penalty`. None if the model was exported without the output
        `ranks`.
    """

    caption: str
    score: float
    rank: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ImageCaptions:
    """The answer to one image.

    Attributes:
      captions: the captions of the beam, best first; at least one.
    """

    captions: tuple[Caption, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """The answer to an image that could not be captioned.

    Attributes:
      reason: one line.
      out_of_memory: memory ran out, so that the image may be good.
    """

    reason: str
    out_of_memory: bool = False


class Captioner:
    """A loaded captioner. Several threads may call it at once.

    Attributes:
      path: the SavedModel's folder.
      version: the number that is the folder's name, or 1.
      batch_size: the most images that one call of the model gets.
      signature_defs: every signature by name, as the JSON form of its `SignatureDef`.
    """

    def __init__(self, folder: str | os.PathLike[str], *, batch_size: int = 32) -> None:
        """Loads the model that `saved_model.find_model` finds in `folder`.

        Raises:
          UserError: there is none, it cannot be read, or it is not a captioner.
        """
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size}: must be at least 1")
        self.path = saved_model.find_model(os.fspath(folder))
        self.version = saved_model.version(self.path)
        self.batch_size = batch_size
        self.signature_defs = saved_model.read_signature_defs(self.path)
        # The signatures refer to the model's variables weakly, so the model is kept as well.
        self._model = saved_model.load(self.path)
        self._functions = dict(self._model.signatures)

    def caption(self, images: Sequence[bytes]) -> list[ImageCaptions | Failure]:
        """Captions encoded images (JPEG, PNG, GIF, BMP or WebP).

        Args:
          images: the contents of image files.

        Returns:
          One answer per image, in order.

        Raises:
          TypeError: `images` is not a sequence of bytes.
        """
        _check_images(images)
        rows = self.predict({"image_bytes": images})
        return [row if isinstance(row, Failure) else _image_captions(row) for row in rows]

    def score(self, images: Sequence[bytes], captions: Sequence[str]) -> list[float | Failure]:
        """Scores how well `captions[i]` fits `images[i]`: mean log-probability per token.

        Raises:
          TypeError: `images` is not a sequence of bytes, or `captions` is one string.
          ValueError: the two differ in length.
        """
        _check_images(images)
        if isinstance(captions, str):
            raise TypeError(f"captions must be a list with one caption per image: [{captions!r}]")
        if len(images) != len(captions):
            raise ValueError(f"{len(images)} images but {len(captions)} captions")
        texts = [caption.encode() for caption in captions]
        rows = self.predict({"image_bytes": images, "caption": texts}, "score")
        return [row if isinstance(row, Failure) else row["score"] for row in rows]

    def predict(
        self, inputs: Mapping[str, Sequence[bytes]], signature: str = DEFAULT_SIGNATURE
    ) -> list[dict[str, Any] | Failure]:
        """Runs a signature on rows of inputs, `batch_size` at a time.

        An image that cannot be decoded makes its whole batch fail in the graph. That batch is
        halved and run again until the bad images are alone.

        Args:
          inputs: values by input name; all of the same length.
          signature: a key of `saved_model.SIGNATURES`.

        Returns:
          For each row, its outputs by name (strings, floats, or lists of these), or a `Failure`.

        Raises:
          tf.errors.OpError: the model failed, and not because of an image.
        """
        rows: list[dict[str, Any] | Failure] = []
        for start in range(0, _num_rows(inputs), self.batch_size):
            rows += self._run(signature, _slice(inputs, start, start + self.batch_size))
        return rows

    def _run(
        self, signature: str, inputs: Mapping[str, Sequence[bytes]]
    ) -> list[dict[str, Any] | Failure]:
        import tensorflow as tf

        size = _num_rows(inputs)
        try:
            tensors = {name: tf.constant(list(values)) for name, values in inputs.items()}
            return list(_unstack(self._functions[signature](**tensors)))
        except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError) as error:
            if size == 1:
                out_of_memory = isinstance(error, tf.errors.ResourceExhaustedError)
                return [Failure(one_line(error), out_of_memory)]
        half = size // 2
        first, second = _slice(inputs, 0, half), _slice(inputs, half, size)
        return self._run(signature, first) + self._run(signature, second)


def _check_images(images: Sequence[bytes]) -> None:
    """Raises TypeError for what is easily passed instead of a list of encoded images."""
    if isinstance(images, bytes | bytearray | memoryview):
        raise TypeError("images must be a list of encoded images, not one: pass [image]")
    use = 'pass [open("image.jpg", "rb").read()], or use caption_paths for paths'
    if isinstance(images, str | os.PathLike):
        raise TypeError(f"images must be a list of encoded images, not the path {images!r}: {use}")
    for index, image in enumerate(images):
        if not isinstance(image, bytes):
            kind = type(image).__name__
            raise TypeError(f"images[{index}] must be an image's bytes, not {kind}: {use}")


def _num_rows(inputs: Mapping[str, Sequence[bytes]]) -> int:
    return len(next(iter(inputs.values())))


def _slice(inputs: Mapping[str, Sequence[bytes]], start: int, stop: int) -> dict[str, Any]:
    return {name: values[start:stop] for name, values in inputs.items()}


def _image_captions(row: Mapping[str, Any]) -> ImageCaptions:
    ranks = row.get("ranks", [None] * len(row["captions"]))
    columns = zip(row["captions"], row["scores"], ranks, strict=True)
    return ImageCaptions(tuple(Caption(*values) for values in columns))


def _unstack(outputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Turns named tensors of shape [batch, ...] into one dictionary of Python values per row."""
    columns = {name: _values(tensor.numpy()) for name, tensor in sorted(outputs.items())}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(array: Any) -> list[Any]:
    if array.dtype == object:
        return _decode(array.tolist())
    # Convert floats by way of text: the float32 nearest to 0.2 becomes 0.2, not 0.20000000298.
    return array.astype(str).astype(float).tolist() if array.dtype.kind == "f" else array.tolist()


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    return value.decode("utf-8", "replace")
