"""Images that lists exclude, and images that are held out of the rest."""

from __future__ import annotations

import memory_files
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusals import refusal

from imcap import datasets
from imcap.datasets import selection
from imcap.errors import UserError

FLICKR8K = "1000268201_693b08cb0e"
RESULTS = "".join(f"{number}.jpg| 0| Dogs .\n" for number in range(10, 40))
IMAGES = [f"Images/{number}.jpg" for number in range(10, 40)]


@pytest.fixture
def kept(make, read):
    """Returns a function that reads a table of the named images without those that a list names:
    (ids, problems by kind)."""

    def run(names, lines):
        rows = "".join(f'"{name}","A dog"\n' for name in names)
        files = {"list.txt": "".join(f"{line}\n" for line in lines)}
        folder = make({**files, "t.csv": f"image,caption\n{rows}"}, names)
        found, problems = read("table", exclude=f"{folder}/list.txt")
        return [image.image_id for image in found], problems.counts

    return run


@pytest.mark.parametrize(
    ("line", "excluded"),
    [
        ("a.jpg", ["a.jpg"]),
        ("  a.jpg \r", ["a.jpg"]),
        ("a", ["a.jpg"]),
        ("a.png", ["a.jpg"]),
        ("sub/b.jpg", ["sub/b.jpg"]),
        ("sub/b", ["sub/b.jpg"]),
        ("12", ["12.jpg"]),
        (FLICKR8K, [f"{FLICKR8K}.jpg"]),
        (f"{FLICKR8K}.jpg", [f"{FLICKR8K}.jpg"]),
        ("1000268201", [f"{FLICKR8K}.jpg"]),
        ("1000268201.jpg", [f"{FLICKR8K}.jpg"]),
        ("12_0123456789.jpg", ["12.jpg"]),
    ],
)
def test_a_line_excludes_the_image_that_it_names(kept, line, excluded):
    names = ["a.jpg", "sub/b.jpg", "12.jpg", "12_34.jpg", f"{FLICKR8K}.jpg"]
    found, problems = kept(names, [line])
    assert found == [name for name in names if name not in excluded]
    assert problems == {"images excluded by list.txt": len(excluded)}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a.jpg", "A.jpg"),
        ("a.jpg", "b"),
        ("sub/a.jpg", "a.jpg"),  # Another folder may hold an image of this name.
        ("12_0123456789.jpg", "12_9876543210.jpg"),
        ("12_0123456789.jpg", "1"),
        ("12_0123456789x.jpg", "12"),
        ("12_34.jpg", "12"),  # Not a name that Flickr gives.
        ("x12.jpg", "12_0123456789"),
    ],
)
def test_other_names_do_not_match(kept, name, line):
    message = refusal(kept, [name], [line])
    assert message.startswith("config.dataset.exclude: none of the 1 ids in ")
    assert repr(line) in message


def test_a_list_of_file_names_fits_ids_that_are_none(make, read):
    table = "image,caption,id\na.jpg,A dog,7\nb.jpg,A cat,8\n"
    folder = make({"t.csv": table, "list.txt": "b\n"}, ["a.jpg", "b.jpg"])
    columns = {"id": "id"}
    found, _ = read("table", columns=columns, exclude=f"{folder}/list.txt")
    assert [image.image_id for image in found] == ["7"]


def test_each_list_says_how_many_images_it_excludes(make, read, logged):
    lists = {"one.txt": "10\n11\n99\n", "two.txt": "11.jpg\n12.jpg\n13.jpg\n"}
    folder = make({"results.csv": RESULTS, **lists}, IMAGES)
    found, problems = read("flickr30k", exclude=f"{folder}/one.txt, {folder}/two.txt")
    assert sorted(image.image_id for image in found) == [f"{n}.jpg" for n in range(14, 40)]
    counts = {"images excluded by one.txt": 2, "images excluded by two.txt": 3}
    assert problems.counts == counts
    assert f"config.dataset.exclude: 2 images are excluded by the 3 ids in {folder}/one.txt" in (
        logged()
    )


def test_lists_of_one_name_in_two_folders_are_counted_apart(make, read):
    lists = {"one/dev.txt": "10\n", "two/dev.txt": "11\n12\n"}
    folder = make({"results.csv": RESULTS, **lists}, IMAGES)
    paths = [f"{folder}/{name}" for name in lists]
    _, problems = read("flickr30k", exclude=",".join(paths))
    assert problems.counts == {
        f"images excluded by {paths[0]}": 1,
        f"images excluded by {paths[1]}": 2,
    }


def test_each_list_has_to_exclude_an_image(make, read):
    lists = {"one.txt": "10\n", "two.txt": "7\n8\n"}
    folder = make({"results.csv": RESULTS, **lists}, IMAGES)
    line = refusal(lambda: read("flickr30k", exclude=f"{folder}/one.txt,{folder}/two.txt"))
    assert f"none of the 2 ids in {folder}/two.txt, such as '7'" in line


@pytest.mark.parametrize("name", ["flickr30k", "table"])
def test_a_list_that_excludes_nothing_is_refused_before_any_work(name, make):
    table = "image,caption\nImages/10.jpg,A dog\n"
    folder = make({"results.csv": RESULTS, "t.csv": table, "list.txt": "7\n"}, IMAGES)
    captions = {"table": "t.csv"}.get(name, "")
    config = {"name": name, "dir": folder, "captions": captions, "exclude": f"{folder}/list.txt"}
    reader = datasets.build_reader(config)
    for read in (reader.first, lambda: list(reader.read(datasets.Problems())), reader.count):
        assert "none of the 1 ids" in refusal(read)


def test_the_first_image_is_not_an_excluded_one(make):
    table = "image,caption\na.jpg,One\nb.jpg,Two\n"
    folder = make({"t.csv": table, "list.txt": "a\n"}, ["a.jpg", "b.jpg"])
    config = {"name": "table", "dir": folder, "exclude": f"{folder}/list.txt"}
    assert datasets.build_reader(config).first().image_id == "b.jpg"


def test_nothing_left_is_an_error_that_says_why(make, read):
    folder = make({"results.csv": "10.jpg| 0| A dog .\n", "list.txt": "10\n"}, IMAGES)
    line = refusal(lambda: read("flickr30k", exclude=f"{folder}/list.txt"))
    assert "1 images excluded by list.txt" in line


def test_images_are_held_out_of_those_that_are_left(make, read):
    folder = make({"results.csv": RESULTS}, IMAGES)
    whole = {"ratios": (1.0, 0.0, 0.0), "holdout": 5}
    held = [image.image_id for image in read("flickr30k", **whole)[0] if image.split == "holdout"]
    make({"list.txt": "\n".join(held[:3])})
    found, _ = read("flickr30k", **whole, exclude=f"{folder}/list.txt")
    left = [image.image_id for image in found if image.split == "holdout"]
    assert len(found) == 27
    assert len(left) == 5
    assert set(held[3:]) < set(left)


@pytest.mark.parametrize("name", ["shapes", "table"])
def test_holding_out_of_what_cannot_be_held_out_is_refused(make, name):
    folder = make({"t.csv": "image,caption\na.jpg,One\n"}, ["a.jpg"])
    line = refusal(datasets.build_reader, {"name": name, "dir": folder, "holdout": 5})
    assert line.startswith("config.dataset.holdout=5 must be 0 for ")


# --- lists that are none -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\n \n\r\n", "it is empty"),
        (b"\xff\xd8\xff\xe0\0\n", "1 lines that are not UTF-8 (first: "),
        (b"a.jpg\na.jpg#0\tA dog\n", "1 lines that are not one id (first: line 2)"),
    ],
)
def test_a_file_that_is_no_list_is_refused(make, read, content, reason):
    folder = make({"results.csv": RESULTS, "list.txt": content}, IMAGES)
    line = refusal(lambda: read("flickr30k", exclude=f"{folder}/list.txt"))
    assert line.startswith(f"config.dataset.exclude: {folder}/list.txt should have one image id")
    assert reason in line


def test_a_list_that_is_not_there_is_named(read):
    line = refusal(lambda: read("flickr30k", exclude="/nowhere/list.txt"))
    assert line == "config.dataset.exclude: there is no file /nowhere/list.txt"


def test_drawn_images_are_not_excluded(make, tmp_path):
    folder = make({"list.txt": "train-00000\n"})
    config = {"name": "shapes", "dir": folder, "exclude": f"{folder}/list.txt"}
    assert "drawn images have no published ids" in refusal(datasets.build_reader, config)


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.sampled_from([b"10", b".jpg", b"\n", b"_0123456789", b" "]) | st.binary()))
def test_random_bytes_exclude_images_or_are_a_user_error(make, read, pieces):
    folder = make({"results.csv": RESULTS, "list.txt": b"".join(pieces)}, IMAGES[:5])
    try:
        found, problems = read("flickr30k", exclude=f"{folder}/list.txt")
    except UserError as error:
        assert "list.txt" in str(error)
    else:
        assert len(found) + problems.counts["images excluded by list.txt"] == 5


# --- the digest ----------------------------------------------------------------------------------


def test_the_digest_is_of_what_the_lists_hold(make):
    folder = make({"a.txt": "1\n2\n", "b.txt": "2\r\n\n1", "c.txt": "1\n", "d.txt": "2\n"})
    one = selection.digest(f"{folder}/a.txt")
    assert one == selection.digest(f"{folder}/b.txt")
    assert one == selection.digest(f"{folder}/c.txt,{folder}/d.txt")
    assert one != selection.digest(f"{folder}/c.txt")
    assert selection.digest("") == selection.digest(" , ") == ""


def test_paths_are_separated_by_commas(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert selection.list_paths("~/a.txt, b.txt,,s3://x/c.txt") == [
        "/home/me/a.txt", "b.txt", "s3://x/c.txt",
    ]  # fmt: skip


def test_a_remote_list_is_read(make, read):
    folder = make({"results.csv": RESULTS}, IMAGES)
    memory_files.FILES["memory://lists/dev.txt"] = b"10\n"
    found, _ = read("flickr30k", dir=folder, exclude="memory://lists/dev.txt")
    assert len(found) == len(IMAGES) - 1
