"""Flickr30k, in Kaggle's or the authors' layout: configs/flickr8k.py with more images.

make records train eval export CONFIG=flickr30k DATA=DIR WEIGHTS=FILE

Without Flickr30k Entities' split lists, 85% of the images are for training and 15% for dev, and ten
are held out in the split `holdout`. No run on the whole of Flickr30k has been measured yet.
"""

from imcap import config as config_lib


def get_config(variant: str = "") -> config_lib.ConfigDict:
    """`variant`: the decoder; `attention` where it is empty."""
    config = config_lib.default()
    config.model.decoder = variant or "attention"
    config.train.epochs = 16
    config.train.compute_dtype = "auto"
    config.decode.beam_size = 5
    config.decode.length_penalty = 0.9
    config.records.flip = True
    config.dataset.name = "flickr30k"
    config.dataset.ratios = (0.85, 0.15, 0.0)
    config.dataset.holdout = 10
    config.records.num_shards = 32
    return config
