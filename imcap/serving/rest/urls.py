"""URLs: what a method and a path ask for."""

from __future__ import annotations

import dataclasses
import re

from imcap.serving.rest.errors import RequestError

_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_PREDICT_URL = re.compile(rf"{_MODEL}:(?P<method>classify|regress|predict)", re.IGNORECASE)
_STATUS_URL = re.compile(rf"{_MODEL}(?P<metadata>/metadata)?", re.IGNORECASE)
_MAX_VERSION = (1 << 63) - 1  # TensorFlow Serving keeps versions in an int64.


@dataclasses.dataclass(frozen=True)
class Target:
    """What a URL asks for.

    Attributes:
      action: `predict`, `status` or `metadata`; `classify` or `regress`, which no captioner has.
      name: of the model.
      version: as written in the URL; None for the newest, or that of the label.
      label: as written in the URL; None if it has none.
    """

    action: str
    name: str
    version: str | None = None
    label: str | None = None

    def not_found_error(self) -> RequestError:
        """Returns the error of a model, or a version of it, that is not served."""
        if self.action == "status":
            which = f"version {self.version}" if self.version else "any versions"
            return RequestError(404, f"Could not find {which} of model {self.name}")
        which = f"Specific({self.name}, {self.version})" if self.version else f"Latest({self.name})"
        return RequestError(404, f"Servable not found for request: {which}")


def is_model_name(name: str) -> bool:
    """Tells whether a URL can name a model so."""
    return re.fullmatch(r"[^/:]+", name) is not None


def parse_url(method: str, path: str) -> Target:
    """Returns what an HTTP method and a URL's path ask for.

    Raises:
      RequestError: 404 outside of `/v1/`, 405 for a wrong method, 400 for other mistakes.
    """
    if not path.lower().startswith("/v1/"):
        raise RequestError(404, f"Not found: {path}")
    predict, status = _PREDICT_URL.fullmatch(path), _STATUS_URL.fullmatch(path)
    found = predict or status
    if found is None:
        if method == "GET" and path.lower() == "/v1/models":
            raise RequestError(400, "Missing model name in request.")
        raise RequestError(400, f"Malformed request: {method} {path}")
    allowed = ("POST",) if predict else ("GET", "HEAD")
    if method not in allowed:
        allow = ", ".join(allowed)
        raise RequestError(405, f"Malformed request: {method} {path}", allow=allow)
    action = "metadata" if not predict and found["metadata"] else "status"
    action = predict["method"].lower() if predict else action
    return Target(action, found["name"], _version(found["version"]), found["label"])


def _version(version: str | None) -> str | None:
    # The number of digits first: int() of a very long number is slow, or refused.
    if version is not None and (len(version) > 19 or int(version) > _MAX_VERSION):
        raise RequestError(400, f"Failed to convert version: {version} to numeric.")
    return version
