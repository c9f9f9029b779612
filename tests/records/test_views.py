"""One view of a record is parsed."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from landscapes import VIEW_KEYS
from record_infos import CHANNELS, POSITIONS, make_info

from imcap import records
from imcap.records import corruption


def make_record(dtype: str = "", keys=VIEW_KEYS) -> bytes:
    views = [np.full((POSITIONS, CHANNELS), n, np.float16) for n, _ in enumerate(keys)]
    tokens = [np.array([2, 5, 3]), np.array([2, 3])]
    return records.serialize("a", "b.jpg", views, ["Ä dog", ""], tokens, keys=keys, dtype=dtype)


def parse_view(record: bytes, number: int, dtype: str = "float16") -> dict[str, np.ndarray]:
    """The view as a batch of one."""
    info = make_info(dtype)
    dataset = tf.data.Dataset.from_tensors(record).map(
        lambda record: records.parse_view(record, info, VIEW_KEYS, tf.constant(number))
    )
    (packed,) = dataset.padded_batch(1)
    return records.unpack(packed, info)


@pytest.mark.parametrize("dtype", ["float16", records.QUANTIZED])
@pytest.mark.parametrize("number", range(len(VIEW_KEYS)))
def test_a_view_is_parsed_alone(dtype, number):
    record = make_record(dtype)
    found = parse_view(record, number, dtype)
    expected = records.parse(tf.constant([record]), make_info(dtype), VIEW_KEYS[number])
    assert {*found} == {"image_id", "features", "tokens"}
    assert found["image_id"].numpy().tolist() == [b"a"]
    np.testing.assert_array_equal(found["features"], expected["features"])
    assert found["tokens"].to_list() == expected["tokens"].to_list() == [[[2, 5, 3], [2, 3]]]


@pytest.mark.parametrize("content", [b"", b"garbage", make_record()[:100]])
def test_what_is_no_record_is_refused(content):
    with pytest.raises(corruption.ERRORS):
        parse_view(content, 0)
