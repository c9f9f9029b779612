"""What the web page shows of the models' answers."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from unittest import mock

import numpy as np
import pytest
from grey_model import OTHER, WHITE, png

from imcap.serving import page_images, page_results
from imcap.serving.captioner import Caption, Captioner, Failure, ImageCaptions
from imcap.serving.page_results import ImageResult


def read(name: str, level: int) -> page_images.PageImage:
    return page_images.read_image(name, png(level))


def result(*captions: Caption | Failure, name: str = "a.png") -> ImageResult:
    """An image's result with a model for each caption: m0, m1 and on."""
    answers = {
        f"m{index}": found if isinstance(found, Failure) else ImageCaptions((found,))
        for index, found in enumerate(captions)
    }
    return ImageResult(read(name, 10), answers)


def test_every_model_captions_every_image(model, model_without_ranks):
    models = {"one": model, "two": model_without_ranks}
    images = [read("a.png", 10), read("b.png", 20)]
    found = page_results.caption_images(models, images, 2, {})
    assert [entry.image.name for entry in found] == ["a.png", "b.png"]
    assert [
        [answer.captions[0].caption for answer in entry.answers.values()] for entry in found
    ] == [["grey 10", "grey 10"], ["grey 20", "grey 20"]]


def test_cached_answers_are_not_asked_for_again_and_old_ones_are_dropped(model):
    cache: dict = {}
    images = [read(f"{level}.png", level) for level in (10, 20)]
    with mock.patch.object(Captioner, "caption", autospec=True, side_effect=Captioner.caption) as c:
        page_results.caption_images({"one": model}, images[:1], 2, cache)
        page_results.caption_images({"one": model}, images, 2, cache)
        page_results.caption_images({"one": model}, images, 2, cache)
    assert [len(call.args[1]) for call in c.call_args_list] == [1, 1]
    assert len(cache) == 2
    page_results.caption_images({"one": model}, images[1:], 2, cache)
    assert [digest for _, _, digest in cache] == [images[1].digest]


def test_a_failure_leaves_the_other_images(model):
    images = [read("white.png", WHITE), read("a.png", 10)]
    bad, good = page_results.caption_images({"one": model}, images, 2, {})
    assert isinstance(bad.answers["one"], Failure)
    assert good.answers["one"].captions[0].caption == "grey 10"


@pytest.mark.parametrize(("score", "expected"), [(0.0, 1.0), (math.log(0.25), 0.25), (0.1, 1.0)])
def test_confidence_is_the_mean_probability_of_a_token(score, expected):
    assert page_results.confidence(Caption("a", score)) == pytest.approx(expected)


def test_bars_are_as_long_as_the_confidence():
    found = ImageCaptions((Caption("a dog", math.log(0.5), -1.0), Caption("a cat", -9.0, -2.0)))
    shown = page_results.render_captions({"small": found}, 1)
    assert "a dog" in shown and "a cat" not in shown
    assert "width: 50.0%" in shown and "confidence 50%" in shown and "score -0.693" in shown
    assert page_results.render_captions({"small": found}, 9).count("imcap-bar") == 2


def test_names_captions_and_reasons_are_escaped():
    answers = result(Caption("<b>", -1.0), Failure("<i> broken")).answers
    shown = page_results.render_captions(answers | {"<u>": answers["m0"]}, 1)
    assert not re.search("<[biu]>", shown)
    assert "No caption: &lt;i&gt; broken" in shown
    assert "&lt;u&gt;" in page_results.render_status([], ["<u>"])


@pytest.mark.parametrize(
    "text", ["a_b*c*.png", "![x](https://a.example/b.png)", "$x$ :red[a] <b> `c` # d", "a\\b"]
)
def test_markdown_shows_names_as_they_are(text):
    shown = page_results.plain_markdown(text)
    assert re.sub(r"\\(.)", r"\1", shown) == text
    assert not re.search(r"(?<!\\)[!*_\[\]()$:<>`#]", shown)


def test_csv_and_json_hold_the_best_captions_of_all_models():
    results = [
        result(Caption('a "dog", dark', -0.5, -1.0), Caption("ein Hund", -1.0)),
        result(Failure("broken"), name="b.png"),
    ]
    rows = list(csv.DictReader(io.StringIO(page_results.as_csv(results, 3))))
    assert [row["caption"] for row in rows] == ['a "dog", dark', "ein Hund"]
    assert [(row["image"], row["model"], row["place"], row["rank"]) for row in rows] == [
        ("a.png", "m0", "1", "-1.0"), ("a.png", "m1", "1", ""),
    ]  # fmt: skip
    objects = json.loads(page_results.as_json(results, 3))
    assert [list(row) for row in objects] == [list(rows[0])] * 2
    assert objects[1]["rank"] is None
    assert objects[0]["confidence"] == pytest.approx(math.exp(-0.5))


def test_only_the_best_captions_are_downloaded(model):
    (found,) = page_results.caption_images({"one": model}, [read("a.png", 10)], 2, {})
    assert OTHER not in page_results.as_csv([found], 1)
    assert OTHER in page_results.as_csv([found], 2)


def test_each_word_has_a_map_with_its_strongest_place_in_words():
    found = result(Caption("a dog here", -1.0))
    maps = np.zeros((3, 3, 3), np.float32)
    maps[0, 0, 0] = maps[1, 1, 1] = maps[2, 2, 1] = 1
    shown = page_results.render_attention(found, "m0", maps)
    assert re.findall(r'alt="(.+?)"', shown) == [
        "Attention for the word a: strongest at the upper left",
        "Attention for the word dog: strongest at the centre",
        "Attention for the word here: strongest at the lower centre",
    ]
    assert shown.count("data:image/jpeg;base64,") == 3


def test_attention_is_found_once_or_said_to_be_absent(landscape_export, landscape_data, model):
    content = (landscape_data / "00.jpg").read_bytes()
    models = {"landscapes": Captioner(landscape_export), "grey": model}
    image = page_images.read_image("00.jpg", content)
    (found,) = page_results.caption_images(models, [image], 3, {})
    cache: dict = {}

    def ask(name: str) -> np.ndarray | str:
        return page_results.find_attention(name, models[name], found, cache)

    maps = ask("landscapes")
    assert len(maps) == len(found.answers["landscapes"].captions[0].caption.split())
    assert ask("landscapes") is maps
    assert ask("grey") == "This model has no attention maps."
