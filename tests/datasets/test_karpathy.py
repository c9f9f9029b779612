"""Karpathy's split files."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imcap.errors import UserError


def entry(filename, split, *captions, **fields):
    """Returns one element of the file's `images`."""
    sentences = [{"raw": caption, "tokens": caption.split(), "imgid": 0} for caption in captions]
    return {"filename": filename, "split": split, "sentences": sentences, **fields}


def document(*entries, name="coco"):
    return {f"dataset_{name}.json": json.dumps({"images": entries, "dataset": name})}


def test_coco_with_its_subfolders_and_ids(make, read):
    val = {"filepath": "val2014", "cocoid": 391895}
    make(
        document(
            entry("v.jpg", "test", "A man. ", " A man on a bike.", **val),
            entry("t.jpg", "train", "A cat.", filepath="train2014", cocoid=7),
            entry("d.jpg", "val", "A dog.", filepath="val2014", cocoid=8),
        ),
        ["val2014/v.jpg", "train2014/t.jpg", "val2014/d.jpg"],
    )
    images, problems = read("karpathy")
    assert [(i.image_id, i.split, i.captions) for i in images] == [
        ("391895", "test", ("A man.", "A man on a bike.")),
        ("7", "train", ("A cat.",)),
        ("8", "dev", ("A dog.",)),
    ]
    assert images[0].path.endswith("val2014/v.jpg")
    assert problems.lines() == []


@pytest.mark.parametrize(
    ("name", "folder"), [("flickr8k", "Flicker8k_Dataset"), ("flickr30k", "flickr30k_images")]
)
def test_flickrs_ids_are_the_file_names(name, folder, make, read):
    make(document(entry("a.jpg", "val", "Hi", imgid=0), name=name), [f"{folder}/a.jpg"])
    (image,), _ = read("karpathy")
    assert (image.image_id, image.split) == ("a.jpg", "dev")


def test_restval_is_trained_on_unless_told_otherwise(make, read):
    make(
        document(entry("a.jpg", "restval", "Hi"), entry("b.jpg", "train", "Hi")),
        ["images/a.jpg", "images/b.jpg"],
    )
    assert [image.split for image in read("karpathy")[0]] == ["train", "train"]
    images, problems = read("karpathy", restval=False)
    assert [image.image_id for image in images] == ["b.jpg"]
    assert problems.counts == {"restval images left out": 1}


def test_what_is_left_out_is_counted_by_kind(make, read):
    make(
        document(
            entry("a.jpg", "train", "Hi"),
            entry("a.jpg", "test", "Hi"),
            entry("gone.jpg", "train", "Hi"),
            entry("b.jpg", "train", " "),
            entry("b.jpg", "../train", "Hi"),
            {"filename": "b.jpg"},
            7,
        ),
        ["images/a.jpg", "images/b.jpg"],
    )
    images, problems = read("karpathy")
    assert [(image.image_id, image.split) for image in images] == [("a.jpg", "train")]
    assert problems.counts == {
        "images with an id used before": 1,
        "missing images": 1,
        "images without captions": 1,
        "malformed images": 3,
    }


def test_several_files_must_be_chosen_from(make, read):
    make(document(entry("a.jpg", "train", "coco")), ["images/a.jpg"])
    make(document(entry("a.jpg", "train", "flickr"), name="flickr8k"))
    with pytest.raises(UserError, match=r"dataset_coco\.json, dataset_flickr8k\.json.*captions"):
        read("karpathy")
    (image,), _ = read("karpathy", captions="dataset_flickr8k.json")
    assert image.captions == ("flickr",)


JUNK = st.recursive(
    st.none() | st.integers() | st.text(max_size=4) | st.sampled_from(["a.jpg", "train"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["filename", "filepath", "split", "sentences", "raw", "cocoid"]), inner
        )
    ),
    max_leaves=15,
)


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.binary(max_size=30)
    | st.lists(JUNK, max_size=4).map(lambda images: json.dumps({"images": images}).encode())
)
def test_random_documents_are_read_or_counted_or_a_user_error(make, read, content):
    make({"dataset_coco.json": content}, ["images/a.jpg"])
    try:
        images, _ = read("karpathy")
    except UserError as error:
        assert "dataset_coco.json" in str(error)
    else:
        assert all(image.captions and image.image_id for image in images)
