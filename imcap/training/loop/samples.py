"""The same few dev images at each evaluation, with their captions and attention maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from imcap import records, text
from imcap.decoders.base import Decoder
from imcap.decoding import attention
from imcap.decoding.predictions import Predictions
from imcap.reports import attention_maps, thumbnails, tiles
from imcap.training.loop.tensorboard import EventWriter

_SAMPLES = 4  # The first images of dev.


class Samples:
    """Writes the captions of the first dev images to TensorBoard, and the images with maps."""

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: text.Tokenizer,
        folder: str,
        info: records.Info,
        dataset: ConfigDict,
        summaries: EventWriter,
    ) -> None:
        """Nothing is read yet.

        Args:
          decoder: of the training.
          tokenizer: of the records' vocabulary.
          folder: the local records folder.
          info: its info.json.
          dataset: a config's `dataset` part; images are looked for in its folder.
          summaries: where they are written.
        """
        self._decoder, self._tokenizer = decoder, tokenizer
        self._folder, self._info, self._dataset = folder, info, dataset
        self._summaries = summaries
        self._features: dict[int, np.ndarray] = {}
        self._has_attention = attention.has_attention(decoder, info.feature_shape)

    def show(self, step: int, predictions: Predictions) -> None:
        """Writes the samples of an evaluation; an image that cannot be read is left out."""
        if not self._summaries.writes:
            return
        chosen = list(predictions.captions)[:_SAMPLES]
        captions = [predictions.captions[image_id][0].caption for image_id in chosen]
        lines = [f"{image_id}: {line}" for image_id, line in zip(chosen, captions, strict=True)]
        self._summaries.text(step, "dev/captions", lines)
        shown = zip(chosen, captions, self._weights(captions), strict=True)
        found = {
            f"dev/image_{number}": self._draw(predictions.paths[image_id], caption, weights)
            for number, (image_id, caption, weights) in enumerate(shown)
        }
        self._summaries.images(step, {k: pixels for k, pixels in found.items() if len(pixels)})

    def _draw(self, path: str, caption: str, weights: np.ndarray | None) -> np.ndarray:
        """Returns pixels, of height 0 where the image cannot be read."""
        try:
            path = records.image_path(path, self._dataset.dir)
            image = np.asarray(thumbnails.load_thumbnail(path))
        except thumbnails.ERRORS:
            return np.zeros((0, 0, 3), np.uint8)
        return tiles.draw_tiles(image, caption, weights)

    def _weights(self, captions: Sequence[str]) -> Sequence[np.ndarray | None]:
        """Returns the attention weights of the first images' captions, if there are any."""
        if not self._has_attention or not any(captions):
            return [None] * len(captions)
        if not self._features:
            self._features = attention_maps.read_features(
                self._folder, self._info, "dev", range(_SAMPLES)
            )
        grid = self._decoder.grid(self._info.feature_grid)
        features = [self._features[number] for number in range(len(captions))]
        return attention_maps.word_maps(self._decoder, self._tokenizer, grid, features, captions)
