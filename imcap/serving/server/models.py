"""The models that are served: the versions of each, which come and go with their folders."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence

from absl import logging

from imcap.errors import UserError, one_line
from imcap.serving import rest, saved_model
from imcap.serving.captioner import Captioner
from imcap.serving.server.batching import Batcher
from imcap.serving.server.model_config import ModelConfig
from imcap.serving.server.warm_up import warm_up

LOADING, AVAILABLE, FAILED = "LOADING", "AVAILABLE", "END"
_Files = tuple[tuple[str, int, int], ...]  # Path, bytes and time of change of each.


@dataclasses.dataclass(eq=False)
class Version:
    """A version of a model.

    Attributes:
      number: the name of its folder.
      model: None while it is being loaded, and after that has failed.
      state: as TensorFlow Serving calls it.
      problem: why it is not ready; empty if it is.
      files: those of its folder when it was loaded.
    """

    number: int
    model: Captioner | None = None
    state: str = LOADING
    problem: str = "warming up"
    files: _Files = ()


@dataclasses.dataclass(eq=False)
class _Served:
    """A model: its config, its versions by number, and the files of the folders that are new."""

    config: ModelConfig
    versions: dict[int, Version] = dataclasses.field(default_factory=dict)
    seen: dict[int, _Files] = dataclasses.field(default_factory=dict)
    is_missing: bool = False

    def available(self) -> dict[int, Version]:
        return {n: v for n, v in self.versions.items() if v.state == AVAILABLE}


class Models:
    """The models of a server. All methods are called by its event loop."""

    def __init__(self, load: Callable[[str], Captioner] = Captioner) -> None:
        """Starts without models.

        Args:
          load: what loads the version in a folder; it may raise UserError.
        """
        self._load_version = load
        self._served: dict[str, _Served] = {}
        self._in_memory: list[weakref.ref[Captioner]] = []

    def add(self, config: ModelConfig, models: Sequence[Captioner]) -> None:
        """Adds a model whose versions are loaded; it is not watched if its config has no folder."""
        loaded = {model.version: Version(model.version, model, AVAILABLE) for model in models}
        self._in_memory += map(weakref.ref, models)
        self._served[config.name] = _Served(config, loaded)

    def load(self, config: ModelConfig) -> list[Captioner]:
        """Loads and adds a model; returns its versions.

        Raises:
          UserError: there is no version, or one cannot be loaded.
        """
        chosen = config.choose(saved_model.find_versions(config.folder))
        if not chosen:
            raise UserError(f"{config.folder}: holds none of the versions {config.specific}")
        models = [self._load_version(path) for _, path in sorted(chosen.items())]
        self.add(config, models)
        return models

    @property
    def problem(self) -> str:
        """Why the server is not ready; empty if it is."""
        for name, served in self._served.items():
            problems = [version.problem for version in served.available().values()]
            if not problems:
                return f"model {name} has no version that is available"
            for problem in filter(None, problems):
                return f"model {name} is {problem}" if problem == "warming up" else problem
        return ""

    def first_name(self) -> str:
        """Returns the name of the model that was added first."""
        return next(iter(self._served))

    def find(self, target: rest.Target) -> Captioner:
        """Returns the model, in the version, that a URL names.

        Raises:
          RequestError: 404, there is no such model or version; 400, no such label.
        """
        version = self._version(target)
        if version is None or version.model is None or version.state != AVAILABLE:
            raise target.not_found_error()
        return version.model

    def _version(self, target: rest.Target) -> Version | None:
        served = self._served.get(target.name)
        if served is None:
            return None
        if target.label is not None:
            if target.label not in served.config.labels:
                message = f"Unrecognized servable version label: {target.label}"
                raise rest.RequestError(400, message)
            return served.versions.get(served.config.labels[target.label])
        if target.version is not None:
            return served.versions.get(int(target.version))
        available = served.available()
        return available[max(available)] if available else None

    def status(self, target: rest.Target) -> list[tuple[int, str, str]]:
        """Returns number, state and error of the versions that a URL names, the newest first.

        Raises:
          RequestError: as `find`.
        """
        if target.version is None and target.label is None and target.name in self._served:
            versions = list(self._served[target.name].versions.values())
        else:
            versions = [version for version in [self._version(target)] if version is not None]
        if not versions:
            raise target.not_found_error()
        versions.sort(key=lambda version: -version.number)
        return [(v.number, v.state, v.problem if v.state == FAILED else "") for v in versions]

    def states(self) -> Iterator[tuple[str, int, str]]:
        """Returns the name, the number and the state of every version."""
        for name, served in self._served.items():
            for version in served.versions.values():
                yield name, version.number, version.state

    async def watch(
        self,
        batcher: Batcher,
        seconds: float,
        read_configs: Callable[[], Sequence[ModelConfig] | None] = lambda: None,
    ) -> None:
        """Warms up what is loaded, then follows the folders until it is cancelled.

        A version is loaded once its files have stayed the same between two looks, warmed up, and
        only then used; those that it replaces end after the requests that they have. A version that
        fails is tried again when its files change. If all folders are gone, the versions stay.

        Args:
          batcher: runs the warm-up between other batches.
          seconds: between two looks; 0: no looks.
          read_configs: returns the models to serve if they have changed, else None.
        """
        await self._warm_up_all(batcher)
        while seconds:
            await asyncio.sleep(seconds)
            self._reconfigure(await asyncio.to_thread(read_configs))
            await self._refresh_all(batcher)
            await self._free_graphs(batcher)

    async def _warm_up_all(self, batcher: Batcher) -> None:
        # Not in `watch`, whose local variables would keep the last version in memory.
        for name, served in list(self._served.items()):
            for version in served.versions.values():
                await self._warm_up(name, version, batcher)

    async def _refresh_all(self, batcher: Batcher) -> None:
        for served in list(self._served.values()):
            if served.config.folder:
                await self._refresh(served, batcher)

    def _reconfigure(self, configs: Sequence[ModelConfig] | None) -> None:
        if configs is not None:
            old, self._served = self._served, {}
            for config in configs:
                served = old.get(config.name)
                if served is None or served.config.folder != config.folder:
                    served = _Served(config)
                served.config = config
                self._served[config.name] = served

    async def _warm_up(self, name: str, version: Version, batcher: Batcher) -> None:
        assert version.model is not None
        try:
            await warm_up(version.model, batcher)
            version.problem = ""
        except Exception as error:
            version.problem = f"model {name} failed: {error}"

    async def _refresh(self, served: _Served, batcher: Batcher) -> None:
        chosen = await asyncio.to_thread(_choose, served.config)
        if not chosen:
            if served.versions and not served.is_missing:
                logging.warning("%s: no version any more; those loaded stay", served.config.folder)
            served.is_missing = True
            return
        served.is_missing = False
        for number, (path, files) in sorted(chosen.items()):
            known = served.versions.get(number)
            is_new = known is None or (known.state == FAILED and known.files != files)
            if is_new and served.seen.get(number) == files:
                served.versions[number] = Version(number, files=files)
                await self._add_version(served, served.versions[number], path, batcher)
        served.seen = {number: files for number, (_, files) in chosen.items()}
        if served.available().keys() & chosen.keys():
            self._unload(served, served.versions.keys() - chosen.keys())

    async def _add_version(
        self, served: _Served, version: Version, path: str, batcher: Batcher
    ) -> None:
        try:
            version.model = await asyncio.to_thread(self._load_version, path)
            self._in_memory.append(weakref.ref(version.model))
            await warm_up(version.model, batcher)
        except Exception as error:
            version.model, version.state, version.problem = None, FAILED, one_line(error)
            logging.error("%s is not served: %s", path, version.problem)
        else:
            version.state, version.problem = AVAILABLE, ""
            logging.info("%s serves version %d", served.config.name, version.number)

    def _unload(self, served: _Served, numbers: set[int]) -> None:
        for number in numbers:
            del served.versions[number]
            logging.info("%s no longer serves version %d", served.config.name, number)

    async def _free_graphs(self, batcher: Batcher) -> None:
        """Frees the graphs of models that no request uses any more.

        The functions of a SavedModel refer to one another, so that only a collection frees them,
        and only after the requests that were waiting when the model was unloaded.
        """
        used = [reference for reference in self._in_memory if reference() is not None]
        if len(used) < len(self._in_memory):
            self._in_memory = used
            await batcher.call(gc.collect)


def _choose(config: ModelConfig) -> dict[int, tuple[str, _Files]]:
    """Returns the folder and the files of each version that is to be served."""
    try:
        chosen = config.choose(saved_model.find_versions(config.folder))
        return {number: (path, _files(path)) for number, path in chosen.items()}
    except (UserError, OSError):
        return {}  # Gone, or changing at this moment.


def _files(path: str) -> _Files:
    found = []
    for folder, _, names in os.walk(path):
        for name in names:
            status = os.stat(os.path.join(folder, name))
            found.append((os.path.join(folder, name), status.st_size, status.st_mtime_ns))
    return tuple(sorted(found))


def of_captioners(models: Mapping[str, Captioner]) -> Models:
    """Returns models that are loaded already and stay as they are.

    Raises:
      UserError: there is none, or a name that no URL can contain.
    """
    if not models:
        raise UserError("no model to serve: give at least one --model=NAME=DIR")
    found = Models()
    for name, model in models.items():
        found.add(ModelConfig(name, ""), [model])
    return found
