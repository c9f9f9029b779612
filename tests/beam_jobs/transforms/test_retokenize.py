"""Changed text settings cost no CNN work."""

from __future__ import annotations

import tensorflow as tf

from beam_jobs import build_records
from imcap import records, text


def _examples(config, split: str = "train") -> list[tf.train.Example]:
    info = records.read_info(config.records.dir)
    paths = [path for path, _ in records.shards(config.records.dir, info, split)]
    dataset = records.dataset(paths, info.compression)
    return [tf.train.Example.FromString(raw) for raw in dataset.as_numpy_iterator()]


def test_only_the_tokens_change(built):
    info = records.read_info(built.records.dir)
    paths = [path for path, _ in records.shards(built.records.dir, info, "dev")]
    tokenizer = text.Tokenizer(["[START]", "[END]", "image"], max_length=3)
    new = records.retokenize(records.dataset(paths, ""), tokenizer.encode)
    for before, raw in zip(_examples(built, "dev"), new, strict=True):
        after = tf.train.Example.FromString(raw)
        for key in ("image_id", "path", "features", "captions"):
            assert after.features.feature[key] == before.features.feature[key]
        lengths = after.features.feature["caption_lengths"].int64_list.value
        tokens = after.features.feature["caption_tokens"].int64_list.value
        assert sum(lengths) == len(tokens)
        assert set(tokens) <= {text.UNKNOWN, text.START, text.END, 4}


def test_another_vocabulary_gives_the_bytes_of_a_fresh_run(built, copy, image_set, tmp_path):
    changed = copy(text__min_count=3)
    before = _examples(changed)
    build_records.build_records(changed)
    fresh = tmp_path / "fresh"
    again = copy(text__min_count=3, records__dir=str(fresh))
    build_records.build_records(again)
    for name in [p.name for p in fresh.glob("*.tfrecord")] + [records.VOCABULARY]:
        assert (fresh / name).read_bytes() == (tmp_path / "records" / name).read_bytes(), name
    assert [e.features.feature["features"] for e in before] == [
        e.features.feature["features"] for e in _examples(changed)
    ]
    assert before != _examples(changed)
