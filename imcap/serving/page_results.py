"""What the web page shows of the models' answers: captions, attention maps, CSV and JSON."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
from markupsafe import escape
from PIL import Image

from imcap.reports import html, plots, thumbnails
from imcap.serving.captioner import Caption, Captioner, Failure, ImageCaptions
from imcap.serving.page_images import PageImage

_COLUMNS = ("image", "model", "place", "caption", "confidence", "score", "rank")
_MAX_CACHED_MAPS = 256
_MAP_SIDE = 176  # Pixels.
_ROWS, _SIDES = ("upper", "middle", "lower"), ("left", "centre", "right")

Cache = MutableMapping[Hashable, Any]


@dataclasses.dataclass(frozen=True)
class ImageResult:
    """The models' answers to an image.

    Attributes:
      image: the image.
      answers: of each model, by its name.
    """

    image: PageImage
    answers: dict[str, ImageCaptions | Failure]


def caption_images(
    models: Mapping[str, Captioner], images: Sequence[PageImage], beam_size: int, cache: Cache
) -> list[ImageResult]:
    """Captions images with every model.

    Args:
      models: by name.
      images: the images.
      beam_size: of models that take one; the others keep their own.
      cache: answers of earlier calls; it gets those of this one, and loses what is not asked for.
    """
    for name, model in models.items():
        _add_missing(name, model, images, beam_size, cache)
    wanted = {(name, beam_size, image.digest) for name in models for image in images}
    for key in set(cache) - wanted:
        del cache[key]
    return [
        ImageResult(image, {name: cache[name, beam_size, image.digest] for name in models})
        for image in images
    ]


def _add_missing(
    name: str, model: Captioner, images: Sequence[PageImage], beam_size: int, cache: Cache
) -> None:
    missing = {
        image.digest: image.content
        for image in images
        if (name, beam_size, image.digest) not in cache
    }
    is_other = model.takes_beam_size and beam_size != model.beam_size
    width = beam_size if is_other else None
    answers = model.caption(list(missing.values()), beam_size=width) if missing else []
    for digest, answer in zip(missing, answers, strict=True):
        cache[name, beam_size, digest] = answer


def confidence(caption: Caption) -> float:
    """Returns the geometric mean of the probabilities that the model gave the caption's tokens."""
    return math.exp(min(caption.score, 0.0))


def find_attention(
    name: str, model: Captioner, result: ImageResult, cache: Cache
) -> np.ndarray | str:
    """Returns where a model looked for each word of its best caption, or why there is no answer.

    Args:
      name: the model's.
      model: any.
      result: its answer to an image is in it.
      cache: answers of earlier calls; it gets this one, and is emptied when it has grown large.
    """
    answer = result.answers[name]
    if not model.has_attention:
        return "This model has no attention maps."
    if isinstance(answer, Failure):
        return f"No caption: {answer.reason}"
    caption = answer.captions[0].caption
    if not caption:
        return "The caption is empty."
    if len(cache) > _MAX_CACHED_MAPS:
        cache.clear()
    key = (name, caption, result.image.digest)
    if key not in cache:
        (cache[key],) = model.attention([result.image.content], [caption])
    found = cache[key]
    return f"No attention maps: {found.reason}" if isinstance(found, Failure) else found


def plain_markdown(text: str) -> str:
    """Returns Markdown that shows a text as it is."""
    return re.sub(r"([!-/:-@[-`{-~])", r"\\\1", text)


def render_status(results: Sequence[ImageResult], models: Iterable[str]) -> str:
    """Returns HTML that a screen reader reads aloud when it appears: what was captioned."""
    count = f"{len(results)} image{'s' if results[1:] else ''}"
    return f'<p role="status">{escape(count)} captioned by {escape(", ".join(models))}</p>'


def render_captions(answers: Mapping[str, ImageCaptions | Failure], top: int) -> str:
    """Returns HTML: a card for each model with its best caption and bars of its `top` best."""
    cards = [
        {"model": name, "failure": answer.reason, "captions": []}
        if isinstance(answer, Failure)
        else {
            "model": name,
            "failure": "",
            "captions": [(found, confidence(found)) for found in answer.captions[:top]],
        }
        for name, answer in answers.items()
    ]
    return html.load_template("page_captions.html").render(cards=cards)


def render_attention(result: ImageResult, name: str, maps: np.ndarray) -> str:
    """Returns HTML: the image once for each word, with the word's attention over it.

    Args:
      result: of the image.
      name: of the model that captioned it.
      maps: float32 [words, rows, columns], as `find_attention` returns them.
    """
    answer = result.answers[name]
    assert not isinstance(answer, Failure)
    blended = plots.blend_attention(np.asarray(result.image.load(_MAP_SIDE)), maps)
    uris = [thumbnails.data_uri(Image.fromarray(pixels)) for pixels in blended]
    columns = zip(answer.captions[0].caption.split(), map(_strongest, maps), uris, strict=False)
    words = [{"word": word, "where": where, "uri": uri} for word, where, uri in columns]
    return html.load_template("page_attention.html").render(words=words)


def _strongest(weights: np.ndarray) -> str:
    """Returns where the largest of the weights [rows, columns] is, such as `upper left`."""
    row, column = np.unravel_index(int(weights.argmax()), weights.shape)
    vertical = _ROWS[int(3 * (row + 0.5) / weights.shape[0])]
    horizontal = _SIDES[int(3 * (column + 0.5) / weights.shape[1])]
    return (
        "centre" if (vertical, horizontal) == ("middle", "centre") else f"{vertical} {horizontal}"
    )


def _rows(results: Iterable[ImageResult], top: int) -> Iterator[dict[str, Any]]:
    for result in results:
        for model, answer in result.answers.items():
            captions = () if isinstance(answer, Failure) else answer.captions[:top]
            for place, found in enumerate(captions, 1):
                values = (found.caption, confidence(found), found.score, found.rank)
                row = (result.image.name, model, place, *values)
                yield dict(zip(_COLUMNS, row, strict=True))


def as_csv(results: Iterable[ImageResult], top: int) -> str:
    """Returns the `top` captions of each model and image as CSV with a header."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rows(results, top))
    return out.getvalue()


def as_json(results: Iterable[ImageResult], top: int) -> str:
    """Returns the same as `as_csv` as a JSON list with an object for each row."""
    return json.dumps(list(_rows(results, top)), ensure_ascii=False, indent=1)
