"""The examples of docs/records.md read what imcap reads, without imcap."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from typing import Any

import landscapes
import numpy as np
import processes
import pytest

from beam_jobs import build_records
from imcap import input_pipeline, records

Rows = list[tuple[str, np.ndarray, list[bytes]]]


@pytest.fixture(scope="module", params=["float16", "uint8"])
def folder(request, landscape_data, tmp_path_factory) -> str:
    """Records whose features have one of the two kinds of dtypes."""
    if request.param == "float16":
        return str(landscape_data / "records")
    workdir = tmp_path_factory.mktemp("uint8")
    changes = {"records__dtype": "uint8", "records__dir": str(workdir / "records")}
    build_records.build_records(landscapes.make_config(workdir, landscape_data, **changes))
    return str(workdir / "records")


@pytest.fixture(scope="module")
def expected(folder) -> Rows:
    """The dev images as imcap reads them."""
    info = records.read_info(folder)
    (batch,) = input_pipeline.eval_dataset(folder, info, "dev", batch_size=100)
    image_ids = [image_id.decode() for image_id in batch["image_id"].numpy()]
    return list(zip(image_ids, batch["features"].numpy(), batch["captions"].to_list(), strict=True))


def example(text: str) -> dict[str, Any]:
    """Returns what the example that contains `text` defines."""
    page = (processes.ROOT / "docs" / "records.md").read_text(encoding="utf-8")
    (block,) = [b for b in re.findall(r"```python\n(.+?)```", page, re.DOTALL) if text in b]
    assert "imcap" not in block
    names: dict[str, Any] = {}
    exec(compile(block, text, "exec"), names)
    return names


def assert_same(found: Rows, expected: Rows) -> None:
    assert [image_id for image_id, *_ in found] == [image_id for image_id, *_ in expected]
    assert [captions for *_, captions in found] == [captions for *_, captions in expected]
    for (_, features, _), (_, as_imcap_reads, _) in zip(found, expected, strict=True):
        assert features.dtype == as_imcap_reads.dtype
        np.testing.assert_allclose(features, as_imcap_reads, rtol=1e-6)


@pytest.fixture
def read_records(monkeypatch) -> Any:
    """The module that the examples without TensorFlow import."""
    module = type(sys)("read_records")
    vars(module).update(example("def fields"))
    monkeypatch.setitem(sys.modules, "read_records", module)
    return module


def as_rows(examples: Iterator[tuple[Any, Any, Any]]) -> Rows:
    """Returns the rows that examples of TensorFlow give."""
    return [(i.numpy().decode(), f.numpy(), c.numpy().tolist()) for i, f, c in examples]


def test_tensorflow_datasets_opens_the_folder(folder, expected):
    assert_same(as_rows(example("tfds.builder_from_directory")["read"](folder, "dev")), expected)


def test_plain_tensorflow_reads_records(folder, expected):
    assert_same(as_rows(example("tf.data.TFRecordDataset")["read"](folder, "dev")), expected)


def test_plain_python_reads_records(folder, expected, read_records):
    assert_same(list(read_records.read(folder, "dev")), expected)


def test_jax_reads_batches_of_records(folder, expected, read_records):
    found = list(example("import jax")["batches"](folder, "dev", 4))
    assert [len(features) for _, features in found] == [4, 4, 1]
    assert [image_id for ids, _ in found for image_id in ids] == [row[0] for row in expected]
    features = np.concatenate([features for _, features in found])
    np.testing.assert_allclose(features, [row[1] for row in expected], rtol=1e-6)


if importlib.util.find_spec("torch"):  # The extra `torch`: its wheel is larger than all others.

    def test_pytorch_reads_records(folder, expected, read_records):
        found = list(example("import torch")["Records"](folder, "dev"))
        rows = [(i, features.numpy(), [c.encode() for c in cs]) for i, features, cs in found]
        assert_same(rows, expected)
