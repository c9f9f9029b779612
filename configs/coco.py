"""COCO captions, 2017 or 2014: configs/flickr8k.py with twenty times the images.

make records train eval export CONFIG=coco DATA=DIR WEIGHTS=FILE

Words that occur fewer than five times are rare here. With this many images, flipped ones are not
needed. No run on the whole of COCO has been measured yet.
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
    config.dataset.name = "coco"
    config.records.num_shards = 128
    config.text.min_count = 5
    config.train.eval_images = 5000
    return config
