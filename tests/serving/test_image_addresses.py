"""Images at web addresses: what is fetched, and what is never asked."""

from __future__ import annotations

import gzip
import ipaddress
import time

import certifi
import pytest
import refusals
import web_servers
from hypothesis import given, settings
from hypothesis import strategies as st

from imcap.serving import image_addresses

IMAGE = bytes(range(256)) * 40


def fetch(address: str, **options: object) -> bytes:
    return image_addresses.fetch(
        address, **({"max_bytes": 1 << 16, "seconds": 5, "allow_private": True} | options)
    )


def refusal(address: str, **options: object) -> str:
    return refusals.refusal(fetch, address, **options)


@pytest.fixture
def web():
    with web_servers.serve() as started:
        started.answers["/a.png"] = web_servers.answer(IMAGE)
        yield started


def test_the_file_is_returned_as_it_is(web):
    assert fetch(f"  {web.url}/a.png#part \n") == IMAGE
    assert web.requests == [("/a.png", f"127.0.0.1:{web.port}")]


def test_a_compressed_answer_is_not_decompressed(web):
    packed = gzip.compress(bytes(1 << 20))
    web.answers["/z"] = web_servers.answer(packed, Content_Encoding="gzip")
    assert fetch(f"{web.url}/z") == packed


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "0.0.0.0", "127.1", "2130706433", "0x7f000001", "[::1]", "[::]",
        "10.0.0.1", "172.16.5.4", "192.168.1.1", "100.64.0.1", "169.254.169.254", "224.0.0.1",
        "240.0.0.1", "[fe80::1]", "[fc00::1]", "[::ffff:127.0.0.1]", "[::ffff:a00:1]",
        "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[ff02::1]",
    ],
)  # fmt: skip
def test_private_addresses_are_not_asked(web, host):
    message = refusal(f"http://{host}:{web.port}/a.png", allow_private=False)
    assert "an address of this machine or of a private network, from which only" in message
    assert message.endswith("`imcap app --allow_private_addresses` fetches")
    assert web.requests == []


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_are_known(address):
    assert image_addresses.is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("found", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1"])
def test_a_name_of_a_private_address_is_not_asked(web, found):
    with web_servers.names(images__example=[found]):
        message = refusal(f"http://images.example:{web.port}/a.png", allow_private=False)
    assert message.startswith("images.example: an address of this machine")
    assert web.requests == []


def test_the_address_that_was_checked_is_the_one_that_is_asked(web):
    with web_servers.names(images__example=["127.0.0.1", "127.0.0.2"]) as asked:
        assert fetch(f"http://images.example:{web.port}/a.png") == IMAGE
    assert asked == ["images.example"]
    assert web.requests == [("/a.png", f"images.example:{web.port}")]


def test_a_redirect_to_a_private_address_is_not_followed(web, monkeypatch):
    monkeypatch.setattr(image_addresses, "is_public", lambda found: str(found) == "127.0.0.1")
    with web_servers.serve("127.0.0.2") as private:
        web.answers["/out"] = web_servers.redirect(f"{private.url}/secret")
        message = refusal(f"{web.url}/out", allow_private=False)
        assert message.startswith("127.0.0.2: an address of this machine")
        assert private.requests == []
    assert [path for path, _ in web.requests] == ["/out"]


def test_redirects_are_followed_up_to_a_limit(web):
    web.answers["/1"] = web_servers.redirect("2")
    web.answers["/2"] = web_servers.redirect(f"//127.0.0.1:{web.port}/a.png")
    web.answers["/loop"] = web_servers.redirect("/loop")
    web.answers["/file"] = web_servers.redirect("file:///etc/passwd")
    assert fetch(f"{web.url}/1") == IMAGE
    assert "more than 5 redirects" in refusal(f"{web.url}/loop")
    assert refusal(f"{web.url}/file") == (
        "file:///etc/passwd: an image's address begins with https:// or http://"
    )


@pytest.mark.parametrize(
    "address", ["", "a.png", "www.example.org/a.png", "ftp://a/b", "file:///a", "http://", "data:,"]
)
def test_only_web_addresses_are_taken(address):
    assert "an image's address begins with https:// or http://" in refusal(address)


@settings(max_examples=50, deadline=None)
@given(st.text() | st.text().map("http://{}".format) | st.from_regex(r"https?://[\x20-\x7e]*"))
def test_any_text_as_an_address_is_refused_in_one_line(text):
    with web_servers.names():
        refusal(text, allow_private=False)


def test_wrong_answers_are_refused_with_what_to_do(web):
    web.answers |= {
        "/page": web_servers.answer(b"<p>", "text/html; charset=utf-8"),
        "/large": web_servers.answer(bytes(1 << 17)),
        "/endless": web_servers.answer(bytes(1 << 17), Content_Length=""),
        "/short": web_servers.answer(IMAGE, Content_Length=str(len(IMAGE) + 1)),
        "/garbage": lambda handler: handler.wfile.write(b"\0\1\2 no HTTP\r\n\r\n"),
    }
    expected = {
        "/page": "this is a web page, not an image (open the image alone, copy its address)",
        "/absent": "there is no image at this address (HTTP 404)",
        "/large": "the file is larger than the limit of 0.0625 MiB",
        "/endless": "the file is larger than the limit of 0.0625 MiB",
        "/short": "the file ended early",
        "/garbage": "does not answer as a web server should",
    }
    found = {path: refusal(web.url + path) for path in expected}
    assert found == {path: f"127.0.0.1: {message}" for path, message in expected.items()}


def test_hosts_that_cannot_be_reached_are_refused(web):
    port = web.port
    web.server.server_close()
    assert "127.0.0.1: cannot be reached (" in refusal(f"http://127.0.0.1:{port}/a.png")
    with web_servers.names():
        assert refusal("http://images.example/") == (
            "images.example: no such host (check the spelling)"
        )


@pytest.mark.parametrize("start", [b"", b"HTTP/1.0 200 OK\r\n\r\n"])
def test_an_answer_that_drips_ends_at_the_deadline(web, start):
    def drip(handler):
        handler.wfile.write(start)
        for _ in range(100):
            handler.wfile.write(b"H")
            time.sleep(0.05)

    web.answers["/drip"] = drip
    began = time.monotonic()
    assert "no complete answer in time" in refusal(f"{web.url}/drip", seconds=0.3)
    assert time.monotonic() - began < 2


def test_certificates_are_those_of_the_name(tmp_path, monkeypatch):
    certificate = web_servers.write_certificate(tmp_path / "server.pem", "images.example")
    with web_servers.serve(certificate=certificate) as secure:
        secure.answers["/a.png"] = web_servers.answer(IMAGE)
        path = f":{secure.port}/a.png"
        with web_servers.names(images__example=["127.0.0.1"], other__example=["127.0.0.1"]):
            assert "certificate cannot be verified" in refusal(f"https://images.example{path}")
            monkeypatch.setattr(certifi, "where", lambda: str(certificate))
            assert fetch(f"https://images.example{path}") == IMAGE
            assert "certificate cannot be verified" in refusal(f"https://other.example{path}")
    assert [host for _, host in secure.requests] == [f"images.example:{secure.port}"]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://a.example/b/c%20d.jpg?size=2#x", "c d.jpg"),
        ("https://a.example", "a.example"),
        ("https://a.example/b/", "a.example"),
    ],
)
def test_a_file_is_named_after_the_end_of_its_address(address, name):
    assert image_addresses.file_name(address) == name
