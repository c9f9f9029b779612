"""The models that are served, by name: finding the one that a request means, and warming it up."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from imcap.errors import UserError
from imcap.serving import rest
from imcap.serving.captioner import Captioner, Failure
from imcap.serving.saved_model import DEFAULT_SIGNATURE, SIGNATURES
from imcap.serving.server.batching import Batcher


class Models:
    """The models of a server, and whether each has been warmed up."""

    def __init__(self, models: Mapping[str, Captioner]) -> None:
        """Takes loaded models by the name in the URL.

        Raises:
          UserError: no model, or a name that no URL can contain.
        """
        if not models:
            raise UserError("no model to serve: give at least one --model=NAME=DIR")
        for name in models:
            if not rest.is_model_name(name):
                problem = "a model's name is part of a URL: no '/', no ':'"
                raise UserError(f"--model={name}=…: {problem}")
        self._models = dict(models)
        self._problems = {name: f"model {name} is warming up" for name in models}

    @property
    def problem(self) -> str:
        """Why the server is not ready; empty if it is."""
        return next(iter(self._problems.values()), "")

    def find(self, target: rest.Target) -> Captioner:
        """Returns the model that a URL names.

        Raises:
          RequestError: 404, there is no such model or version.
        """
        model = self._models.get(target.name)
        if model is None or (target.version and int(target.version) != model.version):
            raise target.not_found_error()
        return model

    async def warm_up(self, batcher: Batcher) -> None:
        """Warms all models up, one after the other."""
        for name, model in self._models.items():
            try:
                await warm_up(model, batcher)
                del self._problems[name]
            except Exception as error:
                self._problems[name] = f"model {name} failed: {error}"


async def warm_up(model: Captioner, batcher: Batcher) -> None:
    """Calls a model with every size of batch, so that no request waits for kernels to be compiled.

    The calls are made between the batches of requests.

    Raises:
      RuntimeError: the model cannot caption a black image.
      tf.errors.OpError: the model failed.
    """
    for signature in SIGNATURES:
        for size in batcher.sizes if signature == DEFAULT_SIGNATURE else [1]:
            await batcher.call(functools.partial(_try, model, signature, size))


def _try(model: Captioner, signature: str, size: int) -> None:
    import tensorflow as tf

    image = tf.io.encode_jpeg(tf.zeros([32, 32, 3], tf.uint8)).numpy()
    inputs: dict[str, Sequence[bytes]] = {
        name: [image if name == "image_bytes" else b"a"] * size for name in SIGNATURES[signature][0]
    }
    for row in model.predict(inputs, signature):
        if isinstance(row, Failure):
            raise RuntimeError(f"{signature}: {row.reason}")
