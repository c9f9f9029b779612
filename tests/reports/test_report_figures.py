"""Optional metrics in the report: each pair's similarity, and figures that stand apart."""

from __future__ import annotations

import dataclasses
import re

from imcap.reports import report

IMAGE = report.ReportImage(
    "1.jpg", "no/1.jpg", "a dog runs", -0.5, ("the dog runs", "a cat"), {"cider": 0.5}
)


def write(folder, image, scores) -> str:
    path = folder / "report.html"
    report.write_report(path, title="Test", images=[image], scores=scores, settings={})
    return path.read_text(encoding="utf-8")


def test_each_reference_shows_its_similarity(tmp_path):
    assert "similarity" not in write(tmp_path, IMAGE, {})
    text = write(tmp_path, dataclasses.replace(IMAGE, similarities=(0.95678, -0.0123)), {})
    assert "<li>the dog runs <small>similarity 0.9568</small></li>" in text
    assert "<li>a cat <small>similarity -0.0123</small></li>" in text


def test_images_are_sorted_by_similarity_where_it_is_scored(tmp_path):
    scores = {"cider": 0.5, "similarity_best": 0.75, "similarity_mean": 0.25}
    text = write(tmp_path, dataclasses.replace(IMAGE, scores=scores), scores)
    buttons = re.findall(r'<button type="button" data-sort="\d".*?>(.+?)</button>', text)
    assert buttons == ["CIDEr-D", "Similarity, best", "Similarity, mean", "Log-probability"]


def test_figures_with_a_caveat_stand_apart(tmp_path):
    text = write(tmp_path, IMAGE, {"bleu1": 0.625, "bleu1_markers": 0.75, "images": 9})
    with_papers, apart = text.split('<p class="caveat">')
    assert "0.6250" in with_papers and "images" in with_papers and "0.7500" not in with_papers
    assert "not comparable with papers" in apart and 'class="scores apart"' in apart
    assert "BLEU-1 with markers" in apart and "0.7500" in apart
    assert "caveat" not in write(tmp_path, IMAGE, {"bleu1": 0.625}).split("</style>")[1]
