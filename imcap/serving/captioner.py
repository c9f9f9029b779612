"""Captions for images in memory and for files, from an exported SavedModel."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import itertools
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any, TextIO

from imcap import filesystem, prefetch
from imcap.errors import UserError, one_line

DEFAULT_SIGNATURE = "serving_default"
# What an exported captioner offers: signature -> (inputs, outputs).
SIGNATURES = {
    DEFAULT_SIGNATURE: ({"image_bytes"}, {"caption", "score", "captions", "scores"}),
    "score": ({"image_bytes", "caption"}, {"score"}),
}
READERS = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Caption:
    """A caption, its score (mean log-probability per token), and every hypothesis, best first."""

    text: str
    score: float
    alternatives: tuple[tuple[str, float], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why one image got no answer; `exhausted` if memory ran out, so that the image may be good."""

    reason: str
    exhausted: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What became of one file: either `caption` and `score`, or `error`.

    Attributes:
      path: as `find_images` gives it.
      caption: the best caption; None after an error.
      score: its mean log-probability per token; None after an error.
      alternatives: the best captions with their scores, the best first; empty after an error.
      error: why there is no caption, in one line; None if there is one.
    """

    path: str
    caption: str | None = None
    score: float | None = None
    alternatives: tuple[tuple[str, float], ...] = ()
    error: str | None = None


def find_model(model_dir: str) -> str:
    """Returns the SavedModel folder that `model_dir` means.

    That is `model_dir` itself, or its newest numbered version, or that of its `export` folder.
    Versions without a `saved_model.pb` (still being written) are passed over.

    Raises:
      UserError: there is none.
    """
    if _is_saved_model(model_dir):
        return model_dir
    for folder in (model_dir, os.path.join(model_dir, "export")):
        names = os.listdir(folder) if os.path.isdir(folder) else []
        versions = [n for n in names if _is_number(n) and _is_saved_model(os.path.join(folder, n))]
        if versions:
            return os.path.join(folder, max(versions, key=int))
    problem = "no exported model in it" if os.path.isdir(model_dir) else "no such folder"
    make = "imcap export --config=FILE --workdir=DIR"
    raise UserError(f"{model_dir}: {problem} (to make one: {make}, then give DIR or DIR/export)")


def _is_saved_model(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "saved_model.pb"))


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


class Captioner:
    """An exported captioner, loaded. Several threads may call it at once.

    Attributes:
      path: the SavedModel's folder.
      version: the number that is the folder's name, or 1.
      batch_size: the most images that one call of the model gets.
      signature_defs: every signature by name, as the JSON form of its `SignatureDef`.
    """

    def __init__(self, model_dir: str, *, batch_size: int = 32) -> None:
        """Loads the model that `find_model` finds in `model_dir`.

        Raises:
          UserError: there is none, it cannot be read, or it is not a captioner.
        """
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size}: must be at least 1")
        self.path = find_model(os.fspath(model_dir))
        name = os.path.basename(os.path.abspath(self.path))
        self.version = int(name) if _is_number(name) else 1
        self.batch_size = batch_size
        self.signature_defs = _read_signature_defs(self.path)
        _check_signatures(self.path, self.signature_defs)
        # The functions hold the model's variables weakly: the model has to be kept too.
        self._model = _load(self.path)
        self._functions = dict(self._model.signatures)

    def predict(
        self, inputs: Mapping[str, Sequence[bytes]], signature: str = DEFAULT_SIGNATURE
    ) -> list[dict[str, Any] | Failure]:
        """Runs one of `SIGNATURES` on rows of inputs, `batch_size` at a time.

        An image that cannot be decoded fails its whole batch in the graph; the batch is then
        halved again and again until the bad rows stand alone.

        Args:
          inputs: for each input name, the values; all of the same length.
          signature: one of `SIGNATURES`.

        Returns:
          For each row, its outputs by name (strings, floats, or lists of these), or a `Failure`.

        Raises:
          tf.errors.OpError: the model failed for a reason that lies not in the images.
        """
        size = len(next(iter(inputs.values())))
        rows = []
        for start in range(0, size, self.batch_size):
            rows += self._rows(signature, _slice(inputs, start, start + self.batch_size))
        return rows

    def _rows(
        self, signature: str, inputs: Mapping[str, Sequence[bytes]]
    ) -> list[dict[str, Any] | Failure]:
        import tensorflow as tf

        size = len(next(iter(inputs.values())))
        try:
            tensors = {name: tf.constant(list(values)) for name, values in inputs.items()}
            return _unstack(self._functions[signature](**tensors))
        except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError) as error:
            if size == 1:
                exhausted = isinstance(error, tf.errors.ResourceExhaustedError)
                return [Failure(one_line(error), exhausted)]
        half = size // 2
        first, second = _slice(inputs, 0, half), _slice(inputs, half, size)
        return self._rows(signature, first) + self._rows(signature, second)

    def caption(self, images: Sequence[bytes]) -> list[Caption | Failure]:
        """Captions encoded images (JPEG, PNG, …): one answer each, in order."""
        rows = self.predict({"image_bytes": images}) if images else []
        return [row if isinstance(row, Failure) else _caption(row) for row in rows]

    def score(self, images: Sequence[bytes], captions: Sequence[str]) -> list[float | Failure]:
        """Scores how well `captions[i]` fits `images[i]`: mean log-probability per token."""
        if len(images) != len(captions):
            raise ValueError(f"{len(images)} images but {len(captions)} captions")
        texts = [caption.encode() for caption in captions]
        rows = self.predict({"image_bytes": images, "caption": texts}, "score") if images else []
        return [row if isinstance(row, Failure) else row["score"] for row in rows]


def _slice(inputs: Mapping[str, Sequence[bytes]], start: int, stop: int) -> dict[str, Any]:
    return {name: values[start:stop] for name, values in inputs.items()}


def _caption(row: Mapping[str, Any]) -> Caption:
    alternatives = tuple(zip(row["captions"], row["scores"], strict=True))
    return Caption(row["caption"], row["score"], alternatives)


def _unstack(outputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Turns named tensors of shape [batch, ...] into one dictionary of Python values per row."""
    columns = {name: _values(tensor.numpy()) for name, tensor in sorted(outputs.items())}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(array: Any) -> list[Any]:
    if array.dtype == object:
        return _decode(array.tolist())
    # Floats by way of text, so that the float32 nearest to 0.2 reads 0.2, not 0.20000000298.
    return array.astype(str).astype(float).tolist() if array.dtype.kind == "f" else array.tolist()


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    return value.decode("utf-8", "replace")


def _read_signature_defs(path: str) -> dict[str, dict[str, Any]]:
    from google.protobuf import json_format, message
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    try:
        with open(os.path.join(path, "saved_model.pb"), "rb") as file:
            proto.ParseFromString(file.read())
    except (OSError, message.DecodeError) as error:
        raise UserError(f"{path}/saved_model.pb: cannot be read: {error}") from error
    graphs = [graph for graph in proto.meta_graphs if "serve" in graph.meta_info_def.tags]
    options = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}
    defs = graphs[0].signature_def if graphs else {}
    return {name: json_format.MessageToDict(defs[name], **options) for name in sorted(defs)}


def _check_signatures(path: str, signature_defs: Mapping[str, Mapping[str, Any]]) -> None:
    for name, (inputs, outputs) in SIGNATURES.items():
        found = signature_defs.get(name, {"inputs": {}, "outputs": {}})
        missing = sorted(outputs - set(found["outputs"]))
        if set(found["inputs"]) != inputs or missing:
            wants = f"{', '.join(sorted(inputs))} -> {', '.join(sorted(outputs))}"
            raise UserError(
                f"{path}: not a captioner that `imcap export` wrote: its signature {name!r} "
                f"should be {wants}"
            )


def _load(path: str) -> Any:
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  registers the ops that standardize captions in graph

    try:
        return tf.saved_model.load(path)
    except (OSError, ValueError, tf.errors.OpError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{path}: cannot be loaded: {reason[0]}; export it again") from error


def find_images(paths: Sequence[str]) -> list[str]:
    """Returns the image files that `paths` mean, each once, in order.

    A file stands for itself whatever its name, a folder for the image files below it
    (`filesystem.is_image`; sorted), a glob (`**` is recursive) for what it matches.

    Raises:
      UserError: `paths` is empty, or one of them gives no image.
    """
    return list(_iter_images(paths))


def _iter_images(paths: Sequence[str]) -> Iterator[str]:
    """Checks every argument at once, then finds images as they are asked for."""
    if not paths:
        raise UserError("no images given: name files, folders or globs")
    found = itertools.chain.from_iterable([_some_images(os.fspath(path)) for path in paths])
    return iter(_unique(found))


def _unique(paths: Iterator[str]) -> Iterator[str]:
    seen = set()
    for path in paths:
        if path not in seen:
            seen.add(path)
            yield path


def _some_images(argument: str) -> Iterator[str]:
    found = _expand(argument)
    first = next(found, None)
    if first is None:
        folder = os.path.isdir(argument)
        problem = "no image below this folder" if folder else "no such file or folder, no match"
        hint = (
            f"images end in {' '.join(filesystem.IMAGE_EXTENSIONS)}"
            if folder
            else "check the spelling"
        )
        raise UserError(f"{argument}: {problem} ({hint})")
    return itertools.chain([first], found)


def _expand(argument: str) -> Iterator[str]:
    # A file may have [brackets] in its name: it is a glob only if it is no file.
    matches = [argument] if os.path.lexists(argument) else glob.glob(argument, recursive=True)
    for match in sorted(matches):
        if os.path.isdir(match):
            yield from _walk(match)
        else:
            yield match


def _walk(folder: str) -> Iterator[str]:
    for root, folders, files in os.walk(folder, onerror=_refuse):
        # Hidden ones are thumbnails and macOS's `._x.jpg`, not photos.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if filesystem.is_image(name):
                yield os.path.join(root, name)


def _refuse(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot list this folder: {error.strerror}") from error


def caption_paths(
    model_dir: str, paths: Sequence[str], *, top: int = 1, batch_size: int = 32
) -> Iterator[Result]:
    """Captions image files, yielding results in order while later files are still being read.

    Args:
      model_dir: what `Captioner` takes.
      paths: what `find_images` takes.
      top: how many alternatives a result holds.
      batch_size: images per call of the model.

    Raises:
      UserError: an argument is wrong (raised at once), or the model gives fewer than `top`
        captions (raised with the first result).
    """
    if top < 1:
        raise UserError(f"--top={top}: must be at least 1")
    images = _iter_images(paths)
    return _results(Captioner(model_dir, batch_size=batch_size), images, top)


def _results(captioner: Captioner, images: Iterator[str], top: int) -> Iterator[Result]:
    with contextlib.closing(_read_ahead(images, 2 * captioner.batch_size)) as files:
        while batch := list(itertools.islice(files, captioner.batch_size)):
            read = [content for _, content in batch if isinstance(content, bytes)]
            answers = iter(captioner.caption(read))
            for path, content in batch:
                yield _result(path, next(answers) if isinstance(content, bytes) else content, top)


def _result(path: str, answer: Caption | Failure, top: int) -> Result:
    if isinstance(answer, Failure):
        return Result(path, error=answer.reason)
    count = len(answer.alternatives)
    if top > count:
        raise UserError(
            f"--top={top}: this model gives {count} per image, its beam size; use --top={count}, "
            f"or export it with --config.decode.beam_size={top}"
        )
    return Result(path, answer.text, answer.score, answer.alternatives[:top])


def _read_ahead(paths: Iterator[str], ahead: int) -> Iterator[tuple[str, bytes | Failure]]:
    """Yields files in order, `ahead` of them being read while the model is busy."""
    with futures.ThreadPoolExecutor(READERS) as pool:
        yield from prefetch.ahead((pool.submit(_read, path) for path in paths), ahead)


def _read(path: str) -> tuple[str, bytes | Failure]:
    try:
        return path, filesystem.read_bytes(path)
    except OSError as error:
        return path, Failure(f"cannot be read: {error.strerror}")


def caption_and_print(
    model: str,
    paths: Sequence[str],
    top: int = 1,
    as_json: bool = False,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """Captions files and prints `path<TAB>caption` (`top` lines each), or one JSON line each.

    A JSON line is `{"path", "caption", "score", "alternatives": [{"caption", "score"}, …]}`. Files
    that fail go to `err`, one line each.

    Returns:
      0, or 1 if any file failed.

    Raises:
      UserError: as `caption_paths`.
    """
    out, err = out or sys.stdout, err or sys.stderr
    failed = False
    for result in caption_paths(model, paths, top=top):
        if result.error is not None:
            failed = True
            _print(f"{result.path}: {result.error}", err)
        else:
            _print(_json_line(result) if as_json else _text_lines(result), out)
    return int(failed)


def _text_lines(result: Result) -> str:
    return "\n".join(f"{result.path}\t{caption}" for caption, _ in result.alternatives)


def _json_line(result: Result) -> str:
    alternatives = [{"caption": text, "score": score} for text, score in result.alternatives]
    line = {"path": result.path, "caption": result.caption, "score": result.score}
    return json.dumps(line | {"alternatives": alternatives})


def _print(text: str, stream: TextIO) -> None:
    # A file name need not be valid in the stream's encoding.
    encoding = getattr(stream, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
