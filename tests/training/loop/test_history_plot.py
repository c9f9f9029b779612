"""The plot that follows a training."""

from __future__ import annotations

from imcap.training.loop.history_plot import HistoryPlot


def write_history(folder, rows):
    lines = ["step,loss,dev_loss", *(f"{row + 1},{row}.5,0.5" for row in range(rows))]
    (folder / "history.csv").write_text("\n".join(lines))


def test_rows_are_drawn_seconds_after_one_another_and_the_last_one_in_the_end(
    tmp_path, monkeypatch
):
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    plot, png = HistoryPlot(str(tmp_path)), tmp_path / "history.png"
    write_history(tmp_path, 1)
    plot.update()  # Within seconds of the start.
    assert not png.exists()
    now += 6
    plot.update()
    first = png.read_bytes()
    assert first.startswith(b"\x89PNG")
    write_history(tmp_path, 5)
    plot.update()  # Within seconds of the other.
    assert png.read_bytes() == first
    plot.close()
    assert png.read_bytes() != first


def test_nothing_new_is_not_drawn(tmp_path):
    HistoryPlot(str(tmp_path)).close()
    write_history(tmp_path, 1)
    other = HistoryPlot(str(tmp_path), write=False)
    other.update()
    other.close()
    assert not (tmp_path / "history.png").exists()
