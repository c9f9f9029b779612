"""The same few dev images at each evaluation, with their captions and attention maps."""

from __future__ import annotations

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
        lines = [f"{image_id}: {predictions.captions[image_id][0].caption}" for image_id in chosen]
        self._summaries.text(step, "dev/captions", lines)
        found = {
            f"dev/image_{number}": self._draw(number, image_id, predictions)
            for number, image_id in enumerate(chosen)
        }
        self._summaries.images(step, {k: pixels for k, pixels in found.items() if len(pixels)})

    def _draw(self, number: int, image_id: str, predictions: Predictions) -> np.ndarray:
        """Returns pixels, of height 0 where the image cannot be read."""
        path = records.image_path(predictions.paths[image_id], self._dataset.dir)
        try:
            image = np.asarray(thumbnails.load_thumbnail(path))
        except thumbnails.ERRORS:
            return np.zeros((0, 0, 3), np.uint8)
        caption = predictions.captions[image_id][0].caption
        return tiles.draw_tiles(image, caption, self._weights(number, caption))

    def _weights(self, number: int, caption: str) -> np.ndarray | None:
        if not self._has_attention or not caption:
            return None
        if not self._features:
            self._features = attention_maps.read_features(
                self._folder, self._info, "dev", range(_SAMPLES)
            )
        grid = self._decoder.grid(self._info.feature_grid)
        return attention_maps.word_maps(
            self._decoder, self._tokenizer, grid, self._features[number], caption
        )
