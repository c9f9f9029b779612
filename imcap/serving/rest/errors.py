"""Requests that are refused, and how messages on their rows begin."""

from __future__ import annotations


class RequestError(Exception):
    """A request that is refused.

    Attributes:
      status: the HTTP status code.
      message: what is wrong, in one line.
      headers: of the reply: for status 405 the methods that the URL takes; for 429 and 503 when
        to try again; whether the connection is closed.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        allow: str = "",
        retry_after: int = 0,
        closes: bool = False,
    ) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        headers = {
            "Allow": allow,
            "Retry-After": str(retry_after or ""),
            "Connection": "close" * closes,
        }
        self.headers = {name: value for name, value in headers.items() if value}


def where_of_row(key: str) -> str:
    """Returns how messages on one row of `instances` or `inputs` begin; `{}` is for its index."""
    container = "list" if key == "instances" else "object"
    return f"Failed to process element: {{}} of {key!r} {container}. Error: "
