"""Makes the pictures of a demo run in README, docs/demo.jpg and docs/report.jpg.

.venv/bin/python tests/support/demo_pictures.py docs runs/demo
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import browsers
from PIL import Image

_REPORT_SIZE = (1100, 1300)
_QUALITY = 85


def main(folder: str, run: str) -> None:
    """Writes the pictures of `run` to `folder`."""
    docs, dev = Path(folder), Path(run, "eval", "dev")
    _save(Image.open(dev / "captions.png"), docs / "demo.jpg")
    with tempfile.TemporaryDirectory() as profile, browsers.chromium(Path(profile)) as browser:
        browser.set_window_size(*_REPORT_SIZE)
        browser.get((dev / "report.html").resolve().as_uri())
        _save(Image.open(io.BytesIO(browser.get_screenshot_as_png())), docs / "report.jpg")


def _save(image: Image.Image, path: Path) -> None:
    image.convert("RGB").save(path, quality=_QUALITY, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
