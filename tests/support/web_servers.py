"""Web servers of this machine that stand for those of the internet."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class WebServer:
    """A server that answers by path.

    Attributes:
      answers: path -> what answers it; other paths get 404.
      requests: the path and Host header of each request.
    """

    def __init__(self, host: str) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, str]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append((self.path, self.headers["Host"]))
                outer.answers.get(self.path, lambda handler: handler.send_error(404))(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer((host, 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://{host}:{self.port}"


@contextmanager
def serve(host: str = "127.0.0.1", certificate: Path | None = None) -> Iterator[WebServer]:
    """Starts a server on a free port; with a certificate's file it speaks TLS."""
    web = WebServer(host)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        web.server.socket = context.wrap_socket(web.server.socket, server_side=True)
    thread = threading.Thread(target=web.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web.server.shutdown()
        web.server.server_close()


def answer(body: bytes, content_type: str = "image/png", **headers: str) -> Answer:
    """Returns what answers with a file; headers by name with `_` for `-`, over the usual ones."""
    usual = {"Content-Type": content_type, "Content-Length": str(len(body))}
    sent = usual | {name.replace("_", "-"): value for name, value in headers.items()}

    def write(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        for name, value in sent.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return write


def redirect(target: str) -> Answer:
    """Returns what answers with a redirect."""

    def write(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return write


def write_certificate(path: Path, name: str) -> Path:
    """Writes a self-signed certificate of a host's name, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    return path


@contextmanager
def names(**answers: list[str]) -> Iterator[list[str]]:
    """Resolves names (`__` for `.`) to one IP address after the other, the last one for ever.

    Yields the names that were asked for; other names do not exist, IP addresses are as always.
    """
    known = {name.replace("__", "."): list(found) for name, found in answers.items()}
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: str, *arguments: object, **options: object) -> object:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            asked.append(host)
            found = known.get(host)
            if not found:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
            host = found.pop(0) if len(found) > 1 else found[0]
        return real(host, *arguments, **options)

    with mock.patch("socket.getaddrinfo", resolve):
        yield asked
