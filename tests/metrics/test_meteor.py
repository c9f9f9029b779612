"""METEOR equals what its authors' Java program returns, and leaves no process of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import processes
import pytest
from corpora import coco_score, make_corpus
from pycocoevalcap.meteor.meteor import Meteor
from refusals import refusal

from imcap import config as config_lib
from imcap.metrics import meteor
from imcap.metrics.scores import build_optional_scorers, score_captions

# References, a caption, and the score that METEOR 1.5 gives it.
SENTENCES = [
    (
        ["a dog runs on the grass", "the dog is running over a lawn"],
        "a dog running on grass",
        0.41388921016683433,
    ),
    (["a cat"], "a cat", 1.0),
    (["a cat"], "", 0.0),
    (["two men sit in the snow"], "a café", 0.0),
    (
        ["the man's dog-house is big, really", "a person near a dwelling for dogs"],
        "the guy near big dog house",
        0.23371832518763277,
    ),
]
CORPUS = 0.23875026049056458  # What the program gives for all five.

# The handler is not there where the tests run in a shell's background.
INTERRUPTIBLE = """
import signal
from imcap.metrics import meteor
signal.signal(signal.SIGINT, signal.default_int_handler)
meteor.score_meteor({"x": ["a dog"]}, {"x": "a dog"})
"""

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="no java")


def fixed_corpus():
    references = {f"fixed {i}": row[0] for i, row in enumerate(SENTENCES)}
    return references, {f"fixed {i}": row[1] for i, row in enumerate(SENTENCES)}


@pytest.fixture(scope="module")
def scored():
    """The scores of the fixed sentences and of random captions, with both; Java runs once."""
    references, hypotheses = make_corpus(25)
    fixed_references, fixed_hypotheses = fixed_corpus()
    references, hypotheses = references | fixed_references, hypotheses | fixed_hypotheses
    settings = config_lib.default().eval
    settings.meteor = True
    return (
        references,
        hypotheses,
        score_captions(references, hypotheses, build_optional_scorers(settings)),
    )


@needs_java
def test_fixed_sentences_have_the_scores_of_the_java_program(scored):
    *_, scores = scored
    for i, (*_, expected) in enumerate(SENTENCES):
        assert scores.per_image[f"fixed {i}"]["meteor"] == pytest.approx(expected, abs=1e-12)
    per_image, combine = scores.statistics["meteor"]
    assert float(combine(per_image[25:].sum(axis=0))) == pytest.approx(CORPUS, abs=1e-12)


@needs_java
def test_corpus_and_images_agree_with_pycocoevalcap(scored, monkeypatch):
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Dfile.encoding=UTF-8")  # Whatever the locale is.
    references, hypotheses, scores = scored
    corpus, own = coco_score(Meteor(), references, hypotheses)
    assert scores.corpus["meteor"] == pytest.approx(corpus, abs=1e-12)
    found = [image["meteor"] for image in scores.per_image.values()]
    assert found == pytest.approx(own, abs=1e-12)


@needs_java
def test_meteor_has_an_interval(scored):
    *_, scores = scored
    low, high = scores.intervals["meteor"]
    assert 0 < low < scores.corpus["meteor"] < high < 1


def test_meteor_is_scored_only_where_the_setting_asks():
    assert build_optional_scorers(config_lib.default().eval) == []
    assert "meteor" not in score_captions(*make_corpus(5)).corpus


def test_missing_java_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    line = refusal(meteor.build_scorer, True)
    assert line.startswith("config.eval.meteor=True needs Java, and there is no java in PATH")


def test_missing_program_is_refused(monkeypatch, tmp_path):
    java(tmp_path, "exit 0", monkeypatch)
    monkeypatch.setattr("pycocoevalcap.meteor.meteor.METEOR_JAR", "absent.jar")
    assert "absent.jar: no such file; pycocoevalcap's wheel holds it" in refusal(
        meteor.build_scorer, True
    )


def java(folder: Path, script: str, monkeypatch) -> None:
    """Puts a program of another kind into PATH as `java`."""
    program = folder / "java"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("cat > /dev/null; echo no memory >&2; exit 1", "no memory"),
        ("cat > /dev/null; exit 3", "status 3"),
        ("cat > /dev/null; echo 1.0 2.0", "status 0"),
    ],
)
def test_a_program_that_fails_is_told_in_one_line(monkeypatch, tmp_path, script, reason):
    java(tmp_path, script, monkeypatch)
    line = refusal(meteor.score_meteor, {"x": ["a dog"]}, {"x": "a dog"})
    assert line.startswith("METEOR's program failed") and line.endswith(reason)


def test_an_interrupted_evaluation_leaves_no_process(monkeypatch, tmp_path):
    pid_file = tmp_path / "pid"
    java(
        tmp_path,
        f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 600",
        monkeypatch,
    )
    scoring = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE], cwd=processes.ROOT, stderr=subprocess.DEVNULL
    )
    while not pid_file.exists():
        assert scoring.poll() is None
        time.sleep(0.05)
    scoring.send_signal(signal.SIGINT)
    scoring.wait(timeout=300)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
