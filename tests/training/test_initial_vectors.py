"""A run that starts from word vectors: what is trained, what is kept, and what is covered."""

from __future__ import annotations

import collections
import json
from pathlib import Path

import landscapes
import numpy as np
import pytest
import training_steps
from ml_collections import ConfigDict
from refusals import refusal

from imcap import config as config_lib
from imcap import datasets, input_pipeline, records, text, train
from imcap.decoders.base import Decoder
from imcap.decoders.word_vectors import WordVectors
from imcap.reports import model_card
from imcap.training import checkpoints, initial_vectors, strategies
from imcap.training.checkpoints import Checkpoints, Metadata

WORDS = ("sky", "grass", "sand", "snow", "wide")  # Those of the vocabulary that have a vector.
SIZE = 16


def write_vectors(path: Path, seed: int = 0) -> np.ndarray:
    """Writes vectors of WORDS and of a word of no caption; returns those of WORDS."""
    rows = np.random.default_rng(seed).normal(0, 0.3, (len(WORDS) + 1, SIZE)).astype(np.float32)
    lines = [
        " ".join([word, *map(repr, row.tolist())])
        for word, row in zip((*WORDS, "zebra"), rows, strict=True)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return rows[:-1]


def make_config(workdir: Path, data: Path, **changes: object) -> ConfigDict:
    values = {"model__word_vectors": "{workdir}/words.txt", "train__epochs": 1} | changes
    return landscapes.make_config(workdir, data, **values)


def read(config: ConfigDict, workdir: Path) -> WordVectors | None:
    folder = config.records.dir
    return initial_vectors.read(config, str(workdir), folder, records.read_info(folder))


def create_state(config: ConfigDict, vectors: WordVectors | None, strategy: str = "none"):
    info = records.read_info(config.records.dir)
    return train.create_state_from_config(config, info, strategies.build(strategy), vectors=vectors)


def rows_of_words(config: ConfigDict) -> list[int]:
    info = records.read_info(config.records.dir)
    words = records.read_tokenizer(config.records.dir, info).words.tolist()
    return [words.index(word) for word in WORDS]


def values(decoder: Decoder) -> dict[str, np.ndarray]:
    return {weight.name: np.array(weight) for weight in decoder.weights}


@pytest.fixture(scope="module")
def frozen_run(landscape_data, tmp_path_factory) -> Path:
    """The workdir of a run of one epoch with a frozen embedding."""
    workdir = tmp_path_factory.mktemp("frozen")
    write_vectors(workdir / "words.txt")
    config = make_config(
        workdir, landscape_data, model__train_word_vectors=False, train__eval_images=1
    )
    train.train_and_evaluate(config, str(workdir), "none")
    return workdir


def test_frozen_vectors_stay_while_all_other_weights_move(frozen_run, landscape_data, tmp_path):
    expected = write_vectors(tmp_path / "words.txt")
    config = make_config(frozen_run, landscape_data, model__train_word_vectors=False)
    before = values(create_state(config, None).decoder)
    (frozen_run / "words.txt").unlink()  # Nothing but the start of a training reads it.
    info = records.read_info(config.records.dir)
    decoder = checkpoints.load_decoder(config.model, str(frozen_run), info)
    after = values(decoder)
    np.testing.assert_array_equal(after["embedding"][rows_of_words(config)], expected)
    others = np.setdiff1d(np.arange(len(before["embedding"])), rows_of_words(config))
    np.testing.assert_array_equal(after["embedding"][others], before["embedding"][others])
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == before.keys()


def test_a_frozen_embedding_has_no_slots_in_the_optimizer(tmp_path, landscape_data):
    write_vectors(tmp_path / "words.txt")
    trained = create_state(make_config(tmp_path, landscape_data), None)
    config = make_config(tmp_path, landscape_data, model__train_word_vectors=False)
    frozen = create_state(config, None)
    shapes = collections.Counter(tuple(v.shape) for v in trained.optimizer.variables)
    shapes.subtract(tuple(v.shape) for v in frozen.optimizer.variables)
    assert +shapes == {tuple(trained.decoder.embedding.shape): 2}  # Adam's two moments.


@pytest.mark.parametrize("strategy", ["none", "mirrored"])
def test_trained_vectors_start_from_the_file_and_move(tmp_path, landscape_data, strategy):
    expected = write_vectors(tmp_path / "words.txt")
    config = make_config(tmp_path, landscape_data)
    state = create_state(config, read(config, tmp_path), strategy)
    rows = rows_of_words(config)
    np.testing.assert_array_equal(np.array(state.decoder.embedding)[rows], expected)
    if strategy == "none":
        info = records.read_info(config.records.dir)
        dataset = input_pipeline.eval_dataset(config.records.dir, info, "train", batch_size=9)
        batch = {key: value for key, value in next(iter(dataset)).items() if key != "captions"}
        step = training_steps.build_train_step(config, state, batch)
        step(batch)
        step(batch)  # The learning rate of the first step is zero.
        assert (np.array(state.decoder.embedding)[rows] != expected).any(axis=1).all()


@pytest.mark.parametrize("is_trained", [True, False])
def test_a_continued_run_keeps_its_vectors_whatever_the_file_holds_now(
    tmp_path, landscape_data, is_trained
):
    path = tmp_path / "words.txt"
    expected = write_vectors(path)
    config = make_config(tmp_path, landscape_data, model__train_word_vectors=is_trained)
    state = create_state(config, read(config, tmp_path))
    state.step.assign(5)  # All steps of the epoch.
    metadata = Metadata(records.read_info(config.records.dir).vocabulary_digest, "float32")
    Checkpoints(str(tmp_path), state, metadata).save_last()
    write_vectors(path, seed=1)
    again = train.train_and_evaluate(config, str(tmp_path), "none").decoder
    np.testing.assert_array_equal(np.array(again.embedding)[rows_of_words(config)], expected)
    path.write_text("garbage", encoding="utf-8")
    train.train_and_evaluate(config, str(tmp_path), "none")


def test_a_trained_run_refuses_another_file(frozen_run, landscape_data):
    config = make_config(frozen_run, landscape_data, model__train_word_vectors=False)
    config_lib.check_run(config, str(frozen_run))
    config = make_config(
        frozen_run, landscape_data, model__word_vectors="b.vec", model__train_word_vectors=False
    )
    line = refusal(config_lib.check_run, config, str(frozen_run))
    assert "was trained with model.word_vectors=" in line and "now 'b.vec'" in line


def test_vectors_that_cannot_be_used_are_refused_before_anything_is_written(
    tmp_path, landscape_data
):
    config = make_config(tmp_path / "run", landscape_data)
    line = refusal(train.train_and_evaluate, config, str(tmp_path / "run"), "none")
    assert line.startswith(f"{tmp_path}/run/words.txt cannot be read")
    assert not (tmp_path / "run").exists()


def test_the_coverage_is_logged_and_kept_in_the_run(tmp_path, landscape_data, caplog):
    write_vectors(tmp_path / "words.txt")
    config = make_config(tmp_path, landscape_data)
    with caplog.at_level("INFO", "absl"):
        read(config, tmp_path)
    coverage = json.loads((tmp_path / "word_vectors.json").read_text(encoding="utf-8"))
    rows = datasets.build_reader(config.dataset).read(datasets.Problems())
    captions = [caption for row in rows if row.split == "train" for caption in row.captions]
    counts = text.count_words(captions)
    missing = [word for word, _ in counts.most_common() if word not in WORDS]
    named = coverage.pop("most_frequent_missing")
    assert named[:2] == missing[:2]
    covered = sum(counts[word] for word in WORDS)
    assert coverage == {
        "file": "words.txt",
        "trained": True,
        "words": len(counts),
        "covered_words": 5,
        "composed_words": 0,
        "share_of_words": 5 / len(counts),
        "running_words": counts.total(),
        "covered_running_words": covered,
        "share_of_running_words": covered / counts.total(),
    }
    line = initial_vectors.describe_run(str(tmp_path))
    assert f"word vectors: {line}; most frequent without one: {', '.join(named)}" in caplog.messages
    assert line.startswith(f"words.txt, trained; vectors for 5 of {len(counts)} words")


def test_words_outside_of_the_vocabulary_count_as_not_covered():
    vectors = WordVectors(np.array([5]), np.zeros((1, 2), np.float32), np.array([True]))
    counts = np.array([0, 6, 10, 10, 2, 12])  # Padding, unknown, start, end, two words.
    coverage = initial_vectors.measure_coverage(vectors, ["rare", "dog"], counts)
    assert coverage["share_of_running_words"] == 12 / 20
    assert coverage["share_of_words"] == 1 / 2
    assert coverage["composed_words"] == 1
    assert coverage["most_frequent_missing"] == ["rare"]


def test_the_model_card_names_the_vectors(frozen_run, landscape_data):
    config = make_config(frozen_run, landscape_data)
    line = initial_vectors.describe_run(str(frozen_run))
    info = records.read_info(config.records.dir)
    without = model_card.Member("last", config.model, 1, 0, {"checkpoint": "last", "step": 1})
    settings = {"decode": config.decode, "scores": {}}
    card = model_card.render(info, members=[without._replace(word_vectors=line)], **settings)
    assert f"| word vectors | {line} |" in card.splitlines()
    assert "words.txt, frozen; vectors for 5 of" in line
    assert "word vectors" not in model_card.render(info, members=[without], **settings)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"file": "a", "composed_words": 0}'])
def test_an_unreadable_coverage_is_left_out_of_the_card(tmp_path, content):
    assert initial_vectors.describe_run(str(tmp_path)) == ""
    (tmp_path / "word_vectors.json").write_text(content, encoding="utf-8")
    assert initial_vectors.describe_run(str(tmp_path)) == ""
