"""A worker's UserError, or Ctrl-C in one, as if it had been raised by the launcher."""

from __future__ import annotations

import contextlib
import logging
import re
import traceback
from collections.abc import Iterator

from imcap.errors import UserError

# Every runner passes on the text of what a worker raised, each within an exception of its own;
# Beam adds the step to its last line.
_USER_ERROR = re.compile(r"imcap\.errors\.UserError: (.*) \[while running '")
_INTERRUPT = "KeyboardInterrupt [while running '"


@contextlib.contextmanager
def passed_on() -> Iterator[None]:
    """Raises a worker's UserError or KeyboardInterrupt again, without Beam's log of it."""
    logger = logging.getLogger("apache_beam.runners.common")
    logger.addFilter(_is_bug)
    try:
        yield
    except Exception as error:
        text = "".join(traceback.format_exception_only(error))
        if found := _USER_ERROR.search(text):
            raise UserError(found[1]) from error
        if _INTERRUPT in text:
            raise KeyboardInterrupt from error
        raise
    finally:
        logger.removeFilter(_is_bug)


def _is_bug(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, (UserError, KeyboardInterrupt))
