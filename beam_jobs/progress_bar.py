"""The launcher's view of a running job: images done, total, rate, time left and failures."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType

from beam_jobs import heartbeats
from beam_jobs.transforms.check_manifest import warn_without_dev
from imcap import progress
from imcap.errors import UserError

_PAUSE = 20  # Times as long as a look has taken, until the next one.


class ProgressBar(threading.Thread):
    """Follows the heartbeats in a records folder: a bar on a terminal, else a line now and then.

    It only reads files, so it is the same for every runner, local or remote. Of a records job it
    also warns of a missing dev split, as soon as the manifest has been read.
    """

    def __init__(
        self,
        folder: str,
        *,
        local: bool,
        description: str = "records",
        check_splits: Callable[[Mapping[str, int]], object] | None = warn_without_dev,
    ) -> None:
        """Shows nothing yet.

        Args:
          folder: holds the heartbeats in `progress/`.
          local: whether `folder` is; a remote one is read every 30 seconds instead of each.
          description: what the job makes, in a word.
          check_splits: is called once with the images by split, as soon as they are known.
        """
        super().__init__(daemon=True)
        self._folder, self._reader = folder, heartbeats.ProgressReader(folder)
        self._seconds = 1.0 if local else 30.0
        self._check_splits = check_splits
        self._stopped = threading.Event()
        self._bar = progress.bar(description, "image")

    def __enter__(self) -> ProgressBar:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self.join()
        self._bar.close()

    def run(self) -> None:
        wait = self._seconds
        while not self._stopped.wait(wait):
            began = time.monotonic()
            self._show_if_readable()
            # A hundred thousand shards take a bucket long to list.
            wait = max(self._seconds, _PAUSE * (time.monotonic() - began))
        self._show_if_readable()

    def _show_if_readable(self) -> None:
        # A bucket may fail once; the job goes on, and the next look shows how far it is.
        with contextlib.suppress(OSError, UserError):
            self._show()

    def _show(self) -> None:
        counts = self._reader.read()
        self._bar.total = counts["total"] - counts["reused"] if counts["total"] else None
        self._bar.set_postfix({key: counts[key] for key in ("failed", "reused")}, refresh=False)
        self._bar.update(counts["done"] - self._bar.n)
        if self._check_splits and (splits := heartbeats.read_splits(self._folder)):
            check, self._check_splits = self._check_splits, None
            check(splits)
