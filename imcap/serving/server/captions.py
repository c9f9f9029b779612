"""`POST /caption`: one image as the body, its captions as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from imcap.serving import rest
from imcap.serving.captioner import Captioner, Failure, image_captions

HINT = "POST the image itself as the body, as with curl --data-binary @image.jpg"


def check_body(content_type: str, body: bytes | bytearray) -> None:
    """Refuses what is no image for sure.

    Raises:
      RequestError: 415 for a form or JSON, 400 for an empty body.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind in ("multipart/form-data", "application/json"):
        raise rest.RequestError(415, f"{kind}: {HINT}")
    if not body:
        raise rest.RequestError(400, f"The body is empty: {HINT}")


def parse_top(text: str) -> int:
    """Returns how many captions are wanted, 0 for all.

    Raises:
      RequestError: 400, it is not a number above 0.
    """
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):
        raise rest.RequestError(400, f"top={text[:20]}: must be a number above 0")
    return int(text)


def caption_reply(
    name: str, model: Captioner, row: Mapping[str, Any] | Failure, top: int
) -> dict[str, Any]:
    """Returns the reply to an image.

    Args:
      name: of the model.
      model: that captioned the image.
      row: the outputs of its default signature.
      top: how many captions are shown; 0: all.

    Raises:
      RequestError: 429 if memory ran out, 400 if the image cannot be decoded.
    """
    if isinstance(row, Failure):
        if row.out_of_memory:
            raise rest.RequestError(429, row.reason, retry_after=1)
        raise rest.RequestError(400, row.reason)
    captions = [dataclasses.asdict(found) for found in image_captions(row).captions]
    best = {"caption": row["caption"], "score": row["score"]}
    captions = captions[:top] if top else captions
    return {**best, "captions": captions, "model": name, "version": model.version}
