"""Which models are served, in which versions, under which labels."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence

from absl import logging

from imcap.errors import UserError, one_line
from imcap.serving import rest


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A model that is to be served.

    Attributes:
      name: in the URL.
      folder: what `saved_model.find_versions` takes.
      newest: how many of the newest versions are served; 0: all.
      specific: the versions that are served instead; empty: `newest` decides.
      labels: the version that a label in the URL means.
    """

    name: str
    folder: str
    newest: int = 1
    specific: Sequence[int] = ()
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises UserError for a name that no URL can contain."""
        if not rest.is_model_name(self.name):
            problem = "a model's name is part of a URL: no '/', no ':'"
            raise UserError(f"--model={self.name}=…: {problem}")

    def choose(self, found: Mapping[int, str]) -> dict[int, str]:
        """Returns those of a model's versions that are to be served.

        Args:
          found: the folder of each version.
        """
        if self.specific:
            return {version: found[version] for version in self.specific if version in found}
        return {version: found[version] for version in sorted(found)[-self.newest :]}


def read(path: str) -> list[ModelConfig]:
    """Reads TensorFlow Serving's `model_config_file`: a ModelServerConfig as protobuf text.

    https://www.tensorflow.org/tfx/serving/serving_config

    Raises:
      UserError: it cannot be read, or a model has no name, no folder or an unknown platform.
    """
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    config = model_server_config_pb2.ModelServerConfig()
    try:
        with open(path, encoding="utf-8") as file:
            text_format.Parse(file.read(), config)
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise UserError(f"--model_config_file={path}: {one_line(error)}") from error
    models = [_model_config(path, model) for model in config.model_config_list.config]
    names = [model.name for model in models]
    if not names or len(set(names)) < len(names):
        problem = "two models of one name" if names else "no model in its model_config_list"
        raise UserError(f"--model_config_file={path}: {problem}")
    return models


def _model_config(path: str, model) -> ModelConfig:  # type: ignore[no-untyped-def]
    if not model.name or not model.base_path or model.model_platform not in ("", "tensorflow"):
        problem = "each model needs a name, a base_path, and no platform but tensorflow"
        raise UserError(f"--model_config_file={path}: {problem}")
    policy = model.model_version_policy
    newest = 0 if policy.HasField("all") else policy.latest.num_versions or 1
    # A relative path is one below the file's folder.
    folder = os.path.join(os.path.dirname(path), model.base_path)
    specific = tuple(policy.specific.versions)
    return ModelConfig(model.name, folder, newest, specific, dict(model.version_labels))


class ConfigSource:
    """The models that the command line names, with those of a config file."""

    def __init__(self, models: Mapping[str, str], config_file: str = "") -> None:
        """Takes folders by the name in the URL, and a file for `read`; reads nothing yet."""
        self._named = [ModelConfig(name, folder) for name, folder in models.items()]
        self._file, self._changed = config_file, 0

    def read(self) -> list[ModelConfig]:
        """Returns all models.

        Raises:
          UserError: there is none, a name is given twice, or as `read`.
        """
        if self._file and os.path.exists(self._file):
            self._changed = os.stat(self._file).st_mtime_ns
        configs = [*self._named, *(read(self._file) if self._file else [])]
        if not configs:
            raise UserError("no model to serve: give at least one --model=NAME=DIR")
        names = [config.name for config in configs]
        if len(set(names)) < len(names):
            raise UserError(f"--model_config_file={self._file}: a name that --model gives, too")
        return configs

    def read_if_changed(self) -> list[ModelConfig] | None:
        """Returns all models if the file has changed and has no mistake, else None."""
        try:
            if not self._file or os.stat(self._file).st_mtime_ns == self._changed:
                return None
            return self.read()
        except (OSError, UserError) as error:
            logging.error("the models stay as they are: %s", one_line(error))
            return None
