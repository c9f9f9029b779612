"""COCO captions, 2017 or 2014: as configs/flickr8k.py, with twenty times the photos.

Five times the captions of a word are no longer rare, and mirrored photos are not needed.
"""

from configs import flickr8k
from imcap import config as config_lib


def get_config(variant: str = "") -> config_lib.ConfigDict:
    """`variant`: empty, or `inject` for Show and Tell's decoder."""
    config = flickr8k.get_config(variant)
    config.dataset.name = "coco"
    config.records.flip = False
    config.records.num_shards = 128
    config.text.min_count = 5
    config.train.eval_images = 5000
    return config
