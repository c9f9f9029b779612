"""One variant of `imcap bench records`, in a process of its own: prints its figures as JSON.

python -m benchmarks.records_variants VARIANT FOLDER ENCODER WEIGHTS COUNT
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

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from imcap import config as config_lib
from imcap import records, runtime, text
from imcap.benchmarks import common
from imcap.encoders import networks

_BATCH_SIZES = (16, 32, 64)
_PROBE_BATCHES = 4
_BEAM_BATCH = 32


def main(variant: str, folder: str, encoder: str, weights: str, count: str) -> None:
    """Runs a variant over the first `count` photos of `folder`."""
    config = config_lib.default()
    config.dataset.dir = folder
    config.encoder.name, config.encoder.weights = encoder, weights
    config.dataset.ratios = (1.0, 0.0, 0.0)
    if os.path.exists(os.path.join(folder, "captions.csv")):  # Tiny images.
        config.dataset.name, config.encoder.image_size = "table", 32
    config.records.num_shards = max(16, int(count) // 5_000)
    figures = _VARIANTS[variant](config, int(count))
    print(json.dumps({**figures, "peak_mb": common.peak_memory_mb()}))


def limit(config: config_lib.ConfigDict, count: int) -> dict[str, float]:
    """The bare CNN at its best batch size, behind tf.data's decoder; features are thrown away."""
    start = time.monotonic()
    network, preprocess = networks.load(config.encoder)
    encode = tf.function(lambda x: network(preprocess(x), training=False), reduce_retracing=True)
    size = config.encoder.image_size
    batch_size = _best_batch_size(encode, size)
    dataset = tf.data.Dataset.from_tensor_slices(_paths(config, count))
    dataset = dataset.map(lambda path: _decode(path, size), num_parallel_calls=os.cpu_count())
    began = time.monotonic()
    for batch in dataset.batch(batch_size).prefetch(2).with_options(records.NO_AUTOTUNE):
        encode(batch)
    return _figures(start, began, count)


def _paths(config: config_lib.ConfigDict, count: int) -> list[str]:
    folder = os.path.join(config.dataset.dir, "Images")
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder))[:count]]


def _decode(path: str | tf.Tensor, size: int) -> tf.Tensor:
    """A photo as one would decode it without a thought of odd files: imcap's very pixels."""
    image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
    return tf.image.resize(image, (size, size), antialias=True)


def _best_batch_size(encode, size: int) -> int:
    rates = {}
    for batch_size in _BATCH_SIZES:
        batch = tf.random.stateless_uniform((batch_size, size, size, 3), (0, 0), 0, 255)
        encode(batch)
        began = time.monotonic()
        for _ in range(_PROBE_BATCHES):
            encode(batch)
        rates[batch_size] = batch_size / (time.monotonic() - began)
    return max(rates, key=rates.get)


def imcap(config: config_lib.ConfigDict, count: int) -> dict[str, float]:
    """The records job as `imcap records` runs it."""
    from beam_jobs import build_records

    start = time.monotonic()
    with tempfile.TemporaryDirectory() as workdir:
        resolved = config_lib.resolve(config, workdir)
        watch = _FirstBatch(os.path.join(workdir, "records", "progress"))
        with contextlib.redirect_stdout(io.StringIO()):
            build_records.build_records(resolved)
        info = records.read_info(resolved.records.dir)
        size = sum(sum(split["shard_bytes"]) for split in info.splits.values())
    if info.counts["kept"] != count:
        raise RuntimeError(f"{info.counts['kept']} of {count} photos were kept")
    figures = _figures(start, watch.time, count - watch.done)
    return {**figures, "bytes_per_image": size / count}


class _FirstBatch(threading.Thread):
    """Notes when the job has told of its first batch, and how many photos that was."""

    def __init__(self, folder: str) -> None:
        super().__init__(daemon=True)
        self._folder, self.time, self.done = folder, 0.0, 0
        self.start()

    def run(self) -> None:
        from beam_jobs import shard_files

        while not self.done:
            time.sleep(0.02)
            if os.path.isdir(self._folder):
                self.done = shard_files.total_progress(os.path.dirname(self._folder))["done"]
                self.time = time.monotonic()


def run_inference(config: config_lib.ConfigDict, count: int) -> dict[str, float]:
    """What a Beam user would write: decoding in a Map, RunInference, WriteToTFRecord."""
    # Beam's handler needs tensorflow-hub, which nothing else does: the extra `bench`.
    from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
    from apache_beam.ml.inference.tensorflow_inference import ModelType, TFModelHandlerTensor

    start = time.monotonic()
    size = config.encoder.image_size
    captions = [f"a photo {k}" for k in range(5)]
    tokens = [np.array([text.START, 4, 5, text.END], np.int32)] * 5

    network, preprocess = networks.load(config.encoder)

    def decode(path: str) -> tuple[str, tf.Tensor]:
        common.mark_beginning()
        return path, preprocess(_decode(path, size))

    def serialize(result) -> bytes:
        path, prediction = result
        features = np.asarray(prediction.inference, np.float16)
        return records.serialize(path, path, [features], captions, tokens)

    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "model.keras")
        network.save(model)
        handler = KeyedModelHandler(
            TFModelHandlerTensor(
                model,
                model_type=ModelType.SAVED_MODEL,
                min_batch_size=_BEAM_BATCH,
                max_batch_size=_BEAM_BATCH,
            )
        )
        with beam.Pipeline(runner=FnApiRunner()) as pipeline:
            _ = (
                pipeline
                | beam.Create(_paths(config, count))
                | beam.Reshuffle()
                | beam.Map(decode)
                | RunInference(handler)
                | beam.Map(serialize)
                | beam.io.WriteToTFRecord(os.path.join(folder, "records"), num_shards=16)
            )
    return _figures(start, common.BEGAN[0], count)


def predict_pickle(config: config_lib.ConfigDict, count: int) -> dict[str, float]:
    """What the published student projects do: `model.predict` photo by photo, into a pickle."""
    start = time.monotonic()
    network, preprocess = networks.load(config.encoder)
    size = config.encoder.image_size
    features = {}
    began = 0.0
    for index, path in enumerate(_paths(config, count)):
        if index == 1:  # The first call traces the model.
            began = time.monotonic()
        image = tf.keras.utils.load_img(path, target_size=(size, size))
        batch = np.expand_dims(tf.keras.utils.img_to_array(image), 0)
        features[path] = network.predict(preprocess(batch), verbose=0)
    with tempfile.TemporaryFile() as file:
        pickle.dump(features, file)
    return _figures(start, began, count - 1)


def _figures(start: float, began: float, count: int) -> dict[str, float]:
    end = time.monotonic()
    return {
        "images_per_second": count / (end - began),
        "startup_seconds": began - start,
        "total_seconds": end - start,
    }


_VARIANTS = {
    "limit": limit,
    "imcap": imcap,
    "run_inference": run_inference,
    "predict_pickle": predict_pickle,
}

if __name__ == "__main__":
    if sys.argv[1] == "imcap":  # As the command does, for the whole of its process.
        runtime.share_one_heap()
        runtime.assume_frozen_weights()
    main(*sys.argv[1:])
