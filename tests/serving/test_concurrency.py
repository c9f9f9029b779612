"""Concurrent calls of one loaded captioner whose encoder is imcap's own CNN.

TensorFlow's fused sum of convolution and residual is not safe for concurrent calls unless the
network is guarded (imcap/encoders/conv_add_fusion.py). Without the guard some of the answers below
differ, or the process crashes.
"""

from __future__ import annotations

import itertools
import sys
import threading
from pathlib import Path

import numpy as np
import processes
import pytest
import tiny_runs

from imcap import export, train
from imcap.serving.captioner import Captioner

THREADS = 4
CALLS = 300  # Of each thread; without the guard, about 3 of the 1,200 calls differ.


@pytest.fixture(scope="module")
def workdir(tiny_run, tmp_path_factory) -> Path:
    """A run on shapes with the encoder custom_cnn, exported."""
    folder = tmp_path_factory.mktemp("custom_cnn")
    config = tiny_runs.tiny_config(
        folder,
        records__dir=tiny_run.records.dir,
        dataset__dir=tiny_run.dataset.dir,
        train__epochs=1,
        # A short search, so that most of each call is the encoder.
        decode__beam_size=1,
        decode__max_length=2,
    )
    assert config.encoder.name == "custom_cnn"
    train.train_and_evaluate(config, str(folder), "none")
    export.export_model(config, str(folder))
    return folder


def count_differences(workdir: str, images: list[bytes]) -> int:
    """Counts concurrent answers that differ from those of one call at a time."""
    captioner = Captioner(workdir)
    batches = [images[start : start + 4] for start in range(0, len(images), 4)]
    expected = [captioner.caption(batch) for batch in batches]
    differences = []

    def call(first: int) -> None:
        for index in itertools.islice(itertools.cycle(range(len(batches))), first, first + CALLS):
            found = captioner.caption(batches[index])
            for answer, wanted in zip(found, expected[index], strict=True):
                scores = [[c.score for c in image.captions] for image in (answer, wanted)]
                texts = [image.captions[0].caption for image in (answer, wanted)]
                if texts[0] != texts[1] or not np.allclose(*scores, atol=1e-4):
                    differences.append(index)

    threads = [threading.Thread(target=call, args=(first,)) for first in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(differences)


def exit_with_differences(workdir: str, images: list[bytes]) -> None:
    sys.exit(min(count_differences(workdir, images), 100))


def test_concurrent_calls_give_the_captions_of_single_calls(workdir, tiny_run):
    paths = sorted(Path(tiny_run.dataset.dir, "images").glob("*.jpg"))[:16]
    images = [path.read_bytes() for path in paths]
    # In a process of its own, as an unguarded network may crash it.
    process = processes.fork(exit_with_differences, str(workdir), images)
    process.join()
    assert process.exitcode == 0
