"""The SavedModel of a run: the captions of the evaluation, its versions and its metadata."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import landscapes
import numpy as np
import pytest
import tensorflow as tf
from signatures import caption

from beam_jobs import build_records
from imcap import encoders, export, input_pipeline, records
from imcap.decoding import beam_search, views
from imcap.serving import model_metadata
from imcap.serving.caption_model import CaptionModel

# Nothing but TensorFlow: importing tensorflow-text fails.
_SERVE = """
import json, sys
sys.modules["tensorflow_text"] = None
import tensorflow as tf
model, *paths = sys.argv[1:]
signature = tf.saved_model.load(model).signatures["serving_default"]
images = [open(path, "rb").read() for path in paths]
found = signature(image_bytes=tf.constant(images))
assert "imcap" not in sys.modules
print(json.dumps({
    "caption": [caption.decode() for caption in found["caption"].numpy()],
    "score": found["score"].numpy().tolist(),
}))
"""


@pytest.fixture(scope="module")
def exported(landscape_export) -> Path:
    """The first version of the exported captioner."""
    return landscape_export


@pytest.fixture(scope="module")
def model(exported):
    return tf.saved_model.load(str(exported))


@pytest.fixture(scope="module")
def predictions(landscape_run) -> list[dict]:
    """The evaluation's captions of the dev images."""
    return json.loads((landscape_run / "eval" / "dev" / "predictions.json").read_text())


@pytest.fixture(scope="module")
def images(landscape_data, predictions) -> list[bytes]:
    """The files of the predictions' images."""
    return [(landscape_data / row["image_id"]).read_bytes() for row in predictions]


def test_captions_without_imcap_are_those_of_the_evaluation(
    exported, landscape_data, predictions, tmp_path
):
    paths = [str(landscape_data / row["image_id"]) for row in predictions]
    done = subprocess.run(
        [sys.executable, "-c", _SERVE, str(exported), *paths],
        capture_output=True, text=True, timeout=180, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["caption"] == [row["caption"] for row in predictions]
    assert len(set(found["caption"])) > 1
    np.testing.assert_allclose(found["score"], [row["score"] for row in predictions], atol=1e-4)


@pytest.fixture(scope="module")
def exported_elsewhere(landscape_run, landscape_data, tmp_path_factory) -> Path:
    """An export of the same weights from a workdir that was never evaluated and has a version 7,
    with the encoder's file moved and another `records.dtype` in the config."""
    workdir = tmp_path_factory.mktemp("elsewhere")
    (workdir / "checkpoints").symlink_to(landscape_run / "checkpoints")
    (workdir / "export" / "7").mkdir(parents=True)
    (workdir / "export" / "notes").mkdir()
    moved = workdir / "moved" / "encoder.keras"
    moved.parent.mkdir()
    moved.write_bytes((landscape_data / "encoder.keras").read_bytes())
    config = landscapes.make_config(
        workdir, landscape_data, encoder__name=str(moved), records__dtype="float32"
    )
    return Path(export.export_model(config, str(workdir)))


def test_a_model_that_is_dropped_leaves_no_graphs(exported, landscape_data):
    def count_graphs() -> int:
        gc.collect()
        gc.collect()  # What the finalizers of the first one have released.
        return sum(type(one).__name__ == "FuncGraph" for one in gc.get_objects())

    image = (landscape_data / "45.jpg").read_bytes()
    before = count_graphs()
    model = tf.saved_model.load(str(exported))
    model.signatures["serving_default"](image_bytes=tf.constant([image]))
    assert count_graphs() > before
    del model
    assert count_graphs() == before


def test_versions_count_up_from_1(exported, exported_elsewhere):
    assert exported.parts[-2:] == ("export", "1")
    assert exported_elsewhere.name == "8"
    assert sorted(os.listdir(exported_elsewhere.parent)) == ["7", "8", "notes"]


def test_feature_dtype_is_that_of_the_records(exported, exported_elsewhere, model, images):
    found, again = (
        caption(model, images),
        caption(tf.saved_model.load(str(exported_elsewhere)), images),
    )
    np.testing.assert_array_equal(again["captions"], found["captions"])
    # Features that are not rounded to float16 change the scores by more than this.
    np.testing.assert_allclose(again["scores"], found["scores"], rtol=0, atol=1e-6)
    for folder in (exported, exported_elsewhere):
        assert json.loads((folder / model_metadata.PATH).read_text())["feature_dtype"] == "float16"


def test_features_stored_in_a_byte_give_the_scores_that_the_export_gives(
    trained, landscape_data, tmp_path
):
    config = landscapes.make_config(
        tmp_path,
        landscape_data,
        records__dtype="uint8",
        records__dir=str(tmp_path / "records"),
        records__flip_eval=True,
        decode__both_views=True,  # Each has a scale of its own.
    )
    info = build_records.build_records(config)
    assert info.feature_dtype == "uint8"
    keys = views.keys(info, "dev", both=True)
    (batch,) = input_pipeline.eval_dataset(config.records.dir, info, "dev", batch_size=9, keys=keys)
    decoder = views.prepare(trained.decoder, config.decode, info.feature_grid)
    captions = [f"a {sky} sky over the snow" for sky in landscapes.SKIES] * 3
    tokens = trained.tokenizer.encode_tf(tf.constant(captions)).to_tensor()[:, tf.newaxis]
    total, count = beam_search.log_probability(decoder, batch["features"], tokens)
    encoder = encoders.build(config.encoder)
    model = CaptionModel(encoder, trained.decoder, trained.tokenizer, info, config.decode)
    images = [(landscape_data / name.decode()).read_bytes() for name in batch["path"].numpy()]
    found = model.score(tf.constant(images), tf.constant(captions))["score"]
    # Features that are not rounded to levels change the scores by more than this.
    np.testing.assert_allclose(found, total[:, 0] / count[:, 0], rtol=0, atol=1e-6)


def test_metadata_and_card_name_the_vocabulary(exported, landscape_data):
    info = records.read_info(str(landscape_data / "records"))
    metadata = json.loads((exported / model_metadata.PATH).read_text())
    assert metadata["vocabulary_digest"] == info.vocabulary_digest
    assert metadata["preprocessing"] == info.preprocessing
    assert metadata["encoder"] == {**info.encoder, "name": "encoder.keras"}
    card = (exported / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"digest {info.vocabulary_digest}" in card
    assert "`ranks`" in card and "stretched to 32x32" in card
    assert str(landscape_data) not in card
