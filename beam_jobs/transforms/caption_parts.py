"""The work on parts of a listing: image files in, captions out."""

from __future__ import annotations

import collections
import dataclasses
import uuid
from collections.abc import Iterator
from concurrent.futures import Future

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils import shared
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from beam_jobs import captions_folder
from beam_jobs.captions_folder import Part
from beam_jobs.heartbeats import Heartbeat
from beam_jobs.transforms import encoder_graph, manifest
from beam_jobs.transforms.caption_graph import BATCH_SIZE, CaptionGraph
from beam_jobs.transforms.decode_images import Decoded, decode_ahead
from imcap import hashing
from imcap.datasets import CaptionedImage
from imcap.serving import caption_files, caption_formats
from imcap.serving.captioner import ImageCaptions

_Answers = list[tuple[Decoded, ImageCaptions | None]]


@dataclasses.dataclass(frozen=True)
class PartSettings:
    """What a worker needs to caption parts.

    Attributes:
      folder: the parts' folder.
      model: the folder of an exported version.
      form: of the output, one of `caption_formats.FORMATS`.
      top: captions per image.
      sidecar: whether a text file is written beside each image.
      overwrite: whether one that says something else is replaced.
      fingerprint: of everything that determines the output.
    """

    folder: str
    model: str
    form: str
    top: int
    sidecar: bool
    overwrite: bool
    fingerprint: str


@dataclasses.dataclass
class _Task:
    """A part that is being captioned: its lines so far, and how many images are to come."""

    part: Part
    missing: int
    lines: list[str] = dataclasses.field(default_factory=list)


class CaptionParts(beam.DoFn):
    """Captions the images of parts, unless they are finished already.

    Takes (number, pack of rows) pairs; yields the number of each part once it is finished.
    """

    def __init__(self, settings: PartSettings, shared_graph: shared.Shared) -> None:
        """`shared_graph`: finds the CaptionGraph that the threads of a process share."""
        self._settings = settings
        self._shared_graph = shared_graph
        names = ("captioned", "failed", "reused")
        self._counters = {n: Metrics.counter("imcap", f"images_{n}") for n in names}

    def setup(self) -> None:
        encoder_graph.prepare_process("float32")
        settings = self._settings
        self._graph = self._shared_graph.acquire(
            lambda: CaptionGraph(settings.model), settings.fingerprint
        )
        # One for each worker, not for each part: the launcher reads all of them every second.
        self._heartbeat = Heartbeat(settings.folder, f"worker-{uuid.uuid4().hex}", 0)
        self._counts = {"done": 0, "failed": 0, "reused": 0}

    def start_bundle(self) -> None:
        self._running: collections.deque[tuple[_Task, Future[_Answers]]] = collections.deque()

    def process(self, element: tuple[int, bytes]) -> Iterator[int]:
        number, pack = element
        rows = list(manifest.unpack_rows(pack))
        fingerprint = hashing.digest_of([row.path for row in rows])
        part = Part(number, fingerprint, self._settings.fingerprint)
        if self._is_finished(part, rows):
            self._count(reused=len(rows))
            yield number
            return
        task = _Task(part, len(rows))
        # The batches of the part before go on while this one's first images are decoded, so that
        # the model never waits between two parts.
        for batch in manifest.batched(self._decode(rows), BATCH_SIZE):
            self._running.append((task, encoder_graph.threads().submit(self._caption, batch)))
            if len(self._running) > encoder_graph.THREADS:
                yield from self._take()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Takes the last batches, which no other part followed."""
        while self._running:
            for number in self._take():
                yield WindowedValue(number, MIN_TIMESTAMP, [GlobalWindow()])
        self._beat(last=True)

    def _is_finished(self, part: Part, rows: list[CaptionedImage]) -> bool:
        """Tells whether a part has been written, and its failed images still fail."""
        found = captions_folder.read_part(self._settings.folder, part.number)
        if not found or (found.rows, found.settings) != (part.rows, part.settings):
            return False
        failed = {failure["path"] for failure in found.failures}
        again = self._decode([row for row in rows if row.path in failed])
        return all(decoded.image is None for decoded in again)

    def _decode(self, rows: list[CaptionedImage]) -> Iterator[Decoded]:
        graph = self._graph
        return decode_ahead(rows, graph.image_size, graph.max_pixels, window=2 * BATCH_SIZE)

    def _caption(self, batch: list[Decoded]) -> _Answers:
        images = [decoded.image for decoded in batch if decoded.image is not None]
        answers = iter(self._graph(images) if images else [])
        return [(one, None if one.image is None else next(answers)) for one in batch]

    def _take(self) -> Iterator[int]:
        """Waits for the oldest batch; yields its part's number if it was the part's last one."""
        task, future = self._running.popleft()
        part, answers = task.part, future.result()
        failed = len(part.failures)
        for decoded, answer in answers:
            self._add(task, decoded, answer)
        task.missing -= len(answers)
        self._count(done=len(answers), failed=len(part.failures) - failed)
        if not task.missing:
            captions_folder.write_part(self._settings.folder, part, task.lines)
            self._counters["captioned"].inc(part.images)
            self._counters["failed"].inc(len(part.failures))
            yield part.number

    def _count(self, **counts: int) -> None:
        """Adds to what this worker has done, and tells the launcher now and then."""
        for name, count in counts.items():
            self._counts[name] += count
        self._counters["reused"].inc(counts.get("reused", 0))
        self._beat()

    def _beat(self, *, last: bool = False) -> None:
        counts = self._counts
        self._heartbeat.beat(
            done=counts["done"], failed=counts["failed"], reused=counts["reused"], last=last
        )

    def _add(self, task: _Task, decoded: Decoded, answer: ImageCaptions | None) -> None:
        settings, path, reason = self._settings, decoded.row.path, decoded.reason
        if answer is not None:
            result = caption_files.to_result(path, answer, settings.top)
            if settings.sidecar:
                overwrite = settings.overwrite
                reason = caption_formats.write_sidecar(path, result, overwrite=overwrite)
            if not reason:
                task.part.images += 1
                task.lines.append(caption_formats.line(settings.form, result))
                return
        task.part.failures.append({"path": path, "reason": reason})
