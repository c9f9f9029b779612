"""COCO's caption annotations."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imcap.errors import UserError


def annotations(names, captions):
    """Returns an annotation file: {id: file name} and [(id, caption)]."""
    images = [{"id": key, "file_name": name} for key, name in names.items()]
    rows = [{"image_id": key, "caption": caption, "id": 1} for key, caption in captions]
    return json.dumps({"info": {}, "images": images, "annotations": rows})


TRAIN = annotations(
    {30: "000000000030.jpg", 9: "000000000009.jpg"},
    [(9, "A plate.\n"), (30, "A vase."), (9, "Food.")],
)
VAL = annotations({42: "000000000042.jpg"}, [(42, "A shoe.")])
FILES = {
    "annotations/captions_train2017.json": TRAIN,
    "annotations/captions_val2017.json": VAL,
}
IMAGES = [
    "train2017/000000000009.jpg",
    "train2017/000000000030.jpg",
    "val2017/000000000042.jpg",
]


def test_both_files_are_read_val_as_dev_with_integer_ids(make, read, tmp_path):
    make(FILES, IMAGES)
    images, problems = read("coco")
    assert [(i.image_id, i.split, i.captions) for i in images] == [
        ("42", "dev", ("A shoe.",)),
        ("9", "train", ("A plate.", "Food.")),
        ("30", "train", ("A vase.",)),
    ]
    assert images[1].path == str(tmp_path / IMAGES[0])
    assert problems.lines() == []


def test_the_2014_arrangement_below_images(make, read):
    name = "COCO_val2014_000000000042.jpg"
    val = annotations({42: name}, [(42, "A shoe.")])
    make({"annotations/captions_val2014.json": val}, [f"images/val2014/{name}"])
    (image,), _ = read("coco")
    assert (image.image_id, image.split) == ("42", "dev")


def test_one_year_is_read_as_both_hold_the_same_images(make, read):
    make({**FILES, "annotations/captions_val2014.json": TRAIN}, IMAGES)
    images, problems = read("coco")
    assert len(images) == 3
    assert problems.counts == {"annotation files of 2014 left out, 2017 is here too": 1}


def test_an_annotation_file_and_an_image_folder_can_be_named(make, read):
    make({"my_val.json": VAL}, ["images/000000000042.jpg"])
    (image,), _ = read("coco", captions="my_val.json", images="images")
    assert image.split == "dev"


def test_an_image_of_val_that_train_repeats_is_never_trained_on(make, read):
    make(
        {**FILES, "annotations/captions_train2017.json": VAL},
        [*IMAGES, "train2017/000000000042.jpg"],
    )
    (image,), problems = read("coco")
    assert image.split == "dev"
    assert problems.counts == {"images of val that train repeats": 1}


def test_what_is_left_out_is_counted_by_kind(make, read):
    document = json.loads(TRAIN)
    document["images"] += [
        {"id": 7, "file_name": "000000000007.jpg"},
        {"id": 8, "file_name": "silent.jpg"},
        {"id": "x"},
        "not an object",
        {"id": 9, "file_name": "other.jpg"},
    ]
    document["annotations"] += [
        {"image_id": 9, "caption": "  "},
        {"image_id": 9},
        {"image_id": True, "caption": "Hi"},
        {"image_id": 99, "caption": "Hi"},
        {"image_id": 9, "caption": "\ud800"},
    ]
    make(
        {"annotations/captions_train2017.json": json.dumps(document)},
        [*IMAGES, "train2017/silent.jpg"],
    )
    images, problems = read("coco")
    assert [image.image_id for image in images] == ["9", "30"]
    assert problems.counts == {
        "malformed images": 2,
        "images with an id used before": 1,
        "empty captions": 2,
        "malformed annotations": 2,
        "captions of unknown images": 1,
        "missing images": 1,
        "images without captions": 1,
    }


def test_no_annotations_says_what_was_looked_for(make, read):
    make({}, IMAGES)
    with pytest.raises(UserError, match=r"annotations/captions_\{train,val\}\{2017,2014\}\.json"):
        read("coco")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "image_id", "file_name", "caption"]), inner)
    ),
    max_leaves=12,
)


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.binary(max_size=30)
    | st.fixed_dictionaries({"images": JUNK, "annotations": JUNK}).map(
        lambda document: json.dumps(document).encode()
    )
)
def test_random_documents_are_read_or_counted_or_a_user_error(make, read, content):
    make({**FILES, "annotations/captions_val2017.json": content}, IMAGES)
    try:
        images, _ = read("coco")
    except UserError as error:
        assert "captions_val2017.json" in str(error)
    else:
        assert [i.image_id for i in images if i.split == "train"] == ["9", "30"]
