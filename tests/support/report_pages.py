"""Reports as text, as tags and as a browser would read them."""

from __future__ import annotations

import base64
import html.parser
import io

import numpy as np
from PIL import Image

from imcap.decoding.predictions import Caption
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


def save_image(path, size=(320, 200), mode="RGB", seed=0, **options):
    """Saves a smooth random image, which compresses like a photograph."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode).save(
        path, **options
    )
    return path
