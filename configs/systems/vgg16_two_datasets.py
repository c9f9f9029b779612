"""Two models of one architecture, VGG16 and a merge LSTM, for a page that shows both captions.

make system SYSTEM=vgg16_two_datasets:flickr8k DATA=DIR WEIGHTS=FILE
make system SYSTEM=vgg16_two_datasets:flickr30k DATA=DIR WEIGHTS=FILE
imcap app --model=runs/vgg16_two_datasets-flickr8k --model=runs/vgg16_two_datasets-flickr30k

Each model is trained on one of the data sets alone. The variant `flickr8k` has the settings of
systems/vgg16_flickr8k. Times and scores: README.md.
"""

from imcap import config as config_lib
from imcap.errors import UserError


def get_config(variant: str = "flickr8k") -> config_lib.ConfigDict:
    """`variant`: `flickr8k` or `flickr30k`, the data set."""
    if variant not in ("flickr8k", "flickr30k"):
        raise UserError(f"there is no variant {variant!r}; there are `flickr8k` and `flickr30k`")
    config = config_lib.default()
    config.dataset.name = variant
    if variant == "flickr30k":
        config.dataset.ratios = (0.85, 0.15, 0.0)
        config.records.num_shards = 32
    config.encoder.name = "VGG16"
    config.encoder.pooling = "avg"
    config.encoder.compute_dtype = "auto"
    config.model.decoder = "merge"
    config.model.units = 256
    config.model.embedding_size = 256
    config.model.tie_embeddings = False
    config.train.batch_size = 32
    config.train.epochs = 20
    config.train.compute_dtype = "auto"
    config.decode.beam_size = 1
    config.decode.length_penalty = 0.0
    config.decode.no_repeat_ngram = 0
    config.eval.markers = True
    return config
