"""The graph of a captioner: what its signatures take and return."""

from __future__ import annotations

import json

import landscapes
import numpy as np
import pytest
import tensorflow as tf
from signatures import caption, score
from tensorflow.core.protobuf import saved_model_pb2

from imcap import decoders, encoders, export
from imcap import images as image_lib
from imcap.serving.caption_model import CaptionModel


@pytest.fixture(scope="module")
def config(landscape_run, landscape_data):
    return landscapes.make_config(landscape_run, landscape_data)


@pytest.fixture(scope="module")
def model(landscape_export):
    return tf.saved_model.load(str(landscape_export))


@pytest.fixture(scope="module")
def images(landscape_run, landscape_data) -> list[bytes]:
    """The files of the dev images."""
    rows = json.loads((landscape_run / "eval" / "dev" / "predictions.json").read_text())
    return [(landscape_data / row["image_id"]).read_bytes() for row in rows]


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


def test_every_graph_is_written_once(landscape_export):
    content = (landscape_export / "saved_model.pb").read_bytes()
    (graph,) = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    names = [function.signature.name for function in graph.graph_def.library.function]
    methods = [name.rpartition("_")[0] for name in names if name.startswith("__inference_")]
    assert "__inference_score" in methods and len(methods) == len(set(methods))


def test_a_decoder_without_attention_is_exported_without_its_signature(
    tmp_path, trained, landscape_data
):
    config = landscapes.make_config(tmp_path, landscape_data, model__decoder="inject")
    decoder = decoders.build(config.model, trained.tokenizer.size, trained.info.feature_shape[-1])
    encoder = encoders.build(config.encoder)
    model = CaptionModel(encoder, decoder, trained.tokenizer, trained.info, config.decode)
    tf.saved_model.save(model, str(tmp_path / "1"), signatures=model.signatures())
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    assert set(loaded.signatures) == {"serving_default", "score", "beam_search"}


def test_a_loaded_model_encodes_in_other_batches_than_it_searches(model, trained, images):
    size, max_pixels = trained.config.encoder.image_size, 10**6
    pixels = tf.stack([image_lib.load(content, size, max_pixels) for content in images])
    features = tf.concat([model.encode(pixels[:3]), model.encode(pixels[3:])], axis=0)
    found, expected = model.caption_features(features), caption(model, images)
    assert found["captions"].numpy().tolist() == expected["captions"].tolist()
    for name in ("scores", "ranks"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)


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
