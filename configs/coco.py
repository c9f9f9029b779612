"""COCO captions, 2017 or 2014: the recipe of Flickr8k for twenty times the images.

make records train eval export CONFIG=coco DATA=DIR WEIGHTS=FILE

Words that occur less than five times are rare here. With this many images, flipped ones are not
needed. No run on the whole of COCO has been measured yet.
"""

from configs import flickr8k
from imcap import config as config_lib


def get_config(variant: str = "") -> config_lib.ConfigDict:
    """`variant`: the decoder; `attention` where it is empty."""
    config = flickr8k.get_config(variant)
    config.dataset.name = "coco"
    config.records.flip = False
    config.records.num_shards = 128
    config.text.min_count = 5
    config.train.eval_images = 5000
    return config
