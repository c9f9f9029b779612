"""Data sets and records in a bucket."""

from __future__ import annotations

import json

import landscapes
import memory_files
import outputs
import pytest

from beam_jobs import build_records
from imcap.errors import UserError

pytestmark = pytest.mark.usefixtures("bucket")


@pytest.fixture
def config(tmp_path, image_set):
    """Returns a function: the config of a job on the images, from a bucket into a bucket."""
    memory_files.upload(image_set, "memory://data/set")

    def make(**changes):
        return landscapes.make_records_config(
            tmp_path,
            "memory://data/set",
            records__dir="memory://out/records",
            **landscapes.VIEWS,
            **changes,
        )

    return make


def shards(contents: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in contents.items() if name.endswith(".tfrecord")}


def test_a_bucket_gets_the_bytes_of_a_local_job(built, config):
    build_records.build_records(config())
    found = memory_files.download("memory://out/records")
    assert shards(found) == shards(outputs.contents(built.records.dir))
    assert "COMPLETED" in found
    assert not [name for name in found if "tmp-" in name]


def test_a_sample_gives_the_same_bytes(config):
    build_records.build_records(config(records__limit=100))
    sample = shards(memory_files.download("memory://out/records"))
    build_records.build_records(config(), overwrite=True)
    assert shards(memory_files.download("memory://out/records")) == sample


def test_new_words_rewrite_the_tokens(config):
    build_records.build_records(config())
    before = shards(memory_files.download("memory://out/records"))
    # Were an image decoded again, it would fail now.
    memory_files.FILES["memory://data/set/00.jpg"] = b"no image"
    build_records.build_records(config(text__min_count=2))
    found = memory_files.download("memory://out/records")
    assert found["failures.jsonl"].strip() == b""
    after = shards(found)
    assert before.keys() == after.keys()
    assert before != after


def test_an_image_that_is_not_there_is_a_failure(config):
    del memory_files.FILES["memory://data/set/03.jpg"]
    build_records.build_records(config())
    found = memory_files.download("memory://out/records")
    (failure,) = map(json.loads, found["failures.jsonl"].splitlines())
    assert failure["image_id"] == "03.jpg"
    assert "there is no memory://data/set/03.jpg" in failure["reason"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("memory://data/none", "there is no folder memory://data/none"),
        ("nothing://data", "nothing://data/\\*\\*: cannot be read \\(Unable to get filesystem"),
    ],
)
def test_a_folder_that_is_not_there_is_refused(config, url, reason):
    with pytest.raises(UserError, match=reason):
        build_records.build_records(config(dataset__dir=url))
