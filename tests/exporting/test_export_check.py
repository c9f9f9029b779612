"""`imcap export --check`: a fresh process gives the checkpoint's captions, and figures."""

from __future__ import annotations

import shutil

import landscapes
import pytest
import tensorflow as tf
from refusals import refusal

from imcap import export
from imcap.datasets.parted import PartedReader
from imcap.exporting import export_check


def test_card_has_the_figures_of_an_export_that_was_checked(
    landscape_run, landscape_data, tmp_path
):
    (tmp_path / "checkpoints").symlink_to(landscape_run / "checkpoints")
    config = landscapes.make_config(tmp_path, landscape_data)
    folder = export.export_model(config, str(tmp_path), check=True)
    with open(f"{folder}/MODEL_CARD.md", encoding="utf-8") as file:
        card = file.read()
    assert "checkpoint's captions of 9 dev images" in card
    assert "| loading |" in card and "| first caption |" in card and " MB |" in card


class _Other:
    """A model that gives other captions than any export."""

    def caption(self, image_bytes):
        count = image_bytes.shape[0]
        return {"caption": tf.fill([count], "other"), "score": tf.zeros([count])}

    def score(self, image_bytes, caption):
        return {"score": tf.zeros([image_bytes.shape[0]])}


class _Near:
    """An export but for its captions of four images."""

    def __init__(self, folder):
        self._signatures = tf.saved_model.load(str(folder)).signatures

    def caption(self, image_bytes):
        found = self._signatures["serving_default"](image_bytes=image_bytes)
        captions = tf.concat([tf.fill([4], "other"), found["caption"][4:]], axis=0)
        return {"caption": captions, "score": found["score"] - 1}

    def score(self, image_bytes, caption):
        return self._signatures["score"](image_bytes=image_bytes, caption=caption)


def test_a_variant_may_give_half_of_the_images_captions_that_the_checkpoint_scores_alike(
    landscape_export, trained
):
    near = _Near(landscape_export)
    check = export_check.run(
        str(landscape_export), near, trained.config.dataset, export_check.ROUNDED
    )
    assert check.others == 4 and check.difference < 1e-3
    assert "of 5 of 9 dev images, and other ones of 4." in check.describe()


def test_another_caption_is_refused(landscape_export, trained):
    line = refusal(export_check.run, str(landscape_export), _Other(), trained.config.dataset)
    assert "another caption of image 0 of the dev images" in line


def test_an_export_that_cannot_be_loaded_is_refused(landscape_export, trained, tmp_path):
    copy = shutil.copytree(landscape_export, tmp_path / "1")
    shutil.rmtree(copy / "variables")
    line = refusal(export_check.run, str(copy), _Other(), trained.config.dataset)
    assert line.startswith("the export cannot be loaded in a fresh process: ")


def test_the_dev_images_of_a_table_are_found_without_gathering_its_rows(trained, monkeypatch):
    expected = export_check.find_images(trained.config.dataset)
    monkeypatch.setattr(PartedReader, "read", None)
    assert export_check.find_images(trained.config.dataset) == expected
    assert expected[1] == "dev images" and len(expected[0]) == 9


@pytest.mark.parametrize("name", ["flickr8k", "shapes"])
def test_images_are_drawn_where_the_data_set_is_not_there(trained, tmp_path, name):
    config = trained.config.dataset.copy_and_resolve_references()
    config.name, config.dir, config.size = name, str(tmp_path / "none"), 0
    images, source = export_check.find_images(config)
    assert source == "drawn images" and len(images) == export_check.IMAGES
    assert all(image for image in images) and not (tmp_path / "none").exists()
