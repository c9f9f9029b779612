"""The sockets that servers listen on."""

from __future__ import annotations

import socket

from imcap.errors import UserError


def base_url(host: str, port: int) -> str:
    """Returns the URL of what listens on a host and port, without a path."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens; port 0 stands for any free one.

    Raises:
      UserError: the address cannot be used, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        where = f"--host={host} --port={port}"
        raise UserError(f"{where}: {reason} (choose another; port 0 is any free one)") from error
    # Connections inherit it. Without it, the second part of a reply waits 40 ms for the client's
    # acknowledgement of the first; asyncio sets it only for sockets that name their protocol.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
