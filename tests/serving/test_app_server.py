"""The process of the web page: its options, and what it refuses."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import tomllib
from pathlib import Path

import pytest
from refusals import refusal

from imcap.serving import app, app_server


@pytest.fixture
def started(monkeypatch) -> list[list[str]]:
    """The commands that would have replaced the test."""
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, command: commands.append([path, *command[1:]]))
    return commands


def test_streamlit_gets_the_options_and_the_page_the_models(started, version_dir):
    lines: list[str] = []
    models = {"a": version_dir, "b c": os.path.dirname(version_dir)}
    app_server.run(models, port=0, max_image_mib=5, announce=lines.append)
    ((*command,),) = started
    assert command[:4] == [sys.executable, "-m", "streamlit", "run"]
    (port,) = (word.partition("=")[2] for word in command if word.startswith("--server.port="))
    assert int(port) > 0
    assert lines == [f"showing a, b c at http://127.0.0.1:{port}"]
    assert {"--server.address=127.0.0.1", "--server.maxUploadSize=5"} <= set(command)
    options = app.parse_arguments(command[command.index("--") + 1 :])
    assert options.model == models
    assert (options.max_image_mib, options.samples) == (5, "")
    assert options.allow_private_addresses is False


def test_streamlit_sends_no_statistics_and_checks_the_origin_of_uploads():
    config = Path(app.__file__).with_name(".streamlit") / "config.toml"
    settings = tomllib.loads(config.read_text())
    assert settings["browser"]["gatherUsageStats"] is False
    server = settings["server"]
    assert server["headless"] and server["enableXsrfProtection"] and server["enableCORS"]
    assert (server["address"], server["maxUploadSize"]) == ("127.0.0.1", 32)
    assert settings["client"]["showErrorDetails"] == "none"


def test_private_addresses_are_allowed_by_a_flag(started, version_dir):
    app_server.run({"a": version_dir}, port=0, allow_private_addresses=True)
    arguments = started[0][started[0].index("--") + 1 :]
    assert app.parse_arguments(arguments).allow_private_addresses is True


def test_what_cannot_work_is_refused_before_streamlit_starts(started, version_dir, tmp_path):
    run = app_server.run
    assert "no such folder" in refusal(run, {"a": str(tmp_path / "nowhere")}, port=0)
    assert "--max_image_mib=0: must be" in refusal(run, {"a": version_dir}, max_image_mib=0)
    assert "--samples=x: no such folder" in refusal(run, {"a": version_dir}, samples="x")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"--port={port}: Address already in use" in refusal(
            run, {"a": version_dir}, port=port
        )
    assert started == []


def test_without_streamlit_the_extra_is_named(started, version_dir, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = refusal(app_server.run, {"a": version_dir}, port=0)
    assert message == "imcap app needs Streamlit: pip install 'imcap[app]'"
