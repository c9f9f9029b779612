"""What a dry run says, and how many shards a job chooses."""

from __future__ import annotations

import re

import landscapes
import outputs
import pytest
import tiny_runs

from beam_jobs import build_records, estimate
from imcap import records
from imcap.errors import UserError


def test_an_overview_counts_splits_and_keeps_the_first_rows(image_set, tmp_path):
    config = landscapes.make_records_config(tmp_path, image_set)
    with estimate.read_overview(config.dataset) as (splits, timed_rows):
        assert splits == landscapes.SPLITS
        assert len(timed_rows) == 24
    with estimate.read_overview(config.dataset, limit=2) as (splits, _):
        assert splits == {"train": 2, "dev": 2, "test": 2}


def test_a_dry_run_writes_nothing(image_set, tmp_path):
    before = outputs.contents(image_set)
    config = landscapes.make_records_config(tmp_path, image_set)
    lines = build_records.dry_run(config)
    assert any(line.startswith("train: 16 images in 2 shards") for line in lines)
    assert any(re.search(r"minutes .* images/s measured on the first images", x) for x in lines)
    assert list(tmp_path.iterdir()) == []
    assert outputs.contents(image_set) == before


def test_a_dry_run_leaves_no_drawn_images(tmp_path):
    config = tiny_runs.tiny_config(tmp_path / "run")
    lines = build_records.dry_run(config)
    assert any(line.startswith("train: 96 images in 2 shards") for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_leaves_a_finished_folder_unchanged(copied_config):
    config = copied_config()
    before = outputs.contents(config.records.dir)
    last = build_records.dry_run(config)[-1]
    assert last.startswith(f"6 shards in {config.records.dir} have been built already; ")
    assert outputs.contents(config.records.dir) == before


def test_a_dry_run_without_a_readable_image_is_refused(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "data" / name).write_text("these words are no image at all")
    rows = [("a.jpg", "train", "A dog"), ("b.jpg", "dev", "A cat")]
    landscapes.write_table(tmp_path / "data", rows)
    config = landscapes.make_records_config(tmp_path, tmp_path / "data")
    with pytest.raises(UserError, match=r"no image of .*data could be read: 2 were tried"):
        build_records.dry_run(config)


def test_the_estimate_is_near_the_truth(built):
    info = records.read_info(built.records.dir)
    counts = {split: info.num_images(split) for split in info.splits}
    found = estimate.split_bytes(
        counts, info.feature_shape, info.feature_dtype, records.Views(flip=True, crops=2)
    )
    for split, count in counts.items():
        true = sum(info.splits[split]["shard_bytes"])
        assert abs(found[split] - true) < 1_000 * count, split


@pytest.mark.parametrize("at_most, word", [(False, "about"), (True, "at most")])
def test_sizes_before_compression_are_limits(at_most, word):
    views = records.Views()
    first, last = estimate.describe(
        {"dev": 3}, {"dev": 50_000_000}, num_shards=2, views=views, rate=1.0, at_most=at_most
    )
    assert first == f"dev: 3 images in 2 shards, {word} 50 MB"
    assert last.startswith(f"in all {word} 0.05 GB")


def test_every_view_takes_its_time():
    views, splits = records.Views(flip=True, crops=3), {"train": 100, "dev": 40}
    sizes = estimate.split_bytes(splits, (4, 8), "float16", views)
    assert sizes == {"train": 100 * (5 * 64 + 1_000), "dev": 40 * (64 + 1_000)}
    last = estimate.describe(splits, sizes, num_shards=2, views=views, rate=1.0)[-1]
    assert "and 9.0 minutes on this machine" in last  # 540 views.


def test_the_number_of_shards_follows_the_wanted_size():
    assert estimate.choose_num_shards({"train": 10_000, "dev": 1_000}, shard_mb=1.0) == 1
    assert estimate.choose_num_shards({"train": 2_500_000, "dev": 1_000}, shard_mb=1.0) == 3


def test_a_chosen_number_of_shards_stays_for_another_shard_mb(image_set, tmp_path):
    config = landscapes.make_records_config(tmp_path, image_set, records__num_shards=0)
    build_records.build_records(config)
    config.records.shard_mb = 0.001  # A fresh folder would now get more.
    build_records.build_records(config)
    info = records.read_info(config.records.dir)
    assert len(info.splits["train"]["shard_lengths"]) == 1
