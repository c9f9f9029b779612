"""Bodies of any JSON, near to right ones, and changed images: an answer or a reason, no failure."""

from __future__ import annotations

import base64
import json

import fuzz_images
import pytest
from grey_model import png
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from imcap.serving import server

IMAGE = base64.b64encode(png(3)).decode()
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just(IMAGE)
)
KEYS = st.sampled_from(["b64", "image_bytes", "caption", "x"])
VALUES = st.recursive(
    SCALARS | st.fixed_dictionaries({"b64": st.sampled_from([IMAGE, IMAGE[:-9], "", "@"])}),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.sampled_from(["", "serving_default", "score", "attention"]) | VALUES,
        "instances": VALUES | st.lists(VALUES, max_size=4),
        "inputs": VALUES | st.lists(VALUES, max_size=4),
    },
)


@pytest.fixture(scope="module")
def client(model):
    with TestClient(server.create_app({"grey": model})) as client:
        yield client


@settings(max_examples=150)
@given(body=BODIES | VALUES)
def test_any_json_is_answered_or_refused_with_a_reason(client, body):
    response = client.post("/v1/models/grey:predict", content=_encode(body))
    if response.status_code == 200:
        assert response.json().keys() <= {"predictions", "outputs"}
    else:
        assert response.status_code in (400, 429)
        assert response.json()["error"]


def _encode(body: object) -> bytes:
    return json.dumps(body).encode()


@settings(max_examples=50)
@given(
    st.sampled_from(["/caption", "/caption?top=", "/caption?model=", "/caption?top=3&x="]),
    st.text(max_size=6),
    st.binary(max_size=40),
)
def test_any_query_and_body_of_caption_is_answered_or_refused(client, path, text, body):
    response = client.post(path + "".join(f"%{byte:02x}" for byte in text.encode()), content=body)
    assert response.status_code in (400, 404)
    assert response.json()["error"]


@pytest.fixture(scope="module")
def target():
    return fuzz_images.make_target()


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(list(fuzz_images.seeds().values())),
    st.lists(st.tuples(st.integers(0, 800), st.integers(0, 3), st.binary(max_size=4)), max_size=3),
)
def test_a_changed_image_file_is_decoded_or_refused(target, data, changes):
    for position, removed, added in changes:
        data = data[:position] + added + data[position + removed :]
    target(data)
