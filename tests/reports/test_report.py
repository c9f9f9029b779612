"""The report holds every image and caption, escapes all texts, and sorts in a browser."""

from __future__ import annotations

import base64
import dataclasses
import html.parser
import io
import json
import os
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imcap.decoding.predictions import Caption
from imcap.errors import UserError
from imcap.reports import report

IMAGE = report.ReportImage(
    "1.jpg", "no/1.jpg", "a dog runs", -0.5, ("the dog runs",), {"cider": 0.5}
)


class Page(html.parser.HTMLParser):
    """Tags with their attributes, and the text of the cards, as a browser would read them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self._open = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data):
        if self._open not in ("style", "script"):
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def thumbnails(self):
        """Returns the embedded images, decoded."""
        uris = [attributes["src"] for attributes in self.all("img")]
        assert all(uri.startswith("data:image/jpeg;base64,") for uri in uris)
        return [Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) for uri in uris]


def write(folder, images, **parts):
    """Writes a report and returns it as text."""
    parts = {"title": "Test", "scores": {}, "settings": {}} | parts
    report.write_report(folder / "report.html", images=images, **parts)
    return (folder / "report.html").read_text(encoding="utf-8")


def save_image(path, size=(320, 200), mode="RGB", seed=0, **options):
    """Saves a smooth random image, which compresses like a photograph."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode).save(
        path, **options
    )
    return path


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


HOSTILE = [
    "<script>document.title = 'ran'</script>",
    "<img src=x onerror=\"document.title = 'ran'\">",
    "\"' onmouseover=alert(1) x='",
    "</article></main></script><svg onload=\"document.title = 'ran'\">",
    "{{ 7 * 7 }} {% raw %} &lt; &amp;",
]


def hostile_image(text):
    return report.ReportImage(
        text, f"{text}.jpg", text, -1.0, (text,), {text: 0.5}, (Caption(text, -1.0, -2.0),)
    )


def test_markup_is_escaped(tmp_path):
    plain = Page(
        write(tmp_path, [hostile_image("x")], title="x", scores={"x": 1}, settings={"x": "x"})
    )
    for text in HOSTILE:
        parts = {"title": text, "scores": {text: text}, "settings": {text: text}}
        page = Page(write(tmp_path, [hostile_image(text)], **parts))
        assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
        assert [list(a) for _, a in page.tags] == [list(a) for _, a in plain.tags]
        assert page.text.count(text) >= 7


@settings(max_examples=40, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1))
def test_any_text_is_read_back_unchanged(tmp_path_factory, text):
    page = Page(write(tmp_path_factory.mktemp("any"), [dataclasses.replace(IMAGE, caption=text)]))
    assert text in page.text and len(page.all("script")) == 1


def test_file_name_that_is_not_unicode_is_shown(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    assert "caf?.jpg" in write(tmp_path, [dataclasses.replace(IMAGE, image_id=name)])


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


def test_failure_keeps_the_former_report(tmp_path):
    class Unprintable:
        def __str__(self):
            raise RuntimeError("cannot be printed")

    former = write(tmp_path, [IMAGE])
    with pytest.raises(RuntimeError, match="cannot be printed"):
        write(tmp_path, [IMAGE], settings={"beam_size": Unprintable()})
    assert os.listdir(tmp_path) == ["report.html"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == former


def test_report_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none/report\.html cannot be written: No such file"):
        write(tmp_path / "none", [IMAGE])


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


# --- in a browser ---


def opened(browser, folder, images, **parts):
    write(folder, images, **parts)
    browser.get((pathlib.Path(folder) / "report.html").as_uri())
    assert browser.get_log("browser") == []  # nothing refused by the policy, no script error
    return browser


def shown_ids(browser):
    return browser.execute_script(
        "return [...document.querySelectorAll('article')]"
        ".filter(card => card.checkVisibility()).map(card => card.dataset.id)"
    )


def click(browser, selector):
    browser.find_element("css selector", selector).click()


@pytest.fixture
def sortable(browser, tmp_path):
    figures = {"10.jpg": (0.2, 0.9, -1.0), "9.jpg": (0.3, 0.1, -3.0), "2.jpg": (0.1, 0.5, -2.0)}
    images = [
        report.ReportImage(
            i, f"no/{i}", f"caption {i}", score, ("a dog",), {"bleu4": b, "cider": c}
        )
        for i, (b, c, score) in figures.items()
    ]
    images.append(
        report.ReportImage("7.jpg", "no/7.jpg", "A Red kite", -9.0, ("the sky",), {"cider": 0.3})
    )
    return opened(browser, tmp_path, images)


def test_best_cider_is_first_and_the_order_reverses(sortable):
    assert shown_ids(sortable) == ["10.jpg", "2.jpg", "7.jpg", "9.jpg"]
    order = sortable.find_element("id", "order")
    assert order.text == "Best first"
    order.click()
    assert shown_ids(sortable) == ["9.jpg", "7.jpg", "2.jpg", "10.jpg"]
    assert order.text == "Worst first"


def test_buttons_sort_and_a_second_click_reverses(sortable):
    click(sortable, "[data-sort='0']")  # BLEU-4; 7.jpg has none and stays last in both orders
    assert shown_ids(sortable) == ["9.jpg", "10.jpg", "2.jpg", "7.jpg"]
    click(sortable, "[data-sort='0']")
    assert shown_ids(sortable) == ["2.jpg", "10.jpg", "9.jpg", "7.jpg"]
    click(sortable, "[data-sort='2']")  # the model's score
    assert shown_ids(sortable) == ["10.jpg", "2.jpg", "9.jpg", "7.jpg"]
    click(sortable, "[data-sort='id']")  # ids in natural order
    assert shown_ids(sortable) == ["2.jpg", "7.jpg", "9.jpg", "10.jpg"]
    pressed = sortable.find_elements("css selector", "[aria-pressed='true']")
    assert [button.text for button in pressed] == ["ID"]


def test_filter_finds_ids_and_words(sortable):
    box = sortable.find_element("id", "filter")
    for typed, found in {"red SKY": ["7.jpg"], "9.j": ["9.jpg"], "dog kite": []}.items():
        box.clear()
        box.send_keys(typed)
        assert shown_ids(sortable) == found
        assert sortable.find_element("id", "shown").text == f"{len(found)} of 4 images"
    box.clear()
    box.send_keys("dog")
    click(sortable, "[data-sort='id']")
    assert shown_ids(sortable) == ["2.jpg", "9.jpg", "10.jpg"]


def test_markup_in_a_caption_does_not_run(browser, tmp_path):
    opened(browser, tmp_path, [hostile_image(text) for text in HOSTILE], title="safe")
    captions = [e.text for e in browser.find_elements("class name", "caption")]
    assert sorted(captions) == sorted(HOSTILE)
    assert browser.title == "safe"


def test_other_scripts_do_not_run(browser, tmp_path):
    opened(browser, tmp_path, [IMAGE], title="safe")
    browser.execute_script(
        "const script = document.createElement('script');"
        "script.textContent = \"document.title = 'ran'\"; document.body.append(script);"
    )
    assert browser.title == "safe"
    assert "Content Security Policy" in browser.get_log("browser")[0]["message"]


def test_images_are_shown(browser, tmp_path):
    path = save_image(tmp_path / "1.jpg", (640, 320))
    opened(browser, tmp_path, [dataclasses.replace(IMAGE, image_path=path)])
    shown = "const i = document.querySelector('img'); return [i.naturalWidth, i.naturalHeight]"
    assert browser.execute_script(shown) == [224, 112]
