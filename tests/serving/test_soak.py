"""Broken requests of every kind beside good ones while versions come and go, in small."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import instances
import processes
import pytest
import soak
from grey_model import png

from imcap.serving import server
from imcap.serving.captioner import Captioner

SECONDS = 2.0


def serve(folder: str, announced: str) -> None:
    """What the server's process does."""
    threading.Thread(target=count_models, args=[Path(announced)], daemon=True).start()
    limits = server.Limits(max_body_mib=1, max_batch_size=8)
    server.serve(
        {"grey": folder},
        port=0,
        limits=limits,
        poll_seconds=0.05,
        announce=lambda line: Path(announced).write_text(line + "\n"),
    )


def count_models(announced: Path) -> None:
    """Writes again and again how many models are in memory."""
    while True:
        time.sleep(0.1)
        count = len(instances.in_memory(Captioner))
        announced.with_suffix(".new").write_text(str(count))
        announced.with_suffix(".new").rename(announced.with_suffix(".count"))


@pytest.fixture
def served(tmp_path, version_dir):
    """A process that serves version 1 of the grey model from a folder: the process, its port."""
    folder, announced = tmp_path / "models", tmp_path / "announced"
    folder.mkdir()
    shutil.copytree(version_dir, folder / "1")
    process = processes.fork(serve, str(folder), str(announced))
    try:
        deadline = time.monotonic() + 60
        while not (announced.exists() and announced.read_text().endswith("\n")):
            assert time.monotonic() < deadline and process.is_alive()
            time.sleep(0.02)
        yield process, int(announced.read_text().split(":")[2].split("/")[0]), folder
    finally:
        process.kill()
        process.join()


def test_no_wrong_caption_no_lost_request_and_a_reason_for_every_refusal(served, version_dir):
    process, port, folder = served

    async def main() -> soak.Outcome:
        clients = soak.Soak(port, "grey", [png(level) for level in (10, 20, 30)], 1 << 20)
        dropping = soak.drop_versions(Path(version_dir), folder, SECONDS, SECONDS / 4)
        outcome, _ = await asyncio.gather(clients.run(SECONDS, 8, 0.5, min_versions=2), dropping)
        return outcome

    outcome = asyncio.run(main())
    assert outcome.unexpected == []
    assert outcome.good > 0
    assert len(outcome.refused) == 12
    assert len(outcome.versions) >= 2
    # Those that were replaced under load are gone, the one of the start among them.
    deadline = time.monotonic() + 30
    while folder.with_name("announced.count").read_text() != "1":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    process.join(30)
    assert process.exitcode == 0
