"""ResNet50 and an LSTM on Flickr8k for 20 epochs; captions are compared by sentence embeddings.

make system SYSTEM=resnet50_flickr8k DATA=DIR WEIGHTS=FILE ARGS=--config.eval.similarity_encoder=DIR

The report shows each prediction beside its references with their similarity. Times and scores:
README.md.
"""

from imcap import config as config_lib


def get_config() -> config_lib.ConfigDict:
    """There are no variants."""
    config = config_lib.default()
    config.encoder.pooling = "avg"
    config.encoder.compute_dtype = "auto"
    config.model.decoder = "inject"
    config.train.epochs = 20
    config.train.compute_dtype = "auto"
    config.decode.beam_size = 1
    config.decode.length_penalty = 0.0
    config.decode.no_repeat_ngram = 0
    config.eval.markers = True
    return config
