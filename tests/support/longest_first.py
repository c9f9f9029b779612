"""A pytest plugin: the longest files run first, so that all processes end at the same time."""

from __future__ import annotations

import pytest

# Names below tests/, each of which takes more than ten seconds.
FILES = (
    "test_train_processes.py",
    "test_cli_run.py",
    "test_tuned_runs.py",
    "training/test_self_critical_runs.py",
    "training/loop/test_training_loop.py",
    "test_ensemble_run.py",
    "test_pretrain.py",
    "test_reranked_run.py",
    "benchmarks/test_decoding.py",
    "benchmarks/test_benchmarks.py",
    "beam_jobs/test_build_records.py",
    "test_docs_examples.py",
    "decoders/test_runs.py",
    "test_checkpoint_flag.py",
    "serving/test_app_browser.py",
    "decoders/test_decoders.py",
    "decoding/test_beam_search.py",
    "training/test_gradients.py",
    "training/test_loop.py",
    "training/loop/test_divergence.py",
    "serving/test_caption_model.py",
    "training/test_steps.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves the tests in `FILES` to the front; all others keep their order."""
    rank = {name: number for number, name in enumerate(FILES)}
    items.sort(key=lambda item: rank.get(item.nodeid.split("::")[0].partition("/")[2], len(rank)))
