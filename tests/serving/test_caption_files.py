"""Captions of files: which files are meant, in what order, and how results are written."""

from __future__ import annotations

import json
import os
import shutil
import threading

import pytest
from grey_model import OTHER, png
from refusals import refusal

from imcap import filesystem
from imcap.serving import caption_files
from imcap.serving.captioner import Caption, Captioner


def find(*arguments: object) -> list[str]:
    return list(caption_files.find_images([str(argument) for argument in arguments]))


def caption(model: Captioner, *paths: object, top: int = 1) -> list[caption_files.Result]:
    return list(caption_files.caption_paths(model, find(*paths), top=top))


# Which files an argument stands for.


def test_a_folder_stands_for_the_images_below_it_except_hidden_ones(images):
    assert find(images) == [str(images / name) for name in ("a.png", "b.PNG", "sub/c.jpg")]


def test_a_file_stands_for_itself_whatever_its_name(images):
    odd = images / "1305[x].jpg.1"
    odd.write_bytes(png(1))
    assert find(odd) == [str(odd)]


def test_a_glob_stands_for_what_it_matches(images):
    assert find(images / "*.[pP]*") == [str(images / "a.png"), str(images / "b.PNG")]
    assert find(images / "**" / "c*") == [str(images / "sub/c.jpg")]


def test_a_file_given_twice_is_found_once(images):
    found = find(images / "b.PNG", images)
    assert [os.path.basename(path) for path in found] == ["b.PNG", "a.png", "c.jpg"]


@pytest.mark.parametrize("argument", ["nothing.jpg", "*.gif", "empty"])
def test_an_argument_without_an_image_is_refused_at_once(images, argument):
    (images / "empty").mkdir()
    message = refusal(caption_files.find_images, [str(images / "a.png"), str(images / argument)])
    assert message.startswith(f"{images / argument}: no ")


def test_no_argument_is_refused():
    assert "no images given" in refusal(caption_files.find_images, [])


# Captions of files.


def test_results_are_in_order_and_failures_have_reasons(version_dir, images):
    (images / "aa.jpg").write_bytes(b"garbage")
    (images / "gone.jpg").symlink_to(images / "nowhere.jpg")
    results = caption(Captioner(version_dir, batch_size=2), images, top=2)
    assert [result.caption for result in results] == ["grey 10", None, "grey 20", None, "grey 30"]
    first = Caption("grey 10", results[0].score, rank=-10 / 128)
    assert results[0].alternatives == (first, Caption(OTHER, 0.0, rank=-9.0))
    assert results[1].path == str(images / "aa.jpg")
    assert results[1].error.startswith("Unknown image file format.")
    assert results[3].error == "cannot be read: No such file or directory"


def test_a_read_error_without_a_system_message_has_its_own(model, images, monkeypatch):
    def fail(path):
        raise OSError("the archive ended early")

    monkeypatch.setattr(filesystem, "read_bytes", fail)
    (result,) = caption(model, images / "a.png")
    assert result.error == "cannot be read: the archive ended early"


def test_the_first_captions_come_before_the_last_files_are_read(version_dir, images):
    pipe = images / "z.png"
    os.mkfifo(pipe)
    copies = [shutil.copy(images / "a.png", images / f"{i}.png") for i in range(4)]
    paths = [images / "a.png", *copies, pipe]
    results = caption_files.caption_paths(Captioner(version_dir, batch_size=1), paths)
    assert next(results).caption == "grey 10"
    with pytest.raises(OSError, match="No such device or address"):  # Nobody reads the pipe yet.
        os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    writer = threading.Thread(target=pipe.write_bytes, args=(png(99),))
    writer.start()
    assert [result.caption for result in results] == ["grey 10"] * 4 + ["grey 99"]
    writer.join()


@pytest.mark.parametrize("top", [0, -1])
def test_top_below_1_is_refused_at_once(model, images, top):
    with pytest.raises(ValueError, match=f"--top={top}: must be at least 1"):
        caption_files.caption_paths(model, [images / "a.png"], top=top)


def test_top_above_the_beam_size_is_refused(model, images):
    with pytest.raises(ValueError, match="--top=3: this model gives 2 per image"):
        caption(model, images, top=3)


# How a result is written.


def test_text_has_one_line_per_caption(model, images):
    path = images / "a.png"
    (result,) = caption(model, path, top=2)
    assert caption_files.text_lines(result) == f"{path}\tgrey 10\n{path}\t{OTHER}"


def test_json_has_caption_score_and_rank_of_each_alternative(model, images):
    (result,) = caption(model, images / "b.PNG", top=2)
    best = {"caption": "grey 20", "score": -20 / 256}
    assert json.loads(caption_files.json_line(result)) == {
        "path": str(images / "b.PNG"),
        **best,
        "alternatives": [
            {**best, "rank": -20 / 128},
            {"caption": OTHER, "score": 0.0, "rank": -9.0},
        ],
    }


def test_json_has_rank_null_if_the_model_gives_no_ranks(model_without_ranks, images):
    (result,) = caption(model_without_ranks, images / "b.PNG")
    assert json.loads(caption_files.json_line(result))["alternatives"][0]["rank"] is None


def test_json_can_hold_a_file_name_that_is_not_utf_8(model, images):
    path = os.fsdecode(os.fsencode(images) + b"/\xff.png")
    shutil.copy(images / "a.png", path)
    (result,) = caption(model, path)
    assert json.loads(caption_files.json_line(result).encode("ascii"))["path"] == path
