"""What the tests of serving share: an exported model, and a folder of images."""

from __future__ import annotations

from pathlib import Path

import grey_model
import pytest

from imcap.serving.captioner import Captioner


@pytest.fixture(scope="session")
def version_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """RUN/export/7, the exported model."""
    return grey_model.export(tmp_path_factory.mktemp("run") / "export" / "7")


@pytest.fixture(scope="session")
def model(version_dir: str) -> Captioner:
    """The loaded model, with a batch size of 4."""
    return Captioner(version_dir, batch_size=4)


@pytest.fixture(scope="session")
def model_without_ranks(tmp_path_factory: pytest.TempPathFactory) -> Captioner:
    """A model as imcap 0.1.0 exported it."""
    folder = tmp_path_factory.mktemp("before") / "1"
    return Captioner(grey_model.export(folder, grey_model.Grey(with_ranks=False)))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with the images a.png (10), b.PNG (20) and sub/c.jpg (30), and other files."""
    folder = tmp_path / "images"
    for name, level in {"a.png": 10, "b.PNG": 20, "sub/c.jpg": 30}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(grey_model.png(level))
    for name in ("notes.txt", "._a.png", "sub/.thumbs/c.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("not an image")
    return folder
