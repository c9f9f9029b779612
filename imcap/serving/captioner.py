"""A captioner in memory: a loaded SavedModel, or the functions of a model that is not exported."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from imcap.errors import UserError, one_line
from imcap.serving import saved_model, tensors


@dataclasses.dataclass(frozen=True, slots=True)
class Caption:
    """A caption that the search found.

    Attributes:
      caption: its words.
      score: mean log-probability per token.
      rank: what an image's captions are sorted by, highest first: total log-probability divided by
        `length ** decode.length_penalty`, or what `decode.rerank` gave it. None if the model was
        exported without the output `ranks`.
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


class FunctionCaptioner:
    """A captioner made of a model's functions. Several threads may call it at once.

    Attributes:
      path: the folder of the model, or of the run that it is of.
      batch_size: the most images that one call of the model gets.
    """

    def __init__(
        self,
        path: str,
        functions: Mapping[str, Callable[..., Mapping[str, Any]]],
        model: object,
        *,
        batch_size: int = 32,
    ) -> None:
        """Takes a model's functions.

        Args:
          path: see the attribute.
          functions: by the names of the signatures, from tensors to tensors by name.
          model: whose functions they are; they refer to it weakly, so it is kept as well.
          batch_size: the most images that one call gets.
        """
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size}: must be at least 1")
        self.path, self.batch_size = path, batch_size
        self._functions, self._model = dict(functions), model

    @property
    def has_attention(self) -> bool:
        """Whether `attention` can be called."""
        return saved_model.ATTENTION_SIGNATURE in self._functions

    @property
    def takes_beam_size(self) -> bool:
        """Whether `caption` can be given another beam size than the model was exported with."""
        return saved_model.BEAM_SIGNATURE in self._functions

    def caption(
        self, images: Sequence[bytes], *, beam_size: int | None = None
    ) -> list[ImageCaptions | Failure]:
        """Captions encoded images (JPEG, PNG, GIF, BMP or WebP).

        Args:
          images: the contents of image files.
          beam_size: how many captions an image gets; by default what the model was exported with.

        Returns:
          One answer per image, in order.

        Raises:
          TypeError: `images` is not a sequence of bytes.
          UserError: `beam_size` is below 1, or given to a model that does not take it.
        """
        _check_images(images)
        default = self._functions[saved_model.DEFAULT_SIGNATURE]
        function = default if beam_size is None else self._beam_search(beam_size)
        rows = self._in_batches(function, {"image_bytes": images})
        return [row if isinstance(row, Failure) else image_captions(row) for row in rows]

    def _beam_search(self, beam_size: int) -> Callable[..., Any]:
        import tensorflow as tf

        if beam_size < 1:
            raise UserError(f"beam_size={beam_size}: must be at least 1")
        if not self.takes_beam_size:
            raise UserError(f"{self.path}: exported with a fixed beam size; export it again")
        search = self._functions[saved_model.BEAM_SIGNATURE]
        return functools.partial(search, beam_size=tf.constant(beam_size))

    def attention(
        self, images: Sequence[bytes], captions: Sequence[str]
    ) -> list[np.ndarray | Failure]:
        """Returns where the model looked for each word of `captions[i]` in `images[i]`.

        Args:
          images: the contents of image files.
          captions: captions that the model gave.

        Returns:
          For each image float32 [words, rows, columns]: weights over a grid that covers the image,
          which add up to 1 for each word.

        Raises:
          TypeError: `images` is not a sequence of bytes, or `captions` is one string.
          ValueError: the two differ in length.
          UserError: the model has no attention.
        """
        if not self.has_attention:
            hint = "if its decoder has any, export it again"
            raise UserError(f"{self.path}: no attention in this model ({hint})")
        rows = self.predict(_captioned_images(images, captions), saved_model.ATTENTION_SIGNATURE)
        return [
            row
            if isinstance(row, Failure)
            else np.array(row["attention"], np.float32)[: len(caption.split())]
            for row, caption in zip(rows, captions, strict=True)
        ]

    def score(self, images: Sequence[bytes], captions: Sequence[str]) -> list[float | Failure]:
        """Scores how well `captions[i]` fits `images[i]`: mean log-probability per token.

        Raises:
          TypeError: `images` is not a sequence of bytes, or `captions` is one string.
          ValueError: the two differ in length.
        """
        rows = self.predict(_captioned_images(images, captions), saved_model.SCORE_SIGNATURE)
        return [row if isinstance(row, Failure) else row["score"] for row in rows]

    def predict(
        self, inputs: Mapping[str, Sequence[bytes]], signature: str = saved_model.DEFAULT_SIGNATURE
    ) -> list[dict[str, Any] | Failure]:
        """Runs a signature on rows of inputs, `batch_size` at a time.

        An image that cannot be decoded makes its whole batch fail in the graph. That batch is
        halved and run again until the bad images are alone.

        Args:
          inputs: values by input name; all of the same length.
          signature: one of the model's whose inputs all have a row for each image.

        Returns:
          For each row, its outputs by name (strings, floats, or lists of these), or a `Failure`.

        Raises:
          tf.errors.OpError: the model failed, and not because of an image.
        """
        return self._in_batches(self._functions[signature], inputs)

    def _in_batches(
        self, function: Callable[..., Any], inputs: Mapping[str, Sequence[bytes]]
    ) -> list[dict[str, Any] | Failure]:
        rows: list[dict[str, Any] | Failure] = []
        for start in range(0, _num_rows(inputs), self.batch_size):
            rows += _run(function, _slice(inputs, start, start + self.batch_size))
        return rows


def _run(
    function: Callable[..., Any], inputs: Mapping[str, Sequence[bytes]]
) -> list[dict[str, Any] | Failure]:
    """Runs a signature on one batch; see `FunctionCaptioner.predict`."""
    import tensorflow as tf

    size = _num_rows(inputs)
    try:
        batch = {name: tf.constant(list(values)) for name, values in inputs.items()}
        return list(tensors.unstack(function(**batch)))
    except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError) as error:
        if size == 1:
            out_of_memory = isinstance(error, tf.errors.ResourceExhaustedError)
            return [Failure(one_line(error), out_of_memory)]
    half = size // 2
    parts = [_slice(inputs, 0, half), _slice(inputs, half, size)]
    return [row for part in parts for row in _run(function, part)]


def _captioned_images(
    images: Sequence[bytes], captions: Sequence[str]
) -> dict[str, Sequence[bytes]]:
    """Returns the inputs of a signature that takes a caption of each image."""
    _check_images(images)
    if isinstance(captions, str):
        raise TypeError(f"captions must be a list with one caption per image: [{captions!r}]")
    if len(images) != len(captions):
        raise ValueError(f"{len(images)} images but {len(captions)} captions")
    return {"image_bytes": images, "caption": [caption.encode() for caption in captions]}


class Captioner(FunctionCaptioner):
    """A captioner that is loaded from an exported model.

    Attributes:
      version: the number that is the folder's name, or 1.
      signature_defs: every signature by name, as the JSON form of its `SignatureDef`.
    """

    def __init__(self, folder: str | os.PathLike[str], *, batch_size: int = 32) -> None:
        """Loads the model that `saved_model.find_model` finds in `folder`.

        Raises:
          UserError: there is none, it cannot be read, or it is not a captioner.
        """
        path = saved_model.find_model(os.fspath(folder))
        self.version = saved_model.version(path)
        self.signature_defs = saved_model.read_signature_defs(path)
        model = saved_model.load(path)
        super().__init__(path, model.signatures, model, batch_size=batch_size)

    @property
    def beam_size(self) -> int | None:
        """The beam size that the model was exported with; None if its signature does not say."""
        captions = self.signature_defs[saved_model.DEFAULT_SIGNATURE]["outputs"]["captions"]
        sizes = [int(dim["size"]) for dim in captions["tensor_shape"]["dim"]]
        return sizes[1] if len(sizes) == 2 and sizes[1] > 0 else None


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


def image_captions(row: Mapping[str, Any]) -> ImageCaptions:
    """Returns the answer to one image from its row of the default signature's outputs."""
    ranks = row.get("ranks", [None] * len(row["captions"]))
    columns = zip(row["captions"], row["scores"], ranks, strict=True)
    return ImageCaptions(tuple(Caption(*values) for values in columns))
