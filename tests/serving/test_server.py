"""The REST server: TF Serving's API in process and over sockets, with a tiny real SavedModel."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent import futures

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from imcap.errors import UserError
from imcap.serving import captioner, server

PREDICT = "/v1/models/grey:predict"
SLOW_HEIGHT = 9
SLOW_SECONDS = 2.5
IMAGES = tf.TensorSpec([None], tf.string, name="image_bytes")


class Grey(tf.Module):
    """Captions an image with its mean brightness, and is slow with one that is 9 pixels high.

    With a `gate`, it waits until there is a file of this name, and fails if that cannot be read.
    """

    def __init__(self, gate: str = "") -> None:
        super().__init__()
        self._gate = gate

    @tf.function(input_signature=[IMAGES])
    def serve(self, image_bytes):
        mean = _brightness(_pass(self._gate, image_bytes) if self._gate else image_bytes)
        best = tf.strings.join(["grey ", tf.strings.as_string(tf.cast(mean, tf.int32))])
        captions = tf.stack([best, tf.fill(tf.shape(best), "schön")], axis=1)
        scores = tf.stack([-mean / 256, -tf.ones_like(mean)], axis=1)
        return {
            "caption": best,
            "score": scores[:, 0],
            "captions": tf.ensure_shape(captions, [None, 2]),
            "scores": tf.ensure_shape(scores, [None, 2]),
        }

    @tf.function(input_signature=[IMAGES, tf.TensorSpec([None], tf.string, name="caption")])
    def score(self, image_bytes, caption):
        length = tf.cast(tf.strings.length(caption), tf.float32)
        return {"score": -_brightness(image_bytes) / 256 - length}


@tf.function
def _pass(gate, image_bytes):
    found = _find(gate)
    while tf.size(found) == 0:
        found = _find(gate)
    nothing = tf.strings.substr(tf.io.read_file(found[0]), 0, 0)
    return tf.strings.join([image_bytes, nothing])


def _find(name):
    # The time in it keeps TensorFlow from looking only once, as for a constant.
    nothing = tf.strings.substr(tf.strings.as_string(tf.timestamp()), 0, 0)
    return tf.io.matching_files(tf.strings.join([name, nothing]))


@tf.function
def _brightness(image_bytes):
    spec = tf.TensorSpec([], tf.float32)
    return tf.map_fn(_one_brightness, image_bytes, fn_output_signature=spec)


@tf.function
def _one_brightness(encoded):
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    if tf.shape(image)[0] == SLOW_HEIGHT:
        start = tf.timestamp()
        while tf.timestamp() < start + SLOW_SECONDS:
            pass
    if tf.reduce_min(image) == 255:
        tf.raw_ops.Stage(values=[image], memory_limit=1)
    return tf.reduce_mean(tf.cast(image, tf.float32))


def png(level: int, height: int = 4) -> bytes:
    return tf.io.encode_png(tf.fill([height, 6, 3], tf.constant(level, tf.uint8))).numpy()


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def row(level: int, height: int = 4) -> dict[str, dict[str, str]]:
    return {"image_bytes": b64(png(level, height))}


def answer(level: int) -> dict[str, object]:
    captions, scores = [f"grey {level}", "schön"], [-level / 256, -1.0]
    best = {"caption": captions[0], "score": scores[0]}
    return {**best, "captions": captions, "scores": scores}


def export(folder, model: Grey) -> str:
    signatures = {"serving_default": model.serve, "score": model.score}
    tf.saved_model.save(model, str(folder / "7"), signatures=signatures)
    return str(folder)


@pytest.fixture(scope="module")
def export_dir(tmp_path_factory) -> str:
    return export(tmp_path_factory.mktemp("runs") / "export", Grey())


@pytest.fixture(scope="module")
def client(export_dir):
    models = {"grey": captioner.Captioner(export_dir), "twin": captioner.Captioner(export_dir)}
    with TestClient(server.create_app(models, max_body_mib=1)) as client:
        yield client


def refusal(client, status: int, **request) -> str:
    """Posts what is wrong with a predict request and returns the error's text."""
    response = client.post(PREDICT, **request)
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    return response.json()["error"]


# What the models are.


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
    scores = signatures["serving_default"]["outputs"]["scores"]
    assert scores["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in scores["tensor_shape"]["dim"]] == ["-1", "2"]
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
        ("GET", "/v1/models/grey/labels/best", 400, "Unrecognized servable version label: best"),
        (
            "GET",
            f"/v1/models/grey/versions/{1 << 64}",
            400,
            f"Failed to convert version: {1 << 64} to numeric.",
        ),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/foo", 400, "Malformed request: GET /v1/foo"),
        (
            "POST",
            "/v1/models/grey/versions/x:predict",
            400,
            "Malformed request: POST /v1/models/grey/versions/x:predict",
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
def test_a_wrong_address_is_refused_as_by_tf_serving(client, method, path, status, error):
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
def test_rows_in_rows_out(client, path):
    response = client.post(path, json={"instances": [row(10), row(20)]})
    assert response.status_code == 200
    assert response.json() == {"predictions": [answer(10), answer(20)]}


@pytest.mark.parametrize("signature", ["serving_default", ""])
def test_an_only_input_need_not_be_named(client, signature):
    body = {"signature_name": signature, "instances": [b64(png(30))]}
    assert client.post(PREDICT, json=body).json() == {"predictions": [answer(30)]}


@pytest.mark.parametrize("named", [True, False])
def test_columns_in_columns_out(client, named):
    images = [b64(png(10)), b64(png(20))]
    response = client.post(PREDICT, json={"inputs": {"image_bytes": images} if named else images})
    first, second = answer(10), answer(20)
    assert response.json() == {"outputs": {name: [first[name], second[name]] for name in first}}


def test_an_only_output_is_not_named(client):
    body = {"signature_name": "score", "instances": [row(64) | {"caption": "abc"}]}
    assert client.post(PREDICT, json=body).json() == {"predictions": [-3.25]}
    columns = {"image_bytes": [b64(png(64))] * 2, "caption": ["é", "ab"]}
    body = {"signature_name": "score", "inputs": columns}
    assert client.post(PREDICT, json=body).json() == {"outputs": [-2.25, -2.25]}


def test_more_instances_than_a_batch_are_answered_in_order(client):
    response = client.post(PREDICT, json={"instances": [row(level) for level in range(80)]})
    captions = [prediction["caption"] for prediction in response.json()["predictions"]]
    assert captions == [f"grey {level}" for level in range(80)]


def test_base64_may_lack_its_padding_and_hold_line_breaks(client):
    text = base64.encodebytes(png(40)).decode().rstrip("=\n")
    response = client.post(PREDICT, json={"instances": [{"b64": text}]})
    assert response.json() == {"predictions": [answer(40)]}


# What is wrong with a request.


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"instances = []", "JSON Parse error: Expecting value"),
        (b"\xff\xfe{}", "JSON Parse error: 'utf-8' codec can't decode"),
        (b"[" * 100_000, "JSON Parse error: nested too deeply"),
        (b'{"instances": 1' + b"0" * 5000 + b"}", "JSON Parse error: Exceeds the limit"),
        (b"[1]", "JSON Value: a list Is not object"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(client, body, error):
    assert refusal(client, 400, content=body).startswith(error)


IMAGE = b64(b"")
ELEMENT = "Failed to process element: 0"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"inputs": [], "instances": []}, "Expecting only one of 'inputs' or 'instances' key"),
        ({"signature_name": 1}, "'signature_name' key must be a string value."),
        (
            {"signature_name": "nope", "instances": [IMAGE]},
            'Serving signature name: "nope" not found in signature def',
        ),
        ({"instances": []}, "No values in 'instances' array"),
        ({"instances": {}}, "Expecting 'instances' to be a list, not an object"),
        (
            {"instances": [{}]},
            f"{ELEMENT} of 'instances' list. JSON object: keys must be equal to: image_bytes",
        ),
        (
            {"instances": [{"image_bytes": "", "more": 1}]},
            f"{ELEMENT} of 'instances' list. JSON object: keys must be equal to: image_bytes",
        ),
        (
            {"instances": [IMAGE, {"image_bytes": IMAGE}]},
            "Failed to process element: 1 of 'instances' list: objects and values are mixed",
        ),
        (
            {"instances": [7]},
            f"{ELEMENT} key: image_bytes of 'instances' list. Error: expecting a string, or "
            '{"b64": "…"} for bytes, not a number',
        ),
        (
            {"instances": [{"image_bytes": {"b64": "?"}}]},
            f"{ELEMENT} key: image_bytes of 'instances' list. Error: Unable to base64 decode: ",
        ),
        (
            {"instances": ["\ud800"]},
            f"{ELEMENT} key: image_bytes of 'instances' list. Error: not valid Unicode",
        ),
        (
            {"signature_name": "score", "instances": [IMAGE]},
            "'instances' must be a list of objects with caption, image_bytes",
        ),
        (
            {"signature_name": "score", "inputs": [IMAGE]},
            "'inputs' must be an object with caption, image_bytes",
        ),
        ({"inputs": {}}, "Missing named input: image_bytes in 'inputs' object."),
        ({"inputs": []}, "'inputs': image_bytes must be a list with at least one value"),
        ({"inputs": IMAGE}, "'inputs': image_bytes must be a list with at least one value"),
        (
            {"inputs": [None]},
            f"{ELEMENT} key: image_bytes of 'inputs' object. Error: expecting a string, or "
            '{"b64": "…"} for bytes, not null',
        ),
        (
            {"signature_name": "score", "inputs": {"image_bytes": [IMAGE], "caption": ["a", "b"]}},
            "'inputs': the lists differ in length: {'caption': 2, 'image_bytes': 1}",
        ),
    ],
)
def test_a_wrong_request_is_refused_with_what_is_wrong(client, body, error):
    assert refusal(client, 400, content=json.dumps(body)).startswith(error)


@pytest.mark.parametrize(("key", "kind"), [("instances", "list"), ("inputs", "object")])
def test_an_image_that_cannot_be_decoded_is_named_by_its_index(client, key, kind):
    images = [b64(png(1)), b64(png(2)), b64(b"garbage"), b64(png(3))]
    error = refusal(client, 400, json={key: images})
    assert error.startswith(f"Failed to process element: 2 of '{key}' {kind}. Error: Unknown image")
    assert "\n" not in error


def test_want_of_memory_is_not_the_clients_fault(client):
    assert "memory limit" in refusal(client, 429, json={"instances": [row(255)]})


def test_a_body_over_the_limit_is_refused(client):
    error = refusal(client, 413, content=b" " * (1 << 20) + b"{}")
    assert error == "The request body is larger than the limit of 1 MiB (--max_body_mib)"
    # One of exactly the limit is read.
    body = json.dumps({"instances": [row(5)]}).encode()
    response = client.post(PREDICT, content=body + b" " * ((1 << 20) - len(body)))
    assert response.json() == {"predictions": [answer(5)]}


KEYS = ["instances", "inputs", "signature_name", "image_bytes", "caption", "b64", "score", ""]
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(KEYS)
)
NESTED = st.recursive(
    VALUES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=8,
)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.sampled_from(["score", "serving_default", "\ud800", None]),
        "instances": st.lists(NESTED, max_size=3) | NESTED,
        "inputs": NESTED,
    },
)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["GET", "POST", "PUT", "OPTIONS"]) | st.just("POST"),
    st.just(PREDICT) | st.text(max_size=20).map(lambda name: f"/v1/models/{name}:predict"),
    st.binary(max_size=60) | NESTED.map(json.dumps) | REQUESTS.map(json.dumps),
)
def test_no_request_makes_the_server_fail(client, method, path, body):
    response = client.request(method, urllib.parse.quote(path, safe="/:"), content=body)
    assert response.status_code in (200, 400, 404, 405)
    assert response.status_code == 200 or list(response.json()) == ["error"]


# The process.


@pytest.fixture
def start(export_dir, tmp_path):
    """Starts `serve` in a process of its own and returns it with its host and port."""
    with contextlib.ExitStack() as stack:

        def run(**options):
            options = {"port": 0, **options}
            call = f"server.serve({{'grey': {export_dir!r}}}, **{options!r})"
            command = [sys.executable, "-c", f"from imcap.serving import server; {call}"]
            env = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
            log = stack.enter_context(open(tmp_path / "stderr", "wb"))
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=env)
            stack.callback(process.wait)
            stack.callback(process.kill)
            line = process.stdout.readline().decode()
            assert line.startswith(f"serving {export_dir}/7 at http://127.0.0.1:"), line
            return process, "127.0.0.1", int(line.split(":")[2].split("/")[0])

        yield run


def get(host: str, port: int, path: str, body: bytes | None = None) -> tuple[int, dict]:
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", body, timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def wait_until_ready(host: str, port: int) -> None:
    deadline = time.monotonic() + 20
    while get(host, port, "/readyz") != (200, {"status": "ready"}):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_server_answers_while_it_works_and_finishes_its_work_when_told_to_stop(start):
    process, host, port = start(max_body_mib=8)
    wait_until_ready(host, port)
    body = json.dumps({"instances": [row(10)]}).encode()
    slow = json.dumps({"instances": [row(20, SLOW_HEIGHT)]}).encode()

    with futures.ThreadPoolExecutor(8) as pool:
        # Clients that break the protocol, leave, or send too much harm nobody.
        for data in (b"garbage\r\n\r\n", b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nHost: x\r\n"):
            with socket.create_connection((host, port)) as client:
                client.sendall(data + b"Content-Length: 99\r\n\r\n{")
        assert get(host, port, PREDICT, b" " * (30 << 20))[0] == 413
        asks_first = http.client.HTTPConnection(host, port)
        asks_first.putrequest("POST", PREDICT)
        asks_first.putheader("Content-Length", str(1 << 40))
        asks_first.putheader("Expect", "100-continue")
        asks_first.endheaders()
        assert asks_first.getresponse().status == 413
        asks_first.close()

        replies = pool.map(lambda _: get(host, port, PREDICT, body), range(16))
        assert list(replies) == [(200, {"predictions": [answer(10)]})] * 16

        late = [pool.submit(get, host, port, PREDICT, slow) for _ in range(2)]
        time.sleep(0.8)
        assert get(host, port, "/healthz") == (200, {"status": "ok"})
        assert not any(reply.done() for reply in late)

        process.send_signal(signal.SIGTERM)
        for reply in late:
            assert reply.result() == (200, {"predictions": [answer(20)]})
    assert process.wait(20) == 0


@pytest.fixture
def gated(tmp_path):
    """A client of a model that waits for `tmp_path/gate`."""
    gate = tmp_path / "gate"
    model = captioner.Captioner(export(tmp_path, Grey(str(gate))))
    with TestClient(server.create_app({"grey": model}), raise_server_exceptions=False) as client:
        try:
            assert client.get("/healthz").status_code == 200
            response = client.get("/readyz")
            assert response.status_code == 503
            assert response.json() == {"error": "model grey is warming up"}
            yield client
        finally:
            # Lets the model's thread go, whatever the test did.
            if not gate.exists():
                gate.touch()


def wait_while_warming_up(client):
    deadline = time.monotonic() + 20
    while "warming up" in client.get("/readyz").text:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_model_is_ready_once_it_is_warm(gated, tmp_path):
    (tmp_path / "gate").touch()
    wait_while_warming_up(gated)
    response = gated.get("/readyz")
    assert (response.status_code, response.json()) == (200, {"status": "ready"})


def test_a_model_that_fails_is_not_ready_and_the_server_stays_up(gated, tmp_path):
    (tmp_path / "gate").mkdir()
    wait_while_warming_up(gated)
    response = gated.get("/readyz")
    assert response.status_code == 503
    assert response.json()["error"].startswith("model grey failed: ")
    error = "Internal error: FailedPreconditionError; see the server's log"
    for _ in range(2):
        response = gated.post(PREDICT, json={"instances": [row(1)]})
        assert (response.status_code, response.json()) == (500, {"error": error})
    assert gated.get("/healthz").status_code == 200


# What cannot be served.


def test_a_port_in_use_is_named(export_dir):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port={port}: Address already in use"):
            server.serve({"grey": export_dir}, port=port)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none_is_named(export_dir, port):
    with pytest.raises(UserError, match=f"--port={port}"):
        server.serve({"grey": export_dir}, port=port)


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(UserError, match="imcap export") as error:
        server.serve({"grey": str(tmp_path / "nowhere")}, port=0)
    assert str(tmp_path / "nowhere") in str(error.value)


@pytest.mark.parametrize(
    ("models", "options", "error"),
    [
        ({}, {}, "--model=NAME=DIR"),
        ({"a/b": "x"}, {}, "--model=a/b="),
        ({"grey": "x"}, {"max_body_mib": 0}, "--max_body_mib=0"),
        ({"grey": "x"}, {"threads": 0}, "--threads=0"),
    ],
)
def test_wrong_options_are_named(models, options, error):
    with pytest.raises(UserError, match=error):
        server.serve(models, port=0, **options)
