"""Makes the screenshots of the web page in README and docs: docs/app.png and docs/app_phone.png.

    .venv/bin/python tests/support/app_screenshots.py docs NAME=DIR [NAME=DIR …] IMAGE

The models have learnt the demo's shapes: `make demo`, and the same with
`--config.model.decoder=inject` and the demo's records and encoder. The image is
one that imcap drew.
"""

from __future__ import annotations

import base64
import sys
import tempfile
from pathlib import Path

import browsers
import pages
import processes
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

# Name -> the window's size and the largest height of the screenshot, in pixels.
_SCREENSHOTS = {"app.png": (pages.DESKTOP, 2000), "app_phone.png": (pages.PHONE, 1500)}


def main(folder: str, *arguments: str) -> None:
    """Starts the page and a browser, and writes the screenshots."""
    *models, image = arguments
    flags = [f"--model={model}" for model in models]
    with (
        tempfile.TemporaryDirectory() as profile,
        processes.start("app", *flags, "--port=0") as process,
        browsers.chromium(Path(profile)) as browser,
    ):
        url = pages.wait_until_healthy(process)
        for name, (size, largest) in _SCREENSHOTS.items():
            page = pages.open_page(browser, url, size)
            pages.upload(page, Path(image).resolve())
            pages.wait_for_captions(page, "1 image captioned")
            pages.expander(page, "Attention maps").click()
            pages.wait(page, ".imcap-maps")
            Path(folder, name).write_bytes(_screenshot(page, size, largest))


def _screenshot(page: WebDriver, size: tuple[int, int], largest: int) -> bytes:
    """Returns a PNG of the page in its whole height, or its upper part."""
    main = page.find_element(By.CSS_SELECTOR, "[data-testid=stMain]")
    height = min(largest, max(size[1], main.get_property("scrollHeight")))
    pages.resize(page, (size[0], height))
    page.execute_script("arguments[0].scrollTop = 0", main)
    pages.wait(page, ".imcap-maps")
    shot = page.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    return base64.b64decode(shot["data"])


if __name__ == "__main__":
    main(*sys.argv[1:])
