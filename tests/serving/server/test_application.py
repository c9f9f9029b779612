"""Limits on requests while a model is busy: time, number, and instances."""

from __future__ import annotations

import base64
from concurrent import futures

import pytest
from grey_model import Grey, export, png
from starlette.testclient import TestClient

from imcap.serving import server
from imcap.serving.captioner import Captioner

PREDICT = "/v1/models/grey:predict"


def predict_body(*levels: int) -> dict:
    images = [base64.b64encode(png(level)).decode() for level in levels]
    return {"instances": [{"image_bytes": {"b64": image}} for image in images]}


@pytest.fixture(scope="module")
def held_model(tmp_path_factory):
    """A model that waits for a file, and the file."""
    folder = tmp_path_factory.mktemp("held")
    return Captioner(export(folder / "1", Grey(str(folder / "barrier")))), folder / "barrier"


@pytest.fixture
def held(held_model):
    """Starts a server of the model with some limits, and frees the model at the end."""
    model, barrier = held_model
    barrier.unlink(missing_ok=True)

    def start(**limits) -> TestClient:
        return TestClient(server.create_app({"grey": model}, server.Limits(**limits)))

    yield start
    barrier.touch()


def test_a_request_that_takes_too_long_ends_with_an_error(held, held_model):
    with held(request_timeout_s=0.2) as client:
        response = client.post(PREDICT, json=predict_body(1))
        assert response.status_code == 504
        assert response.json() == {"error": "Timed out after 0.2 s (--request_timeout_s)"}
        held_model[1].touch()


def test_when_too_many_requests_wait_further_ones_are_told_to_come_back(held, held_model):
    with held(max_waiting=2) as client, futures.ThreadPoolExecutor(3) as pool:
        replies = [pool.submit(client.post, PREDICT, json=predict_body(n)) for n in (1, 2, 3)]
        futures.wait(replies, timeout=20, return_when=futures.FIRST_COMPLETED)
        assert client.get("/healthz").status_code == 200
        held_model[1].touch()
        found = {n: reply.result() for n, reply in enumerate(replies, start=1)}
    assert sorted(reply.status_code for reply in found.values()) == [200, 200, 503]
    for level, reply in found.items():
        if reply.status_code == 503:
            assert "--max_waiting" in reply.json()["error"]
            assert int(reply.headers["retry-after"]) >= 1
        else:
            assert reply.json()["predictions"][0]["caption"] == f"grey {level}"


def test_too_many_instances_are_refused(model):
    with TestClient(server.create_app({"grey": model}, server.Limits(max_instances=3))) as client:
        assert client.post(PREDICT, json=predict_body(1, 2, 3)).status_code == 200
        response = client.post(PREDICT, json=predict_body(1, 2, 3, 4))
        assert response.status_code == 400
        message = "4 rows; at most 3 are accepted (--max_instances)"
        assert response.json() == {"error": f"'instances': {message}"}
        many = client.post(PREDICT, content=b'{"instances": [' + b"1," * 1000 + b"1]}")
        assert many.json() == {"error": "'instances' or 'inputs': more than 3 rows"}


def test_every_reply_closes_its_connection_while_the_server_shuts_down(model):
    app = server.create_app({"grey": model})
    with TestClient(app) as client:
        assert "connection" not in client.post(PREDICT, json=predict_body(1)).headers
        app.state.draining = True
        response = client.post(PREDICT, json=predict_body(1))
        assert (response.status_code, response.headers["connection"]) == (200, "close")
        assert client.get("/readyz").status_code == 503
