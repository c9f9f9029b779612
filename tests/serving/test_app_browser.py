"""The web page in a real browser: uploads, a phone's width, the keyboard, and a screen reader."""

from __future__ import annotations

import re
from collections.abc import Iterator

import grey_model
import pages
import processes
import pytest
from axe_core_python.selenium import Axe
from pages import (
    DESKTOP,
    PHONE,
    expander,
    loaded_width,
    open_page,
    texts,
    upload,
    wait,
    wait_for_captions,
)
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver

SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def url(browser, landscape_export, tmp_path_factory) -> Iterator[str]:
    """The page of two models, one with attention, in a process of its own."""
    grey = grey_model.export(tmp_path_factory.mktemp("grey") / "1")
    models = (f"--model=landscapes={landscape_export}", f"--model=grey={grey}")
    with processes.start("app", *models, "--port=0") as process:
        yield pages.wait_until_healthy(process)
        # A page that is still open would ask the stopped server on and on.
        browser.get("about:blank")
        browser.get_log("browser")


@pytest.fixture
def page(browser, url) -> WebDriver:
    """The page as a visitor sees it first."""
    return open_page(browser, url, DESKTOP)


def violations(page: WebDriver) -> list[str]:
    """Returns what axe-core finds of serious and critical impact: the rule and the element."""
    found = Axe().run(page)["violations"]
    return [
        f"{rule['id']}: {node['html'][:200]}"
        for rule in found
        if rule["impact"] in SERIOUS
        for node in rule["nodes"]
    ]


def widest(page: WebDriver) -> int:
    return page.execute_script(
        "return Math.max(document.documentElement.scrollWidth, ...[...document.querySelectorAll("
        "'[data-testid=stMain] *')].map(e => e.scrollWidth > e.clientWidth && "
        "['auto', 'scroll'].includes(getComputedStyle(e).overflowX) ? e.scrollWidth : 0))"
    )


def test_uploaded_images_are_captioned_by_two_models(page, landscape_data, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    upload(page, landscape_data / "00.jpg", landscape_data / "04.jpg", broken)
    wait_for_captions(page, "2 images captioned by landscapes, grey")
    names = texts(page, "h3")
    assert [name for name in names if name in ("landscapes", "grey")] == ["landscapes", "grey"] * 2
    best = texts(page, ".imcap-best")
    assert "blue" in best[0] and best[1].startswith("grey ") and best[2] != best[0]
    assert texts(page, "[role=alert]") == [
        "broken.jpg: not an image that can be read (JPEG, PNG, GIF, BMP or still WebP)"
    ]
    alts = [e.get_attribute("alt") for e in page.find_elements(By.CSS_SELECTOR, "img")]
    assert alts == ["The image 00.jpg", "The image 04.jpg"]
    assert texts(page, "[data-testid=stDownloadButton]") == ["Download CSV", "Download JSON"]
    assert violations(page) == []


def test_attention_maps_open_word_by_word(page, landscape_data):
    upload(page, landscape_data / "00.jpg")
    wait_for_captions(page, "1 image captioned")
    expander(page, "Attention maps").click()
    wait(page, ".imcap-maps")
    words = texts(page, ".imcap-maps li")
    assert words == texts(page, ".imcap-best")[0].split()
    for word, picture in zip(
        words, page.find_elements(By.CSS_SELECTOR, ".imcap-maps img"), strict=True
    ):
        assert picture.get_attribute("alt").startswith(f"Attention for the word {word}: ")
    assert violations(page) == []


def test_an_image_on_its_side_is_shown_upright(page, landscape_data, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(landscape_data / "00.jpg") as image:
        turned = image.transpose(Image.Transpose.ROTATE_90)
        turned.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    upload(page, tmp_path / "turned.jpg")
    wait_for_captions(page, "1 image captioned")
    assert "blue" in texts(page, ".imcap-best")[0]
    assert loaded_width(page) == image.width


def test_nothing_is_wider_than_a_phone(browser, url, landscape_data):
    page = open_page(browser, url, PHONE)
    assert widest(page) <= PHONE[0]
    upload(page, landscape_data / "00.jpg")
    wait_for_captions(page, "1 image captioned")
    assert widest(page) <= PHONE[0]
    assert violations(page) == []


def test_the_upload_button_is_reached_by_keyboard(page):
    seen = []
    for _ in range(8):
        page.switch_to.active_element.send_keys(Keys.TAB)
        focused = page.switch_to.active_element
        seen.append((focused.tag_name, focused.text))
        if focused.tag_name == "button" and "Upload" in focused.text:
            break
    else:
        pytest.fail(f"the focus went to {seen}")
    outline = page.execute_script(
        "const s = getComputedStyle(document.activeElement); return s.outlineStyle + s.boxShadow"
    )
    assert outline != "nonenone"


@pytest.mark.parametrize("source", ["Camera", "Address", "Sample"])
def test_every_source_is_accessible(page, source):
    (choice,) = page.find_elements(By.XPATH, f"//label[.//p[text()='{source}']]")
    choice.click()
    selector = {"Camera": "stCameraInput", "Address": "stTextInput", "Sample": "stImage"}[source]
    wait(page, f"[data-testid={selector}]")
    assert violations(page) == []


def test_the_browser_asks_no_other_server(page, url, landscape_data):
    upload(page, landscape_data / "00.jpg")
    wait_for_captions(page, "1 image captioned")
    asked = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    origins = {re.match(r"(\w+:(?://[^/]+)?)", name)[1] for name in asked}
    assert origins - {url, "data:", "blob:"} == set()
