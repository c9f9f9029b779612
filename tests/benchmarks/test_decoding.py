"""`imcap bench decode`: its rows are of real searches, on a run's features or on random ones."""

from __future__ import annotations

import json

import landscapes
import processes
import pytest
from refusals import command_refusal, refusal
from tiny_runs import CONFIG, SMALL

from imcap import config as config_lib
from imcap.benchmarks import common, decoding

LOOP = "Python loop over steps and beams, image by image"
PRODUCTS = "matrix products of live beams, beam 5, batch 32"


def by_name(rows: list[common.Row]) -> dict[str, common.Row]:
    """The last row of each name."""
    return {row.name: row for row in rows}


@pytest.fixture(scope="module")
def rows(landscape_run, trained) -> dict[str, common.Row]:
    return by_name(decoding.benchmark_decoding(trained.config, 1, str(landscape_run)))


def test_a_run_s_search_is_compared_with_loop_products_and_limit(rows):
    assert all(row.value > 0 for row in rows.values())
    wanted = {
        name: (row.at_least, row.at_most) for name, row in rows.items() if row.ratio is not None
    }
    assert wanted == {
        "best captions that both have": (0.95, None),
        "search against the loop": (20.0, None),
        PRODUCTS: (0.6, None),
        "beam 5, a single image": (None, 10.0),
        "beam 20, batch 64, reranked by consensus": (None, 1.3),
    }


def test_the_ratios_are_of_the_measured_figures(rows):
    searched = 1e3 / rows["beam 5, batch 64"].value
    assert rows["search against the loop"].ratio == pytest.approx(searched / rows[LOOP].value)
    alone = rows["matrix products alone, float32"].value
    assert rows[PRODUCTS].ratio == pytest.approx(rows[PRODUCTS].value / alone)
    work = rows["matrix products of live beams"].value
    assert rows[PRODUCTS].value == pytest.approx(1e3 * work / rows["beam 5, batch 32"].value)
    reranked = rows["beam 20, batch 64, reranked by consensus"]
    assert reranked.ratio == pytest.approx(reranked.value / rows["beam 20, batch 64"].value)


def test_the_loop_s_captions_are_the_search_s(rows):
    assert rows["best captions that both have"].value == 1.0


def test_nothing_is_written_to_the_run(rows, landscape_run):
    assert not (landscape_run / "neighbors.npz").exists()


def test_without_a_run_weights_are_random_and_the_file_has_the_rows(tmp_path):
    out = tmp_path / "out.json"
    settings = (
        "model.units=8",
        "model.embedding_size=8",
        "decode.max_length=4",
        "text.vocab_size=50",
    )
    changes = [f"--config.{setting}" for setting in settings]
    command = ("bench", "decode", CONFIG, *SMALL, *changes, "--repeats=1", f"--out={out}")
    finished = processes.run_fork(*command)
    assert finished.status == 0, finished.err
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["benchmark"] == "decode"
    names = [row["name"] for row in found["rows"]]
    assert all(name.startswith("random weights: ") for name in names)
    assert not any("beam 20" in name for name in names)  # There are no captions to rerank by.
    assert {row["to_reach"] for row in found["rows"]} == {None, 0.95, 20.0, 0.6, -10.0}


def test_no_repeats_are_refused():
    message = "--repeats=0: must be at least 1"
    assert refusal(decoding.benchmark_decoding, config_lib.default(), 0) == message


def test_a_run_without_weights_is_refused(landscape_data, tmp_path):
    config = landscapes.make_config(tmp_path, landscape_data)
    message = refusal(decoding.benchmark_decoding, config, 1, str(tmp_path))
    assert str(tmp_path) in message


def test_a_missing_checkpoint_is_refused(landscape_run):
    finished = processes.run_fork(
        "bench", "decode", f"--workdir={landscape_run}", "--checkpoint=99"
    )
    assert "99" in command_refusal(finished)
