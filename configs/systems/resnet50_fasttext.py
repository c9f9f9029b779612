"""ResNet50 and an LSTM over frozen fastText vectors on Flickr8k; each epoch's weights are kept.

make system SYSTEM=resnet50_fasttext DATA=DIR WEIGHTS=FILE ARGS=--config.model.word_vectors=FILE
imcap caption --model=runs/resnet50_fasttext --checkpoint=7 IMAGE

The vectors' size, if it is not 100, is given by `--config.model.embedding_size=300` in ARGS, the
training's length by `--config.train.epochs=N` and `--config.train.batch_size=N`. Times and scores:
README.md.
"""

from imcap import config as config_lib


def get_config() -> config_lib.ConfigDict:
    """There are no variants."""
    config = config_lib.default()
    config.encoder.pooling = "avg"
    config.encoder.compute_dtype = "auto"
    config.model.decoder = "inject"
    config.model.embedding_size = 100
    config.model.train_word_vectors = False
    config.model.tie_embeddings = False
    config.train.epochs = 20
    config.train.compute_dtype = "auto"
    config.train.keep_checkpoints = "all"
    config.decode.beam_size = 1
    config.decode.length_penalty = 0.0
    config.decode.no_repeat_ngram = 0
    config.eval.markers = True
    return config
