"""The process that shows the web page: Streamlit, with the options that `imcap app` gives it."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from absl import logging

from imcap.errors import UserError
from imcap.serving import saved_model
from imcap.serving.server import sockets

_PAGE = Path(__file__).with_name("app.py")


def run(
    models: Mapping[str, str],
    *,
    host: str = "127.0.0.1",
    port: int = 8502,
    samples: str = "",
    max_image_mib: int = 32,
    allow_private_addresses: bool = False,
    announce: Callable[[str], None] = logging.info,
) -> None:
    """Replaces this process by Streamlit's, which shows the page until SIGTERM or SIGINT.

    Args:
      models: name on the page -> the folder that `Captioner` takes.
      host: the address to listen on; `0.0.0.0` for all.
      port: the port; 0 for any free one.
      samples: a folder of images to choose from; empty: shapes that are drawn.
      max_image_mib: the largest file, in MiB.
      allow_private_addresses: whether visitors may name images in the server's own network.
      announce: called with a line that holds the page's URL.

    Raises:
      UserError: Streamlit is not installed, an option is wrong, a model is missing, or the port
        cannot be bound.
    """
    if importlib.util.find_spec("streamlit") is None:
        raise UserError("imcap app needs Streamlit: pip install 'imcap[app]'")
    if max_image_mib < 1:
        raise UserError(f"--max_image_mib={max_image_mib}: must be at least 1")
    if samples and not os.path.isdir(samples):
        raise UserError(f"--samples={samples}: no such folder")
    for folder in models.values():
        saved_model.find_model(folder)
    with sockets.listen(host, port) as listener:
        port = listener.getsockname()[1]
    page = [*(f"--model={name}={folder}" for name, folder in models.items())]
    page += [f"--samples={samples}", f"--max_image_mib={max_image_mib}"]
    page += ["--allow_private_addresses"] * allow_private_addresses
    streamlit = [
        f"--server.address={host}",
        f"--server.port={port}",
        f"--server.maxUploadSize={max_image_mib}",
        # It would ask a service outside for this machine's address if all are listened on.
        "--logger.hideWelcomeMessage=true",
    ]
    announce(f"showing {', '.join(models)} at {sockets.base_url(host, port)}")
    command = [sys.executable, "-m", "streamlit", "run", str(_PAGE), *streamlit, "--", *page]
    os.execv(sys.executable, command)
