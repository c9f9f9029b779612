"""When too many images fail, the job stops: something is wrong with all of them."""

from __future__ import annotations

import collections
from collections.abc import Iterable

from beam_jobs import heartbeats
from imcap.errors import UserError


def validate(limit: str) -> None:
    """Raises UserError if `limit` is none that `allowed` takes."""
    allowed(limit, total=1)


def allowed(limit: str, total: int) -> float:
    """Returns how many images may fail.

    Args:
      limit: a number of images ("100"), a share of all ("0.01" or "1%"), or empty: any.
      total: images in the manifest.

    Raises:
      UserError: the limit is none of these.
    """
    text = str(limit).strip()
    if not text:
        return float("inf")
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        is_share = text.endswith("%") or "." in text
    except ValueError:
        value, is_share = -1.0, False
    if not 0 <= value <= (1 if is_share else float("inf")):
        raise UserError(
            f"config.records.max_failures={limit!r} must be a number of images (100) or a share "
            "of them (0.01 or 1%)"
        )
    return value * total if is_share else value


def check(folder: str, limit: str, reasons: Iterable[str]) -> None:
    """Raises UserError, with the most frequent `reasons`, if more images failed than allowed."""
    counts = heartbeats.total_progress(folder)
    if counts["failed"] <= allowed(limit, counts["total"]):
        return
    most = collections.Counter(reasons).most_common(3)
    summary = "; ".join(f"{reason} ({n})" for reason, n in most)
    raise UserError(
        f"{counts['failed']} of {counts['total']} images failed, more than "
        f"config.records.max_failures={limit} allows; among them: {summary}"
    )
