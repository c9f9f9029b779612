"""Names that a config may choose from, each with what it stands for, imported when it is chosen."""

from __future__ import annotations

import contextlib
import difflib
import importlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from imcap.errors import UserError


class Registry(Mapping[str, str]):
    """Names to `module:attribute`. Config choices, help and error messages are derived from it.

    Nothing is imported until `load`, so that a config is checked without waiting for TensorFlow.
    """

    def __init__(self, setting: str, entries: Mapping[str, str]) -> None:
        """`setting`: what the user writes, for messages, such as `config.model.decoder`."""
        self.setting = setting
        self._entries = dict(entries)

    def load(self, name: str) -> Any:
        """Imports and returns what `name` stands for; raises UserError if there is none."""
        if name not in self._entries:
            raise UserError(f"{self.setting}={name!r}: {self.advice(name)}")
        module, _, attribute = self._entries[name].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def advice(self, name: str = "") -> str:
        """Returns `choose one of …`, with the nearest name if `name` is close to one."""
        return advice(name, self._entries)

    def register(self, name: str, entry: str) -> None:
        """Adds a name, as an application with its own reader or decoder does."""
        if name in self._entries:
            raise ValueError(f"{self.setting}={name!r} is {self._entries[name]} already")
        self._entries[name] = entry

    @contextlib.contextmanager
    def registered(self, name: str, entry: str) -> Iterator[None]:
        """Adds a name for the duration of a `with` block, as a test does."""
        self.register(name, entry)
        try:
            yield
        finally:
            del self._entries[name]

    def __getitem__(self, name: str) -> str:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def advice(name: str, choices: Collection[str]) -> str:
    """Returns `choose one of …`, with the nearest of `choices` if `name` is close to one."""
    near = difflib.get_close_matches(name, choices, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"choose one of {', '.join(choice or repr(choice) for choice in choices)}{hint}"
