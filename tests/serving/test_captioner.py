"""Captioning with an exported SavedModel: tiny, real, and with a real captioner's signatures."""

from __future__ import annotations

import io
import json
import os
import shutil
import threading
from concurrent import futures

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from imcap.errors import UserError
from imcap.serving import captioner

WHITE = 255


class Grey(tf.Module):
    """Captions an image with its mean brightness; a white one needs more memory than is allowed."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serve(self, image_bytes):
        mean = self._mean(image_bytes)
        best = tf.strings.join(["grey ", tf.strings.as_string(tf.cast(mean, tf.int32))])
        captions = tf.stack([best, tf.fill(tf.shape(best), "a photo")], axis=1)
        scores = tf.stack([-mean / 255, -tf.ones_like(mean)], axis=1)
        return {
            "caption": best,
            "score": scores[:, 0],
            "captions": tf.ensure_shape(captions, [None, 2]),
            "scores": tf.ensure_shape(scores, [None, 2]),
        }

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="image_bytes"),
            tf.TensorSpec([None], tf.string, name="caption"),
        ]
    )
    def score(self, image_bytes, caption):
        length = tf.cast(tf.strings.length(caption), tf.float32)
        return {"score": -self._mean(image_bytes) / 255 - length}

    def _mean(self, image_bytes):
        spec = tf.TensorSpec([], tf.float32)
        return tf.map_fn(_brightness, image_bytes, fn_output_signature=spec)


def _brightness(encoded):
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    if tf.reduce_min(image) == WHITE:
        tf.raw_ops.Stage(values=[image], memory_limit=1)
    return tf.reduce_mean(tf.cast(image, tf.float32))


def png(level: int) -> bytes:
    return tf.io.encode_png(tf.fill([4, 6, 3], tf.constant(level, tf.uint8))).numpy()


def export(folder) -> str:
    model = Grey()
    signatures = {"serving_default": model.serve, "score": model.score}
    tf.saved_model.save(model, str(folder), signatures=signatures)
    return str(folder)


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory) -> str:
    return export(tmp_path_factory.mktemp("model") / "export" / "3")


@pytest.fixture(scope="module")
def model(saved_model) -> captioner.Captioner:
    return captioner.Captioner(saved_model, batch_size=4)


@pytest.fixture
def photos(tmp_path):
    """Photos a.png (10), b.PNG (20) and sub/c.jpg (30), among other files."""
    for name, level in {"a.png": 10, "b.PNG": 20, "sub/c.jpg": 30}.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(level))
    for name in ("notes.txt", "._a.png", "sub/.thumbs/c.jpg"):
        (tmp_path / "photos" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "photos" / name).write_text("no photo")
    return tmp_path / "photos"


# Which model a folder means.


def test_a_model_is_a_version_a_folder_of_versions_or_a_workdir(saved_model):
    export_dir = os.path.dirname(saved_model)
    for folder in (saved_model, export_dir, os.path.dirname(export_dir)):
        assert captioner.find_model(folder) == saved_model


def test_the_newest_finished_version_is_taken(tmp_path):
    for version in ("9", "10", "11", "best"):
        (tmp_path / version).mkdir()
    for version in ("9", "10", "best"):
        (tmp_path / version / "saved_model.pb").touch()
    assert captioner.find_model(str(tmp_path)) == str(tmp_path / "10")


def test_the_version_is_the_folders_number(model, saved_model, tmp_path):
    assert model.version == 3
    unnumbered = shutil.copytree(saved_model, tmp_path / "best")
    assert captioner.Captioner(str(unnumbered)).version == 1


@pytest.mark.parametrize("exists", [True, False])
def test_a_missing_model_says_how_to_make_one(tmp_path, exists):
    folder = tmp_path if exists else tmp_path / "nowhere"
    with pytest.raises(UserError, match="imcap export") as error:
        captioner.Captioner(str(folder))
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_another_saved_model_is_refused_with_the_signature_it_lacks(tmp_path):
    model = Grey()
    tf.saved_model.save(model, str(tmp_path), signatures={"serving_default": model.serve})
    with pytest.raises(UserError, match="signature 'score' should be caption, image_bytes -> "):
        captioner.Captioner(str(tmp_path))


def test_a_damaged_model_is_refused_by_name(saved_model, tmp_path):
    damaged = shutil.copytree(saved_model, tmp_path / "1")
    shutil.rmtree(damaged / "variables")
    with pytest.raises(UserError, match="cannot be loaded") as error:
        captioner.Captioner(str(damaged))
    assert str(damaged) in str(error.value)
    (damaged / "saved_model.pb").write_bytes(b"\xff\xfe not a model")
    with pytest.raises(UserError, match=r"saved_model\.pb: cannot be read"):
        captioner.Captioner(str(damaged))


# Captions and scores of images in memory.


def test_a_caption_comes_with_its_score_and_the_other_hypotheses(model):
    (answer,) = model.caption([png(51)])
    score = pytest.approx(-0.2)
    assert (answer.text, answer.score) == ("grey 51", score)
    assert answer.alternatives == (("grey 51", score), ("a photo", -1.0))


def test_more_images_than_a_batch_are_answered_in_order(model):
    levels = list(range(0, 110, 11))
    answers = model.caption([png(level) for level in levels])
    assert [answer.text for answer in answers] == [f"grey {level}" for level in levels]


def test_no_images_give_no_answers(model):
    assert model.caption([]) == []
    assert model.score([], []) == []


def test_a_failure_says_in_one_line_what_is_wrong_with_the_image(model):
    unknown, empty = model.caption([b"garbage", b""])
    assert unknown.reason.startswith("Unknown image file format.")
    assert empty == captioner.Failure("Input is empty.")
    assert "\n" not in unknown.reason


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 200), st.binary(max_size=20)), max_size=13))
def test_a_bad_image_costs_its_own_caption_and_no_other(model, images):
    encoded = [png(image) if isinstance(image, int) else image for image in images]
    answers = model.caption(encoded)
    assert len(answers) == len(images)
    for image, answer in zip(images, answers, strict=True):
        if isinstance(image, int):
            assert answer.text == f"grey {image}"
        else:
            assert isinstance(answer, captioner.Failure) and not answer.exhausted


def test_an_image_too_large_for_memory_is_told_from_a_bad_one(model):
    good, huge = model.caption([png(7), png(WHITE)])
    assert good.text == "grey 7"
    assert huge.exhausted and "memory limit" in huge.reason


def test_scores_are_of_the_pairs_of_image_and_caption(model):
    scores = model.score([png(51), b"garbage", png(0)], ["abc", "x", "é"])
    assert scores[0] == pytest.approx(-3.2)
    assert isinstance(scores[1], captioner.Failure)
    assert scores[2] == -2.0
    with pytest.raises(ValueError, match="2 images but 1 captions"):
        model.score([png(1), png(2)], ["one"])


def test_several_threads_may_ask_at_once(model):
    with futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda level: model.caption([png(level)])[0].text, range(24)))
    assert answers == [f"grey {level}" for level in range(24)]


# Which files an argument means.


def test_a_folder_means_the_images_below_it_in_any_case_but_hidden_ones(photos):
    names = ["a.png", "b.PNG", "sub/c.jpg"]
    assert captioner.find_images([str(photos)]) == [str(photos / name) for name in names]


def test_a_file_means_itself_whatever_its_name(photos):
    odd = photos / "1305[x].jpg.1"
    odd.write_bytes(png(1))
    assert captioner.find_images([str(odd)]) == [str(odd)]


def test_a_glob_means_what_it_matches(photos):
    assert captioner.find_images([str(photos / "*.[pP]*")]) == [
        str(photos / "a.png"),
        str(photos / "b.PNG"),
    ]
    assert captioner.find_images([str(photos / "**" / "c*")]) == [str(photos / "sub/c.jpg")]


def test_a_file_that_two_arguments_mean_is_found_once(photos):
    found = captioner.find_images([str(photos / "b.PNG"), str(photos)])
    assert [os.path.basename(path) for path in found] == ["b.PNG", "a.png", "c.jpg"]


@pytest.mark.parametrize("argument", ["nothing.jpg", "*.gif", "empty"])
def test_an_argument_that_gives_no_image_is_named(photos, argument):
    (photos / "empty").mkdir()
    with pytest.raises(UserError) as error:
        captioner.find_images([str(photos / "a.png"), str(photos / argument)])
    assert str(error.value).startswith(f"{photos / argument}: no ")


def test_no_argument_at_all_is_an_error():
    with pytest.raises(UserError, match="no images given"):
        captioner.find_images([])


# Captions of files.


def test_files_are_captioned_in_order_and_failures_have_reasons(saved_model, photos):
    (photos / "aa.jpg").write_bytes(b"garbage")
    (photos / "gone.jpg").symlink_to(photos / "nowhere.jpg")
    results = list(captioner.caption_paths(saved_model, [str(photos)], top=2, batch_size=2))
    assert [result.caption for result in results] == ["grey 10", None, "grey 20", None, "grey 30"]
    assert results[0].alternatives == (("grey 10", results[0].score), ("a photo", -1.0))
    assert results[1].path == str(photos / "aa.jpg")
    assert results[1].error.startswith("Unknown image file format.")
    assert results[3].error == "cannot be read: No such file or directory"


def test_the_first_captions_come_before_the_last_files_are_read(saved_model, photos):
    pipe = photos / "z.png"
    os.mkfifo(pipe)
    paths = [str(photos / "a.png"), *(str(photos / f"{i}.png") for i in range(4)), str(pipe)]
    for path in paths[1:-1]:
        shutil.copy(photos / "a.png", path)
    results = captioner.caption_paths(saved_model, paths, batch_size=1)
    assert next(results).caption == "grey 10"
    with pytest.raises(OSError, match="No such device or address"):  # Nobody reads the pipe yet.
        os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    writer = threading.Thread(target=pipe.write_bytes, args=(png(99),))
    writer.start()
    assert [result.caption for result in results] == ["grey 10"] * 4 + ["grey 99"]
    writer.join()


@pytest.mark.parametrize("top", [0, -1])
def test_fewer_than_one_caption_cannot_be_asked_for(saved_model, photos, top):
    with pytest.raises(UserError, match=f"--top={top}"):
        captioner.caption_paths(saved_model, [str(photos)], top=top)


def test_more_captions_than_the_beam_holds_cannot_be_asked_for(saved_model, photos):
    with pytest.raises(UserError, match="--top=3: this model gives 2 per image"):
        list(captioner.caption_paths(saved_model, [str(photos)], top=3))


def run(saved_model, paths, **options) -> tuple[int, list[str], list[str]]:
    out, err = io.StringIO(), io.StringIO()
    code = captioner.caption_and_print(
        saved_model, [str(path) for path in paths], out=out, err=err, **options
    )
    return code, out.getvalue().splitlines(), err.getvalue().splitlines()


def test_text_is_one_line_a_caption(saved_model, photos):
    path = photos / "a.png"
    assert run(saved_model, [path]) == (0, [f"{path}\tgrey 10"], [])
    lines = [f"{path}\tgrey 10", f"{path}\ta photo"]
    assert run(saved_model, [path], top=2) == (0, lines, [])


def test_json_is_one_object_a_file(saved_model, photos):
    code, out, err = run(saved_model, [photos / "b.PNG"], as_json=True)
    assert (code, err) == (0, [])
    best = {"caption": "grey 20", "score": pytest.approx(-20 / 255)}
    assert [json.loads(line) for line in out] == [
        {"path": str(photos / "b.PNG"), **best, "alternatives": [best]}
    ]


@pytest.mark.parametrize("as_json", [True, False])
def test_a_file_that_fails_goes_to_stderr_and_into_the_exit_code(saved_model, photos, as_json):
    code, out, err = run(saved_model, [photos / "notes.txt", photos / "a.png"], as_json=as_json)
    assert code == 1
    assert len(out) == 1 and "grey 10" in out[0]
    assert len(err) == 1 and err[0].startswith(f"{photos / 'notes.txt'}: Unknown image file format")


def test_a_file_name_that_is_no_text_can_be_printed(saved_model, photos):
    path = os.fsdecode(os.fsencode(photos) + b"/\xff.png")
    shutil.copy(photos / "a.png", path)
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="utf-8", write_through=True) as out:
        assert captioner.caption_and_print(saved_model, [path], out=out) == 0
        assert captioner.caption_and_print(saved_model, [path], as_json=True, out=out) == 0
        text, line = raw.getvalue().decode().splitlines()
    assert text == f"{photos}/\\udcff.png\tgrey 10"
    assert json.loads(line)["path"] == path
