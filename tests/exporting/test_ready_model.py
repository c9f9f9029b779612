"""Ready models: what a folder holds, the captions that it gives, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import landscapes
import numpy as np
import processes
import pytest
from refusals import refusal

from imcap import export, exporting, records
from imcap.exporting import ready_model
from imcap.serving.captioner import Captioner


def test_captions_are_those_of_the_export(folder, encoder, landscape_export, images):
    found = ready_model.load(str(folder), encoder).caption(images)
    expected = Captioner(landscape_export).caption(images)
    for one, other in zip(found, expected, strict=True):
        assert one.captions[0].caption == other.captions[0].caption
        np.testing.assert_allclose(one.captions[0].score, other.captions[0].score, atol=0.02)


def test_folder_holds_no_paths_and_nothing_of_other_images(folder, landscape_data):
    files = sorted(path.name for path in folder.iterdir())
    assert files == [
        "MODEL_CARD.md", "config.json", "decoder.npz", "digests.json", "info.json", "vocab.txt"
    ]  # fmt: skip
    for name in set(files) - {"decoder.npz"}:
        assert str(landscape_data) not in (folder / name).read_text(encoding="utf-8")
    with np.load(folder / "decoder.npz", allow_pickle=False) as weights:
        assert {value.dtype for value in weights.values()} == {np.dtype(np.float16)}


def test_card_tells_the_terms_of_the_data_the_scores_and_the_limits(folder):
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    for part in ("| terms of the data |", "## Scores", "| dev | 9 |", "## Limits"):
        assert part in card


@pytest.mark.parametrize("name", ["decoder.npz", "config.json", "info.json", "vocab.txt"])
def test_changed_or_missing_files_are_refused(folder, encoder, tmp_path, name):
    copy = shutil.copytree(folder, tmp_path / "copy")
    with open(copy / name, "ab") as file:
        file.write(b" ")
    expected = f"{copy / name} is missing or corrupted: install imcap again"
    assert refusal(ready_model.load, str(copy), encoder) == expected
    (copy / name).unlink()
    assert refusal(ready_model.load, str(copy), encoder) == expected


def test_an_encoder_of_its_own_has_to_be_given(folder):
    line = refusal(ready_model.load, str(folder))
    assert line == "this model's encoder is encoder.keras: give its file, --weights=FILE"


def test_a_folder_that_exists_is_refused(trained, landscape_run, folder):
    line = refusal(export.write_ready_model, trained.config, str(landscape_run), str(folder))
    assert line.startswith(f"{folder} exists")


def test_other_weights_of_the_encoder_are_refused(folder, tmp_path):
    other = tmp_path / "other.keras"
    landscapes.write_encoder(other, seed=1)
    assert "other weights" in refusal(ready_model.load, str(folder), str(other))


def test_kernels_that_were_stored_as_float16_are_the_encoder_s(tmp_path, trained, folder, encoder):
    import keras

    from imcap import encoders

    network = keras.models.load_model(encoder)
    for weight in network.weights:
        if len(weight.shape) > 1:
            weight.assign(weight.numpy().astype(np.float16).astype(np.float32))
    network.save(tmp_path / "rounded.keras")
    config = trained.config.encoder.copy_and_resolve_references()
    config.name = str(tmp_path / "rounded.keras")
    rounded = encoders.build(config).digest()
    config.name = encoder
    assert encoders.build(config).digest() != rounded
    assert encoders.build(config, rounded).digest() == rounded


@pytest.fixture
def imagenet_folder(folder, trained, landscape_data, tmp_path) -> Path:
    """A ready model whose encoder is Keras' ResNet50."""
    config = trained.config.copy_and_resolve_references()
    config.encoder.name, config.encoder.weights = "ResNet50", "imagenet"
    vocabulary = records.read_vocabulary(str(landscape_data / "records"))
    path = tmp_path / "resnet50"
    ready_model.write(str(path), config, trained.info, vocabulary, trained.decoder, "# A card\n")
    return path


def test_without_network_and_weights_one_line_says_what_to_give(imagenet_folder, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # Nothing listens there.
    line = refusal(ready_model.load, str(imagenet_folder))
    assert "ResNet50" in line and "--weights=FILE" in line and "config." not in line


def test_a_file_that_does_not_fit_the_encoder_is_refused(imagenet_folder, encoder, tmp_path):
    missing = str(tmp_path / "none.h5")
    assert refusal(ready_model.load, str(imagenet_folder), missing).startswith(
        f"--weights={missing}: no such file"
    )


def test_command_writes_a_model_that_the_command_captions_with(
    landscape_run, landscape_data, encoder, tmp_path
):
    path = tmp_path / "ready"
    ended = processes.run_fork("export", f"--workdir={landscape_run}", f"--ready={path}")
    assert (ended.status, ended.out) == (0, f"{path}\n")
    image = landscape_data / "45.jpg"
    ended = processes.run_fork("caption", f"--model={path}", f"--weights={encoder}", image)
    assert ended.status == 0 and "sky" in ended.out


def test_reranking_is_refused(trained, landscape_run, tmp_path):
    config = landscapes.make_config(landscape_run, tmp_path, decode__rerank="mbr")
    line = refusal(export.write_ready_model, config, str(landscape_run), str(tmp_path / "a"))
    assert "--config.decode.rerank=none" in line
    assert not os.path.exists(tmp_path / "a")


def test_models_that_imcap_comes_with_are_whole():
    names = os.listdir(exporting.READY_MODELS) if os.path.isdir(exporting.READY_MODELS) else []
    for name in names:
        folder = Path(exporting.find_ready_model(name))
        sizes = [path.stat().st_size for path in folder.iterdir()]
        assert sum(sizes) <= ready_model.MAX_BYTES
        digests = json.loads((folder / exporting.DIGESTS).read_text())
        assert {path.name for path in folder.iterdir()} == {*digests, exporting.DIGESTS}
        ready_model.check_digests(str(folder))
