"""The dev scores of a training's epochs."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
from ml_collections import ConfigDict

from imcap import records
from imcap.decoding.predictions import Predictions, Predictor, score_predictions
from imcap.training import strategies
from imcap.training.history import Epoch
from imcap.training.loop.tensorboard import EventWriter


def count_images(config: ConfigDict, info: records.Info) -> int:
    """Returns how many dev images an evaluation captions, 0 without that split.

    `config`: a config's `train` part.
    """
    if "dev" not in info.splits:
        return 0
    num_images = info.num_images("dev")
    return min(config.eval_images or num_images, num_images)


def is_scored(epoch: int, config: ConfigDict) -> bool:
    """Tells whether dev is scored after an epoch; `config`: a config's `train` part."""
    return epoch % config.eval_every == 0 or epoch == config.epochs


def evaluate(
    predictor: Predictor,
    strategy: tf.distribute.Strategy,
    summaries: EventWriter,
    step: int,
    num_images: int,
    show: Callable[[int, Predictions], None],
) -> Epoch:
    """Returns the dev columns of an epoch's row; each worker captions a part of the images.

    Args:
      predictor: of the decoder.
      strategy: of the training; all its workers have to call this.
      summaries: get the scores.
      step: that the summaries are of.
      num_images: how many of the split's first images are captioned.
      show: gets the step and the predictions.
    """
    predictions = _predict_dev(predictor, strategy, num_images)
    scores = score_predictions(predictions)
    summaries.scalars(step, {f"dev/{name}": value for name, value in scores.as_dict().items()})
    show(step, predictions)
    return {
        "dev_loss": predictions.loss,
        **{f"dev_{key}": value for key, value in scores.corpus.items()},
    }


def _predict_dev(
    predictor: Predictor, strategy: tf.distribute.Strategy, num_images: int
) -> Predictions:
    """Returns the predictions for the first dev images; each worker captions a part of them."""
    size = -(-num_images // strategies.num_workers(strategy))
    start = size * strategies.worker_index(strategy)
    size = min(size, num_images - start)
    part = predictor.predict_split("dev", start=start, limit=size) if size > 0 else Predictions()
    parts = strategies.gather(strategy, part.as_dict())
    return Predictions.concatenate(map(Predictions.from_dict, parts))
