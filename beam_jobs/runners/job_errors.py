"""What a failed job raises, in one line: a worker's UserError, its Ctrl-C, or a cluster's failure.

Only this module reads Beam's messages; its tests fail when a runner changes their wording.
"""

from __future__ import annotations

import contextlib
import logging
import re
import traceback
from collections.abc import Iterator

from absl import logging as absl_logging

from imcap.errors import UserError

# A runner puts the text of a worker's exception into an exception of its own; Beam adds the step to
# the last line of the worker's.
_STEP = " [while running '"
_USER_ERROR = re.compile(r"imcap\.errors\.UserError: (.*)" + re.escape(_STEP))
_INTERRUPT = f"KeyboardInterrupt{_STEP}"
_ANY_ERROR = re.compile(r"^([\w.]+(?:Error|Exception): .*)" + re.escape(_STEP) + "(.*?)'", re.M)


@contextlib.contextmanager
def raised_in_one_line(flink_master: str | None = None) -> Iterator[None]:
    """Raises a worker's UserError or KeyboardInterrupt as if the launcher had raised it.

    Beam's own log of such an error is dropped. Without `flink_master`, any other exception is
    raised as it is.

    Args:
      flink_master: HOST:PORT of the cluster that the job runs on, whose failures become UserErrors.
    """
    logger = logging.getLogger("apache_beam.runners.common")
    logger.addFilter(_is_bug)
    try:
        yield
    except Exception as error:
        message = "".join(traceback.format_exception_only(error))
        if found := _USER_ERROR.search(message):
            raise UserError(found[1]) from error
        if _INTERRUPT in message:
            raise KeyboardInterrupt from error
        if flink_master is None:
            raise
        absl_logging.info("the job failed on Flink: %s", message)
        raise UserError(_flink_failure(str(error), flink_master)) from error
    finally:
        logger.removeFilter(_is_bug)


def _flink_failure(message: str, master: str) -> str:
    found = _ANY_ERROR.search(message)
    reason = f"{found[1]}, in the step {found[2]}" if found else message.strip().partition("\n")[0]
    address = master if "://" in master else f"http://{master}"
    return (
        f"the job failed on the Flink cluster {master} ({reason[:500]}); its JobManager's log is "
        f"at {address}/jobmanager/log; the same command continues with the shards that are missing"
    )


def _is_bug(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, (UserError, KeyboardInterrupt))
