"""Images at web addresses: fetched with limits, and never from the server's own network.

A page that fetches what its visitors name could be used to reach services that only the server can
reach (server-side request forgery, CWE-918). So every name is resolved here, all its IP addresses
are checked, and the connection goes to the IP address that was checked: a name that resolves to
another one the second time (DNS rebinding) gains nothing. Redirects are checked in the same way.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urljoin

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

import imcap
from imcap.errors import UserError, one_line

_PORTS = {"http": 80, "https": 443}
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 1 << 16
_MAX_LENGTH = 4096  # Characters of an address.
# IPv6 networks that hold IPv4 addresses: IPv4-compatible and NAT64 (RFC 6052).
_EMBEDDING = (ipaddress.ip_network("::/96"), ipaddress.ip_network("64:ff9b::/96"))

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def fetch(
    address: str, *, max_bytes: int, seconds: float = 15, allow_private: bool = False
) -> bytes:
    """Returns the file at an address.

    Args:
      address: http:// or https://; up to five redirects are followed.
      max_bytes: the largest file.
      seconds: how long all requests together may take, after names have been resolved.
      allow_private: whether addresses of this machine and of private networks may be asked.

    Raises:
      UserError: the address is not one of the above, cannot be reached, answers with an error, a
        web page or a file that is too large, or leads to a private network.
    """
    address = address.strip()
    deadline = time.monotonic() + seconds
    for _ in range(_MAX_REDIRECTS + 1):
        found = _get(_parse(address), max_bytes, deadline, allow_private)
        if isinstance(found, bytes):
            return found
        address = urljoin(address, found)
    raise UserError(f"{_host(address)}: more than {_MAX_REDIRECTS} redirects")


def file_name(address: str) -> str:
    """Returns a name for the file at an address: the end of its path, or the host."""
    url = _parse(address.strip())
    return unquote((url.path or "").rsplit("/", 1)[-1]) or str(url.host)


def _parse(address: str) -> urllib3.util.Url:
    try:
        url = urllib3.util.parse_url(address[: _MAX_LENGTH + 1])
    except urllib3.exceptions.LocationParseError:
        url = urllib3.util.Url()
    if len(address) > _MAX_LENGTH or url.scheme not in _PORTS or not url.host:
        shown = " ".join(address.split())
        shown = shown if len(shown) <= 60 else f"{shown[:60]}…"
        raise UserError(f"{shown or 'nothing'}: an image's address begins with https:// or http://")
    return url


def _host(address: str) -> str:
    return _parse(address).host or address


def _get(
    url: urllib3.util.Url, max_bytes: int, deadline: float, allow_private: bool
) -> bytes | str:
    """Returns the file at an address, or where the address redirects to."""
    host, port = str(url.host), url.port or _PORTS[str(url.scheme)]
    addresses = resolve(host, port)
    if not allow_private and not all(map(is_public, addresses)):
        raise UserError(
            f"{host}: an address of this machine or of a private network, from which only "
            "`imcap app --allow_private_addresses` fetches"
        )
    try:
        with _connect(url, addresses, port, deadline) as connection:
            found = _read(connection, url, max_bytes)
        # At the deadline the connection is shut down, which looks like the end of a file.
        if time.monotonic() >= deadline:
            raise TimeoutError
        return found
    except UserError:
        raise
    except (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError, ValueError) as error:
        if time.monotonic() >= deadline:
            raise UserError(f"{host}: no complete answer in time") from error
        raise UserError(f"{host}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError | urllib3.exceptions.SSLError):
        return "its certificate cannot be verified, or it does not speak TLS"
    if isinstance(error, urllib3.exceptions.ProtocolError):
        return "the file ended early"
    if isinstance(error, OSError | urllib3.exceptions.NewConnectionError):
        return f"cannot be reached ({one_line(error)})"
    return "does not answer as a web server should"


def resolve(host: str, port: int) -> list[IPAddress]:
    """Returns the IP addresses of a host's name, or of an IP address in any notation.

    Raises:
      UserError: it has none.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UserError(f"{host}: no such host (check the spelling)") from error
    # An IPv6 address may end in the name of a network interface: %eth0.
    texts = dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found)
    return [ipaddress.ip_address(text) for text in texts]


def is_public(address: IPAddress) -> bool:
    """Tells whether an IP address is one of the public internet, and no multicast address.

    An IPv6 address that holds an IPv4 address is judged by that one, too.
    """
    inner = _embedded(address) if isinstance(address, ipaddress.IPv6Address) else None
    if inner is not None:
        return is_public(inner)
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if any(address in network for network in _EMBEDDING):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


@contextlib.contextmanager
def _connect(
    url: urllib3.util.Url, addresses: list[IPAddress], port: int, deadline: float
) -> Iterator[HTTPConnection]:
    """Connects to the first of the IP addresses that accepts; what runs at the deadline fails."""
    failure: Exception = OSError("no time left")
    for address in addresses:
        if (left := deadline - time.monotonic()) <= 0:
            break
        connection = _connection(url, address, port, left)
        opened: list[socket.socket] = []
        timer = threading.Timer(left, _shut_down, [opened])
        timer.daemon = True
        timer.start()
        try:
            connection.connect()
            opened.append(connection.sock)
        except (OSError, urllib3.exceptions.HTTPError) as error:
            failure = error
        else:
            yield connection
            return
        finally:
            timer.cancel()
            connection.close()
    raise failure


def _connection(
    url: urllib3.util.Url, address: IPAddress, port: int, timeout: float
) -> HTTPConnection:
    if url.scheme == "http":
        return HTTPConnection(str(address), port, timeout=timeout)
    # The certificate is that of the name, not of the IP address.
    name = str(url.host).strip("[]")
    return HTTPSConnection(
        str(address), port, timeout=timeout, server_hostname=name,
        cert_reqs="CERT_REQUIRED", ca_certs=certifi.where(),
    )  # fmt: skip


def _shut_down(opened: list[socket.socket]) -> None:
    """Ends a request that waits: a timeout of urllib3 starts anew with every byte that comes."""
    for sock in opened:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _read(connection: HTTPConnection, url: urllib3.util.Url, max_bytes: int) -> bytes | str:
    headers = {
        "Host": url.netloc or "",
        "User-Agent": f"imcap/{imcap.__version__}",
        "Accept": "image/*",
        "Accept-Encoding": "identity",  # A small compressed answer could be a large file.
    }
    connection.request("GET", url.request_uri, headers=headers, preload_content=False)
    response = connection.getresponse()
    host = url.host
    if response.status in _REDIRECTS and response.headers.get("location"):
        return response.headers["location"]
    if response.status != 200:
        raise UserError(f"{host}: there is no image at this address (HTTP {response.status})")
    if response.headers.get("content-type", "").lower().startswith("text/html"):
        raise UserError(
            f"{host}: this is a web page, not an image (open the image alone, copy its address)"
        )
    return _read_body(response, str(host), max_bytes)


def _read_body(response: Any, host: str, max_bytes: int) -> bytes:
    """Returns a response's body as it is sent, never decompressed."""
    body = bytearray()
    while chunk := response.read1(_CHUNK, decode_content=False):
        body += chunk
        if len(body) > max_bytes:
            limit = f"{max_bytes / (1 << 20):.3g}"
            raise UserError(f"{host}: the file is larger than the limit of {limit} MiB")
    return bytes(body)
