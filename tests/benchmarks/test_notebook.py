"""`imcap bench notebook`: what is compared, and on which terms."""

from __future__ import annotations

import pytest
from refusals import refusal

from configs import shapes
from imcap import config as config_lib
from imcap import filesystem
from imcap.benchmarks import notebook
from imcap.benchmarks.peers import notebook_phases


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
        assert module == notebook_phases.__name__
        self.phases.append((contender, phase))
        self.config = config_lib.resolve(config_lib.read(workdir), workdir)
        self.captions = {
            split: notebook_phases.read_captions(self.config, split) for split in ("train", "dev")
        }
        path = notebook_phases.predicted_path(workdir, contender)
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
    order = [(name, phase) for phase in notebook_phases.PHASES for name in notebook.CONTENDERS]
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
