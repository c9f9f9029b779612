"""Checkpoints: what is restored, and what is refused."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import keras
import landscapes
import numpy as np
import pytest
import tensorflow as tf
from refusals import refusal
from saved_checkpoints import make_checkpoints, make_decoder

from imcap import records
from imcap.decoders.base import Decoder
from imcap.errors import UserError
from imcap.training import checkpoints, epoch_checkpoints
from imcap.training.steps import TrainState


@pytest.fixture
def run(tmp_path, landscape_data):
    """The config of a run of which nothing is there yet but its records."""
    return landscapes.make_config(tmp_path, landscape_data)


@pytest.fixture(scope="module")
def info(landscape_data):
    return records.read_info(str(landscape_data / "records"))


def save(workdir: Path, decoder: Decoder, info: records.Info, name: str, step: int) -> str:
    """Saves a decoder as a training does; returns the checkpoint's path."""
    saved = make_checkpoints(workdir, decoder, info, step)
    saved.save_best() if name == "best" else saved.save_last()
    return checkpoints.find(str(workdir), name)


def assert_same_weights(one: Decoder, other: Decoder) -> None:
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


def test_the_best_weights_are_loaded_and_else_the_last(tmp_path, run, info):
    best, last = make_decoder(run, info, 1), make_decoder(run, info, 2)
    save(tmp_path, last, info, "last", 20)
    assert_same_weights(checkpoints.load_decoder(run.model, str(tmp_path), info), last)
    save(tmp_path, best, info, "best", 10)
    assert_same_weights(checkpoints.load_decoder(run.model, str(tmp_path), info), best)


def test_a_new_checkpoint_replaces_the_previous_one(tmp_path, run, info):
    decoder = make_decoder(run, info, 1)
    paths = [save(tmp_path, decoder, info, "last", step) for step in (5, 7)]
    assert [Path(path).name for path in paths] == ["last-5", "last-7"]
    folder = tmp_path / checkpoints.FOLDER / "last"
    assert sorted(path.name for path in folder.glob("*.index")) == ["last-7.index"]


def test_restore_returns_the_step_and_the_weights(tmp_path, run, info):
    decoder, other = make_decoder(run, info, 1), make_decoder(run, info, 2)
    save(tmp_path, decoder, info, "last", 20)
    assert make_checkpoints(tmp_path, other, info, 0).restore() == 20
    assert_same_weights(other, decoder)


def test_restore_without_a_checkpoint_returns_the_first_step(tmp_path, run, info):
    assert make_checkpoints(tmp_path, make_decoder(run, info, 1), info, 0).restore() == 0


def test_only_the_writing_process_writes(tmp_path, run, info):
    state = TrainState(
        make_decoder(run, info, 1), keras.optimizers.SGD(), tf.Variable(5, dtype=tf.int64),
        tf.Variable(tf.zeros([3])),
    )  # fmt: skip
    metadata = checkpoints.Metadata(info.vocabulary_digest, "float32")
    saved = checkpoints.Checkpoints(str(tmp_path), state, metadata, keep="all", write=False)
    saved.save_last()
    saved.save_epoch(1)
    assert not (tmp_path / checkpoints.FOLDER).exists()


def test_weights_of_another_vocabulary_are_refused(tmp_path, run, info):
    path = save(tmp_path, make_decoder(run, info, 1), info, "best", 10)
    other = dataclasses.replace(info, vocabulary_digest="0123456789abcdef")
    with pytest.raises(UserError, match=f"^{path} was trained with another vocabulary"):
        checkpoints.load_decoder(run.model, str(tmp_path), other)


def test_nothing_trained_is_an_error_that_names_the_folder(tmp_path, run, info):
    with pytest.raises(UserError, match=f"{tmp_path}/checkpoints holds no checkpoint: run `imcap"):
        checkpoints.load_decoder(run.model, str(tmp_path), info)


@pytest.mark.parametrize(
    "changes",
    [
        {"model__units": 8},
        {"model__embedding_size": 12},
        {"model__decoder": "inject"},
    ],
)
def test_weights_of_another_model_are_refused_in_one_line(
    tmp_path, landscape_data, run, info, changes
):
    path = save(tmp_path, make_decoder(run, info, 1), info, "best", 10)
    other = landscapes.make_config(tmp_path, landscape_data, **changes)
    with pytest.raises(UserError, match=r"does not fit config\.model") as caught:
        checkpoints.load_decoder(other.model, str(tmp_path), info)
    assert str(caught.value).startswith(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("size", [0, 100, 1000])
def test_a_corrupted_checkpoint_is_an_error_that_names_it(tmp_path, run, info, suffix, size):
    path = save(tmp_path, make_decoder(run, info, 1), info, "best", 10)
    os.truncate(path + suffix, size)
    with pytest.raises(UserError, match=f"^{path}"):
        checkpoints.load_decoder(run.model, str(tmp_path), info)


# --- the weights of epochs -----------------------------------------------------------------------


@pytest.fixture
def save_epochs(tmp_path, run, info):
    """Returns a function that keeps the weights of epochs as a training does; each epoch has 5
    steps, and the epoch's number is in all its weights."""

    def save_all(epochs, keep: str) -> None:
        decoder = make_decoder(run, info, 0)
        for epoch in epochs:
            for weight in decoder.weights:
                weight.assign(tf.fill(weight.shape, float(epoch)))
            make_checkpoints(tmp_path, decoder, info, 5 * epoch, keep).save_epoch(epoch)

    return save_all


@pytest.mark.parametrize(("keep", "kept"), [("all", [1, 2, 3, 4]), ("3", [2, 3, 4]), ("", [])])
def test_the_weights_of_all_or_of_the_last_epochs_stay(
    tmp_path, run, info, save_epochs, keep, kept
):
    save_epochs([1, 2, 3, 4], keep)
    assert epoch_checkpoints.kept(str(tmp_path)) == kept
    for epoch in kept:
        chosen = checkpoints.choose(str(tmp_path), str(epoch))
        assert chosen.name == f"epoch-{epoch}"
        decoder = checkpoints.load_decoder(run.model, str(tmp_path), info, chosen)
        assert all((weight.numpy() == epoch).all() for weight in decoder.weights)
        described = {"checkpoint": f"epoch-{epoch}", "epoch": epoch, "step": 5 * epoch}
        assert checkpoints.describe(str(tmp_path), chosen) == described


def test_an_epoch_s_weights_come_without_the_optimizer(tmp_path, save_epochs):
    save_epochs([1], "all")
    names = {name for name, _ in tf.train.list_variables(epoch_checkpoints.path(str(tmp_path), 1))}
    assert {name.split("/")[0] for name in names} == {
        "decoder", "metadata", "step", "_CHECKPOINTABLE_OBJECT_GRAPH",
    }  # fmt: skip


def test_a_smaller_number_removes_what_an_earlier_training_kept(tmp_path, save_epochs):
    save_epochs([1, 2, 3], "all")
    save_epochs([4], "2")
    assert epoch_checkpoints.kept(str(tmp_path)) == [3, 4]
    folder = tmp_path / checkpoints.FOLDER
    assert sorted(path.name for path in folder.iterdir()) == ["epoch-3", "epoch-4"]


def test_an_epoch_that_is_repeated_replaces_its_weights(tmp_path, save_epochs):
    save_epochs([1, 2, 2], "2")
    assert epoch_checkpoints.kept(str(tmp_path)) == [1, 2]


def test_what_a_killed_training_left_unfinished_does_not_count_and_is_removed(
    tmp_path, save_epochs
):
    save_epochs([1], "2")
    folder = tmp_path / checkpoints.FOLDER
    os.remove(folder / "epoch-1" / "weights.index")  # Removed halfway.
    (folder / "tmp-0123-epoch-2").mkdir()
    (folder / "tmp-0123-epoch-2" / "weights.index").write_bytes(b"half")
    assert epoch_checkpoints.kept(str(tmp_path)) == []
    save_epochs([2, 3], "2")
    assert sorted(path.name for path in folder.iterdir()) == ["epoch-2", "epoch-3"]


@pytest.mark.parametrize("wanted", ["4", "0", "-1", "1.5", "bets", "epoch-2", "²", ""])
def test_a_checkpoint_that_is_not_there_is_refused_with_a_list(tmp_path, run, info, wanted):
    decoder = make_decoder(run, info, 0)
    make_checkpoints(tmp_path, decoder, info, 10, "all").save_epoch(2)
    save(tmp_path, decoder, info, "last", 10)
    line = refusal(checkpoints.choose, str(tmp_path), wanted)
    assert line.startswith(f"--checkpoint={wanted}: {tmp_path}/checkpoints holds last, 2 (")


def test_best_is_the_last_where_none_was_scored_and_last_is_the_last(tmp_path, run, info):
    decoder = make_decoder(run, info, 0)
    path = save(tmp_path, decoder, info, "last", 20)
    assert checkpoints.choose(str(tmp_path), "best") == ("last", path)
    save(tmp_path, decoder, info, "best", 10)
    assert checkpoints.choose(str(tmp_path), "best").name == "best"
    assert checkpoints.choose(str(tmp_path), "last") == ("last", path)


def test_the_epoch_of_a_step_is_that_of_the_history(tmp_path, run, info):
    save(tmp_path, make_decoder(run, info, 0), info, "last", 12)
    chosen = checkpoints.choose(str(tmp_path))
    assert checkpoints.describe(str(tmp_path), chosen) == {"checkpoint": "last", "step": 12}
    for step, epoch in ((15, 0), (10, 2)):
        (tmp_path / "history.csv").write_text(f"epoch,step\n{step // 5},{step}\n")
        assert checkpoints.describe(str(tmp_path), chosen)["epoch"] == epoch


def test_the_disk_that_the_weights_take_is_logged(tmp_path, run, info, logged):
    decoder = make_decoder(run, info, 0)
    for keep in ("", "3", "all"):
        make_checkpoints(tmp_path, decoder, info, 0, keep).log_disk_use(8)
    size = sum(weight.numpy().nbytes for weight in decoder.weights) / 1e6
    where = f"epochs in {tmp_path}/checkpoints"
    assert logged() == [
        f"keeps the weights of the last 3 {where}: 3 x {size:.1f} MB = {3 * size:.0f} MB",
        f"keeps the weights of all {where}: 8 x {size:.1f} MB = {8 * size:.0f} MB",
    ]
