"""`imcap bench notebook`: what is compared, on which terms, and the notebook's own captioner."""

from __future__ import annotations

import landscapes
import numpy as np
import pytest
from refusals import refusal

from configs import shapes
from imcap import config as config_lib
from imcap import filesystem
from imcap.benchmarks import keras_notebook, notebook, notebook_peers

FEATURES = {"a": np.full((1, 3), 1.0, np.float32), "b": np.full((1, 3), 2.0, np.float32)}
CAPTIONS = {"a": ["A dog's ball!"], "b": ["Two T-shirts"]}


@pytest.fixture
def drawn_config():
    """A config of a few drawn images."""
    config = shapes.get_config("tiny")
    config.encoder.weights = ""
    config.dataset.size = 30
    return config


class Process:
    """Stands in for the processes that measure: the notebook takes four times as much as imcap.

    Attributes:
      phases: (contender, phase), in the order of the calls.
      config: the last call's.
      captions: of each split, by image.
    """

    def __init__(self):
        self.phases = []

    def __call__(self, module, contender, phase, workdir):
        assert module == notebook_peers.__name__
        self.phases.append((contender, phase))
        self.config = config_lib.resolve(config_lib.read(workdir), workdir)
        self.captions = {
            split: notebook_peers.read_captions(self.config, split) for split in ("train", "dev")
        }
        path = notebook_peers.predicted_path(workdir, contender)
        filesystem.write_json(path, [found[0] for found in self.captions["dev"].values()])
        keys = ("seconds", "peak_mb", "bytes", "captions_per_second", "seconds_per_caption",
                "batched_seconds_per_caption")  # fmt: skip
        return dict.fromkeys(keys, 1.0 if contender == "imcap" else 4.0)


def test_every_figure_has_a_row_of_both_contenders_and_a_ratio(drawn_config):
    rows = notebook.benchmark_notebook(drawn_config, 2, repeats=2, run=Process())
    assert len(rows) >= 20
    for ours, theirs in zip(rows[::2], rows[1::2], strict=True):
        assert ours.name == theirs.name.replace("notebook", "imcap")
        assert ours.unit == theirs.unit and theirs.ratio is None
        assert ours.ratio == pytest.approx(0.25 if ours.unit else 1.0)


def test_contenders_take_turns_in_every_phase_of_every_run(drawn_config):
    process = Process()
    notebook.benchmark_notebook(drawn_config, 2, repeats=2, run=process)
    order = [(name, phase) for phase in notebook_peers.PHASES for name in notebook.CONTENDERS]
    assert process.phases == 2 * order


def test_both_sides_get_the_first_images_one_vector_each_and_greedy_captions(drawn_config):
    process = Process()
    drawn_config.decode.beam_size = 5
    notebook.benchmark_notebook(drawn_config, 2, repeats=1, run=process)
    assert {split: len(images) for split, images in process.captions.items()} == {
        "train": 2, "dev": 2
    }  # fmt: skip
    assert process.config.encoder.pooling == "avg"
    assert process.config.decode.beam_size == 1


def test_what_cannot_be_measured_is_refused(drawn_config):
    message = "--num_images and --repeats must be at least 1"
    assert refusal(notebook.benchmark_notebook, drawn_config, 0, 1) == message
    drawn_config.dataset.ratios = (1.0, 0.0, 0.0)
    message = "imcap bench notebook needs a data set with the split dev"
    assert refusal(notebook.benchmark_notebook, drawn_config, 2, 1) == message


def test_captions_are_marked_and_without_punctuation():
    marked = {image: keras_notebook.mark(captions) for image, captions in CAPTIONS.items()}
    assert marked == {
        "a": ["startseq a dogs ball endseq"], "b": ["startseq two t shirts endseq"]
    }  # fmt: skip
    assert keras_notebook.longest(marked) == 5


def test_each_prefix_of_a_caption_is_a_sample_with_a_one_hot_target():
    marked = {image: keras_notebook.mark(captions) for image, captions in CAPTIONS.items()}
    tokenizer = keras_notebook.fit_tokenizer(marked)
    batches = keras_notebook.data_generator(marked, FEATURES, tokenizer, 5, batch_size=1)
    for image in ("a", "b", "a"):
        (vectors, prefixes), targets = next(batches)
        (ids,) = tokenizer.texts_to_sequences(marked[image])
        assert vectors.tolist() == FEATURES[image].tolist() * 4
        assert prefixes.tolist() == [[0] * (5 - n) + ids[:n] for n in range(1, 5)]
        assert targets.shape == (4, len(tokenizer.word_index) + 1)
        assert np.argmax(targets, axis=1).tolist() == ids[1:]
        assert targets.sum() == 4
    assert keras_notebook.word_for_id(ids[1], tokenizer) == "a"
    assert keras_notebook.word_for_id(0, tokenizer) is None


def test_the_notebook_goes_from_images_to_captions(landscape_data, tmp_path):
    names = {"train": range(6), "dev": range(45, 47)}
    rows = [
        (str(landscape_data / f"{number:02d}.jpg"), split, "A wide sky")
        for split, numbers in names.items()
        for number in numbers
    ]
    landscapes.write_table(tmp_path, rows)
    config = landscapes.make_config(tmp_path, landscape_data, encoder__pooling="avg")
    config.dataset.dir = str(tmp_path)
    config.train.batch_size, config.train.epochs, config.decode.max_length = 2, 1, 2
    config_lib.save(config, str(tmp_path))
    found = {
        phase: notebook_peers.measure("notebook", phase, str(tmp_path))
        for phase in notebook_peers.PHASES
    }
    check(found, tmp_path, "notebook", num_captions=2)


def check(found: dict[str, dict[str, float]], workdir, contender: str, num_captions: int) -> None:
    """Checks that all figures are there, and a caption for each dev image."""
    for figures in found.values():
        assert figures["seconds"] > 0 and figures["peak_mb"] > 0
    assert found["features"]["bytes"] > 0
    assert found["train"]["captions_per_second"] > 0
    assert found["caption"]["seconds_per_caption"] > 0
    assert found["caption"]["batched_seconds_per_caption"] > 0
    captions = filesystem.read_json(notebook_peers.predicted_path(str(workdir), contender))
    assert len(captions) == num_captions and all(isinstance(caption, str) for caption in captions)


def test_imcap_goes_from_images_to_captions(landscape_run, landscape_export, monkeypatch):
    # All of it is done already: each phase finds what is there.
    monkeypatch.setattr("imcap.export.export_model", lambda config, workdir: landscape_export)
    found = {
        phase: notebook_peers.measure("imcap", phase, str(landscape_run))
        for phase in notebook_peers.PHASES
    }
    check(found, landscape_run, "imcap", num_captions=9)
