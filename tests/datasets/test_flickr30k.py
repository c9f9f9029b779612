"""Flickr30k in Kaggle's and in the authors' layout."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imcap.errors import UserError

RESULTS = (
    "image_name| comment_number| comment\n"
    "b.jpg| 0| Two dogs , both wet .\n"
    "b.jpg| 4   A dog runs across the grass .\n"
    "a.jpg| 0| 2 men | or 3 .\n"
)
IMAGES = ["flickr30k_images/a.jpg", "flickr30k_images/b.jpg"]
TRAIN_AND_TEST = (0.85, 0.0, 0.15)


def test_kaggles_layout_and_its_row_that_lost_a_delimiter(make, read):
    make({"results.csv": RESULTS}, IMAGES)
    images, problems = read("flickr30k")
    assert {image.image_id: image.captions for image in images} == {
        "a.jpg": ("2 men | or 3 .",),
        "b.jpg": ("Two dogs , both wet .", "A dog runs across the grass ."),
    }
    (line,) = problems.lines()
    assert line.startswith("1 rows repaired where a delimiter was lost")
    assert line.endswith("results.csv, line 3)")


@pytest.mark.parametrize("folder", ["flickr30k-images", "Images", "flickr30k_images"])
def test_the_authors_layout(folder, make, read):
    make({"results_20130124.token": "a.jpg#0\tTwo dogs .\na.jpg#1\tDogs .\n"}, [f"{folder}/a.jpg"])
    (image,), problems = read("flickr30k")
    assert (image.image_id, image.captions) == ("a.jpg", ("Two dogs .", "Dogs ."))
    assert problems.lines() == []


def test_kaggles_nested_folder_is_found(make, read):
    make({"flickr30k_images/results.csv": RESULTS}, [f"flickr30k_images/{p}" for p in IMAGES])
    assert len(read("flickr30k")[0]) == 2


def test_a_csv_with_comment_numbers_is_read(make, read):
    text = 'image_name,comment_number,comment\na.jpg,0,"One, two"\na.jpg,1,Three, four\n'
    make({"captions.txt": text}, IMAGES)
    (image,), _ = read("flickr30k")
    assert image.captions == ("One, two", "Three, four")


def test_lists_of_bare_ids_are_used(make, read):
    lists = {"train.txt": "a\n", "val.txt": "b\n", "test.txt": "c\n"}
    make({"results.csv": RESULTS, **lists}, IMAGES)
    images, problems = read("flickr30k")
    assert [image.split for image in images] == ["train", "dev"]
    assert problems.counts["listed images without captions"] == 1


def many(make, count=200):
    rows = "".join(f"{number}.jpg#0\tHi\n" for number in range(count))
    make({"results_20130124.token": rows}, [f"Images/{number}.jpg" for number in range(count)])


def test_held_out_images_come_out_of_the_train_split(make, read):
    many(make)
    plain = {i.image_id: i.split for i in read("flickr30k", ratios=TRAIN_AND_TEST)[0]}
    held = {i.image_id: i.split for i in read("flickr30k", ratios=TRAIN_AND_TEST, holdout=10)[0]}
    held_out = {name for name, split in held.items() if split == "holdout"}
    assert len(held_out) == 10
    assert {plain[name] for name in held_out} == {"train"}
    assert all(held[name] == plain[name] for name in plain if name not in held_out)
    assert set(plain.values()) == {"train", "test"}
    more = read("flickr30k", ratios=TRAIN_AND_TEST, holdout=11)[0]
    assert held_out < {image.image_id for image in more if image.split == "holdout"}


def test_the_same_images_are_held_out_in_every_release(make, read):
    many(make)
    images, _ = read("flickr30k", ratios=(1.0, 0.0, 0.0), holdout=3)
    held_out = [image.image_id for image in images if image.split == "holdout"]
    assert held_out == ["113.jpg", "12.jpg", "178.jpg"]


def test_holding_out_more_than_there_are_is_an_error(make, read):
    many(make, 5)
    with pytest.raises(UserError, match=r"config\.dataset\.holdout: 50"):
        read("flickr30k", holdout=50)


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.sampled_from([b"a.jpg", b"|", b" 0", b"\n", b"\t", b",", b'"', b"\0", b"\xef\xbb\xbf"])
        | st.binary(max_size=4)
    )
)
def test_random_bytes_are_read_or_counted_or_a_user_error(make, read, pieces):
    make({"results.csv": b"".join(pieces)}, IMAGES)
    try:
        images, _ = read("flickr30k")
    except UserError as error:
        assert "results.csv" in str(error)
    else:
        assert {image.image_id for image in images} <= {"a.jpg", "b.jpg"}
