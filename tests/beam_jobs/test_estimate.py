"""What a job says before it works, and how many shards it chooses."""

from __future__ import annotations

import landscapes

from beam_jobs import build_records, estimate
from imcap import encoders, records


def test_images_are_counted_by_split(photos, tmp_path):
    config = landscapes.make_records_config(tmp_path, photos)
    assert estimate.count_images(config) == landscapes.SPLITS


def test_a_dry_run_tells_and_writes_no_record(photos, tmp_path):
    config = landscapes.make_records_config(tmp_path, photos)
    lines = build_records.dry_run(config)
    assert any(line.startswith("train: 16 images in 2 shards") for line in lines)
    assert any("minutes" in line for line in lines)
    assert not list(tmp_path.rglob("*.tfrecord"))


def test_the_estimate_is_near_the_truth(built, photos):
    encoder = encoders.build(built.encoder)
    info = records.read_info(built.records.dir)
    for split in info.splits:
        true = sum(info.splits[split]["shard_bytes"]) / info.num_images(split)
        features = len(info.splits[split]["views"]) * 2 * encoder.feature_shape[0]
        features *= encoder.feature_shape[1]
        assert abs(estimate.record_bytes(built, encoder, split) - true) < 1_000, (split, features)


def test_the_number_of_shards_follows_the_wanted_size(photos, tmp_path):
    config = landscapes.make_records_config(tmp_path, photos)
    encoder = encoders.build(config.encoder)
    size = estimate.record_bytes(config, encoder, "train")
    config.records.shard_mb = 1.0
    assert estimate.choose_num_shards(config, encoder, {"train": 10, "dev": 1}) == 1
    assert estimate.choose_num_shards(config, encoder, {"train": 2_500_000 // size}) == 3


def test_a_chosen_number_of_shards_stays_when_photos_come(photos, tmp_path):
    config = landscapes.make_records_config(tmp_path, photos, records__num_shards=0)
    build_records.build_records(config)
    config.records.shard_mb = 0.001  # A fresh folder would now get more.
    build_records.build_records(config)
    info = records.read_info(config.records.dir)
    assert len(info.splits["train"]["shard_lengths"]) == 1
