"""The captioning job: every image is in its output once, however often the job is killed."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import grey_model
import landscapes
import memory_files
import processes
import pytest
from refusals import refusal

from beam_jobs import caption_images, captions_folder
from imcap.serving import caption_files, model_metadata
from imcap.serving.captioner import Captioner

PART_SIZE = 2
NUM_IMAGES = 20
BAD = "03.jpg"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 20 files, all but `03.jpg` good images; must stay unchanged."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(NUM_IMAGES):
        landscapes.draw(number).save(folder / f"{number:02d}.jpg")
    (folder / BAD).write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def unbroken(images: Path, landscape_export: Path, tmp_path_factory) -> Path:
    """The output of a job that ran through."""
    out = tmp_path_factory.mktemp("unbroken") / "captions.jsonl"
    assert processes.run_fork(*command(images, landscape_export, out)).status == 1
    return out


def command(images: Path, model: Path, out: Path) -> list[str]:
    """What a user types after `imcap`. The command lets oneDNN pack the weights, which rounds
    scores a little differently than this process does."""
    flags = (f"--model={model}", f"--out={out}", f"--part_size={PART_SIZE}")
    return ["caption", str(images), *flags]


def caption(images: object, model: object, out: object, *beam_args: str, **options: object):
    """Runs the job with small parts."""
    options = {"part_size": PART_SIZE, **options}
    return caption_images.caption_images(
        [str(images)], str(model), str(out), beam_args, **options
    )  # fmt: skip


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def part_files(out: Path) -> dict[str, tuple[int, int]]:
    """Inode and mtime of each finished part by name: they change when it is written again."""
    paths = Path(captions_folder.parts_folder(str(out))).glob("part-*")
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def test_captions_are_those_of_the_model_in_the_order_of_the_listing(
    unbroken, images, landscape_export
):
    captioner = Captioner(landscape_export)
    expected = list(caption_files.caption_paths(captioner, caption_files.find_images([images])))
    good = [result for result in expected if result.error is None]
    found = lines(unbroken)
    assert [line["path"] for line in found] == [result.path for result in good]
    assert [line["caption"] for line in found] == [result.caption for result in good]
    assert [line["score"] for line in found] == pytest.approx([r.score for r in good], abs=1e-5)
    (failure,) = lines(Path(captions_folder.failures_path(str(unbroken))))
    assert failure["path"] == str(images / BAD)
    assert failure["reason"].startswith("truncated") or "not a JPEG" in failure["reason"]


def test_a_job_that_is_killed_again_and_again_gives_the_bytes_of_an_unbroken_one(
    unbroken, images, landscape_export, tmp_path
):
    folder, out = images.parent / "killed", tmp_path / "captions.jsonl"
    shutil.copytree(images, folder)
    # Nobody writes to these files: the job waits at each until it is killed.
    held = [folder / f"{number:02d}.jpg" for number in (9, 18)]
    for path in held:
        path.unlink()
        os.mkfifo(path)
    typed, log = command(folder, landscape_export, out), str(tmp_path / "log")
    for path, finished_parts in zip(held, (2, 6), strict=True):
        job = processes.fork(processes.run_command_in_fork, typed, log, log)
        wait_for(lambda n=finished_parts: len(part_files(out)) >= n)
        kept = part_files(out)
        job.kill()
        job.join()
        assert not out.exists()
        path.unlink()
        shutil.copy(images / path.name, path)
    finished = processes.run_fork(*typed)
    assert (finished.status, finished.out.splitlines()[0]) == (
        1, f"{out}: {NUM_IMAGES - 1} images captioned, 1 failed"
    )  # fmt: skip
    assert kept.items() <= part_files(out).items()
    expected = unbroken.read_bytes().replace(bytes(images), bytes(folder))
    assert out.read_bytes() == expected
    assert len({line["path"] for line in lines(out)}) == NUM_IMAGES - 1
    failures = [Path(captions_folder.failures_path(str(path))) for path in (unbroken, out)]
    assert lines(failures[1])[0]["reason"] == lines(failures[0])[0]["reason"]


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_two_worker_processes_give_the_same_bytes(unbroken, images, landscape_export, tmp_path):
    out = tmp_path / "captions.jsonl"
    workers = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    finished = processes.run_fork(*command(images, landscape_export, out), *workers)
    assert finished.status == 1, finished.err
    assert f"{NUM_IMAGES - 1} images captioned, 1 failed" in finished.out
    assert out.read_bytes() == unbroken.read_bytes()


@pytest.fixture
def copied(unbroken: Path, images: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Copies of the images and of what the finished job has written about them."""
    folder, out = tmp_path / "images", tmp_path / "captions.jsonl"
    shutil.copytree(images, folder)
    return folder, out


def test_a_second_run_does_what_has_changed(copied, landscape_export):
    folder, out = copied
    summary = caption(folder, landscape_export, out)
    assert summary.captioned == NUM_IMAGES - 1 and sum(summary.reasons.values()) == 1
    before, content = part_files(out), out.read_bytes()
    out.unlink()
    caption(folder, landscape_export, out)
    assert part_files(out) == before and out.read_bytes() == content
    landscapes.draw(3).save(folder / BAD)  # It can be read now.
    landscapes.draw(7).save(folder / "99.jpg")
    assert caption(folder, landscape_export, out) == (NUM_IMAGES + 1, 0, {})
    changed = {name for name, file in part_files(out).items() if before.get(name) != file}
    assert changed == {"part-0000001.txt", "part-0000010.txt"}
    names = [os.path.basename(line["path"]) for line in lines(out)]
    assert names == [f"{number:02d}.jpg" for number in range(NUM_IMAGES)] + ["99.jpg"]


def test_sidecars_lie_beside_the_images(copied, landscape_export):
    folder, out = copied
    (folder / "00.txt").write_text("by hand")
    summary = caption(folder, landscape_export, out, sidecar=True, top=2)
    assert summary.failed == 2
    assert (folder / "00.txt").read_text() == "by hand"
    assert not (folder / "03.txt").exists()
    found = lines(out)
    assert len(found) == NUM_IMAGES - 2
    for line in found:
        sidecar = Path(line["path"]).with_suffix(".txt")
        assert sidecar.read_text().splitlines() == [a["caption"] for a in line["alternatives"]]
    summary = caption(folder, landscape_export, out, sidecar=True, top=2, overwrite=True)
    assert summary.failed == 1
    assert len((folder / "00.txt").read_text().splitlines()) == 2


def test_a_bucket_gets_the_captions_of_a_local_job(unbroken, images, landscape_export, bucket):
    memory_files.upload(images, "memory://data/set")
    out = "memory://out/captions.jsonl"
    assert caption("memory://data/set", landscape_export, out).captioned == NUM_IMAGES - 1
    found = [json.loads(line) for line in memory_files.FILES[out].splitlines()]
    local = [(line["path"], line["caption"]) for line in lines(unbroken)]
    names = [(line["path"].replace("memory://data/set", str(images))) for line in found]
    assert list(zip(names, [line["caption"] for line in found], strict=True)) == local
    assert not [name for name in memory_files.FILES if "tmp-" in name]


def test_another_model_or_other_settings_are_refused_before_any_work(
    copied, landscape_export, tmp_path
):
    folder, out = copied
    caption(folder, landscape_export, out)
    before = part_files(out)
    other = shutil.copytree(landscape_export, tmp_path / "other")
    (other / "assets" / "more.txt").write_text("of another run")
    hint = ": --overwrite starts over, another --out=FILE keeps both"
    assert refusal(caption, folder, other, out) == f"{out} was begun with another model{hint}"
    metadata = json.loads((other / model_metadata.PATH).read_text())
    metadata["decode"]["beam_size"] = 9
    (other / model_metadata.PATH).write_text(json.dumps(metadata))
    assert "was begun with decode.beam_size=" in refusal(caption, folder, other, out)
    message = refusal(caption, folder, landscape_export, out, part_size=3)
    assert message == f"{out} was begun with output.part_size=2, now 3{hint}"
    assert part_files(out) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0}, "--top=0: must be at least 1"),
        ({"top": 99}, "--top=99: this model gives"),
        ({"part_size": 0}, "--part_size=0: must be at least 1"),
        ({"images": "gone"}, "gone: no such file or folder"),
        ({"model": "gone"}, "gone: no such folder"),
        ({"out": "a.txt"}, "--out=a.txt: the name must end in"),
    ],
)
def test_a_mistake_is_refused_and_nothing_is_written(
    images, landscape_export, tmp_path, options, message
):
    given = {"images": images, "model": landscape_export, "out": tmp_path / "a.csv", **options}
    assert refusal(caption, **given).startswith(message)
    assert os.listdir(tmp_path) == []


def test_an_export_of_an_earlier_version_is_refused(images, landscape_export, tmp_path):
    model = grey_model.export(tmp_path / "1")
    assert "export the model again" in refusal(caption, images, model, tmp_path / "a.csv")
    (tmp_path / "1" / model_metadata.PATH).parent.mkdir()
    shutil.copy(landscape_export / model_metadata.PATH, tmp_path / "1" / model_metadata.PATH)
    message = refusal(caption, images, model, tmp_path / "a.csv")
    assert message == f"{model}: an earlier imcap exported it: export it again"
    assert os.listdir(tmp_path) == ["1"]
