"""Flickr8k: ResNet50's feature map, flipped images as augmentation, the attention decoder.

make records train eval export CONFIG=flickr8k DATA=DIR WEIGHTS=FILE

The variant `self_critical` goes on from the weights of runs/flickr8k, in a run of its own
(another run's: ARGS=--config.train.from_checkpoint=RUN):

make train eval export CONFIG=flickr8k:self_critical DATA=DIR WEIGHTS=FILE

The variant `finetune` goes on from the same weights, together with ResNet50's conv5 block, on
records of what that block reads (1.3 GB: two views of 6,000 images and 1,000 dev images, 100 KB a
view); `train.objective` may be `self_critical` then, too:

make records train eval export CONFIG=flickr8k:finetune DATA=DIR WEIGHTS=FILE

The variant `small` stores features in a byte each, compressed: 24 KB a view instead of 201.

The variant `crops` also stores three random crops of each training image, in a byte each, too, and
trains longer:

make records train eval export CONFIG=flickr8k:crops DATA=DIR WEIGHTS=FILE

Times and scores: README.md.
"""

from imcap import config as config_lib

_SELF_CRITICAL, _FINE_TUNE, _SMALL, _CROPS = "self_critical", "finetune", "small", "crops"
_RUN = "runs/flickr8k"


def get_config(variant: str = "") -> config_lib.ConfigDict:
    """`variant`: the decoder, `attention` where it is empty; or one of those above."""
    config = config_lib.default()
    config.records.flip = True
    config.model.decoder = variant
    if variant in ("", _SELF_CRITICAL, _FINE_TUNE, _SMALL, _CROPS):
        config.model.decoder = "attention"
    config.train.epochs = 16
    config.train.compute_dtype = "auto"
    config.decode.beam_size = 5
    config.decode.length_penalty = 0.9
    if variant in (_SMALL, _CROPS):
        config.records.dtype = "uint8"
    if variant == _CROPS:
        config.records.crops = 3
        config.train.epochs = 20
    if variant == _SELF_CRITICAL:
        _train_self_critically(config)
    if variant == _FINE_TUNE:
        _fine_tune(config)
    return config


def _train_self_critically(config: config_lib.ConfigDict) -> None:
    """Maximizes CIDEr-D; the learning rate decays to zero over the run, without warm-up."""
    config.records.dir = f"{_RUN}/records"
    config.train.from_checkpoint = _RUN
    config.train.objective = _SELF_CRITICAL
    config.train.epochs = 15
    config.train.learning_rate = 1e-4
    config.train.warmup = 0.0


def _fine_tune(config: config_lib.ConfigDict) -> None:
    """Trains the last block of the CNN with the decoder, both at rates that change little."""
    config.encoder.tune_from = "conv4_block6_out"
    config.train.from_checkpoint = _RUN
    config.train.epochs = 6
    config.train.learning_rate = 1e-4
    config.train.encoder_learning_rate = 2e-5
