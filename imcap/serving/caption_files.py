"""Captions for image files: finding them, reading ahead of the model, results as text or JSON."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import itertools
import json
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent import futures

from imcap import filesystem, prefetch
from imcap.errors import UserError, one_line
from imcap.serving.captioner import Caption, Failure, FunctionCaptioner, ImageCaptions

_READERS = 4  # Threads that read files.


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """The answer to one file: either `caption` and `score`, or `error`.

    Attributes:
      path: as given to `caption_paths`.
      caption: the best caption; None after an error.
      score: its mean log-probability per token; None after an error.
      alternatives: the best captions, `caption` included, best first; empty after an error.
      error: why there is no caption, in one line; None if there is one.
    """

    path: str
    caption: str | None = None
    score: float | None = None
    alternatives: tuple[Caption, ...] = ()
    error: str | None = None


def find_images(paths: Sequence[str | os.PathLike[str]]) -> Iterator[str]:
    """Returns the image files that `paths` stand for, each once, in order.

    A file stands for itself whatever its name, a folder for the image files below it
    (`filesystem.is_image`; sorted), a glob (`**` is recursive) for the files and folders it
    matches. Large folders are listed while the result is consumed.

    Raises:
      UserError: `paths` is empty, or one of them gives no image (raised at once), or a folder
        cannot be listed.
    """
    if not paths:
        raise UserError("no images given: name files, folders or globs")
    found = itertools.chain.from_iterable([_find(os.fspath(path)) for path in paths])
    # A folder gives no file twice: nothing has to be kept in memory.
    return found if len(paths) == 1 and os.path.isdir(paths[0]) else _unique(found)


def _unique(paths: Iterable[str]) -> Iterator[str]:
    seen = set()
    for path in paths:
        if path not in seen:
            seen.add(path)
            yield path


def _find(argument: str) -> Iterator[str]:
    found = _expand(argument)
    first = next(found, None)
    if first is None and os.path.isdir(argument):
        extensions = " ".join(filesystem.IMAGE_EXTENSIONS)
        raise UserError(f"{argument}: no image below this folder (images end in {extensions})")
    if first is None:
        raise UserError(f"{argument}: no such file or folder, no match (check the spelling)")
    return itertools.chain([first], found)


def _expand(argument: str) -> Iterator[str]:
    if filesystem.is_remote(argument):
        yield from _expand_remote(argument)
        return
    # The name of a file may contain [brackets]: it is a glob only if no such file exists.
    matches = [argument] if os.path.lexists(argument) else glob.glob(argument, recursive=True)
    for match in sorted(matches):
        if os.path.isdir(match):
            yield from _images_below(match)
        else:
            yield match


def _expand_remote(argument: str) -> Iterator[str]:
    if filesystem.is_file(argument):
        yield argument
    elif filesystem.is_folder(argument):
        yield from _images_below(argument)
    else:
        yield from filesystem.match(argument)


def _images_below(root: str) -> Iterator[str]:
    for folder, names in filesystem.walk(root):
        yield from (os.path.join(folder, n) for n in names if filesystem.is_image(n))


def caption_paths(
    captioner: FunctionCaptioner, paths: Iterable[str | os.PathLike[str]], *, top: int = 1
) -> Iterator[Result]:
    """Captions image files, yielding results in order while later files are being read.

    Args:
      captioner: the loaded model.
      paths: image files, such as `find_images` gives.
      top: how many alternatives a result holds.

    Raises:
      UserError: `top` is below 1 (raised at once), or the model gives fewer than `top` captions
        (raised with the first result).
    """
    check_top(top, top)
    return _results(captioner, paths, top)


def _results(
    captioner: FunctionCaptioner, paths: Iterable[str | os.PathLike[str]], top: int
) -> Iterator[Result]:
    with contextlib.closing(_read_ahead(paths, 2 * captioner.batch_size)) as files:
        while batch := list(itertools.islice(files, captioner.batch_size)):
            contents = [content for _, content in batch if isinstance(content, bytes)]
            answers = iter(captioner.caption(contents))
            for path, content in batch:
                yield to_result(path, next(answers) if isinstance(content, bytes) else content, top)


def to_result(path: str, answer: ImageCaptions | Failure, top: int) -> Result:
    """Returns the answer to a file with its `top` best captions.

    Raises:
      UserError: the model gives fewer.
    """
    if isinstance(answer, Failure):
        return Result(path, error=answer.reason)
    check_top(top, len(answer.captions))
    best = answer.captions[0]
    return Result(path, best.caption, best.score, answer.captions[:top])


def check_top(top: int, beam_size: int) -> None:
    """Raises UserError if a model does not give `top` captions."""
    if top < 1:
        raise UserError(f"--top={top}: must be at least 1")
    if top > beam_size:
        raise UserError(
            f"--top={top}: this model gives {beam_size} per image, its beam size; use "
            f"--top={beam_size}, or export it with --config.decode.beam_size={top}"
        )


def _read_ahead(
    paths: Iterable[str | os.PathLike[str]], window: int
) -> Generator[tuple[str, bytes | Failure], None, None]:
    """Yields path and content in order; up to `window` files are read before they are needed."""
    with futures.ThreadPoolExecutor(_READERS) as pool:
        yield from prefetch.in_order((pool.submit(_read, os.fspath(p)) for p in paths), window)


def _read(path: str) -> tuple[str, bytes | Failure]:
    try:
        return path, filesystem.read_bytes(path)
    except OSError as error:
        return path, Failure(f"cannot be read: {one_line(error)}")


def text_lines(result: Result) -> str:
    """Returns a line `path<TAB>caption` for each alternative of a result without an error."""
    return "\n".join(f"{result.path}\t{found.caption}" for found in result.alternatives)


def json_line(result: Result) -> str:
    """Returns a result without an error as one line of JSON.

    `{"path", "caption", "score", "alternatives": [{"caption", "score", "rank"}, …]}`; `rank` is
    null if the model was exported without the output `ranks`.
    """
    fields = dataclasses.asdict(result)
    del fields["error"]
    return json.dumps(fields)
