"""Ready models where an exported one is needed: the export in the cache, and the commands."""

from __future__ import annotations

import json
import os
from pathlib import Path

import processes
import pytest
from refusals import refusal

from imcap.command_line import captioners
from imcap.decoders.base import Decoder
from imcap.exporting import ready_export, ready_model, version_folder
from imcap.serving import model_metadata, saved_model
from imcap.serving.captioner import Captioner


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_export_gives_the_captions_of_the_ready_model(
    folder, encoder, images, cache, monkeypatch
):
    monkeypatch.setattr(Decoder, "describe_encoding", lambda self: "an upper layer")
    exported = ready_export.export_once(str(folder), encoder)
    assert Path(exported).is_relative_to(cache / "imcap" / "models")
    assert Captioner(exported).caption(images) == ready_model.load(str(folder), encoder).caption(
        images
    )
    version = saved_model.find_model(exported)
    metadata = model_metadata.read(version)
    assert metadata["encoder"]["name"] == "encoder.keras"
    assert metadata["tuned"] == "an upper layer"
    assert Path(version, "MODEL_CARD.md").read_bytes() == (folder / "MODEL_CARD.md").read_bytes()


def test_a_model_is_exported_once_also_for_the_job(folder, encoder, landscape_data, tmp_path):
    (exported,) = captioners.find_exports({"sky": str(folder)}, encoder).values()
    graph = Path(exported, "1", "saved_model.pb")
    written = graph.stat().st_mtime_ns
    out = tmp_path / "captions.jsonl"
    given = (f"--model={folder}", f"--weights={encoder}", landscape_data / "45.jpg")
    ended = processes.run_fork("caption", *given, f"--out={out}")
    assert (ended.status, graph.stat().st_mtime_ns) == (0, written)
    assert "sky" in json.loads(out.read_text())["caption"]


def test_exported_models_are_taken_as_they_are(landscape_export):
    models = {"a": str(landscape_export)}
    assert captioners.find_exports(models, "") == models
    line = refusal(captioners.find_exports, models, "file.h5")
    assert line == "--weights is for a ready model, and no --model is one"


def test_of_two_processes_that_export_at_once_the_slower_takes_the_others(
    folder, encoder, monkeypatch
):
    def fill(folder: str, *_: object) -> None:
        os.makedirs(folder)
        Path(folder, "saved_model.pb").touch()

    read_card, other = ready_model.read_card, []

    def export_in_another_process(path: str) -> str:
        monkeypatch.setattr(ready_model, "read_card", read_card)
        other.append(ready_export.export_once(path, encoder))
        return read_card(path)

    monkeypatch.setattr(version_folder, "fill", fill)
    monkeypatch.setattr(ready_model, "read_card", export_in_another_process)
    exported = ready_export.export_once(str(folder), encoder)
    assert [exported] == other
    assert [path.name for path in Path(exported).iterdir()] == ["1"]
