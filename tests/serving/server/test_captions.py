"""`POST /caption`: an image as the body, JSON back; and the metrics of it."""

from __future__ import annotations

import pytest
from grey_model import OTHER, WHITE, png
from starlette.testclient import TestClient

from imcap.serving import server


@pytest.fixture(scope="module")
def client(model):
    limits = server.Limits(max_image_megapixels=1)
    with TestClient(server.create_app({"grey": model, "twin": model}, limits)) as client:
        yield client


def test_the_body_is_captioned(client):
    form = {"content-type": "application/x-www-form-urlencoded"}  # As curl says by default.
    response = client.post("/caption", content=png(64), headers=form)
    assert response.status_code == 200
    assert response.json() == {
        "caption": "grey 64",
        "score": -0.25,
        "captions": [
            {"caption": "grey 64", "score": -0.25, "rank": -0.5},
            {"caption": OTHER, "score": 0.0, "rank": -9.0},
        ],
        "model": "grey",
        "version": 7,
    }


def test_the_query_chooses_the_model_and_how_many_captions(client):
    reply = client.post("/caption?model=twin&top=1", content=png(64)).json()
    assert (reply["model"], len(reply["captions"])) == ("twin", 1)


@pytest.mark.parametrize(
    ("path", "request_", "status", "error"),
    [
        ("/caption", {"content": b""}, 400, "The body is empty"),
        ("/caption", {"content": b"text"}, 400, "Unknown image"),
        ("/caption", {"content": png(1)[:60]}, 400, "Invalid PNG"),
        ("/caption", {"content": png(1, 200_000)}, 400, "declares more than 1 million pixels"),
        ("/caption", {"content": png(WHITE)}, 429, "memory limit"),
        ("/caption", {"json": {}}, 415, "application/json: POST the image itself"),
        ("/caption", {"files": {"a": png(1)}}, 415, "multipart/form-data: POST the image itself"),
        ("/caption?top=0", {"content": png(1)}, 400, "top=0: must be a number above 0"),
        ("/caption?top=many", {"content": png(1)}, 400, "top=many: must be"),
        ("/caption?model=no", {"content": png(1)}, 404, "Servable not found"),
    ],
)
def test_what_is_wrong_is_said(client, path, request_, status, error):
    response = client.post(path, **request_)
    assert response.status_code == status, response.text
    assert error in response.json()["error"]


def test_only_post_is_taken(client):
    assert client.get("/caption").status_code == 405


def test_requests_and_batches_are_counted(client):
    before = client.get("/monitoring/prometheus/metrics").text
    name = 'imcap_requests_total{code="200",method="caption",model="twin"}'
    counts = []
    for text in (before, None):
        if text is None:
            assert client.post("/caption?model=twin", content=png(64)).status_code == 200
            text = client.get("/monitoring/prometheus/metrics").text
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
        counts.append({n: float(values.get(n, 0)) for n in (name, "imcap_batch_size_count")})
    assert all(counts[1][name] == counts[0][name] + 1 for name in counts[0])
    assert values['imcap_model_version{model="grey",state="AVAILABLE",version="7"}'] == "1.0"
    assert 'imcap_request_seconds_bucket{le="+Inf",method="caption",model="twin"}' in values
