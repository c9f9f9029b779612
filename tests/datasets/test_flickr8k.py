"""Flickr8k in both layouts, with the flaws that copies of it have."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imcap import datasets
from imcap.errors import UserError

TOKEN = (
    "b.jpg#0\tA dog runs .\n"
    "b.jpg#1\tThe dog is running .\n"
    "a.jpg#0\tA girl , in pink .\n"
    "c.jpg#0\tTwo men .\n"
)
CSV = 'image,caption\na.jpg,A girl , in pink .\nb.jpg,"A dog, ""Rex"", runs"\n'
LISTS = {
    "Flickr_8k.trainImages.txt": "b.jpg\n",
    "Flickr_8k.devImages.txt": "a.jpg\n",
    "Flickr_8k.testImages.txt": "c.jpg",
}
IMAGES = ["Images/a.jpg", "Images/b.jpg", "Images/c.jpg"]


def test_the_official_layout_with_its_split_lists(make, read, tmp_path):
    make({"Flickr8k.token.txt": TOKEN, **LISTS}, IMAGES)
    images, problems = read("flickr8k")
    assert images == [
        datasets.CaptionedImage(
            "a.jpg", str(tmp_path / "Images/a.jpg"), ("A girl , in pink .",), "dev"
        ),
        datasets.CaptionedImage(
            "b.jpg",
            str(tmp_path / "Images/b.jpg"),
            ("A dog runs .", "The dog is running ."),
            "train",
        ),
        datasets.CaptionedImage("c.jpg", str(tmp_path / "Images/c.jpg"), ("Two men .",), "test"),
    ]
    assert problems.lines() == []


def test_the_published_archives_folder_of_images_is_found(make, read):
    make({"Flickr8k.token.txt": "a.jpg#0\tHi"}, ["Flicker8k_Dataset/a.jpg"])
    (image,), _ = read("flickr8k")
    assert image.path.endswith("Flicker8k_Dataset/a.jpg")


def test_split_lists_are_used_with_kaggles_layout_too(make, read):
    make({"captions.txt": CSV, **LISTS}, IMAGES)
    images, _ = read("flickr8k")
    assert {image.image_id: image.split for image in images} == {"a.jpg": "dev", "b.jpg": "train"}


def test_images_in_no_split_list_are_left_out_and_counted(make, read):
    make({"Flickr8k.token.txt": TOKEN, "Flickr_8k.trainImages.txt": "a.jpg\n"}, IMAGES)
    images, problems = read("flickr8k")
    assert [image.image_id for image in images] == ["a.jpg"]
    assert problems.lines() == ["2 images in no split list (first: b.jpg)"]


def test_an_image_in_two_lists_is_scored_and_never_trained_on(make, read):
    lists = {**LISTS, "Flickr_8k.trainImages.txt": "a.jpg\nb.jpg\nc.jpg\n"}
    make({"Flickr8k.token.txt": TOKEN, **lists}, IMAGES)
    images, problems = read("flickr8k")
    assert [image.split for image in images] == ["dev", "train", "test"]
    assert problems.counts == {"images in two split lists, not used for training": 2}


def test_what_is_left_out_is_counted_by_kind(make, read, tmp_path):
    token = TOKEN + (
        "gone.jpg#0\tListed, no file .\n"
        "x.jpg.1#0\tNo image .\n"
        "x.jpg.1#1\tNo image either .\n"
        "no tab here\n"
        "b.jpg#2\t \n"
        "quiet.jpg#0\t\n"
    )
    lists = {**LISTS, "Flickr_8k.trainImages.txt": "b.jpg\ngone.jpg\nnowhere.jpg\n"}
    make({"Flickr8k.token.txt": token, **lists}, [*IMAGES, "Images/quiet.jpg", "Images/new.jpg"])
    (tmp_path / "Flickr8k_Dataset").mkdir()
    images, problems = read("flickr8k")
    assert [image.image_id for image in images] == ["a.jpg", "b.jpg", "c.jpg"]
    assert images[1].captions == ("A dog runs .", "The dog is running .")
    assert problems.counts == {
        "malformed rows": 1,
        "empty captions": 2,
        "missing images": 1,
        "images without captions": 1,
        "images in no split list": 2,
        "listed images without captions": 1,
    }
    assert "line 8" in problems.first["malformed rows"]
    assert problems.first["missing images"] == (
        f"gone.jpg (tried {tmp_path}/Images/gone.jpg, {tmp_path}/Flickr8k_Dataset/gone.jpg)"
    )


def test_without_lists_a_ratio_splits_and_an_image_keeps_its_split(make, read):
    names = [f"{number}.jpg" for number in range(300)]
    rows = {name: f"{name}#0\tHi\n" for name in names}
    make({"Flickr8k.token.txt": "".join(rows.values())}, [f"Images/{name}" for name in names])
    before = {image.image_id: image.split for image in read("flickr8k", seed=5)[0]}
    assert {split: list(before.values()).count(split) for split in before.values()}.keys() == {
        "train",
        "dev",
        "test",
    }
    assert 210 < list(before.values()).count("train") < 270
    make({"Flickr8k.token.txt": "".join(rows[name] for name in names[::-2])})
    after = {image.image_id: image.split for image in read("flickr8k", seed=5)[0]}
    assert after.items() <= before.items()
    other = {image.image_id: image.split for image in read("flickr8k", seed=6)[0]}
    assert not other.items() <= before.items()


def test_a_folder_without_images_says_what_was_looked_for(make, read):
    make({"Flickr8k.token.txt": TOKEN})
    with pytest.raises(UserError, match="Images/, Flicker8k_Dataset/"):
        read("flickr8k")


def test_no_image_in_any_list_says_why(make, read):
    make({"Flickr8k.token.txt": TOKEN, "Flickr_8k.trainImages.txt": "z.jpg"}, IMAGES)
    with pytest.raises(UserError, match="3 images in no split list"):
        read("flickr8k")


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.sampled_from(["Flickr8k.token.txt", "captions.txt", "Flickr_8k.devImages.txt"]),
    st.lists(st.sampled_from([b"a.jpg", b"#0", b"\t", b"\n", b"\r", b'"', b",", b"|", b"\xff\xfe",
                              b"\0", b"image,caption\n", b"dog"]) | st.binary(max_size=4)),
)  # fmt: skip
def test_random_bytes_are_read_or_counted_or_a_user_error(make, read, name, pieces):
    make({"Flickr8k.token.txt": TOKEN, "captions.txt": CSV}, IMAGES)
    make({"Flickr_8k.devImages.txt": "a.jpg\n", name: b"".join(pieces)})
    captions = "Flickr8k.token.txt" if name.startswith("Flickr") else name
    try:
        images, _ = read("flickr8k", captions=captions)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert images
        assert all(image.captions and all(image.captions) for image in images)
        assert len({image.image_id for image in images}) == len(images)
