"""VGG16 and a merge LSTM on Flickr8k, greedy captions: the usual notebook's system.

make system SYSTEM=vgg16_flickr8k DATA=DIR WEIGHTS=FILE

The variant `100` trains for 100 epochs instead of 20. The published project reads VGG16's second
fully connected layer; this config reads the mean of the last convolutions, which weights without
the top have. Times and scores: README.md.
"""

from imcap import config as config_lib
from imcap.errors import UserError


def get_config(variant: str = "") -> config_lib.ConfigDict:
    """`variant`: empty, or `100` for 100 epochs."""
    if variant not in ("", "100"):
        raise UserError(f"there is no variant {variant!r}; there is `100`, and none")
    config = config_lib.default()
    config.encoder.name = "VGG16"
    config.encoder.pooling = "avg"
    config.encoder.compute_dtype = "auto"
    config.model.decoder = "merge"
    config.model.units = 256
    config.model.embedding_size = 256
    config.model.tie_embeddings = False
    config.train.batch_size = 32
    config.train.epochs = int(variant or 20)
    config.train.compute_dtype = "auto"
    config.decode.beam_size = 1
    config.decode.length_penalty = 0.0
    config.decode.no_repeat_ngram = 0
    config.eval.markers = True
    return config
