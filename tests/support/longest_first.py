"""A pytest plugin: the longest files run first, so that all processes end at the same time."""

from __future__ import annotations

import pytest

# Names below tests/, each of which takes more than ten seconds.
FILES = (
    "test_train_processes.py",
    "test_tuned_runs.py",
    "beam_jobs/test_records_folder.py",
    "test_cli_run.py",
    "test_ensemble_run.py",
    "beam_jobs/test_caption_images.py",
    "beam_jobs/test_remote.py",
    "beam_jobs/test_build_records.py",
    "exporting/test_export_check.py",
    "serving/test_app_browser.py",
    "training/test_self_critical_runs.py",
    "test_pretrain.py",
    "encoders/test_encoder.py",
    "training/loop/test_training_loop.py",
    "test_packaging.py",
    "test_reranked_run.py",
    "beam_jobs/test_embedded_images.py",
    "exporting/test_variants.py",
    "test_docs_examples.py",
    "test_export.py",
    "decoders/test_decoders.py",
    "test_cli.py",
    "records/test_corruption.py",
    "decoders/test_runs.py",
    "metrics/test_meteor.py",
    "test_checkpoint_flag.py",
    "encoders/test_conv_add_fusion.py",
    "serving/test_concurrency.py",
    "test_both_views_run.py",
    "encoders/test_upper_layers.py",
    "decoding/test_beam_search.py",
    "test_remote_records.py",
    "beam_jobs/runners/test_job_errors.py",
    "exporting/test_ready_export.py",
    "training/test_loop.py",
    "serving/test_caption_model.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves the tests in `FILES` to the front; all others keep their order."""
    rank = {name: number for number, name in enumerate(FILES)}
    items.sort(key=lambda item: rank.get(item.nodeid.split("::")[0].partition("/")[2], len(rank)))
