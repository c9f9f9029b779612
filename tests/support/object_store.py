"""An S3 server on loopback (moto's), for Beam's own S3 filesystem."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

BUCKET = "test-bucket"


class _Session(boto3.session.Session):
    """A session that makes each client once; clients may be used by several threads."""

    @functools.cache  # noqa: B019 (there is one session in a process)
    def client(self, *args, **options):
        return super().client(*args, **options)


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """Starts a server with an empty bucket and points AWS' environment to it; yields its URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    values = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        with pytest.MonkeyPatch.context() as environment:
            for name, value in values.items():
                environment.setenv(name, value)
            boto3.client("s3").create_bucket(Bucket=BUCKET)
            # Beam makes a client for each file that it opens: 0.2 s of CPU time for each.
            environment.setattr(boto3.session, "Session", functools.cache(_Session))
            yield url
    finally:
        server.stop()
