"""Sockets that listen."""

from __future__ import annotations

import socket

from imcap.serving.server import sockets


def test_accepted_connections_send_without_delay():
    with sockets.listen("127.0.0.1", 0) as listener, socket.socket() as client:
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_urls_of_ipv6_addresses_have_brackets():
    assert sockets.base_url("::1", 80) == "http://[::1]:80"
    assert sockets.base_url("localhost", 80) == "http://localhost:80"
