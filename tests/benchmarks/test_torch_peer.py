"""PyTorch beside imcap's training: its rows, and where it is not measured."""

from __future__ import annotations

import importlib.util

import pytest
import record_infos

from imcap import config as config_lib
from imcap.benchmarks import torch_peer


def test_the_ratio_is_to_the_faster_dtype_of_each_turn():
    peer = {"float32": [4.0, 8.0, 8.0], "bfloat16": [8.0, 6.0, 4.0]}
    full, half, factor = torch_peer.rows(320, [2.0, 2.0, 4.0], peer)
    assert (full.name, full.value) == ("PyTorch, LSTMCell in a loop over words, float32", 40.0)
    assert (half.value, half.unit, half.ratio) == (320 / 6, "captions/s", None)
    assert (factor.ratio, factor.at_least, factor.met) == (2.0, 1.5, True)


def test_without_a_measurement_there_is_no_row():
    assert torch_peer.rows(320, [2.0], {}) == []


@pytest.mark.parametrize(
    ("is_installed", "heads", "reason"),
    [
        (False, 1, "it is not installed (pip install 'imcap[torch]')"),
        (True, 2, "its decoder has attention with one head, and one LSTM layer"),
    ],
)
def test_a_line_says_why_it_is_not_measured(monkeypatch, logged, is_installed, heads, reason):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: is_installed or None)
    config = config_lib.default()
    config.model.heads = heads
    info = record_infos.make_info()
    assert torch_peer.prepare("gone", [], config, info, "float32") == {}
    assert logged() == [f"PyTorch is not measured: {reason}"]
