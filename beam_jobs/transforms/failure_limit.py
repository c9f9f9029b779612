"""When too many photos fail, the job stops: something is wrong with all of them."""

from __future__ import annotations

import collections
from collections.abc import Iterable

from beam_jobs import shard_files
from imcap.errors import UserError


def allowed(limit: str, total: int) -> float:
    """Returns how many photos may fail.

    Args:
      limit: a number of photos ("100"), a share of all ("0.01" or "1%"), or empty: any.
      total: photos in the manifest.

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
            f"config.records.max_failures={limit!r} must be a number of photos (100) or a share "
            "of them (0.01 or 1%)"
        )
    return value * total if is_share else value


def check(folder: str, limit: str, failures: Iterable[dict[str, str]]) -> None:
    """Raises UserError, with the reasons of `failures`, when more photos failed than allowed."""
    counts = shard_files.total_progress(folder)
    if counts["failed"] <= allowed(limit, counts["total"]):
        return
    reasons = collections.Counter(failure["reason"] for failure in failures)
    summary = "; ".join(f"{reason} ({n})" for reason, n in reasons.most_common(3))
    raise UserError(
        f"{counts['failed']} of {counts['total']} photos failed, more than "
        f"config.records.max_failures={limit} allows; among them: {summary}"
    )
