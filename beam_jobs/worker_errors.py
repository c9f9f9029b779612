"""A worker's UserError, told to the user as if it had been raised by the launcher."""

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


@contextlib.contextmanager
def passed_on() -> Iterator[None]:
    """Raises the UserError of a worker again, without the traceback that Beam logs for it."""
    logger = logging.getLogger("apache_beam.runners.common")
    logger.addFilter(_is_no_user_error)
    try:
        yield
    except Exception as error:
        text = "".join(traceback.format_exception_only(error))
        if found := _USER_ERROR.search(text):
            raise UserError(found[1]) from error
        raise
    finally:
        logger.removeFilter(_is_no_user_error)


def _is_no_user_error(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], UserError))
