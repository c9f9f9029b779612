"""Flickr8k, ResNet50 features, attention decoder.

make records train eval export CONFIG=configs/flickr8k.py WORKDIR=runs/flickr8k \
    DATA=FOLDER WEIGHTS=resnet50_weights.h5 SPLIT=dev
"""

from imcap import config as config_lib


def get_config(variant: str = ""):
    """`variant`: empty, or `small`: 64 photos' worth of work to see that everything runs."""
    config = config_lib.default()
    config.records.flip = True
    return config
