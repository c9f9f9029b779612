"""An exported model as the captioning job runs it: encoder and search in a batch size each."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from beam_jobs.transforms.encoder_graph import encode_in_parts
from imcap.errors import UserError
from imcap.serving import model_metadata, saved_model, tensors
from imcap.serving.captioner import ImageCaptions, image_captions

# Images of one search. The encoder is as fast with fewer at a time; the search, whose matrix
# products are of one word for each sequence, takes 6.8 ms an image with 16 and 4.7 ms with 64.
BATCH_SIZE = 64
_ENCODED_ON_CPU, _ENCODED_ON_GPU = 8, 128


class CaptionGraph:
    """A loaded model, shared by all threads of a worker.

    Attributes:
      image_size: side in pixels of the images that it takes.
      max_pixels: larger images are to be refused before decoding.
    """

    def __init__(self, path: str) -> None:
        """Loads the SavedModel in the folder `path`.

        Raises:
          UserError: it cannot be loaded, or an earlier imcap exported it.
        """
        preprocessing = model_metadata.read(path)["preprocessing"]
        self.image_size, self.max_pixels = preprocessing["image_size"], preprocessing["max_pixels"]
        self._model = saved_model.load(path)
        if not hasattr(self._model, "caption_features"):
            raise UserError(f"{path}: an earlier imcap exported it: export it again")
        on_gpu = bool(tf.config.list_physical_devices("GPU"))
        self._encoded = _ENCODED_ON_GPU if on_gpu else _ENCODED_ON_CPU

    def __call__(self, images: Sequence[tf.Tensor]) -> list[ImageCaptions]:
        """Captions images, float32 [image_size, image_size, 3] each, in order."""
        features = encode_in_parts(self._model.encode, tf.stack(images), self._encoded)
        outputs = self._model.caption_features(tf.constant(features))
        return [image_captions(row) for row in tensors.unstack(outputs)]
