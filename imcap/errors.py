"""The one exception for mistakes that a user can mend."""

from __future__ import annotations


class UserError(ValueError):
    """A wrong file, row, flag or setting: its message is one line that names it and how to mend it.

    `imcap` prints the message without a traceback and exits with status 2.
    """
