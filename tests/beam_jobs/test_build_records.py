"""The records folder that a job writes, and what it refuses before it does any work."""

from __future__ import annotations

import json
from pathlib import Path

import landscapes
import numpy as np
import outputs
import processes
import pytest
import tensorflow as tf
from tiny_runs import CONFIG

from beam_jobs import build_records
from beam_jobs.transforms.crops import Crops, cut
from imcap import encoders, hashing, images, records, text
from imcap.datasets import Problems, build_reader
from imcap.errors import UserError


@pytest.fixture(scope="module")
def info(built):
    return json.loads(Path(built.records.dir, "info.json").read_text())


@pytest.fixture(scope="module")
def rows(built):
    return {row.image_id: row for row in build_reader(built.dataset).read(Problems())}


def test_the_vocabulary_is_that_of_the_training_captions(built, rows):
    captions = [c for row in rows.values() if row.split == "train" for c in row.captions]
    expected = text.choose_vocabulary(text.count_words(captions).items(), 1, 20_000)
    assert Path(built.records.dir, "vocab.txt").read_text() == "\n".join(expected) + "\n"
    assert "15" in expected and "16" not in expected  # Image 16 is one of dev.


@pytest.mark.parametrize("split", landscapes.SPLITS)
def test_an_image_lies_in_the_shard_of_its_id_in_order(built, rows, split):
    for shard in range(2):
        path = Path(built.records.dir, records.shard_name(split, shard, 2))
        found = [
            outputs.values(tf.train.Example.FromString(record), "image_id")[0].decode()
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        ]
        ids = [row.image_id for row in rows.values() if row.split == split]
        assert found == sorted(i for i in ids if hashing.stable_number(i, 2) == shard)


def test_features_are_of_the_image_the_flipped_one_and_its_crops(built, rows, info):
    encoder, crops = encoders.build(built.encoder), Crops(2, built.seed, flip=True)
    for example in outputs.examples(built.records.dir, "train"):
        (image_id,) = outputs.values(example, "image_id")
        content = Path(rows[image_id.decode()].path).read_bytes()
        image, decoded = images.load(content, 32, 10**6), images.decode(content, 10**6)
        cuts = [cut(decoded, drawn, 32) for drawn in crops.draw(image_id.decode())]
        views = [image, image[:, ::-1], *(tf.cast(crop, tf.float32) for crop in cuts)]
        for key, pixels in zip(landscapes.VIEW_KEYS, views, strict=True):
            (raw,) = outputs.values(example, key)
            features = np.frombuffer(raw, "<f2").reshape(info["feature_shape"])
            expected = encoder(pixels[tf.newaxis])[0].numpy()
            np.testing.assert_allclose(features, expected, rtol=2e-3, atol=1e-4)


def test_only_training_images_have_further_views(built, info):
    views = {split: entry["views"] for split, entry in info["splits"].items()}
    plain = ["features"]
    assert views == {"train": landscapes.VIEW_KEYS, "dev": plain, "test": plain}
    for example in outputs.examples(built.records.dir, "dev"):
        assert not set(landscapes.VIEW_KEYS[1:]) & set(example.features.feature)


def test_captions_stay_as_written_beside_their_tokens(built, rows):
    lines = Path(built.records.dir, "vocab.txt").read_text().splitlines()
    tokenizer = text.Tokenizer(lines, 22)
    for example in outputs.examples(built.records.dir, "train"):
        row = rows[outputs.values(example, "image_id")[0].decode()]
        assert outputs.values(example, "path") == [row.image_id.encode()]
        assert outputs.values(example, "captions") == [c.encode() for c in row.captions]
        ids = outputs.values(example, "caption_tokens")
        lengths = outputs.values(example, "caption_lengths")
        first, second = ids[: lengths[0]], ids[lengths[0] :]
        assert len(second) == lengths[1]
        for caption, tokens in zip(row.captions, (first, second), strict=True):
            assert (tokens[0], tokens[-1]) == (text.START, text.END)
            said = tokenizer.decode(np.array([tokens[1:]]))
            assert said == text.standardize_all([caption])


def test_two_worker_processes_give_the_same_bytes(built, image_set, tmp_path):
    changes = {
        "encoder.weights": "",
        "encoder.image_size": 32,
        "encoder.batch_size": 5,
        "dataset.name": "table",
        "dataset.dir": image_set,
        "dataset.columns.split": "split",
        "records.flip": True,
        "records.crops": 2,
        "records.dir": tmp_path / "records",
    }
    finished = processes.run_fork(
        "records",
        CONFIG,
        f"--workdir={tmp_path}",
        *(f"--config.{key}={value}" for key, value in changes.items()),
        "--direct_running_mode=multi_processing",
        "--direct_num_workers=2",
    )
    assert finished.status == 0, finished.err
    assert "24 images (dev 4, test 4, train 16), 0 failed" in finished.out
    assert outputs.contents(tmp_path / "records") == outputs.contents(built.records.dir)


def test_a_given_vocabulary_is_used(image_set, tmp_path):
    path = tmp_path / "given.txt"
    path.write_text("[START]\n[END]\nsky\nzebra\n")
    config = landscapes.make_records_config(
        tmp_path, image_set, text__vocabulary=str(path), records__num_shards=1
    )
    build_records.build_records(config)
    assert Path(config.records.dir, "vocab.txt").read_text() == path.read_text()
    example = outputs.examples(config.records.dir, "train")[0]
    assert outputs.values(example, "captions")[0] == b"A blue sky."
    start_a_blue_sky_end = [text.START, text.UNKNOWN, text.UNKNOWN, 4, text.END]
    assert outputs.values(example, "caption_tokens")[:5] == start_a_blue_sky_end


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset__dir": "{tmp}/nowhere"}, "there is no folder .*nowhere"),
        ({"encoder__weights": "{tmp}/none.h5"}, "config.encoder.weights=.*none.h5: no such file"),
        ({"text__vocabulary": "{tmp}/none.txt"}, "none.txt cannot be read: No such file or dir"),
        ({"text__vocabulary": "nothing://x"}, "nothing://x: cannot be read .Unable to get file"),
        ({"text__vocabulary": "{tmp}/words.txt"}, "words.txt must begin with the lines"),
        ({"text__vocabulary": "{tmp}/latin.txt"}, "config.text.vocabulary=.*latin.txt cannot be"),
    ],
)
def test_a_mistake_stops_the_job_before_it_writes(image_set, tmp_path, changes, message):
    Path(tmp_path, "words.txt").write_text("dog\n")
    Path(tmp_path, "latin.txt").write_bytes(b"[START]\n[END]\ncaf\xe9\n")
    changes = {key: value.format(tmp=tmp_path) for key, value in changes.items()}
    config = landscapes.make_records_config(tmp_path, image_set, **changes)
    with pytest.raises(UserError, match=f"(?i){message}"):
        build_records.build_records(config)
    assert not Path(config.records.dir).exists()


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["file", "file/records"])
def test_a_file_instead_of_the_folder_is_refused(image_set, tmp_path, name, overwrite):
    Path(tmp_path, "file").write_text("mine")
    config = landscapes.make_records_config(tmp_path, image_set, records__dir=str(tmp_path / name))
    with pytest.raises(UserError, match=f"config.records.dir={config.records.dir} cannot be"):
        build_records.build_records(config, overwrite=overwrite)
    assert Path(tmp_path, "file").read_text() == "mine"


def test_a_folder_that_beam_takes_for_a_pattern_is_refused(image_set, tmp_path):
    config = landscapes.make_records_config(
        tmp_path, image_set, records__dir=str(tmp_path / "run[1]")
    )
    with pytest.raises(UserError, match="must not contain the characters"):
        build_records.build_records(config)


@pytest.mark.parametrize("spelling", ["~/data", "data/", "./data/../data", "{0}/data/."])
def test_records_keep_paths_below_the_folder_however_it_is_spelt(tmp_path, monkeypatch, spelling):
    landscapes.write_images(tmp_path / "data")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    config = landscapes.make_records_config(
        tmp_path, tmp_path / "data", dataset__dir=spelling.format(tmp_path)
    )
    build_records.build_records(config)
    examples = outputs.examples(config.records.dir, "dev")
    paths = {outputs.values(example, "path")[0] for example in examples}
    assert paths == {b"16.jpg", b"17.jpg", b"18.jpg", b"19.jpg"}


def test_an_automatic_compute_dtype_is_chosen_once_and_kept(image_set, tmp_path):
    """Were it chosen again, a resumed job could not use the shards that are finished."""
    config = landscapes.make_records_config(tmp_path, image_set, encoder__compute_dtype="auto")
    info = build_records.build_records(config)
    chosen = info.encoder["compute_dtype"]
    settings = Path(config.records.dir, "shards", "settings.json")
    assert json.loads(settings.read_text())["encoder"]["compute_dtype"] == chosen
    assert chosen in ("float32", "bfloat16")
    before = outputs.identities(config.records.dir)
    config.encoder.compute_dtype = {"float32": "bfloat16", "bfloat16": "float32"}[chosen]
    with pytest.raises(UserError, match=f"encoder.compute_dtype='{chosen}', now"):
        build_records.build_records(config)
    for same in ("auto", chosen):
        config.encoder.compute_dtype = same
        build_records.build_records(config)
    assert outputs.identities(config.records.dir) == before


def test_the_summary_says_what_was_kept(built):
    info = records.read_info(built.records.dir)
    (line,) = build_records.summarize("runs/a/records", info)
    assert line.startswith("runs/a/records: 24 images (dev 4, test 4, train 16), 0 failed, ")
    assert line.endswith("features 4x32 float16")
