"""The parts of a listing: all of its images in order."""

from __future__ import annotations

from beam_jobs.transforms import list_images, manifest


def test_parts_are_numbered_slices_of_the_listing(tmp_path):
    paths = [tmp_path / f"{i:02d}.jpg" for i in range(7)]
    for path in paths:
        path.touch()
    parts = list(list_images.numbered_parts([str(tmp_path)], 3))
    assert [number for number, _ in parts] == [0, 1, 2]
    found = [[row.path for row in manifest.unpack_rows(pack)] for _, pack in parts]
    assert [len(part) for part in found] == [3, 3, 1]
    assert [path for part in found for path in part] == list(map(str, paths))
