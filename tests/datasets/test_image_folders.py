"""A data set's folder, its captions file and its images: found, or named in a refusal."""

from __future__ import annotations

import pytest

from imcap import datasets
from imcap.errors import UserError

ON_DISK = [name for name in datasets.READERS if name != "shapes"]


@pytest.mark.parametrize("name", ON_DISK)
def test_a_folder_that_does_not_exist_is_named(name, read):
    with pytest.raises(UserError, match=r"there is no folder .*nowhere"):
        read(name, dir="nowhere")


@pytest.mark.parametrize("name", datasets.READERS)
def test_a_folder_that_is_not_set_is_an_error(name, read):
    with pytest.raises(UserError, match=r"config\.dataset\.dir"):
        read(name, dir="")


@pytest.mark.parametrize("name", ON_DISK)
def test_an_empty_folder_is_named(name, read, tmp_path):
    with pytest.raises(UserError) as error:
        read(name)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [name for name in ON_DISK if name != "folder"])
def test_a_named_captions_file_that_is_not_there_is_an_error(name, make, read):
    make({}, ["Images/a.jpg"])
    with pytest.raises(UserError, match=r"config\.dataset\.captions: .*elsewhere"):
        read(name, captions="elsewhere")


@pytest.mark.parametrize("name", ON_DISK)
def test_a_named_folder_of_images_that_is_not_there_is_an_error(name, make, read):
    make(
        {
            "Flickr8k.token.txt": "a.jpg#0\tHi",
            "results_20130124.token": "a.jpg#0\tHi",
            "table.csv": "image,caption",
            "dataset_coco.json": "{}",
            "annotations/captions_val2017.json": "{}",
        }
    )
    with pytest.raises(UserError, match=r"config\.dataset\.images: .*elsewhere"):
        read(name, images="elsewhere")
