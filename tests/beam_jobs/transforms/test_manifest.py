"""The manifest: packed, spread, and grouped by shard."""

from __future__ import annotations

import apache_beam as beam
import landscapes
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.transforms import manifest
from imcap import hashing
from imcap.datasets import CaptionedImage

TEXT = st.text(max_size=20)
ROWS = st.lists(st.builds(CaptionedImage, TEXT, TEXT, st.tuples(TEXT, TEXT), TEXT), max_size=20)


def _rows(count: int, split: str = "train") -> list[CaptionedImage]:
    return [CaptionedImage(f"{i:05d}", f"{i}.jpg", (f"image {i}",), split) for i in range(count)]


@given(ROWS)
def test_a_pack_holds_any_rows(rows):
    assert list(manifest.unpack_rows(manifest.pack_rows(rows))) == rows


def test_every_row_reaches_its_shard_once_whatever_the_order():
    rows = _rows(2_000) + _rows(50, "dev")

    def check(found):
        by_shard = {key: manifest.rows_of(packs) for key, packs in found}
        assert sum(map(len, by_shard.values())) == len(rows)
        for (split, shard), members in by_shard.items():
            assert members == sorted(members, key=lambda row: row.image_id)
            assert all(row.split == split for row in members)
            assert all(hashing.stable_number(row.image_id, 3) == shard for row in members)

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        grouped = pipeline | beam.Create(rows[::-1]) | manifest.GroupByShard(3)
        assert_that(grouped, check)


def test_images_to_leave_out_are_left_out_of_their_split_alone():
    rows, left_out = _rows(2_000) + _rows(50, "dev"), [("train", f"{i:05d}") for i in range(40)]

    def check(found):
        kept = [row for _, packs in found for row in manifest.rows_of(packs)]
        assert (
            sorted(kept, key=lambda row: (row.split, row.image_id)) == rows[2_000:] + rows[40:2_000]
        )

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        ids = pipeline | "LeftOut" >> beam.Create(left_out)
        assert_that(pipeline | beam.Create(rows) | manifest.GroupByShard(3, ids), check)


def test_many_rows_are_few_elements():
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        packs = (
            pipeline
            | beam.Create([("key", i) for i in range(10 * manifest.PACK_SIZE)])
            | beam.ParDo(manifest.PackByKey())
            | beam.Map(lambda element: len(manifest.decompress(element[1])))
        )
        assert_that(packs, lambda sizes: _are_full(sizes))


def _are_full(sizes: list[int]) -> None:
    assert sum(sizes) == 10 * manifest.PACK_SIZE
    assert max(sizes) == manifest.PACK_SIZE
    # A bundle's last pack may be smaller; one machine cuts the input into a few bundles.
    assert len(sizes) < 40


def test_a_limit_takes_the_first_images_of_each_split(image_set):
    config = landscapes.make_records_config(image_set, image_set)
    packs = [p for p in manifest.read_packs(config.dataset.to_dict(), 2) if isinstance(p, bytes)]
    rows = [row for pack in packs for row in manifest.unpack_rows(pack)]
    first = ["00.jpg", "01.jpg", "16.jpg", "17.jpg", "20.jpg", "21.jpg"]
    assert [row.image_id for row in rows] == first


def test_problems_come_beside_the_rows(image_set, tmp_path):
    config = landscapes.make_records_config(tmp_path, image_set)
    data = tmp_path / "data"
    data.mkdir()
    landscapes.draw(0).save(data / "a.jpg")
    landscapes.write_table(data, [("a.jpg", "train", "A boat."), ("gone.jpg", "train", "A dog.")])
    config.dataset.dir = str(data)
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        read = pipeline | beam.Create([None]) | manifest.ReadManifest(config.dataset.to_dict())
        ids = read["rows"] | beam.Map(lambda row: row.image_id)
        assert_that(ids, equal_to(["a.jpg"]), "rows")
        problems = read["problems"] | beam.Map(lambda problem: problem[:2])
        assert_that(problems, equal_to([("missing images", 1)]), "problems")
