"""What tests do on the web page in a browser."""

from __future__ import annotations

import subprocess
import time
import urllib.request

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

DESKTOP, PHONE = (1280, 1000), (390, 844)  # Width and height, in pixels.


def wait_until_healthy(process: subprocess.Popen) -> str:
    """Returns the page's URL as soon as the server answers."""
    line = process.stdout.readline()
    assert line.startswith("showing "), line + process.stderr.read()
    url, deadline = line.split()[-1], time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=5).close()
            return url
        except OSError:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.2)


def resize(browser: WebDriver, size: tuple[int, int]) -> None:
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def open_page(browser: WebDriver, url: str, size: tuple[int, int]) -> WebDriver:
    """Opens the page as a new visitor, at a width and height."""
    resize(browser, size)
    browser.get(url)
    wait(browser, "[data-testid=stFileUploader]")
    return browser


def wait(page: WebDriver, selector: str, text: str = "") -> None:
    """Waits until an element that holds the text is there and Streamlit has finished.

    Streamlit replaces elements while it runs, also between finding one and reading its text.
    """

    def is_there(driver: WebDriver) -> bool:
        found = texts(driver, selector)
        app = driver.find_element(By.CSS_SELECTOR, "[data-testid=stApp]")
        return app.get_attribute("data-test-script-state") == "notRunning" and any(
            text in shown for shown in found
        )

    patience = WebDriverWait(page, 120, 0.1, [StaleElementReferenceException])
    patience.until(is_there, f"{selector} {text}")


def wait_for_captions(page: WebDriver, status: str) -> None:
    """Waits until the page says what it has captioned and has loaded what shows it."""
    wait(page, "[role=status]", status)
    wait(page, "[data-testid=stImage] img")
    wait(page, "[data-testid=stDownloadButton]", "Download JSON")


def loaded_width(page: WebDriver) -> int:
    """Returns the width of the first image's file in pixels, once the browser has loaded it."""
    script = "return document.querySelector('[data-testid=stImage] img')?.naturalWidth"
    return WebDriverWait(page, 120, poll_frequency=0.1).until(lambda p: p.execute_script(script))


def upload(page: WebDriver, *paths: object) -> None:
    page.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys("\n".join(map(str, paths)))


def texts(page: WebDriver, selector: str) -> list[str]:
    """Returns the visible text of all elements, read at one moment."""
    script = "return [...document.querySelectorAll(arguments[0])].map(found => found.innerText)"
    return page.execute_script(script, selector)


def expander(page: WebDriver, label: str) -> WebElement:
    """Returns what opens the first expander of a label."""
    summaries = page.find_elements(By.CSS_SELECTOR, "summary")
    return next(found for found in summaries if label in found.text)
