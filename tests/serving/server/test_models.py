"""Versions of a served model: they come and go with their folders while requests are answered."""

from __future__ import annotations

import asyncio
import gc
import shutil
import threading
import time
import weakref
from pathlib import Path

import instances
import pytest
import tensorflow as tf
from grey_model import png
from starlette.testclient import TestClient

from imcap.errors import UserError
from imcap.serving import rest, server
from imcap.serving.server import models
from imcap.serving.server.model_config import ModelConfig
from imcap.serving.server.service import Watch


@pytest.fixture
def base(tmp_path, version_dir):
    """Adds versions of the grey model to a folder that already has version 1."""

    def add(version: int) -> Path:
        # As `imcap export`, under a temporary name first.
        shutil.copytree(version_dir, tmp_path / "partial")
        return (tmp_path / "partial").rename(tmp_path / str(version))

    add(1)
    return add, tmp_path


@pytest.fixture
def no_collections():
    """Turns Python's own garbage collections off, which come at any time or not at all."""
    gc.disable()
    yield
    gc.enable()


def wait_for(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def version_used(client) -> int:
    response = client.post("/caption", content=png(10))
    assert (response.status_code, response.json()["caption"]) == (200, "grey 10")
    return response.json()["version"]


def states(client) -> dict[str, str]:
    found = client.get("/v1/models/grey").json()["model_version_status"]
    return {version["version"]: version["state"] for version in found}


def error_of(client, version: str) -> dict:
    found = client.get(f"/v1/models/grey/versions/{version}").json()["model_version_status"]
    return found[0]["status"]


def test_versions_come_and_go_without_a_lost_request(base):
    add, folder = base
    served = models.Models()
    served.load(ModelConfig("grey", str(folder)))
    first = weakref.ref(served.find(rest.Target("predict", "grey")))
    app = server.create_app(served, watch=Watch(0.01))
    with TestClient(app) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200)
        is_over, versions = threading.Event(), []

        def send_requests() -> None:
            while not is_over.is_set():
                versions.append(version_used(client))

        sender = threading.Thread(target=send_requests)
        sender.start()
        try:
            assert version_used(client) == 1
            add(2)
            wait_for(lambda: version_used(client) == 2)
            wait_for(lambda: states(client) == {"2": "AVAILABLE"})
            # A version that cannot be loaded is reported, and the last one stays.
            (folder / "3").mkdir()
            (folder / "3/saved_model.pb").write_text("garbage")
            wait_for(lambda: states(client) == {"3": "END", "2": "AVAILABLE"})
            assert error_of(client, "3")["error_code"] == "UNKNOWN"
            assert "cannot be read" in error_of(client, "3")["error_message"]
            assert version_used(client) == 2
            # Its place is taken by one that can.
            shutil.rmtree(folder / "3")
            add(3)
            wait_for(lambda: version_used(client) == 3)
            # The newest goes: the one before it comes back.
            shutil.rmtree(folder / "3")
            wait_for(lambda: version_used(client) == 2)
            assert 'state="AVAILABLE",version="2"' in client.get(server.METRICS_PATH).text
        finally:
            is_over.set()
            sender.join()
        assert set(versions) == {1, 2, 3}
        wait_for(lambda: first() is None)


def test_the_graphs_of_a_version_are_freed_after_the_requests_that_had_it(base, no_collections):
    add, folder = base
    served, others = models.Models(), instances.in_memory(tf.Graph)
    served.load(ModelConfig("grey", str(folder)))
    first = weakref.WeakSet(instances.in_memory(tf.Graph) - others)
    del others
    assert first
    request = served.find(rest.Target("predict", "grey"))
    with TestClient(server.create_app(served, watch=Watch(0.01))) as client:
        add(2)
        wait_for(lambda: states(client) == {"2": "AVAILABLE"})
        assert version_used(client) == 2
        assert request.version == 1
        del request
        wait_for(lambda: not first)


def test_the_last_version_stays_when_all_folders_are_gone(base, logged):
    _, folder = base
    served = models.Models()
    served.load(ModelConfig("grey", str(folder)))
    with TestClient(server.create_app(served, watch=Watch(0.01))) as client:
        shutil.rmtree(folder / "1")
        wait_for(lambda: any("no version any more" in line for line in logged()))
        assert version_used(client) == 1


def test_labels_and_several_versions(base):
    add, folder = base
    for version in (2, 5):
        add(version)
    served = models.Models()
    config = ModelConfig("grey", str(folder), specific=(1, 5), labels={"stable": 1, "gone": 2})
    assert [model.version for model in served.load(config)] == [1, 5]
    with TestClient(server.create_app(served)) as client:
        assert states(client) == {"5": "AVAILABLE", "1": "AVAILABLE"}
        assert version_used(client) == 5
        labelled = client.get("/v1/models/grey/labels/stable").json()["model_version_status"]
        assert [version["version"] for version in labelled] == ["1"]
        metadata = client.get("/v1/models/grey/labels/stable/metadata").json()
        assert metadata["model_spec"]["version"] == "1"
        assert client.get("/v1/models/grey/labels/gone").status_code == 404
        response = client.post("/v1/models/grey/labels/other:predict", content=b"{}")
        message = "Unrecognized servable version label: other"
        assert (response.status_code, response.json()) == (400, {"error": message})


def test_a_model_without_the_versions_that_it_needs_is_refused(base):
    config = ModelConfig("grey", str(base[1]), specific=(9,))
    with pytest.raises(UserError, match=r"holds none of the versions \(9,\)"):
        models.Models().load(config)


def test_models_follow_the_config(base):
    _, folder = base
    served = models.Models()
    served.load(ModelConfig("a", str(folder)))
    configs = [ModelConfig("b", str(folder), labels={"x": 1})]
    app = server.create_app(served, watch=Watch(0.01, lambda: configs))
    with TestClient(app) as client:
        wait_for(lambda: client.get("/v1/models/b/labels/x").status_code == 200)
        assert client.get("/v1/models/a").status_code == 404


def test_no_look_at_folders_without_an_interval():
    asyncio.run(asyncio.wait_for(models.Models().watch(None, 0), 10))
