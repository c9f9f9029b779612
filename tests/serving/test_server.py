"""The server's application, in process: TensorFlow Serving's API with a tiny real SavedModel."""

from __future__ import annotations

import base64
import json
import time
import urllib.parse

import pytest
from grey_model import OTHER, WHITE, Grey, export, png
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from imcap.errors import UserError
from imcap.serving import server
from imcap.serving.captioner import Captioner

PREDICT = "/v1/models/grey:predict"


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def row(level: int) -> dict[str, dict[str, str]]:
    return {"image_bytes": b64(png(level))}


def answer(level: int) -> dict[str, object]:
    return {
        "caption": f"grey {level}",
        "score": -level / 256,
        "captions": [f"grey {level}", OTHER],
        "scores": [-level / 256, 0.0],
        "ranks": [-level / 128, -9.0],
    }


@pytest.fixture(scope="module")
def client(version_dir):
    models = {"grey": Captioner(version_dir), "twin": Captioner(version_dir)}
    with TestClient(server.create_app(models, server.Limits(max_body_mib=1))) as client:
        yield client


def error_reply(client, status: int, **request) -> str:
    """Posts a wrong predict request and returns the error's text."""
    response = client.post(PREDICT, **request)
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    return response.json()["error"]


# Status and metadata.


@pytest.mark.parametrize(
    "path", ["/v1/models/grey", "/v1/models/twin/versions/7", "/V1/Models/grey"]
)
def test_the_status_is_tf_servings(client, path):
    response = client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "model_version_status": [
            {
                "version": "7",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }


def test_the_metadata_is_tf_servings(client):
    reply = client.get("/v1/models/grey/metadata").json()
    assert reply == client.get("/v1/models/grey/versions/7/metadata").json()
    assert reply["model_spec"] == {"name": "grey", "signature_name": "", "version": "7"}
    signatures = reply["metadata"]["signature_def"]["signature_def"]
    batch = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    assert signatures["serving_default"]["inputs"] == {
        "image_bytes": {
            "dtype": "DT_STRING",
            "tensor_shape": batch,
            "name": "serving_default_image_bytes:0",
        }
    }
    for name in ("scores", "ranks"):
        output = signatures["serving_default"]["outputs"][name]
        assert output["dtype"] == "DT_FLOAT"
        assert [dim["size"] for dim in output["tensor_shape"]["dim"]] == ["-1", "2"]
    assert set(signatures["score"]["inputs"]) == {"image_bytes", "caption"}
    assert signatures["score"]["method_name"] == "tensorflow/serving/predict"


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/v1/models/no", 404, "Could not find any versions of model no"),
        ("GET", "/v1/models/grey/versions/8", 404, "Could not find version 8 of model grey"),
        ("GET", "/v1/models/no/metadata", 404, "Servable not found for request: Latest(no)"),
        ("POST", "/v1/models/no:predict", 404, "Servable not found for request: Latest(no)"),
        (
            "POST",
            "/v1/models/grey/versions/8:predict",
            404,
            "Servable not found for request: Specific(grey, 8)",
        ),
        (
            "POST",
            "/v1/models/grey:classify",
            400,
            "No signature of this model serves classify; use :predict",
        ),
        ("GET", "/elsewhere", 404, "Not found: /elsewhere"),
    ],
)
def test_what_is_not_served_is_refused_as_by_tf_serving(client, method, path, status, error):
    response = client.request(method, path)
    assert (response.status_code, response.json()) == (status, {"error": error})


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("GET", PREDICT, "POST"), ("DELETE", "/v1/models/grey", "GET, HEAD")],
)
def test_a_wrong_method_is_refused_with_the_right_one(client, method, path, allow):
    response = client.request(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, allow)
    assert response.json() == {"error": f"Malformed request: {method} {path}"}


# Predictions.


@pytest.mark.parametrize("path", [PREDICT, "/v1/models/grey/versions/7:predict"])
def test_row_format_gives_all_outputs_of_each_image(client, path):
    response = client.post(path, json={"instances": [row(10), row(20)]})
    assert response.status_code == 200
    assert response.json() == {"predictions": [answer(10), answer(20)]}


def test_column_format_gives_a_list_per_output(client):
    response = client.post(PREDICT, json={"inputs": [b64(png(10)), b64(png(20))]})
    first, second = answer(10), answer(20)
    assert response.json() == {"outputs": {name: [first[name], second[name]] for name in first}}


def test_a_model_without_ranks_is_served_without_them(model_without_ranks):
    with TestClient(server.create_app({"grey": model_without_ranks})) as client:
        (prediction,) = client.post(PREDICT, json={"instances": [row(10)]}).json()["predictions"]
    assert prediction == {name: value for name, value in answer(10).items() if name != "ranks"}


def test_the_score_signature_scores_captions(client):
    body = {"signature_name": "score", "instances": [row(64) | {"caption": "abc"}]}
    assert client.post(PREDICT, json=body).json() == {"predictions": [-3.25]}


def test_more_instances_than_a_batch_are_answered_in_order(client):
    response = client.post(PREDICT, json={"instances": [row(level) for level in range(80)]})
    captions = [prediction["caption"] for prediction in response.json()["predictions"]]
    assert captions == [f"grey {level}" for level in range(80)]


def test_a_wrong_request_is_refused(client):
    error = "Missing 'inputs' or 'instances' key"
    assert error_reply(client, 400, content=b"{}") == error


def test_an_image_that_cannot_be_decoded_is_refused_by_its_index(client):
    images = [b64(png(1)), b64(png(2)), b64(b"garbage"), b64(png(3))]
    error = error_reply(client, 400, json={"instances": images})
    expected = "Failed to process element: 2 of 'instances' list. Error: Unknown image"
    assert error.startswith(expected)
    assert "\n" not in error


def test_too_little_memory_is_status_429(client):
    assert "memory limit" in error_reply(client, 429, json={"instances": [row(WHITE)]})


def test_a_body_over_the_limit_is_refused(client):
    error = error_reply(client, 413, content=b" " * (1 << 20) + b"{}")
    assert error == "The request body is larger than the limit of 1 MiB (--max_body_mib)"


def test_a_body_of_the_limit_is_accepted(client):
    body = json.dumps({"instances": [row(5)]}).encode()
    response = client.post(PREDICT, content=body + b" " * ((1 << 20) - len(body)))
    assert response.json() == {"predictions": [answer(5)]}


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["GET", "POST", "PUT", "OPTIONS"]),
    st.just(PREDICT) | st.text(max_size=20).map(lambda name: f"/v1/models/{name}:predict"),
    st.binary(max_size=60),
)
def test_no_request_makes_the_server_fail(client, method, path, body):
    response = client.request(method, urllib.parse.quote(path, safe="/:"), content=body)
    assert response.status_code in (400, 404, 405)
    assert list(response.json()) == ["error"]


# Warming up.


@pytest.fixture
def held(tmp_path):
    """A client of a model that waits for the file `tmp_path/barrier`."""
    barrier = tmp_path / "barrier"
    model = Captioner(export(tmp_path / "1", Grey(str(barrier))))
    with TestClient(server.create_app({"grey": model}), raise_server_exceptions=False) as client:
        try:
            assert client.get("/healthz").status_code == 200
            response = client.get("/readyz")
            assert response.status_code == 503
            assert response.json() == {"error": "model grey is warming up"}
            yield client
        finally:
            if not barrier.exists():
                barrier.touch()  # Ends the model's thread, whatever the test did.


def wait_while_warming_up(client):
    deadline = time.monotonic() + 20
    while "warming up" in client.get("/readyz").text:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_server_is_ready_after_warming_up(held, tmp_path):
    (tmp_path / "barrier").touch()
    wait_while_warming_up(held)
    response = held.get("/readyz")
    assert (response.status_code, response.json()) == (200, {"status": "ready"})


def test_a_model_that_fails_is_not_ready_and_the_server_stays_up(held, tmp_path):
    (tmp_path / "barrier").mkdir()
    wait_while_warming_up(held)
    response = held.get("/readyz")
    assert response.status_code == 503
    assert response.json()["error"].startswith("model grey failed: ")
    error = "Internal error: FailedPreconditionError; see the server's log"
    for _ in range(2):
        response = held.post(PREDICT, json={"instances": [row(1)]})
        assert (response.status_code, response.json()) == (500, {"error": error})
    assert held.get("/healthz").status_code == 200


# Options.


@pytest.mark.parametrize(("names", "error"), [([], "--model=NAME=DIR"), (["a/b"], "--model=a/b=")])
def test_wrong_names_are_refused(model, names, error):
    with pytest.raises(UserError, match=error):
        server.create_app(dict.fromkeys(names, model))


@pytest.mark.parametrize(
    ("option", "value"), [("max_body_mib", 0), ("batch_timeout_ms", -1), ("request_timeout_s", 0)]
)
def test_wrong_limits_are_refused(option, value):
    with pytest.raises(UserError, match=f"--{option}={value}: must be"):
        server.Limits(**{option: value})
