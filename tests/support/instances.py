"""Which objects are in memory: a leak shows in their number."""

from __future__ import annotations

import gc
from typing import TypeVar

_T = TypeVar("_T")


def in_memory(kind: type[_T]) -> set[_T]:
    """Returns the instances of a class, with those that only a garbage collection would free."""
    return {found for found in gc.get_objects() if issubclass(type(found), kind)}
