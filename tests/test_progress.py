"""Progress bars in a log."""

from __future__ import annotations

from imcap import progress


def test_bar_in_a_log_is_ascii_and_ends_with_the_total(capsys):
    with progress.bar("encode", "image", total=4) as bar:
        for _ in range(4):
            bar.update()
    last = capsys.readouterr().err.split("\r")[-1]
    assert last.startswith("encode: 100%") and "4/4" in last and "image/s" in last
    assert last.isascii()


def test_options_reach_the_bar(capsys):
    with progress.bar("encode", "image", disable=True) as bar:
        bar.update()
    assert capsys.readouterr().err == ""
