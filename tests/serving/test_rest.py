"""TensorFlow Serving's JSON dialect: URLs, requests and replies."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imcap.serving import rest
from imcap.serving.captioner import Failure

IMAGE = b"\x00\xff image"


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def parse(**request: object) -> rest.PredictRequest:
    return rest.parse_request(json.dumps(request).encode())


def error_of(body: bytes) -> str:
    """The message with which a predict request is refused."""
    with pytest.raises(rest.RequestError) as caught:
        rest.parse_request(body)
    assert caught.value.status == 400
    assert "\n" not in caught.value.message
    return caught.value.message


# URLs.


@pytest.mark.parametrize(
    ("method", "path", "target"),
    [
        ("GET", "/v1/models/grey", rest.Target("status", "grey")),
        ("HEAD", "/V1/Models/grey/versions/7", rest.Target("status", "grey", "7")),
        ("GET", "/v1/models/grey/metadata", rest.Target("metadata", "grey")),
        ("POST", "/v1/models/grey:predict", rest.Target("predict", "grey")),
        ("POST", "/v1/models/a%20b/versions/7:Predict", rest.Target("predict", "a%20b", "7")),
        ("POST", "/v1/models/grey:classify", rest.Target("classify", "grey")),
        ("GET", "/v1/models/grey/labels/best", rest.Target("status", "grey", label="best")),
        ("POST", "/v1/models/a/labels/b:predict", rest.Target("predict", "a", label="b")),
    ],
)
def test_a_url_names_an_action_a_model_and_a_version(method, path, target):
    assert rest.parse_url(method, path) == target


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
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
        ("GET", "/elsewhere", 404, "Not found: /elsewhere"),
        ("GET", "/v1/models/grey:predict", 405, "Malformed request: GET /v1/models/grey:predict"),
        ("DELETE", "/v1/models/grey", 405, "Malformed request: DELETE /v1/models/grey"),
    ],
)
def test_a_wrong_url_is_refused_as_by_tf_serving(method, path, status, message):
    with pytest.raises(rest.RequestError) as caught:
        rest.parse_url(method, path)
    assert (caught.value.status, caught.value.message) == (status, message)


# Requests.


@pytest.mark.parametrize("instance", [b64(IMAGE), {"image_bytes": b64(IMAGE)}])
def test_row_format(instance):
    request = parse(instances=[instance, instance])
    inputs = {"image_bytes": [IMAGE, IMAGE]}
    assert request == rest.PredictRequest("serving_default", "instances", inputs)


@pytest.mark.parametrize("inputs", [[b64(IMAGE)], {"image_bytes": [b64(IMAGE)]}])
def test_column_format(inputs):
    request = parse(signature_name="", inputs=inputs)
    assert request == rest.PredictRequest("serving_default", "inputs", {"image_bytes": [IMAGE]})


def test_a_string_that_is_not_in_base64_is_utf_8():
    row = {"image_bytes": b64(IMAGE), "caption": "schön"}
    request = parse(signature_name="score", instances=[row])
    assert request.inputs == {"image_bytes": [IMAGE], "caption": ["schön".encode()]}


def test_base64_may_lack_padding_and_contain_line_breaks():
    text = base64.encodebytes(bytes(100)).decode().rstrip("=\n")
    assert "\n" in text
    assert parse(instances=[{"b64": text}]).inputs == {"image_bytes": [bytes(100)]}


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
def test_a_body_that_is_not_a_json_object_is_refused(body, error):
    assert error_of(body).startswith(error)


EMPTY = b64(b"")
ELEMENT = "Failed to process element: 0"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"inputs": [], "instances": []}, "Expecting only one of 'inputs' or 'instances' key"),
        ({"signature_name": 1}, "'signature_name' key must be a string value."),
        (
            {"signature_name": "nope", "instances": [EMPTY]},
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
            {"instances": [EMPTY, {"image_bytes": EMPTY}]},
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
            {"signature_name": "score", "instances": [EMPTY]},
            "'instances' must be a list of objects with caption, image_bytes",
        ),
        (
            {"signature_name": "score", "inputs": [EMPTY]},
            "'inputs' must be an object with caption, image_bytes",
        ),
        ({"inputs": {}}, "Missing named input: image_bytes in 'inputs' object."),
        ({"inputs": []}, "'inputs': image_bytes must be a list with at least one value"),
        ({"inputs": EMPTY}, "'inputs': image_bytes must be a list with at least one value"),
        (
            {"inputs": [None]},
            f"{ELEMENT} key: image_bytes of 'inputs' object. Error: expecting a string, or "
            '{"b64": "…"} for bytes, not null',
        ),
        (
            {"signature_name": "score", "inputs": {"image_bytes": [EMPTY], "caption": ["a", "b"]}},
            "'inputs': the lists differ in length: {'caption': 2, 'image_bytes': 1}",
        ),
    ],
)
def test_a_wrong_request_is_refused_with_what_is_wrong(body, error):
    assert error_of(json.dumps(body).encode()).startswith(error)


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


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | NESTED.map(json.dumps) | REQUESTS.map(json.dumps))
def test_any_body_is_parsed_or_refused(body):
    try:
        request = rest.parse_request(body.encode() if isinstance(body, str) else body)
    except rest.RequestError as error:
        assert error.status == 400
    else:
        assert all(request.inputs.values())


# Replies.

ROWS = [{"caption": "a dog", "score": -0.5}, {"caption": "a cat", "score": -0.25}]


def test_the_reply_has_the_format_of_the_request():
    by_row = rest.predict_reply(parse(instances=[b64(IMAGE)] * 2), ROWS)
    assert by_row == {"predictions": ROWS}
    by_column = rest.predict_reply(parse(inputs=[b64(IMAGE)] * 2), ROWS)
    assert by_column == {"outputs": {"caption": ["a dog", "a cat"], "score": [-0.5, -0.25]}}


def test_a_single_output_is_not_named():
    rows = [{"score": -0.5}, {"score": -0.25}]
    by_row = rest.predict_reply(parse(instances=[b64(IMAGE)] * 2), rows)
    assert by_row == {"predictions": [-0.5, -0.25]}
    by_column = rest.predict_reply(parse(inputs=[b64(IMAGE)] * 2), rows)
    assert by_column == {"outputs": [-0.5, -0.25]}


@pytest.mark.parametrize(("key", "container"), [("instances", "list"), ("inputs", "object")])
@pytest.mark.parametrize(("out_of_memory", "status"), [(False, 400), (True, 429)])
def test_a_failed_row_is_refused_by_its_index(key, container, out_of_memory, status):
    request = parse(**{key: [b64(IMAGE)] * 2})
    with pytest.raises(rest.RequestError) as caught:
        rest.predict_reply(request, [ROWS[0], Failure("not an image", out_of_memory)])
    where = f"Failed to process element: 1 of '{key}' {container}"
    assert (caught.value.status, caught.value.message) == (status, f"{where}. Error: not an image")
