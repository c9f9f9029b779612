"""Hashes that are the same on every machine and in every release.

They decide which shard, split and initial weights there are: none of them may change.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any


def stable_number(text: str, count: int) -> int:
    """Returns an integer in [0, count) that depends on `text` and `count` alone."""
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % count


def stable_fraction(seed: int, text: str) -> float:
    """Returns a number in [0, 1) that depends on the seed and `text` alone."""
    digest = hashlib.blake2b(f"{seed}/{text}".encode(), digest_size=8, person=b"imcap split")
    return (int.from_bytes(digest.digest(), "big") >> 11) / 2.0**53


def digest_of(value: Any) -> str:
    """Returns a hash of a value that JSON can hold, independent of the order of keys."""
    written = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(written.encode(), digest_size=16).hexdigest()
