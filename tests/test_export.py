"""The SavedModel: the captions of the evaluation, and what its signatures take and return."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import landscapes
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from imcap import decoders, encoders, export, records

# Nothing but TensorFlow and the ops of tensorflow-text, as in TensorFlow Serving.
_SERVE = """
import json, sys
import tensorflow as tf
import tensorflow_text
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
def config(landscape_run, landscape_data):
    return landscapes.make_config(landscape_run, landscape_data)


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


def caption(model, images: list[bytes]) -> dict[str, np.ndarray]:
    found = model.signatures["serving_default"](image_bytes=tf.constant(images, tf.string))
    return {name: value.numpy() for name, value in found.items()}


def score(model, images: list[bytes], captions: list[str]) -> np.ndarray:
    inputs = {"image_bytes": tf.constant(images), "caption": tf.constant(captions)}
    return model.signatures["score"](**inputs)["score"].numpy()


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


def test_signatures_have_the_documented_names_and_types(model):
    def spec(tensors) -> dict[str, tuple]:
        return {name: (t.dtype, t.shape.as_list()) for name, t in tensors.items()}

    assert set(model.signatures) == {"serving_default", "score", "beam_search", "attention"}
    default, scoring = model.signatures["serving_default"], model.signatures["score"]
    assert spec(default.structured_input_signature[1]) == {"image_bytes": (tf.string, [None])}
    assert {name: dtype for name, (dtype, _) in spec(default.structured_outputs).items()} == {
        "caption": tf.string, "score": tf.float32,
        "captions": tf.string, "scores": tf.float32, "ranks": tf.float32,
    }  # fmt: skip
    inputs = {"image_bytes": (tf.string, [None]), "caption": (tf.string, [None])}
    assert spec(scoring.structured_input_signature[1]) == inputs
    assert [t.dtype for t in scoring.structured_outputs.values()] == [tf.float32]
    names = {*default.structured_outputs, *scoring.structured_outputs}
    assert not any(name.endswith("_bytes") for name in names)


def test_a_decoder_without_attention_is_exported_without_its_signature(
    tmp_path, trained, landscape_data
):
    config = landscapes.make_config(tmp_path, landscape_data, model__decoder="inject")
    decoder = decoders.build(config.model, trained.tokenizer.size, trained.info.feature_shape[-1])
    encoder = encoders.build(config.encoder)
    model = export.CaptionModel(encoder, decoder, trained.tokenizer, trained.info, config.decode)
    tf.saved_model.save(model, str(tmp_path / "1"), signatures=model.signatures())
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    assert set(loaded.signatures) == {"serving_default", "score", "beam_search"}


@pytest.mark.parametrize("batch", [1, 5])
def test_results_do_not_depend_on_the_batch(model, config, images, batch):
    found, everything = caption(model, images[:batch]), caption(model, images)
    beam = config.decode.beam_size
    shapes = {name: value.shape for name, value in found.items()}
    assert shapes == {
        "caption": (batch,), "score": (batch,),
        "captions": (batch, beam), "scores": (batch, beam), "ranks": (batch, beam),
    }  # fmt: skip
    assert found["captions"].tolist() == everything["captions"][:batch].tolist()
    np.testing.assert_allclose(found["scores"], everything["scores"][:batch], atol=1e-5)


def test_caption_is_the_first_of_distinct_captions(model, images):
    found = caption(model, images)
    assert found["caption"].tolist() == found["captions"][:, 0].tolist()
    np.testing.assert_array_equal(found["score"], found["scores"][:, 0])
    assert all(len(set(row)) == len(row) for row in found["captions"].tolist())


def test_score_is_high_for_the_own_caption_and_low_for_nonsense(model, images):
    found = caption(model, images)
    own = score(model, images, found["caption"].tolist())
    np.testing.assert_allclose(own, found["score"], atol=1e-5)
    assert (score(model, images, ["sky sky the over wide"] * len(images)) < own - 1).all()


def test_score_reads_captions_as_people_write_them(model, images):
    own = caption(model, images[:1])["caption"][0].decode()
    shouted = "  " + own.upper().replace(" ", ",  ") + "!! "
    same = score(model, images[:1] * 2, [own, shouted])
    assert same[0] == same[1]


@pytest.mark.parametrize(
    "text", ["", "   ", "🌅🌄", "sky " * 100, "ein völlig unbekannter Satz", "[START] [END]", "\0"]
)
def test_score_takes_any_caption(model, images, text):
    found = score(model, images[:2], [text, "a blue sky"])
    assert np.isfinite(found).all()
    assert (found < 0).all()
    alone = score(model, images[1:2], ["a blue sky"])
    np.testing.assert_allclose(found[1:], alone, atol=1e-5)


def test_captions_without_a_word_score_alike(model, images):
    found = score(model, images[:1] * 3, ["", "...", "🌅"])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("bad", [b"", b"no image", b"\xff\xd8\xff" + bytes(40)])
@pytest.mark.parametrize("name", ["serving_default", "score"])
def test_bad_image_in_a_batch_is_an_invalid_argument(model, images, name, bad):
    inputs = {"image_bytes": tf.constant([images[0], bad])}
    if name == "score":
        inputs["caption"] = tf.constant(["a blue sky"] * 2)
    with pytest.raises(tf.errors.InvalidArgumentError):
        model.signatures[name](**inputs)


def test_warmup_requests_replay_through_the_signature(exported, model):
    path = str(exported / "assets.extra" / "tf_serving_warmup_requests")
    entries = [record.numpy() for record in tf.data.TFRecordDataset(path)]
    batches = []
    for entry in entries:
        log = prediction_log_pb2.PredictionLog.FromString(entry)
        request = log.predict_log.request
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        signature = model.signatures[request.model_spec.signature_name]
        found = signature(**{name: tf.constant(value) for name, value in inputs.items()})
        assert all(found["caption"].numpy())
        batches.append(len(inputs["image_bytes"]))
    assert batches == [1, 8]


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
        assert json.loads((folder / export.METADATA).read_text())["feature_dtype"] == "float16"


def test_captions_are_in_descending_order_of_ranks(model, config, images):
    found = caption(model, images)
    assert (np.diff(found["ranks"]) <= 0).all()
    # Score and rank are the same sum divided by the length and by a power of it.
    lengths = np.array([[len(c.split()) + 1 for c in row] for row in found["captions"]])
    totals = found["ranks"] * lengths**config.decode.length_penalty
    np.testing.assert_allclose(found["scores"], totals / lengths, atol=1e-5)


def test_caption_of_max_length_scores_as_in_the_search(
    landscape_run, landscape_data, images, tmp_path
):
    (tmp_path / "checkpoints").symlink_to(landscape_run / "checkpoints")
    config = landscapes.make_config(tmp_path, landscape_data, decode__max_length=4)
    model = tf.saved_model.load(export.export_model(config, str(tmp_path)))
    found = caption(model, images)
    assert {len(words.split()) for words in found["caption"]} == {4}
    again = score(model, images, found["caption"].tolist())
    np.testing.assert_allclose(again, found["score"], atol=1e-5)


def test_metadata_and_card_name_the_vocabulary(exported, landscape_data):
    info = records.read_info(str(landscape_data / "records"))
    metadata = json.loads((exported / export.METADATA).read_text())
    assert metadata["vocabulary_digest"] == info.vocabulary_digest
    assert metadata["preprocessing"] == info.preprocessing
    assert metadata["encoder"] == {**info.encoder, "name": "encoder.keras"}
    card = (exported / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"digest {info.vocabulary_digest}" in card
    assert "`ranks`" in card and "stretched to 32x32" in card
    assert str(landscape_data) not in card
