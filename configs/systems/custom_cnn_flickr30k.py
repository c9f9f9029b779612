"""Flickr30k without pretrained weights: imcap's own CNN learns the captions' words, then an LSTM.

make system SYSTEM=custom_cnn_flickr30k DATA=DIR

85% of the images are for training and 15% for dev; ten are held out in the split `holdout`. The
variant `no_image` trains a decoder that sees no image on the same records, which tells what the
images add:

make train eval CONFIG=systems/custom_cnn_flickr30k:no_image ARGS='FLAGS'

where FLAGS are --config.records.dir=RUN/records --config.encoder.weights=RUN/encoder.weights.h5 and
RUN is runs/custom_cnn_flickr30k. Times and scores: README.md.
"""

from imcap import config as config_lib
from imcap.errors import UserError


def get_config(variant: str = "") -> config_lib.ConfigDict:
    """`variant`: empty, or `no_image` for a decoder that sees no image."""
    if variant not in ("", "no_image"):
        raise UserError(f"there is no variant {variant!r}; there is `no_image`, and none")
    config = config_lib.default()
    config.dataset.name = "flickr30k"
    config.dataset.ratios = (0.85, 0.15, 0.0)
    config.dataset.holdout = 10
    config.encoder.name = "custom_cnn"
    config.encoder.weights = "{workdir}/encoder.weights.h5"
    config.encoder.image_size = 96
    config.encoder.pretrain.epochs = 20
    config.encoder.pretrain.batch_size = 32
    config.encoder.pretrain.words = 200
    config.encoder.pretrain.augment = True
    config.model.decoder = "language_model" if variant else "attention"
    config.model.units = 256
    config.train.epochs = 16
    config.train.compute_dtype = "auto"
    config.decode.beam_size = 1
    config.decode.length_penalty = 0.0
    config.decode.no_repeat_ngram = 0
    config.eval.markers = True
    return config
