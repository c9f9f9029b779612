"""The records job and what it is compared with, each in a process of its own.

    python -m imcap.benchmarks.peers.encoding CONTENDER FOLDER ENCODER WEIGHTS COUNT

encodes the first COUNT images of the data set in FOLDER and prints the figures as JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from ml_collections import ConfigDict

from imcap import config as config_lib
from imcap import records, runtime, text
from imcap.benchmarks import common, image_sets
from imcap.encoders import networks

_BATCH_SIZES = (16, 32, 64)
_PROBE_BATCHES = 4
_RUN_INFERENCE_BATCH = 32

Figures = dict[str, float]  # images_per_second, startup_seconds, total_seconds and others.


def measure_network(folder: str, encoder: ConfigDict, count: int) -> Figures:
    """Measures the limit: the network alone at its best batch size, fed by tf.data's decoder.

    The features are discarded.
    """
    start = time.monotonic()
    network, preprocess = networks.load(encoder)
    encode = tf.function(
        lambda x: network(preprocess(x), training=False), reduce_retracing=True, autograph=False
    )
    size = encoder.image_size
    batch_size = _best_batch_size(encode, size)
    dataset = tf.data.Dataset.from_tensor_slices(_paths(folder, count))
    dataset = dataset.map(lambda path: _decode(path, size), num_parallel_calls=os.cpu_count())
    first = time.monotonic()
    for batch in dataset.batch(batch_size).prefetch(2).with_options(records.NO_AUTOTUNE):
        encode(batch)
    return _figures(start, first, count)


def _best_batch_size(encode: Callable[[tf.Tensor], object], size: int) -> int:
    rates = {}
    for batch_size in _BATCH_SIZES:
        batch = tf.random.stateless_uniform((batch_size, size, size, 3), (0, 0), 0, 255)
        encode(batch)
        began = time.monotonic()
        for _ in range(_PROBE_BATCHES):
            encode(batch)
        rates[batch_size] = batch_size / (time.monotonic() - began)
    return max(rates, key=rates.__getitem__)


def measure_records_job(folder: str, encoder: ConfigDict, count: int) -> Figures:
    """Measures the job as `imcap records` runs it; also `bytes_per_image` of the records."""
    from beam_jobs import build_records

    start = time.monotonic()
    with tempfile.TemporaryDirectory() as workdir:
        config = config_lib.resolve(_job_config(folder, encoder, count), workdir)
        watch = _FirstBatch(config.records.dir)
        with contextlib.redirect_stdout(io.StringIO()):
            build_records.build_records(config)
        info = records.read_info(config.records.dir)
        size = sum(sum(split["shard_bytes"]) for split in info.splits.values())
    if info.counts["kept"] != count:
        raise RuntimeError(f"{info.counts['kept']} of {count} images were kept")
    figures = _figures(start, watch.time, count - watch.done)
    return {**figures, "bytes_per_image": size / count}


def _job_config(folder: str, encoder: ConfigDict, count: int) -> ConfigDict:
    config = config_lib.default()
    config.encoder.update(encoder)
    config.dataset.dir = folder
    config.dataset.ratios = (1.0, 0.0, 0.0)
    if os.path.exists(image_sets.drawn_table(folder)):
        config.dataset.name = "table"
    config.records.num_shards = max(16, count // 5_000)
    return config


class _FirstBatch(threading.Thread):
    """Waits until the records job reports its first batch.

    Attributes:
      time: when that was.
      done: how many images had been encoded by then; 0 before.
    """

    def __init__(self, records_dir: str) -> None:
        super().__init__(daemon=True)
        self._records_dir, self.time, self.done = records_dir, 0.0, 0
        self.start()

    def run(self) -> None:
        from beam_jobs import heartbeats

        while not self.done:
            time.sleep(0.02)
            if os.path.isdir(os.path.join(self._records_dir, "progress")):
                self.done = heartbeats.total_progress(self._records_dir)["done"]
                self.time = time.monotonic()


def measure_run_inference(folder: str, encoder: ConfigDict, count: int) -> Figures:
    """Measures the usual Beam pipeline: decoding in a Map, RunInference, WriteToTFRecord."""
    # Beam's handler needs tensorflow-hub, which is in the extra `bench`.
    from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
    from apache_beam.ml.inference.tensorflow_inference import ModelType, TFModelHandlerTensor

    start = time.monotonic()
    size = encoder.image_size
    captions = [f"an image {k}" for k in range(5)]
    tokens = [np.array([text.START, 4, 5, text.END], np.int32)] * 5

    network, preprocess = networks.load(encoder)

    def decode(path: str) -> tuple[str, tf.Tensor]:
        common.mark_first_image()
        return path, preprocess(_decode(path, size))

    def serialize(result: tuple[str, Any]) -> bytes:
        path, prediction = result
        features = np.asarray(prediction.inference, np.float16)
        return records.serialize(path, path, [features], captions, tokens)

    with tempfile.TemporaryDirectory() as temporary:
        model = os.path.join(temporary, "model.keras")
        network.save(model)
        handler = KeyedModelHandler(
            TFModelHandlerTensor(
                model,
                model_type=ModelType.SAVED_MODEL,
                min_batch_size=_RUN_INFERENCE_BATCH,
                max_batch_size=_RUN_INFERENCE_BATCH,
            )
        )
        with beam.Pipeline(runner=FnApiRunner()) as pipeline:
            _ = (
                pipeline
                | beam.Create(_paths(folder, count))
                | beam.Reshuffle()
                | beam.Map(decode)
                | RunInference(handler)
                | beam.Map(serialize)
                | beam.io.WriteToTFRecord(os.path.join(temporary, "records"), num_shards=16)
            )
    return _figures(start, common.first_image_time(), count)


def measure_predict(folder: str, encoder: ConfigDict, count: int) -> Figures:
    """Measures the loop of tutorials: `model.predict` image by image, then one pickle."""
    start = time.monotonic()
    encode = build_predict(encoder)
    features = {}
    second = 0.0
    for index, path in enumerate(_paths(folder, count)):
        if index == 1:  # The first call traces the model.
            second = time.monotonic()
        features[path] = encode(path)
    with tempfile.TemporaryFile() as file:
        pickle.dump(features, file)
    return _figures(start, second, count - 1)


def build_predict(encoder: ConfigDict) -> Callable[[str], np.ndarray]:
    """Returns what encodes one image file with `model.predict`: its features, float32 [1, ...]."""
    network, preprocess = networks.load(encoder)
    size = encoder.image_size

    def encode(path: str) -> np.ndarray:
        image = tf.keras.utils.load_img(path, target_size=(size, size))
        batch = np.expand_dims(tf.keras.utils.img_to_array(image), 0)
        return network.predict(preprocess(batch), verbose=0)

    return encode


def _paths(folder: str, count: int) -> list[str]:
    images = os.path.join(folder, "Images")
    return [os.path.join(images, name) for name in sorted(os.listdir(images))[:count]]


def _decode(path: str | tf.Tensor, size: int) -> tf.Tensor:
    """Decodes a JPEG file without checks; the pixels are those of `imcap.images`."""
    image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
    return tf.image.resize(image, (size, size), antialias=True)


def _figures(start: float, first: float, count: int) -> Figures:
    """Returns the figures of `count` images encoded from `first` until now.

    Args:
      start: when the process began with the work, in seconds.
      first: when start-up ended.
      count: images encoded since.
    """
    end = time.monotonic()
    return {
        "images_per_second": count / (end - first),
        "startup_seconds": first - start,
        "total_seconds": end - start,
    }


# Each is called with the data set's folder, a config's `encoder` part and the number of images.
CONTENDERS: dict[str, Callable[[str, ConfigDict, int], Figures]] = {
    "limit": measure_network,
    "imcap": measure_records_job,
    "run_inference": measure_run_inference,
    "predict_pickle": measure_predict,
}


def main(contender: str, folder: str, name: str, weights: str, count: str) -> None:
    """Measures a contender and prints its figures, `peak_mb` included."""
    encoder = config_lib.default().encoder
    encoder.name, encoder.weights = name, weights
    if os.path.exists(image_sets.drawn_table(folder)):
        encoder.image_size = image_sets.DRAWN_SIZE
    if contender == "imcap":  # As the command does.
        runtime.share_one_heap()
        runtime.assume_frozen_weights()
    figures = CONTENDERS[contender](folder, encoder, int(count))
    print(json.dumps({**figures, "peak_mb": common.peak_memory_mb()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
