"""Variants of an export: their size, what they say of themselves, and who can use them."""

from __future__ import annotations

import json
from pathlib import Path

import landscapes
import pytest
import tensorflow as tf

from beam_jobs.transforms.caption_graph import CaptionGraph
from imcap import export, images
from imcap.serving import model_metadata
from imcap.serving.captioner import Captioner


@pytest.fixture(scope="module")
def workdir(landscape_run, tmp_path_factory) -> Path:
    """A run with the weights of `landscape_run`."""
    folder = tmp_path_factory.mktemp("variants")
    (folder / "checkpoints").symlink_to(landscape_run / "checkpoints")
    return folder


@pytest.fixture(scope="module")
def smallest(workdir, landscape_data) -> Path:
    """An export with both dtypes changed, checked."""
    config = landscapes.make_config(
        workdir, landscape_data, export__compute_dtype="bfloat16", export__weights_dtype="float16"
    )
    return Path(export.export_model(config, str(workdir), check=True))


def test_weights_take_half_of_the_bytes(smallest, landscape_export):
    sizes = [
        (folder / "variables" / "variables.data-00000-of-00001").stat().st_size
        for folder in (smallest, landscape_export)
    ]
    assert sizes[0] < 0.55 * sizes[1]


def test_card_and_metadata_name_the_dtypes(smallest):
    card = (smallest / "MODEL_CARD.md").read_text()
    assert (
        "| numbers | kernels stored as float16, those of convolutions as bfloat16; convolutions in "
        "bfloat16, all else computed in float32 |"
    ) in card
    assert "the export gave the\ncheckpoint's captions of " in card
    metadata = json.loads((smallest / model_metadata.PATH).read_text())
    assert metadata["export"] == {"compute_dtype": "bfloat16", "weights_dtype": "float16"}


def test_the_captioning_job_gives_its_captions(smallest, landscape_data):
    files = [(landscape_data / f"{number}.jpg").read_bytes() for number in range(45, 54)]
    graph = CaptionGraph(str(smallest))
    pixels = [images.load(tf.constant(one), graph.image_size, graph.max_pixels) for one in files]
    answers = Captioner(smallest).caption(files)
    assert [a.captions[0].caption for a in graph(pixels)] == [
        a.captions[0].caption for a in answers
    ]


def test_float16_weights_alone_give_the_checkpoints_captions(
    workdir, landscape_data, landscape_export
):
    config = landscapes.make_config(workdir, landscape_data, export__weights_dtype="float16")
    folder = Path(export.export_model(config, str(workdir)))
    line = "| numbers | kernels stored as float16; all computed in float32 |"
    assert line in (folder / "MODEL_CARD.md").read_text()
    files = [(landscape_data / f"{number}.jpg").read_bytes() for number in range(45, 54)]
    exact, halved = (Captioner(one).caption(files) for one in (landscape_export, folder))
    for one, other in zip(exact, halved, strict=True):
        assert one.captions[0].caption == other.captions[0].caption
        assert abs(one.captions[0].score - other.captions[0].score) < 0.01
