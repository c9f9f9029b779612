"""Plots show the values they are given, and only those."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imcap.errors import UserError
from imcap.reports import plots

HEADER = "epoch,step,loss,learning_rate,captions_per_second,dev_loss,dev_bleu4,dev_cider\n"
ROWS = (
    "1,100,4.5,0.001,900,4.2,0.05,0.10\n"
    "1,200,4.0,0.001,900,,,\n"
    "2,300,3.5,0.0005,900,3.6,0.12,0.30\n"
)


def drawn(folder, text):
    """Draws a history and returns its pixels."""
    (folder / "history.csv").write_text(text, encoding="utf-8")
    plots.draw_history(folder / "history.csv", folder / "history.png")
    return np.asarray(Image.open(folder / "history.png").convert("RGB"))


def differ(one, other):
    """Tells for the left and the right half whether two plots differ there."""
    middle = one.shape[1] // 2
    changed = (one != other).any(axis=(0, 2))
    return changed[:middle].any(), changed[middle:].any()


def test_losses_are_left_and_dev_scores_right(tmp_path):
    plot = drawn(tmp_path, HEADER + ROWS)
    assert sorted(os.listdir(tmp_path)) == ["history.csv", "history.png"]
    assert differ(plot, drawn(tmp_path, HEADER + ROWS)) == (False, False)
    assert differ(plot, drawn(tmp_path, HEADER + ROWS.replace("4.0,", "2.0,"))) == (True, False)
    assert differ(plot, drawn(tmp_path, HEADER + ROWS.replace("3.6,", "3.9,"))) == (True, False)
    assert differ(plot, drawn(tmp_path, HEADER + ROWS.replace("0.12", "0.20"))) == (False, True)
    assert differ(plot, drawn(tmp_path, HEADER + ROWS.replace("0.30", "0.29"))) == (False, True)
    assert differ(plot, drawn(tmp_path, HEADER + ROWS.replace("900", "80"))) == (False, False)


def test_rewards_are_drawn_instead_of_losses(tmp_path):
    header = HEADER.replace("loss,", "loss,reward,", 1)
    rows = (
        "1,100,-0.5,0.5,0.001,900,4.2,0.05,0.10\n"
        "2,200,-0.6,0.6,0.001,900,4.3,0.06,0.20\n"
        "3,300,-0.7,0.7,0.001,900,4.4,0.07,0.30\n"
    )
    plot = drawn(tmp_path, header + rows)
    assert differ(plot, drawn(tmp_path, header + rows.replace(",0.6,", ",0.55,"))) == (True, False)
    assert differ(plot, drawn(tmp_path, header + rows.replace("-0.6", "-0.1"))) == (False, False)
    assert differ(plot, drawn(tmp_path, header + rows.replace("4.3", "5.3"))) == (False, False)


def test_an_empty_column_of_rewards_changes_nothing(tmp_path):
    header = HEADER.replace("loss,", "loss,reward,", 1)
    rows = ROWS.replace(",0.001,", ",,0.001,").replace(",0.0005,", ",,0.0005,")
    assert not any(differ(drawn(tmp_path, header + rows), drawn(tmp_path, HEADER + ROWS)))


def test_empty_and_infinite_values_are_left_out(tmp_path):
    plot = drawn(tmp_path, HEADER + ROWS)
    text = HEADER + ROWS.replace("4.0,0.001,900,,,", "4.0,0.001,900,nan,inf,")
    assert differ(plot, drawn(tmp_path, text)) == (False, False)


@pytest.mark.parametrize("text", [HEADER, HEADER + "1,100,,,,,,\n"])
def test_history_without_values_is_drawn(tmp_path, text):
    assert drawn(tmp_path, text).shape[2] == 3


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "no column 'step'"),
        ("epoch,step,loss\n1,2,3\n", "no column 'dev_loss'"),
        (HEADER + ROWS + "3,400,low,,,,,\n", "line 5: column 'loss' must be a number"),
    ],
)
def test_file_that_is_no_history_is_named(tmp_path, text, named):
    with pytest.raises(UserError, match=named) as raised:
        drawn(tmp_path, text)
    assert "history.csv" in str(raised.value) and not (tmp_path / "history.png").exists()


def test_missing_history_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.csv.*No such file"):
        plots.draw_history(tmp_path / "none.csv", tmp_path / "history.png")


def test_plot_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "history.csv").write_text(HEADER + ROWS, encoding="utf-8")
    with pytest.raises(UserError, match=r"none/x\.png cannot be written: No such file"):
        plots.draw_history(tmp_path / "history.csv", tmp_path / "none" / "x.png")


@settings(max_examples=30, deadline=None)
@given(content=st.binary(max_size=80))
def test_any_bytes_are_drawn_or_refused(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("any")
    (folder / "history.csv").write_bytes(HEADER.encode() + content)
    try:
        plots.draw_history(folder / "history.csv", folder / "history.png")
    except UserError as error:
        assert "history.csv" in str(error) and "\n" not in str(error)


@settings(max_examples=10, deadline=None)
@given(values=st.lists(st.tuples(*[st.floats()] * 5), max_size=4))
def test_any_numbers_are_drawn(tmp_path_factory, values):
    rows = [f"1,{s},{loss},,,{dev},{bleu},{cider}\n" for s, loss, dev, bleu, cider in values]
    assert drawn(tmp_path_factory.mktemp("any"), HEADER + "".join(rows)).size


def attend(folder, weights, words, image=None):
    """Draws attention maps and returns their pixels."""
    grey = np.full((60, 90, 3), 128, np.uint8)
    plots.draw_attention(grey if image is None else image, words, weights, folder / "attention.png")
    return np.asarray(Image.open(folder / "attention.png").convert("RGB")).astype(int)


def test_map_is_brightest_at_the_largest_weight(tmp_path):
    weights = np.full((1, 7, 7), 0.01, np.float32)
    weights[0, 6, 0] = 0.5  # bottom left
    plot = attend(tmp_path, weights, ["dog"])
    map_only = plot[60:, plot.shape[1] // 2 :].sum(axis=2)
    map_only[map_only == 765] = 0  # the margin
    row, column = np.unravel_index(map_only.argmax(), map_only.shape)
    assert row > map_only.shape[0] / 2 and column < map_only.shape[1] / 3


def test_unchanged_image_comes_first(tmp_path):
    red_image = np.zeros((60, 90, 3), np.uint8)
    red_image[..., 0] = 200
    plot = attend(tmp_path, np.ones((1, 2, 3)), ["dog"], red_image)
    left, right = np.split(plot[:, : plot.shape[1] // 2 * 2], 2, axis=1)
    seen = [(half != 255).any(axis=2).mean() for half in (left, right)]
    assert seen[0] == pytest.approx(seen[1], rel=0.1)  # the map covers the whole image
    red = [200, 0, 0]
    assert (left == red).all(axis=2).mean() > 0.5 and not (right == red).all(axis=2).any()


def test_blended_maps_are_brightest_at_the_largest_weight():
    weights = np.zeros((2, 2, 3), np.float32)
    weights[0, 0, 0] = weights[1, 1, 2] = 0.4
    found = plots.blend_attention(np.full((40, 60, 3), 100, np.uint8), weights)
    assert found.shape == (2, 40, 60, 3) and found.dtype == np.uint8
    assert (found[0, 0, 0] > found[1, 0, 0]).all() and (found[1, -1, -1] > found[0, -1, -1]).all()
    np.testing.assert_allclose(found[0, -1, -1], 40, atol=2)  # The image alone, at 40%.


def test_words_fill_a_grid_in_rows_of_five(tmp_path):
    nine, ten = (attend(tmp_path, np.ones((n, 7, 7)), ["dog"] * n).shape for n in (9, 10))
    assert nine[1] == ten[1] and ten[0] > nine[0]


def test_each_map_is_scaled_to_its_own_largest_weight(tmp_path):
    weights = np.random.default_rng(0).random((2, 7, 7))
    plot = attend(tmp_path, weights, ["a", "dog"])
    faint = attend(tmp_path, weights * np.array([1e-6, 1])[:, None, None], ["a", "dog"])
    assert np.abs(plot - faint).max() <= 1


def test_empty_caption_shows_the_image_alone(tmp_path):
    assert attend(tmp_path, np.zeros((0, 7, 7)), []).size
    assert attend(tmp_path, np.zeros((1, 7, 7)), ["dog"]).size  # weights without a largest


@pytest.mark.parametrize("word", ["$", "$x^", "a_b", "naïve", r"$\frac$"])
def test_words_are_not_parsed_as_mathematics(tmp_path, word):
    assert attend(tmp_path, np.ones((1, 7, 7)), [word]).size


@pytest.mark.parametrize(
    ("image", "weights", "named"),
    [
        (np.zeros((8, 8, 3), np.float32), np.ones((1, 2, 2)), "image must be uint8"),
        (np.zeros((8, 8), np.uint8), np.ones((1, 2, 2)), r"not uint8 \[8, 8\]"),
        (np.zeros((8, 8, 3), np.uint8), np.ones((2, 2, 2)), "1 words"),
        (np.zeros((8, 8, 3), np.uint8), np.ones((1, 4)), r"not \[1, 4\]"),
        (np.zeros((8, 8, 3), np.uint8), np.full((1, 2, 2), np.nan), "finite"),
        (np.zeros((8, 8, 3), np.uint8), np.full((1, 2, 2), -1.0), "not negative"),
    ],
)
def test_wrong_shapes_and_values_are_named(tmp_path, image, weights, named):
    with pytest.raises(ValueError, match=named):
        plots.draw_attention(image, ["dog"], weights, tmp_path / "attention.png")
    assert os.listdir(tmp_path) == []


def test_pyplot_is_not_imported(tmp_path):
    (tmp_path / "history.csv").write_text(HEADER + ROWS)
    code = (
        "import sys; from imcap.reports.plots import draw_history; "
        "draw_history('history.csv', 'history.png'); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    path = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "MPLBACKEND": "TkAgg"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "history.png").stat().st_size > 1000
