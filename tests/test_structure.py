"""Who imports whom: one way only, as the packages are stacked."""

from __future__ import annotations

import ast
import functools
import graphlib
from pathlib import Path

import processes
import pytest

# From the ground up; a file imports from its own floor and from those below.
FLOORS = (
    ("errors", "prefetch", "filesystem", "runtime", "exif"),
    ("config", "datasets", "images", "text", "records", "input_pipeline", "decoders"),
    ("encoders", "decoding", "training", "metrics"),
    ("reports", "pretrain"),
    ("train", "evaluate", "export", "inspect_records"),
    ("serving", "benchmarks", "cli"),
)


@functools.cache
def modules() -> dict[str, Path]:
    """Returns the repository's own modules by their dotted names."""
    paths = [p for top in ("imcap", "beam_jobs") for p in (processes.ROOT / top).rglob("*.py")]
    names = [path.relative_to(processes.ROOT).with_suffix("").as_posix() for path in paths]
    dotted = [name.removesuffix("/__init__").replace("/", ".") for name in names]
    return dict(zip(dotted, paths, strict=True))


def imports_of(module: str) -> set[str]:
    """Returns which of the modules one imports, at its top or within a function."""
    found = set()
    for node in ast.walk(ast.parse(modules()[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {name for name in found if name in modules() and name != module}


@functools.cache
def graph() -> dict[str, frozenset[str]]:
    return {module: frozenset(imports_of(module)) for module in modules()}


def floor_of(module: str) -> int | None:
    parts = module.split(".")
    floors = [number for number, names in enumerate(FLOORS) if parts[1:2] and parts[1] in names]
    return floors[0] if floors and parts[0] == "imcap" else None


def reachable(module: str) -> set[str]:
    seen, waiting = set(), [module]
    while waiting:
        for found in graph()[waiting.pop()] - seen:
            seen.add(found)
            waiting.append(found)
    return seen


def test_no_import_leads_back_to_where_it_came_from():
    # A package's __init__ gathers its modules, which may ask the package for one another.
    own = {m: {i for i in found if not m.startswith(f"{i}.")} for m, found in graph().items()}
    graphlib.TopologicalSorter(own).prepare()


@pytest.mark.parametrize("module", sorted(modules()))
def test_nothing_imports_what_is_above_it(module):
    floor = floor_of(module)
    for found in reachable(module):
        above = floor_of(found)
        if floor is not None and above is not None:
            assert above <= floor, f"{module} imports {found}"


def test_of_imcap_only_the_command_knows_the_jobs():
    benchmarks = {m for m in modules() if m.startswith("imcap.benchmarks")}
    knowing = {m for m, found in graph().items() if any(i.startswith("beam_jobs") for i in found)}
    assert {m for m in knowing if m.startswith("imcap.")} <= {"imcap.cli", *benchmarks}


@pytest.mark.parametrize("module", ["imcap.config", "imcap.cli", "imcap.errors", "imcap.datasets"])
def test_what_is_asked_before_any_work_does_not_wait_for_tensorflow(module):
    heavy = {"tensorflow", "tensorflow_text", "keras", "apache_beam"}
    for found in {module} | reachable_at_top(module):
        assert not heavy & top_imports(found), f"{module} imports {found}"


def top_imports(module: str) -> set[str]:
    """Returns the packages that importing a module imports by itself."""
    found = set()
    for node in ast.parse(modules()[module].read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found | {name.split(".")[0] for name in found}


def reachable_at_top(module: str) -> set[str]:
    seen, waiting = set(), [module]
    while waiting:
        for found in (top_imports(waiting.pop()) & modules().keys()) - seen:
            seen.add(found)
            waiting.append(found)
    return seen
