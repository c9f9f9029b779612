"""Pretraining: imcap's own CNN learns words from the training images, and can be interrupted."""

from __future__ import annotations

import contextlib
import io
import os
import time
from pathlib import Path
from typing import NamedTuple

import embedded_files
import numpy as np
import processes
import pytest
import tensorflow as tf
from embedded_files import Sample
from ml_collections import ConfigDict
from tiny_runs import tiny_config

from imcap import datasets, encoders, pretrain
from imcap.datasets import CaptionedImage
from imcap.encoders import custom_cnn
from imcap.errors import UserError


def small_config(workdir: Path, **changes: object) -> ConfigDict:
    settings = {
        "dataset__size": 40,
        "encoder__image_size": 32,
        "encoder__stages": 2,
        "encoder__pretrain__batch_size": 8,
        "encoder__pretrain__epochs": 4,
        "encoder__pretrain__learning_rate": 0.02,
        "encoder__pretrain__augment": True,
        **changes,
    }
    return tiny_config(workdir, **settings)


def captioned_image(name: str, *captions: str) -> CaptionedImage:
    return CaptionedImage(name, f"{name}.jpg", captions, "train")


def training_images(config: ConfigDict) -> list[CaptionedImage]:
    found = datasets.build_reader(config.dataset).read(datasets.Problems())
    return [image for image in found if image.split == "train"]


class Finished(NamedTuple):
    """A finished pretraining: its config, the weights, and what it has printed."""

    config: ConfigDict
    path: Path
    printed: str


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    workdir = tmp_path_factory.mktemp("pretrain")
    config, out = small_config(workdir), io.StringIO()
    with contextlib.redirect_stdout(out):
        path = Path(pretrain.pretrain_encoder(config, str(workdir)))
    return Finished(config, path, out.getvalue())


def test_the_encoder_loads_the_weights(finished) -> None:
    config, path, _ = finished
    untrained = encoders.build(config.encoder).digest()
    config = config.copy_and_resolve_references()
    config.encoder.weights = str(path)
    assert encoders.build(config.encoder).digest() != untrained
    assert sorted(os.listdir(path.parent)) == ["config.json", pretrain.WEIGHTS, "shapes"]


def test_the_same_seed_gives_the_same_weights(finished, tmp_path) -> None:
    config, path, _ = finished
    again = small_config(tmp_path)
    again.encoder.weights = pretrain.pretrain_encoder(again, str(tmp_path))
    first = config.copy_and_resolve_references()
    first.encoder.weights = str(path)
    assert encoders.build(again.encoder).digest() == encoders.build(first.encoder).digest()


def test_finished_weights_are_kept(finished) -> None:
    config, path, _ = finished
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert pretrain.pretrain_encoder(config, str(path.parent)) == str(path)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_the_loss_falls(finished) -> None:
    lines = [line for line in finished.printed.splitlines() if "loss: " in line]
    losses = [float(line.split("loss: ")[1]) for line in lines]
    assert len(losses) == 4
    assert losses[-1] < 0.8 * losses[0]


def epochs_done(checkpoints: Path) -> int:
    """The number of epochs in the last complete checkpoint, 0 where there is none."""
    names = os.listdir(checkpoints) if checkpoints.exists() else []
    return max((int(name.split(".")[0]) for name in names if name[0].isdigit()), default=0)


def test_a_killed_run_continues_after_its_last_epoch(tmp_path, capfd, caplog) -> None:
    config = small_config(tmp_path, encoder__pretrain__epochs=6)
    checkpoints = tmp_path / "pretrain_checkpoints"
    process = processes.fork(pretrain.pretrain_encoder, config, str(tmp_path))
    while process.is_alive() and not epochs_done(checkpoints):
        time.sleep(0.01)
    process.kill()
    process.join()
    done = epochs_done(checkpoints)
    assert 0 < done < 6
    assert not (tmp_path / pretrain.WEIGHTS).exists()
    (checkpoints / "tmp.6.weights.h5").write_bytes(b"cut off")  # Killed while writing.
    capfd.readouterr()
    caplog.set_level("INFO", "absl")
    config.encoder.weights = pretrain.pretrain_encoder(config, str(tmp_path))
    epochs = [line for line in capfd.readouterr().out.splitlines() if line.startswith("Epoch ")]
    assert epochs == [f"Epoch {number}/6" for number in range(done + 1, 7)]
    assert encoders.build(config.encoder).feature_shape == (64, 8)
    assert f"continues after epoch {done} of 6, from {checkpoints}" in caplog.text
    assert not checkpoints.exists()


def test_a_checkpoint_of_another_network_is_refused(tmp_path, recwarn) -> None:
    config = small_config(tmp_path, dataset__size=8)
    other = custom_cnn.build(small_config(tmp_path, encoder__width=8).encoder)
    (tmp_path / "pretrain_checkpoints").mkdir()
    path = tmp_path / "pretrain_checkpoints" / "1.weights.h5"
    other.save_weights(path)
    with pytest.raises(UserError) as caught:
        pretrain.pretrain_encoder(config, str(tmp_path))
    assert str(caught.value) == f"{path} is of another network: remove {path.parent}"
    assert not [w for w in recwarn if "Skipping" in str(w.message)]


def replace_with_pages(captioned: list[CaptionedImage]) -> None:
    for image in captioned:
        Path(image.path).write_bytes(b"<html>This is an HTML page, not an image.</html>")


def test_unreadable_images_are_left_out_and_counted_with_the_reason(tmp_path, logged) -> None:
    config = small_config(tmp_path, dataset__size=20, encoder__pretrain__epochs=1)
    bad = training_images(config)[3:5]
    replace_with_pages(bad)
    config.encoder.weights = pretrain.pretrain_encoder(config, str(tmp_path))
    assert encoders.build(config.encoder).feature_shape == (64, 8)
    assert logged() == [
        "2 of 16 training images are left out",
        *(f"{image.path}: an HTML page" for image in bad),
    ]


def test_images_that_are_all_unreadable_are_refused(tmp_path) -> None:
    config = small_config(tmp_path, dataset__size=10, encoder__pretrain__epochs=1)
    replace_with_pages(training_images(config))
    with pytest.raises(UserError, match=r"holds no readable training image$"):
        pretrain.pretrain_encoder(config, str(tmp_path))
    assert os.listdir(tmp_path) == ["shapes"]


def test_a_data_set_that_tensorflow_does_not_read_is_refused(tmp_path) -> None:
    config = small_config(tmp_path, dataset__dir="s3://bucket/set")
    with pytest.raises(UserError, match=r"^config\.dataset\.dir=s3://bucket/set: .* from s3://: "):
        pretrain.pretrain_encoder(config, str(tmp_path))
    assert not os.listdir(tmp_path)


def test_images_within_other_files_are_refused(tmp_path) -> None:
    folder = tmp_path / "set"
    embedded_files.write_webdataset(folder / "0.tar", [Sample("a.jpg", b"image")])
    changes = {"dataset__dir": str(folder), "dataset__ratios": (1.0, 0.0, 0.0)}
    config = small_config(tmp_path, dataset__name="webdataset", **changes)
    with pytest.raises(UserError, match=r"^config\.dataset\.name=webdataset: .* image files only"):
        pretrain.pretrain_encoder(config, str(tmp_path))


def test_another_encoder_is_refused(tmp_path) -> None:
    config = small_config(tmp_path, encoder__name="ResNet50")
    with pytest.raises(UserError) as caught:
        pretrain.pretrain_encoder(config, str(tmp_path))
    assert str(caught.value) == (
        "imcap pretrain is for config.encoder.name=custom_cnn, not ResNet50"
    )
    assert not os.listdir(tmp_path)


def test_a_data_set_without_training_images_is_refused(tmp_path) -> None:
    config = small_config(tmp_path, dataset__ratios=(0.0, 0.5, 0.5))
    with pytest.raises(UserError, match=r"^config\.dataset\.dir=.* holds no readable"):
        pretrain.pretrain_encoder(config, str(tmp_path))


def test_visual_words_are_ranked_by_variance() -> None:
    captioned = [
        captioned_image("1", "the red dog", "a dog"),
        captioned_image("2", "the red cat"),
        captioned_image("3", "the dog"),
        captioned_image("4", "the blue cat"),
        captioned_image("5", "the red bird"),
    ]
    # Shares: the 5/5; red 3/5, dog 2/5, cat 2/5; a, blue, bird 1/5.
    words, targets = pretrain.visual_words(captioned, 4)
    assert words == ["cat", "dog", "red", "a"]
    assert targets.dtype == np.float32
    expected = [[0, 1, 1, 1], [1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    np.testing.assert_array_equal(targets, expected)
    everything, _ = pretrain.visual_words(captioned, 100)
    assert everything == ["cat", "dog", "red", "a", "bird", "blue", "the"]


def test_visual_words_are_standardized_and_counted_once_per_image() -> None:
    captioned = [
        captioned_image("1", "Dog! dog, DOG.", "the dog's dog"),
        captioned_image("2", "the cat"),
    ]
    words, targets = pretrain.visual_words(captioned, 10)
    assert words == ["cat", "dog", "dogs", "the"]
    np.testing.assert_array_equal(targets, [[0, 1, 1, 1], [1, 0, 0, 1]])


def test_augmenting_flips_and_crops_by_the_number() -> None:
    side = 20
    image = tf.tile(tf.range(side, dtype=tf.float32)[tf.newaxis, :, tf.newaxis], (side, 1, 3))
    rows = [pretrain.augment(image, tf.constant(n, tf.int64))[0, :, 0].numpy() for n in range(40)]
    flipped = sum(row[0] > row[-1] for row in rows)
    assert 10 < flipped < 30
    widths = [abs(row[-1] - row[0]) + 1 for row in rows]
    assert min(widths) < 0.75 * side
    assert max(widths) > 0.9 * side
    again = pretrain.augment(image, tf.constant(3, tf.int64))[0, :, 0].numpy()
    np.testing.assert_array_equal(again, rows[3])
