"""A folder with records: finished shards are kept, all else is made again."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

import landscapes
import outputs
import processes
import pytest

from beam_jobs import build_records, records_folder
from imcap import encoders, hashing, records, text
from imcap.datasets import selection
from imcap.errors import UserError


def test_a_finished_folder_stays_unchanged(built, copied_config, capsys):
    config = copied_config()
    before = outputs.identities(config.records.dir)
    build_records.build_records(config)
    assert outputs.identities(config.records.dir) == before
    assert outputs.contents(config.records.dir) == outputs.contents(built.records.dir)
    assert "reused=24" in capsys.readouterr().err


def test_only_missing_or_corrupted_shards_are_rebuilt(built, copied_config):
    config = copied_config()
    folder = Path(config.records.dir)
    names = [
        records.shard_name(split, shard, 2)
        for split in ("dev", "test", "train")
        for shard in (0, 1)
    ]
    (folder / names[0]).unlink()
    (folder / "shards/dev-00001.json").unlink()
    report = (folder / "shards/test-00000.json").read_text()
    (folder / "shards/test-00000.json").write_text(report[: len(report) // 2])
    (folder / "shards/test-00001.json").write_text('["not", "a", "report"]')
    (folder / names[4]).write_bytes((folder / names[4]).read_bytes()[:-1])
    for leftover in (f"tmp-1-{names[0]}", "tmp-2-info.json", "shards/tmp-3-dev-00001.json"):
        (folder / leftover).write_text("half")
    (folder / "COMPLETED").unlink()
    before = outputs.identities(folder)
    build_records.build_records(config)
    after = outputs.identities(folder)
    assert [name for name in names if after[name] == before.get(name)] == [names[5]]
    assert outputs.contents(folder) == outputs.contents(built.records.dir)


def test_a_folder_without_the_file_completed_is_not_finished(copied_config):
    config = copied_config()
    Path(config.records.dir, "COMPLETED").unlink()
    with pytest.raises(UserError, match="holds no finished records: run `imcap records`"):
        records.read_info(config.records.dir)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder__image_size": 48}, "preprocessing.image_size=32, now 48"),
        ({"encoder__max_pixels": 10}, "preprocessing.max_pixels=100000000, now 10"),
        ({"encoder__pooling": "avg"}, "encoder.pooling='spatial', now 'avg'"),
        ({"encoder__seed": 1}, "encoder.weights_digest="),
        ({"records__dtype": "float32"}, "records.dtype='float16', now 'float32'"),
        ({"records__flip": False}, "records.flip=True, now False"),
        ({"records__crops": 1}, "records.crops=2, now 1"),
        ({"records__crops": 0, "seed": 1}, "records.crops=2, now 0"),
        ({"seed": 1}, "config.seed=0, now 1"),
        ({"records__num_shards": 3}, "records.num_shards=2, now 3"),
    ],
)
def test_other_settings_are_refused_by_name(built, copied_config, changes, message):
    config = copied_config(**changes)
    with pytest.raises(UserError) as refused:
        build_records.build_records(config)
    assert message in str(refused.value) and "\n" not in str(refused.value)
    assert outputs.contents(config.records.dir) == outputs.contents(built.records.dir)


def test_another_list_of_excluded_images_is_refused_and_a_moved_one_is_not(
    built, copied_config, tmp_path
):
    paths = {name: tmp_path / f"{name}.txt" for name in ("one", "moved", "other")}
    for name, content in (("one", "00\n03\n"), ("moved", "03\n00"), ("other", "00\n")):
        paths[name].write_text(content)
    changes = {"dataset__exclude": str(paths["one"]), "records__num_shards": 1}
    with pytest.raises(
        UserError, match=r"made with dataset\.exclude='', now '[0-9a-f]{32}': --over"
    ):
        build_records.build_records(copied_config(dataset__exclude=str(paths["one"])))
    config = copied_config(**changes)
    info = build_records.build_records(config, overwrite=True)
    assert info.counts["kept"] == sum(landscapes.SPLITS.values()) - 2
    assert info.problems["images excluded by one.txt"]["count"] == 2
    assert info.dataset["exclude"] == selection.digest(str(paths["one"]))
    before = outputs.identities(config.records.dir)
    build_records.build_records(
        copied_config(**changes | {"dataset__exclude": str(paths["moved"])})
    )
    assert outputs.identities(config.records.dir) == before
    for exclude in ("", str(paths["other"])):
        with pytest.raises(UserError, match=r"dataset\.exclude='[0-9a-f]{32}', now '"):
            build_records.build_records(copied_config(**changes | {"dataset__exclude": exclude}))


def test_records_of_a_version_without_exclusions_are_continued(built, copied_config):
    config = copied_config()
    path = Path(config.records.dir, "shards", "settings.json")
    settings = json.loads(path.read_text())
    assert settings.pop("dataset") == {"exclude": ""}
    path.write_text(json.dumps(settings))
    assert build_records.build_records(config).counts["kept"] == sum(landscapes.SPLITS.values())


def test_records_of_a_version_without_crops_are_continued_with_any_seed(tmp_path, image_set):
    def settings(**changes):
        config = landscapes.make_records_config(tmp_path, image_set, **changes)
        return build_records.records_settings(config, encoders.build(config.encoder))

    old = settings()
    assert old["records"].pop("crops") == 0
    records_folder.check_settings("DIR", old, settings(seed=1))
    with pytest.raises(UserError, match=r"made with records\.crops=None, now 1: --over"):
        records_folder.check_settings("DIR", old, settings(records__crops=1))


def test_overwrite_starts_over_and_keeps_other_files(built, copied_config):
    config = copied_config(records__crops=0, records__num_shards=1)
    notes = Path(config.records.dir, "notes.txt")
    notes.write_text("mine")
    build_records.build_records(config, overwrite=True)
    info = records.read_info(config.records.dir)
    assert {split: info.num_images(split) for split in info.splits} == landscapes.SPLITS
    names = {path.name for path in Path(config.records.dir).glob("*.tfrecord")}
    assert names == {f"{split}-00000-of-00001.tfrecord" for split in landscapes.SPLITS}
    assert notes.read_text() == "mine"


def test_a_new_vocabulary_setting_gives_new_tokens(built, copied_config):
    config = copied_config(text__min_count=2)
    build_records.build_records(config)
    lines = Path(config.records.dir, "vocab.txt").read_text().splitlines()
    assert "sky" in lines and "15" not in lines
    info = records.read_info(config.records.dir)
    assert info.text["vocabulary_size"] == len(lines) + 2
    assert info.vocabulary_digest == hashing.digest_of(lines)
    old = outputs.examples(built.records.dir, "train")
    new = outputs.examples(config.records.dir, "train")
    for before, after in zip(old, new, strict=True):
        for key in ("image_id", "features", "captions"):
            assert outputs.values(after, key) == outputs.values(before, key)
        assert text.UNKNOWN not in outputs.values(before, "caption_tokens")
        assert text.UNKNOWN in outputs.values(after, "caption_tokens")


def test_another_vocabulary_gives_the_bytes_of_a_fresh_job(copied_config, tmp_path):
    changed = copied_config(text__min_count=3)
    build_records.build_records(changed)
    fresh = copied_config(text__min_count=3, records__dir=str(tmp_path / "fresh"))
    build_records.build_records(fresh)
    names = [*outputs.identities(fresh.records.dir), records.VOCABULARY]
    again, anew = (outputs.contents(config.records.dir) for config in (changed, fresh))
    assert {name: again[name] for name in names} == {name: anew[name] for name in names}


def test_images_removed_from_the_data_set_leave_the_records(tmp_path):
    data = landscapes.write_images(tmp_path / "data")
    rows = [("00.jpg", "train", "A dog"), ("01.jpg", "dev", "A cat")]
    landscapes.write_table(data, [*rows, ("02.jpg", "dev", "A bird"), ("03.jpg", "test", "A fox")])
    config = landscapes.make_records_config(tmp_path, data, records__num_shards=1)
    build_records.build_records(config)
    before = outputs.identities(config.records.dir)
    landscapes.write_table(data, rows)
    build_records.build_records(config)
    after = outputs.identities(config.records.dir)
    assert sorted(after) == ["dev-00000-of-00001.tfrecord", "train-00000-of-00001.tfrecord"]
    assert [name for name in after if after[name] == before[name]] == [sorted(after)[1]]
    info = records.read_info(config.records.dir)
    assert (info.num_images("train"), info.num_images("dev")) == (1, 1)
    (left,) = outputs.examples(config.records.dir, "dev")
    assert outputs.values(left, "image_id") == [b"01.jpg"]


def test_a_killed_job_continues_to_the_same_bytes(built, image_set, tmp_path):
    config = landscapes.make_records_config(tmp_path, image_set, **landscapes.VIEWS)
    folder, rng = Path(config.records.dir), random.Random(0)
    for finished in (0, 1, 3):
        process = processes.fork(build_records.build_records, config)
        _wait_for(process, folder, finished)
        time.sleep(rng.uniform(0, 0.005))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not (folder / "COMPLETED").exists()
    build_records.build_records(config)
    assert outputs.contents(folder) == outputs.contents(built.records.dir)


def _wait_for(process, folder: Path, finished: int) -> None:
    """Waits until so many shards are finished and another one is being written."""
    while process.is_alive():
        reports = list(folder.glob("shards/*-0000?.json"))
        if len(reports) >= finished and list(folder.glob("tmp-*.tfrecord")):
            return
        time.sleep(0.001)
