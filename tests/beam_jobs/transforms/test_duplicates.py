"""Images that are in a data set twice."""

from __future__ import annotations

import shutil

import apache_beam as beam
import landscapes
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from beam_jobs import build_records
from beam_jobs.transforms import duplicates
from imcap import records
from imcap.datasets import CaptionedImage


@pytest.mark.parametrize(
    ("splits", "leaked"),
    [
        (["train", "train"], []),
        (["dev", "train"], ["1"]),
        (["test", "train", "dev", "train"], ["1", "2", "3"]),
        (["holdout", "test"], ["1"]),
    ],
)
def test_an_image_in_two_splits_stays_where_it_is_scored(splits, leaked):
    group = [[split, str(number)] for number, split in enumerate(splits)]
    found = duplicates.leaks(group)
    assert sorted(image_id for _, image_id in found) == leaked
    assert all([split, image_id] in group for split, image_id in found)


def test_groups_are_told_by_their_sums():
    groups = [[["dev", "c"], ["train", "d"]], [["train", "x"], ["train", "y"], ["train", "z"]],
              [["test", "b"], ["train", "a"], ["train", "e"]]]  # fmt: skip
    one, *others = map(duplicates.summarize, groups)
    sums = duplicates.add_summaries([one, duplicates.add_summaries(others)])
    assert sums == duplicates.Summary(duplicates=5, leaks=3, first_leak="a")
    assert duplicates.add_summaries([]) == duplicates.Summary()


def test_equal_images_are_found_by_their_bytes(tmp_path):
    for name, seed in (("a", 0), ("b", 1), ("c", 0)):
        landscapes.draw(seed).save(tmp_path / f"{name}.png")
    rows = [CaptionedImage(n, str(tmp_path / f"{n}.png"), ("x",), "train") for n in "abc"]
    rows.append(CaptionedImage("gone", str(tmp_path / "gone.png"), ("x",), "train"))
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        groups = pipeline | beam.Create(rows) | duplicates.FindDuplicates()
        assert_that(groups, equal_to([[["train", "a"], ["train", "c"]]]))


def test_the_records_hold_no_image_in_two_splits(tmp_path):
    data = landscapes.write_images(tmp_path / "images")
    shutil.copy(data / "16.jpg", data / "00.jpg")  # A dev image, under a training image's name.
    shutil.copy(data / "02.jpg", data / "01.jpg")  # Two training images.
    config = landscapes.make_records_config(tmp_path, data)
    build_records.build_records(config)
    info = records.read_info(config.records.dir)
    assert info.counts["duplicate"] == 2
    assert (info.num_images("train"), info.num_images("dev")) == (15, 4)
    (problem,) = info.problems.values()
    assert problem == {"count": 1, "first": "00.jpg"}
    assert info.counts["kept"] == 23


def test_duplicates_need_not_be_looked_for(tmp_path):
    data = landscapes.write_images(tmp_path / "images")
    shutil.copy(data / "16.jpg", data / "00.jpg")
    config = landscapes.make_records_config(tmp_path, data, records__find_duplicates=False)
    build_records.build_records(config)
    info = records.read_info(config.records.dir)
    assert (info.counts["duplicate"], info.num_images("train")) == (0, 16)
