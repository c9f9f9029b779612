"""Tables of the scores that evaluations have written."""

from __future__ import annotations

import json

from refusals import refusal

from imcap.metrics import tables

SCORES = {"bleu1": 0.6, "bleu2": 0.4, "bleu3": 0.3, "bleu4": 0.2, "rouge_l": 0.5, "cider": 0.75}


def write_scores(workdir, split: str, scores: dict) -> None:
    folder = workdir / "eval" / split
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(scores))


def test_table_has_a_line_per_run_and_split(tmp_path):
    write_scores(tmp_path / "a", "dev", SCORES | {"images": 9})
    write_scores(tmp_path / "a", "test", SCORES | {"images": 10, "cider": 0.5})
    write_scores(tmp_path / "b", "dev", SCORES | {"images": 11})
    header, *lines = tables.format_table([str(tmp_path / "a"), str(tmp_path / "b")]).splitlines()
    assert header.split() == [
        "run", "split", "images", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D",
    ]  # fmt: skip
    assert [line.split()[1:3] for line in lines] == [["dev", "9"], ["test", "10"], ["dev", "11"]]
    assert [line.split()[-1] for line in lines] == ["0.750", "0.500", "0.750"]


def test_columns_are_below_one_another_for_names_of_any_length(tmp_path):
    for run, split in (("a", "dev"), ("b" * 60, "holdout-epoch-10")):
        write_scores(tmp_path / run, split, SCORES | {"images": 9})
    found = tables.format_table([str(tmp_path / "a"), str(tmp_path / ("b" * 60))]).splitlines()
    assert len({len(line) for line in found}) == 1


def test_metric_that_was_not_computed_is_a_dash(tmp_path):
    write_scores(tmp_path, "dev", {"images": 9, "cider": 0.75})
    assert tables.format_table([str(tmp_path)]).splitlines()[1].split()[3:] == [*"–––––", "0.750"]


def test_figures_with_a_caveat_have_a_table_of_their_own(tmp_path):
    markers = {"bleu1_markers": 0.7, "bleu2_markers": 0.5}
    write_scores(tmp_path / "a", "dev", SCORES | {"images": 9} | markers)
    write_scores(tmp_path / "b", "dev", SCORES | {"images": 9})
    table, apart = tables.format_table([str(tmp_path / "a"), str(tmp_path / "b")]).split("\n\n")
    assert len(table.splitlines()) == 3 and "markers" not in table and "0.700" not in table
    caveat, header, *lines = apart.splitlines()
    assert "not comparable with papers" in caveat
    assert header.endswith("BLEU-1 with markers BLEU-2 with markers")
    assert [line.split()[1:] for line in lines] == [["dev", "9", "0.700", "0.500"]]


def test_run_without_scores_is_refused(tmp_path):
    assert "holds no scores: run `imcap eval` first" in refusal(
        tables.format_table, [str(tmp_path)]
    )
