"""Flickr8k: ResNet50's feature map, flipped images as augmentation, the attention decoder.

make records train eval export CONFIG=flickr8k DATA=DIR WEIGHTS=FILE

Times and scores: README.md.
"""

from imcap import config as config_lib


def get_config(variant: str = "") -> config_lib.ConfigDict:
    """`variant`: the decoder; `attention` where it is empty."""
    config = config_lib.default()
    config.records.flip = True
    config.model.decoder = variant or "attention"
    config.train.epochs = 16
    config.train.compute_dtype = "auto"
    config.decode.beam_size = 5
    config.decode.length_penalty = 0.9
    return config
