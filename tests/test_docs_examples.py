"""The examples of docs/serving.md, docs/python-api.md and docs/word-vectors.md run.

Those that need a model run with the one of tests/support/grey_model.py.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import grey_model
import processes
import pytest

from imcap.decoders import word_vectors
from imcap.serving import caption_files, rest
from imcap.serving.captioner import Captioner


def blocks(page: str, language: str) -> list[str]:
    """Returns the code blocks of a page."""
    text = (processes.ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.+?)```", text, re.DOTALL)


def find_block(page: str, text: str) -> str:
    """Returns the Python example that contains `text`."""
    (found,) = [block for block in blocks(page, "python") if text in block]
    return found


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder of the examples: a run, images, and a file that is not an image."""
    grey_model.export(tmp_path / "runs" / "flickr8k" / "export" / "1")
    for name in ("image.jpg", "folder/a.png", "more/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(grey_model.png(64))
    (tmp_path / "broken.jpg").write_bytes(b"garbage")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(block: str, capsys: pytest.CaptureFixture) -> list[str]:
    """Runs an example and returns the lines it prints."""
    exec(compile(block, "example", "exec"), {"__name__": "example"})
    return capsys.readouterr().out.splitlines()


def test_every_example_compiles():
    for page in ("serving.md", "python-api.md", "word-vectors.md", "captioning.md"):
        for block in blocks(page, "python"):
            compile(block, page, "exec")


def test_python_api_run_example(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    loss, scores, exported = run(find_block("python-api.md", "build_records("), capsys)
    assert float(loss) > 0
    assert all(float(score) >= 0 for score in scores.split())
    assert Path(exported, "saved_model.pb").exists()


def test_serving_caption_example(folder, capsys):
    lines = run(find_block("serving.md", "captioner.caption("), capsys)
    assert lines == ["grey 64 -0.25", "-0.5 -0.25 grey 64", f"-9.0 0.0 {grey_model.OTHER}"]


def test_python_api_caption_example(folder, capsys):
    lines = run(find_block("python-api.md", "captioner.caption("), capsys)
    assert lines[:2] == ["grey 64 -0.25", "[-0.5, -9.0]"]
    assert lines[2].startswith("no caption: Unknown image file format.")


def test_python_api_score_example(folder, capsys):
    assert run(find_block("python-api.md", "captioner.score("), capsys) == ["dog"]


def test_python_api_files_example(folder, capsys):
    lines = run(find_block("python-api.md", "caption_paths("), capsys)
    assert lines == ["image.jpg grey 64", "folder/a.png grey 64", "more/b.png grey 64"]


def test_python_api_metrics_example(capsys):
    figures = [float(word) for word in " ".join(run(
        find_block("python-api.md", "score_captions("), capsys
    )).split()]  # fmt: skip
    assert len(figures) == 4
    assert all(figure >= 0 for figure in figures)


def test_word_vectors_of_training_captions_example(tmp_path, monkeypatch, capsys):
    data = tmp_path / "flickr8k"
    (data / "Images").mkdir(parents=True)
    names = [f"{number}.jpg" for number in range(10)]
    rows = [f"{name},A dog runs over the snow .\n" for name in names]
    (data / "captions.txt").write_text("image,caption\n" + "".join(rows))
    for name in names:
        (data / "Images" / name).write_bytes(grey_model.png(64))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert run(find_block("word-vectors.md", "save_facebook_model("), capsys) == []
    found = word_vectors.read("captions.bin", {"dog": 4, "dogs": 5}, 256)
    assert found.ids.tolist() == [4, 5]
    assert found.is_composed.tolist() == [False, True]


def test_serving_requests_are_accepted():
    signatures = []
    for block in map(json.loads, blocks("serving.md", "json")):
        if "instances" in block or "inputs" in block:
            signatures.append(rest.parse_request(json.dumps(block).encode()).signature)
    assert signatures == ["serving_default", "serving_default", "score"]


def test_serving_replies_have_the_outputs_of_a_model(folder):
    (row,) = Captioner("runs/flickr8k").predict({"image_bytes": [Path("image.jpg").read_bytes()]})
    reply, *_ = [json.loads(b) for b in blocks("serving.md", "json") if "predictions" in b]
    assert reply["predictions"][0].keys() == row.keys()


def test_serving_json_line_has_the_keys_of_the_command(folder):
    (result,) = caption_files.caption_paths(Captioner("runs/flickr8k"), ["image.jpg"])
    line = json.loads(caption_files.json_line(result))
    (shown,) = [json.loads(b) for b in blocks("serving.md", "json") if '"path"' in b]
    assert list(shown) == list(line)
    assert list(shown["alternatives"][0]) == list(line["alternatives"][0])
