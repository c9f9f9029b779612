"""An S3 server on loopback (moto's), for Beam's own S3 filesystem."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

BUCKET = "test-bucket"


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
            yield url
    finally:
        server.stop()
