"""The report in a browser: sorting, filtering, and nothing that runs."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest
from report_pages import HOSTILE, IMAGE, hostile_image, save_image, write

from imcap.reports import report


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
