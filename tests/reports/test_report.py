"""The report holds every image and caption, escapes all texts, and sorts in a browser."""

from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
from PIL import Image
from report_pages import IMAGE, Page, save_image, write

from imcap.decoding.predictions import Caption


def test_report_holds_title_scores_settings_and_images(tmp_path):
    image = dataclasses.replace(
        IMAGE, alternatives=(Caption("a cat sits", -1.25, -2.5), Caption("", -2.0, -4.0))
    )
    text = "".join(
        Page(
            write(
                tmp_path,
                [image],
                title="Dev split",
                scores={"bleu4": 0.21375, "cider": 0.5, "images": 1000, "distinct_captions": 7},
                settings={"beam_size": 3, "split": "dev"},
            )
        ).text
    )
    for shown in ("Dev split", "BLEU-4", "0.2137", "CIDEr-D", "1,000", "distinct captions"):
        assert shown in text
    for shown in ("beam size", "1.jpg", "a dog runs", "the dog runs", "-0.5000", "0.5000"):
        assert shown in text
    for shown in (
        "2 more captions",
        "a cat sits",
        "-1.2500",
        "with length penalty -2.5000",
        "(empty caption)",
    ):
        assert shown in text


def test_report_needs_no_other_file(tmp_path):
    page = Page(
        write(tmp_path, [dataclasses.replace(IMAGE, image_path=save_image(tmp_path / "1.jpg"))])
    )
    links = [
        a for _, attributes in page.tags for a in attributes if a in ("href", "srcset", "action")
    ]
    assert not links and not page.all("link") and not page.all("iframe")
    assert [attributes["src"][:5] for _, attributes in page.tags if "src" in attributes] == [
        "data:"
    ]
    assert all("src" not in attributes for attributes in page.all("script"))
    assert sorted(os.listdir(tmp_path)) == ["1.jpg", "report.html"]


def test_an_image_with_attention_maps_shows_them(tmp_path):
    shown = dataclasses.replace(IMAGE, attention_path=str(save_image(tmp_path / "maps.png")))
    page = Page(write(tmp_path, [IMAGE, shown]))
    (maps,) = (image for image in page.all("img") if image.get("class") == "maps")
    assert maps["src"].startswith("data:image/jpeg;base64,")
    assert maps["alt"] == f"attention weights of each word over image {IMAGE.image_id}"
    assert "".join(page.text).count("Attention, word by word") == 1


def test_image_that_cannot_be_shown_gives_the_reason(tmp_path):
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "folder.jpg").mkdir()
    whole = save_image(tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    paths = [tmp_path / f"{n}.jpg" for n in ("gone", "text", "folder", "cut", "whole")]
    page = Page(write(tmp_path, [dataclasses.replace(IMAGE, image_path=path) for path in paths]))
    assert len(page.thumbnails()) == 1
    assert len([a for a in page.all("div") if a.get("class") == "missing"]) == 4
    text = "".join(page.text)
    for reason in (
        "gone.jpg: no such file",
        "text.jpg: not an image that can be read",
        "folder.jpg: Is a directory",
        "cut.jpg: image file is truncated",
    ):
        assert reason in text


def test_missing_and_infinite_scores_are_null(tmp_path):
    images = [
        dataclasses.replace(IMAGE, scores={"cider": float("nan")}, score=float("-inf")),
        dataclasses.replace(IMAGE, scores={"bleu4": np.float32(0.25)}),
    ]
    cards = Page(write(tmp_path, images)).all("article")
    values = [json.loads(card["data-values"]) for card in cards]
    assert values == [[None, None, None], [None, 0.25, -0.5]]


def test_report_without_images_says_so(tmp_path):
    assert "no images in this report" in write(tmp_path, [])


def test_same_images_give_the_same_bytes(tmp_path):
    images = [
        dataclasses.replace(
            IMAGE, image_id=str(i), image_path=save_image(tmp_path / f"{i}.jpg", seed=i)
        )
        for i in range(8)
    ]
    assert write(tmp_path, images) == write(tmp_path, iter(images))


def test_thousand_images_stay_below_15_megabytes(tmp_path):
    noise = np.random.default_rng(0).normal(0, 5, (224, 224, 3))
    noisy = np.asarray(Image.open(save_image(tmp_path / "base.png", (224, 224)))) + noise
    path = tmp_path / "1.jpg"
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=95)
    image = dataclasses.replace(IMAGE, image_path=path, references=["a dog runs on the grass"] * 5)
    text = write(tmp_path, [image] * 1000)
    assert text.count("<img ") == 1000 and len(text) < 15e6
    (thumbnail,) = Page(write(tmp_path, [image] + [IMAGE] * 1600)).thumbnails()
    assert thumbnail.size == (128, 128)
