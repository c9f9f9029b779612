"""Makes the images of a demo run in README: docs/demo.jpg, docs/report.jpg, docs/terminal.svg.

.venv/bin/python tests/support/demo_images.py docs runs/demo
"""

from __future__ import annotations

import io
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import browsers
from PIL import Image
from rich.console import Console
from rich.text import Text

_REPORT_SIZE = (1100, 1300)
_QUALITY = 85
_COLUMNS = 110
_COMMANDS = (
    "imcap caption --model={run} {run}/shapes/images/test-0000[0-3].jpg",
    "imcap caption --model={run} {run}/shapes/images/test-00004.jpg --top=3",
    "imcap scores --workdir={run}",
)


def main(folder: str, run: str) -> None:
    """Writes the images of `run` to `folder`."""
    docs, dev = Path(folder), Path(run, "eval", "dev")
    _save(Image.open(dev / "captions.png"), docs / "demo.jpg")
    with tempfile.TemporaryDirectory() as profile, browsers.chromium(Path(profile)) as browser:
        browser.set_window_size(*_REPORT_SIZE)
        browser.get((dev / "report.html").resolve().as_uri())
        _save(Image.open(io.BytesIO(browser.get_screenshot_as_png())), docs / "report.jpg")
    _save_session([command.format(run=run) for command in _COMMANDS], docs / "terminal.svg")


def _save_session(commands: list[str], path: Path) -> None:
    """Runs shell commands and draws them with what they print."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO())
    folder = shlex.quote(str(Path(sys.executable).parent))
    for command in commands:
        typed = f"PATH={folder}:$PATH; {command}"
        printed = subprocess.run(["bash", "-c", typed], check=True, capture_output=True, text=True)
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        console.print(Text(printed.stdout))
    console.save_svg(str(path), title="imcap")


def _save(image: Image.Image, path: Path) -> None:
    image.convert("RGB").save(path, quality=_QUALITY, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
