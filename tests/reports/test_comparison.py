"""The page of a comparison: both captions of each image, and sorting in a browser."""

from __future__ import annotations

import dataclasses

import pytest
from report_pages import HOSTILE, Page

from imcap.reports import comparison

URI = "data:image/jpeg;base64,AAAA"
IMAGE = comparison.ComparedImage(
    "1.jpg", URI, ("a dog runs", "a black dog runs"), ("the black dog",),
    ({"bleu4": 0.1, "cider": 0.5}, {"bleu4": 0.3, "cider": 0.25}),
)  # fmt: skip


def write(folder, images, **parts):
    """Writes a page and returns it as text."""
    parts = {
        "title": "A and B",
        "columns": ("A", "B"),
        "rows": {"BLEU-4": ("0.1000", "0.3000")},
        "settings": {"split": ("dev", "dev"), "beam_size": ("1", "3"), "epoch": ("4", "5")},
    } | parts
    comparison.write_comparison(folder / "compare.html", images=images, **parts)
    return (folder / "compare.html").read_text(encoding="utf-8")


def changed(name, difference, captions=("a dog", "a dog")):
    scores = ({"bleu4": 0.5, "cider": 1.0}, {"bleu4": 0.5, "cider": 1.0 + difference})
    return dataclasses.replace(IMAGE, image_id=name, captions=captions, scores=scores)


def test_page_holds_both_captions_references_and_figures(tmp_path):
    text = "".join(Page(write(tmp_path, [IMAGE])).text)
    shown = ["A and B", "BLEU-4", "0.3000", "1.jpg", "the black dog", "CIDEr-D", "0.5000"]
    for part in (*shown, "0.2500", "-0.2500", "+0.2000", "beam size", "paired bootstrap"):
        assert part in text


def test_words_that_only_one_caption_has_are_marked(tmp_path):
    page = write(tmp_path, [IMAGE, changed("2.jpg", 0, ("", "two men sit"))])
    assert "a <mark>black</mark> dog runs" in page
    assert "(empty caption)" in page and "<mark>two</mark> <mark>men</mark>" in page


def test_settings_that_differ_are_marked(tmp_path):
    page = Page(write(tmp_path, [IMAGE]))
    assert len([row for row in page.all("tr") if row.get("class") == "differs"]) == 2


def test_page_needs_no_other_file(tmp_path):
    missing = dataclasses.replace(IMAGE, image_id="2.jpg", thumbnail=None)
    page = Page(write(tmp_path, [IMAGE, missing]))
    assert [tag["src"] for tag in page.all("img")] == [URI]
    assert "no image in either report.html" in "".join(page.text)
    assert not page.all("link") and all("src" not in tag for tag in page.all("script"))


def test_page_without_images_says_so(tmp_path):
    assert "There are no images to compare" in write(tmp_path, [])


@pytest.fixture
def opened(browser, tmp_path):
    images = [
        changed("same", 0.0),
        changed("better", 0.75, ("a dog", "a big black dog")),
        changed("worse", -0.5, ("a dog", "a cat")),
    ]
    images += [
        dataclasses.replace(changed(text, -0.1 * n), captions=(text, text))
        for n, text in enumerate(HOSTILE, 1)
    ]
    write(tmp_path, images)
    browser.get((tmp_path / "compare.html").as_uri())
    assert browser.get_log("browser") == []  # Nothing refused by the policy, no script error.
    return browser


def shown_ids(browser):
    return browser.execute_script(
        "return [...document.querySelectorAll('article')]"
        ".filter(card => card.checkVisibility()).map(card => card.dataset.id)"
    )


def test_images_are_sorted_by_how_much_better_either_is(opened):
    assert shown_ids(opened)[:2] == ["better", "same"]
    order = opened.find_element("id", "order")
    assert order.text == "B better first"
    order.click()
    assert shown_ids(opened)[-2:] == ["same", "better"]
    assert order.text == "A better first"


def test_images_are_sorted_by_the_words_that_differ(opened):
    opened.find_element("css selector", "[data-sort='2']").click()
    assert shown_ids(opened)[:2] == ["better", "worse"]  # Two words of each.
    assert opened.find_element("id", "order").text == "Most first"


def test_the_filter_finds_words_of_both_captions(opened):
    opened.find_element("id", "filter").send_keys("big black")
    assert shown_ids(opened) == ["better"]
    assert opened.find_element("id", "shown").text.startswith("1 of ")


def test_markup_in_captions_does_not_run(opened):
    assert opened.title == "A and B"
    shown = {element.text for element in opened.find_elements("class name", "caption")}
    assert {" ".join(text.split()) for text in HOSTILE} <= {" ".join(t.split()) for t in shown}
