"""Two evaluations compared: figures, files, what differs, and what is refused."""

from __future__ import annotations

import json

import pytest
from corpora import make_corpus
from evaluation_folders import write_evaluation
from refusals import refusal

from imcap import compare
from imcap import config as config_lib
from imcap.metrics.scores import score_captions

REFERENCES, GOOD = make_corpus(60)
POOR = dict.fromkeys(GOOD, "a red dog") | {"0.jpg": GOOD["0.jpg"]}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    write_evaluation(folder / "a" / "eval" / "dev", REFERENCES, POOR, beam_size=1, epoch=7)
    backwards = dict(reversed(REFERENCES.items()))  # The order of the files does not count.
    write_evaluation(folder / "b" / "eval" / "dev", backwards, GOOD, beam_size=3, epoch=7)
    found = compare.compare_runs(str(folder / "a"), str(folder / "b"))
    return folder, found


def written(folder):
    return json.loads((folder / "b" / "eval" / "dev" / "compare.json").read_text("utf-8"))


def test_figures_are_the_scores_of_both(compared):
    folder, _ = compared
    scores = written(folder)["scores"]
    assert list(scores) == ["bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider"]
    for key, row in scores.items():
        assert row["a"] == pytest.approx(score_captions(REFERENCES, POOR).corpus[key])
        assert row["b"] == pytest.approx(score_captions(REFERENCES, GOOD).corpus[key])
        assert row["difference"] == pytest.approx(row["b"] - row["a"])
        low, high = row["intervals_95"]
        assert 0 < low < row["difference"] < high
        assert row["p_value"] == pytest.approx(1e-4, rel=1e-3)
        assert row["share_of_draws_where_b_is_higher"] == 1.0


def test_images_of_both_are_paired_by_id(compared):
    folder, found = compared
    assert (written(folder)["images"], written(folder)["same_captions"]) == (60, 1)
    assert found.a.captions["0.jpg"] == found.b.captions["0.jpg"]
    again = compare.compare_runs(str(folder / "b"), str(folder / "a"), output_dir=str(folder / "x"))
    for key, row in again.comparisons.items():
        assert row.difference == pytest.approx(-found.comparisons[key].difference)
    assert sorted(path.name for path in (folder / "x").iterdir()) == [
        "compare.html",
        "compare.json",
    ]


def test_settings_that_differ_are_told(compared):
    folder, found = compared
    assert written(folder)["differing_settings"] == {"beam_size": [1, 3]}
    text = compare.format_comparison(found)
    assert "beam_size: A 1, B 3" in text and "epoch" not in text
    assert "60 images, 1 with the same caption" in text
    header, bleu1, *_ = text.splitlines()
    assert header.split() == ["A", "B", "B", "-", "A", "95", "%", "interval", "p"]
    assert bleu1.startswith("BLEU-1") and bleu1.endswith("0.0001")


def test_settings_of_the_runs_that_differ_are_told(tmp_path):
    for name, units in (("a", 512), ("b", 256)):
        write_evaluation(tmp_path / name / "eval" / "dev", REFERENCES, GOOD)
        config = config_lib.default()
        config.model.units, config.train.learning_rate = units, 1e-3
        config.dataset.dir, config.decode.beam_size = f"/data/{name}", units
        config_lib.save(config_lib.resolve(config, str(tmp_path / name)), str(tmp_path / name))
    found = compare.compare_runs(str(tmp_path / "a"), str(tmp_path / "b"))
    assert written(tmp_path)["differing_settings"] == {"model.units": [512, 256]}
    lines = compare.format_comparison(found).splitlines()
    assert [line for line in lines if "." in line.split(":")[0]][-1] == "model.units: A 512, B 256"
    page = (tmp_path / "b" / "eval" / "dev" / "compare.html").read_text("utf-8")
    assert '<th scope="row">model.units</th><td>512</td><td>256</td>' in page


def test_comparing_again_writes_the_same_bytes(compared):
    folder, _ = compared
    paths = [folder / "b" / "eval" / "dev" / name for name in ("compare.json", "compare.html")]
    before = [path.read_bytes() for path in paths]
    compare.compare_runs(str(folder / "a"), str(folder / "b"))
    assert [path.read_bytes() for path in paths] == before


def test_scores_of_other_captions_are_refused(tmp_path):
    for name in ("a", "b"):
        write_evaluation(tmp_path / name, REFERENCES, GOOD)
    scores = json.loads((tmp_path / "b" / "metrics.json").read_text())
    (tmp_path / "b" / "metrics.json").write_text(json.dumps(scores | {"cider": 0.5}))
    line = refusal(compare.compare_runs, str(tmp_path / "a"), str(tmp_path / "b"))
    assert line.startswith(f"{tmp_path}/b: metrics.json has cider=0.5, but the captions in")


def test_other_images_are_refused_before_anything_is_written(tmp_path):
    write_evaluation(tmp_path / "a", REFERENCES, GOOD)
    write_evaluation(tmp_path / "b", {"0.jpg": ["a dog"]}, {"0.jpg": "a dog"})
    line = refusal(compare.compare_runs, str(tmp_path / "a"), str(tmp_path / "b"))
    assert "a has 60 images and" in line
    assert not (tmp_path / "b" / "compare.json").exists()


def test_an_output_folder_that_cannot_be_written_is_named(tmp_path):
    for name in ("a", "b"):
        write_evaluation(tmp_path / name, REFERENCES, GOOD)
    (tmp_path / "file").write_text("in the way")
    target = str(tmp_path / "file" / "out")
    arguments = str(tmp_path / "a"), str(tmp_path / "b")
    assert target in refusal(compare.compare_runs, *arguments, output_dir=target)
