"""What an exported version says of itself, and which model it is."""

from __future__ import annotations

import json

import pytest
from refusals import refusal

from imcap.serving import model_metadata


@pytest.fixture
def version(tmp_path):
    """A folder with the files of an exported version."""
    for name in ("saved_model.pb", "variables/variables.index", "assets/a.txt", "MODEL_CARD.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.index", "assets/a.txt"])
def test_the_digest_is_of_graph_weights_and_assets(version, name):
    before = model_metadata.digest(str(version))
    (version / "MODEL_CARD.md").write_text("other words")
    assert model_metadata.digest(f"{version}/") == before
    (version / name).write_text("other bytes")
    assert model_metadata.digest(str(version)) != before


def test_a_version_without_graph_is_refused(version):
    (version / "saved_model.pb").unlink()
    assert "cannot be read: No such file" in refusal(model_metadata.digest, str(version))


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_metadata_that_are_missing_or_corrupted_are_refused(version, content):
    path = version / model_metadata.PATH
    if content is not None:
        path.parent.mkdir()
        path.write_text(content)
    message = refusal(model_metadata.read, str(version))
    assert message == f"{path} is missing or corrupted: export the model again"


def test_metadata_of_an_export_say_how_captions_are_searched(landscape_export, trained):
    found = model_metadata.read(str(landscape_export))
    assert found["decode"] == json.loads(json.dumps(trained.config.decode.to_dict()))
    assert found["preprocessing"]["image_size"] == trained.config.encoder.image_size
