"""The REST server: an ASGI application with limits, batches across requests, and its process."""

from imcap.serving.server.application import create_app
from imcap.serving.server.limits import Limits
from imcap.serving.server.metrics import PATH as METRICS_PATH
from imcap.serving.server.process import serve
from imcap.serving.server.sockets import base_url, listen

__all__ = ["METRICS_PATH", "Limits", "base_url", "create_app", "listen", "serve"]
