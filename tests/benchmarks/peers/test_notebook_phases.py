"""imcap and the notebook's captioner go from images to captions."""

from __future__ import annotations

import shutil

import landscapes

from imcap import config as config_lib
from imcap import filesystem
from imcap.benchmarks.peers import notebook_phases


def test_the_notebook_goes_from_images_to_captions(landscape_data, tmp_path):
    names = {"train": range(6), "dev": range(45, 47)}
    rows = [
        (str(landscape_data / f"{number:02d}.jpg"), split, "A wide sky")
        for split, numbers in names.items()
        for number in numbers
    ]
    landscapes.write_table(tmp_path, rows)
    config = landscapes.make_config(tmp_path, landscape_data, encoder__pooling="avg")
    config.dataset.dir = str(tmp_path)
    config.train.batch_size, config.train.epochs, config.decode.max_length = 2, 1, 2
    config_lib.save(config, str(tmp_path))
    found = {
        phase: notebook_phases.measure("notebook", phase, str(tmp_path))
        for phase in notebook_phases.PHASES
    }
    check(found, tmp_path, "notebook", num_captions=2)


def check(found: dict[str, dict[str, float]], workdir, contender: str, num_captions: int) -> None:
    """Checks that all figures are there, and a caption for each dev image."""
    for figures in found.values():
        assert figures["seconds"] > 0 and figures["peak_mb"] > 0
    assert found["features"]["bytes"] > 0
    assert found["train"]["captions_per_second"] > 0
    assert found["caption"]["seconds_per_caption"] > 0
    assert found["caption"]["batched_seconds_per_caption"] > 0
    captions = filesystem.read_json(notebook_phases.predicted_path(str(workdir), contender))
    assert len(captions) == num_captions and all(isinstance(caption, str) for caption in captions)


def test_imcap_goes_from_images_to_captions(
    landscape_run, landscape_data, landscape_export, tmp_path, monkeypatch
):
    # All of it is done already: each phase finds what is there. The records job completes its
    # folder anew, so that it gets one that no other test reads meanwhile.
    workdir = shutil.copytree(landscape_run, tmp_path / "run")
    config = config_lib.read(str(workdir))
    config.records.dir = str(shutil.copytree(landscape_data / "records", tmp_path / "records"))
    config_lib.save(config, str(workdir))
    monkeypatch.setattr("imcap.export.export_model", lambda config, workdir: landscape_export)
    found = {
        phase: notebook_phases.measure("imcap", phase, str(workdir))
        for phase in notebook_phases.PHASES
    }
    check(found, workdir, "imcap", num_captions=9)
