"""The rules of the layout: who imports whom, how large files and folders are, who prints."""

from __future__ import annotations

import ast
import collections
import functools
import graphlib
from collections.abc import Iterator
from pathlib import Path

import longest_first
import processes
import pytest

# From the lowest level up. A module imports from its own level and from lower ones; commands import
# no other command. `X` names a module or a whole package, `X.__init__` only the package's own file:
# it holds a registry of names, which the config's checks read.
LEVELS = {
    "imcap": {
        "base": (
            "errors",
            "exif",
            "filesystem",
            "hashing",
            "prefetch",
            "progress",
            "registry",
            "runtime",
        ),
        "registries": (
            "datasets.__init__",
            "datasets.base",
            "decoders.__init__",
            "encoders.__init__",
            "metrics.__init__",
            "training.__init__",
        ),
        "config": ("config", "images", "text"),
        "data": ("datasets", "input_pipeline", "records"),
        "models": ("decoders", "encoders", "metrics"),
        "uses of models": ("decoding", "reports", "training"),
        "output": ("exporting", "serving"),
        "commands": ("compare", "evaluate", "export", "inspect_records", "pretrain", "train"),
        "benchmarks": ("benchmarks",),
        "command line": (
            "__init__",
            "__main__",
            "cli",
            "command_line",
        ),
    },
    "beam_jobs": {
        "base": ("captions_folder", "heartbeats", "records_folder", "runners", "shard_reports"),
        "transforms": ("progress_bar", "transforms"),
        "counts": ("count_images",),
        "pipeline": ("estimate", "records_pipeline"),
        "commands": ("build_records", "caption_images"),
        "package": ("__init__",),
    },
}
LIGHT = (
    "config",
    "cli",
    "command_line",
    "errors",
    "datasets",
    "registry",
)  # Imported before any work is accepted.
HEAVY = {"tensorflow", "tensorflow_text", "keras", "apache_beam"}
MAY_IMPORT_BEAM_JOBS = ("imcap.cli", "imcap.command_line", "imcap.benchmarks")
PRINTING = (
    "imcap.cli",
    # Processes of their own, which return their figures so.
    "imcap.exporting.fresh_process",
    "imcap.benchmarks.image_bytes",
    "imcap.benchmarks.manifest_scale",
    "imcap.benchmarks.peers.bare_model",
    "imcap.benchmarks.peers.caption_process",
    "imcap.benchmarks.peers.encoding",
    "imcap.benchmarks.peers.notebook_phases",
    "imcap.benchmarks.peers.torch_training",
)
MAX_LINES = 300
MAX_MODULES = 18  # In a folder; `imcap` itself has the commands and what all of them use.
MAX_MODULES_OF_IMCAP = 20
# Where the tests are of a module that has no tests file of its own.
TESTED_IN = {
    # The graph of layers, which only the passes over it use.
    "imcap.encoders.layer_graph": "encoders/test_conv_add_fusion.py",
    # Ready models are the only ones that it alone can choose.
    "imcap.command_line.captioners": "exporting/test_ready_model.py",
    # What every export writes.
    "imcap.exporting.version_folder": "exporting/test_ready_export.py",
    # The process that a check starts.
    "imcap.exporting.fresh_process": "exporting/test_export_check.py",
    # Scorers of one interface, compared with pycocoevalcap's in one test.
    "imcap.metrics.cider": "metrics/test_scores.py",
    "imcap.metrics.rouge": "metrics/test_scores.py",
    # The scores of the epochs of a training: only a training shows them.
    "imcap.training.dev_scores": "training/test_loop.py",
    # The weights of epochs are written by what writes the other checkpoints.
    "imcap.training.epoch_checkpoints": "training/test_checkpoints.py",
    # The transforms put together: only a whole job shows them.
    "beam_jobs.records_pipeline": "beam_jobs/test_build_records.py",
    # What captions a part, with the model that it runs: only a whole job shows them.
    "beam_jobs.transforms.caption_graph": "beam_jobs/test_caption_images.py",
    "beam_jobs.transforms.caption_parts": "beam_jobs/test_caption_images.py",
    # Measured with what they are parts of.
    "imcap.benchmarks.peers.caption_process": "benchmarks/test_captioning.py",
    "imcap.benchmarks.loop_cost": "benchmarks/test_training.py",
    "imcap.benchmarks.peers.torch_decoder": "benchmarks/peers/test_torch_training.py",
    # Each needs a whole command.
    "imcap.command_line.beam_options": "test_cli.py",
    "imcap.command_line.caption_command": "serving/test_caption_command.py",
}


@functools.cache
def modules() -> dict[str, Path]:
    """Returns the files of imcap and beam_jobs by dotted name; a package's ends in `.__init__`."""
    paths = [p for top in LEVELS for p in (processes.ROOT / top).rglob("*.py")]
    names = [path.relative_to(processes.ROOT).with_suffix("").as_posix() for path in paths]
    return {name.replace("/", "."): path for name, path in zip(names, paths, strict=True)}


@functools.cache
def tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


def imported_names(nodes: Iterator[ast.AST]) -> set[str]:
    """Returns the dotted names that import statements among `nodes` may refer to."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return found


def own(names: set[str]) -> set[str]:
    """Returns which of our modules the names are."""
    named = names | {f"{name}.__init__" for name in names}
    # `from imcap import text` runs imcap/__init__.py, too, which imports nothing at its top.
    return (named & modules().keys()) - {f"{top}.__init__" for top in LEVELS}


@functools.cache
def imports(module: str) -> frozenset[str]:
    """Returns which of our modules one imports, at its top or within a function."""
    return frozenset(own(imported_names(ast.walk(tree(module)))) - {module})


def level_name(module: str) -> str | None:
    """Returns what LEVELS calls the module: its longest prefix there."""
    top, _, rest = module.partition(".")
    names = {name for level in LEVELS[top].values() for name in level}
    parts = rest.split(".")
    prefixes = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return next((prefix for prefix in prefixes if prefix in names), None)


def level(module: str) -> tuple[str, int]:
    """Returns the package a module belongs to and the number of its level there."""
    top, name = module.split(".")[0], level_name(module)
    (number,) = (n for n, names in enumerate(LEVELS[top].values()) if name in names)
    return top, number


def test_every_module_has_a_level():
    assert [module for module in modules() if level_name(module) is None] == []


def test_levels_name_only_what_exists():
    for top, levels in LEVELS.items():
        named = {name for names in levels.values() for name in names}
        assert named - {level_name(m) for m in modules() if m.startswith(f"{top}.")} == set()


def test_modules_import_from_their_level_or_below():
    from_higher = [
        f"{module} imports {found}"
        for module in modules()
        for found in imports(module)
        if level(found)[0] == level(module)[0]
        and level(found)[1] > level(module)[1]
        and module != f"{found.rpartition('.')[0]}.__init__"  # A package's own module.
    ]
    assert from_higher == []


def test_commands_do_not_import_commands():
    commands = {f"{top}.{name}" for top in LEVELS for name in LEVELS[top]["commands"]}
    found = {module: imports(module) & commands for module in commands}
    assert {module: names for module, names in found.items() if names} == {}


def test_only_cli_and_benchmarks_import_beam_jobs():
    importing = {m for m in modules() if any(i.startswith("beam_jobs.") for i in imports(m))}
    outside = {m for m in importing if not m.startswith(("beam_jobs.", *MAY_IMPORT_BEAM_JOBS))}
    assert outside == set()


def test_no_import_cycles():
    # A package's __init__ gathers its modules, which may import the package for one another.
    graph = {
        module: {i for i in imports(module) if not module.startswith(i.removesuffix("__init__"))}
        for module in modules()
    }
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("name", LIGHT)
def test_checks_before_any_work_do_not_import_tensorflow(name):
    waiting, seen = list(own({f"imcap.{name}"})), set()
    while waiting:
        module = waiting.pop()
        seen.add(module)
        names = imported_names(iter(tree(module).body))
        assert {n.split(".")[0] for n in names} & HEAVY == set(), module
        waiting += own(names) - seen


def files_of_tests(module: str) -> list[str]:
    """Returns where a module's tests may be: a file of its own, or one for its package."""
    folders, name = module.removeprefix("imcap.").split(".")[:-1], module.split(".")[-1]
    found = ["/".join([*folders, f"test_{name}.py"])]
    if folders:
        found += ["/".join([*folders, f"test_{folders[-1]}.py"])]
        found += ["/".join([*folders[:-1], f"test_{folders[-1]}.py"])]
    return found


def test_every_module_has_tests():
    tests = processes.ROOT / "tests"
    plain = [m for m in modules() if m.split(".")[-1] not in ("__init__", "__main__")]
    without = [
        module
        for module in plain
        if not any((tests / path).exists() for path in files_of_tests(module))
        and not (tests / TESTED_IN.get(module, "absent")).exists()
    ]
    assert without == []
    assert TESTED_IN.keys() - modules().keys() == set()


def test_the_files_that_run_first_exist():
    assert [f for f in longest_first.FILES if not (processes.ROOT / "tests" / f).exists()] == []


def test_files_are_short():
    paths = [*modules().values(), *(processes.ROOT / "tests").rglob("*.py")]
    lines = {str(path): len(path.read_text().splitlines()) for path in paths}
    assert {path: count for path, count in lines.items() if count > MAX_LINES} == {}


def test_folders_hold_few_modules():
    counts = collections.Counter(path.parent for path in modules().values())
    assert counts.pop(processes.ROOT / "imcap") <= MAX_MODULES_OF_IMCAP
    assert {folder: count for folder, count in counts.items() if count > MAX_MODULES} == {}


def calls(module: str) -> set[str]:
    """Returns the functions that a module calls, as they are written there."""
    return {ast.unparse(n.func) for n in ast.walk(tree(module)) if isinstance(n, ast.Call)}


def test_only_the_command_line_prints():
    assert {m for m in modules() if "print" in calls(m)} - set(PRINTING) == set()


def test_graphs_are_traced_without_autograph():
    """Converting the functions takes seconds in each process, and none needs it."""
    graphs = [
        ast.unparse(node)
        for module in modules()
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "tf.function"
    ]
    assert len(graphs) > 10
    assert [graph for graph in graphs if "autograph=False" not in graph] == []
    decorators = {
        ast.unparse(decorator)
        for module in modules()
        for node in ast.walk(tree(module))
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
    }
    assert "tf.function" not in decorators


def test_only_filesystem_renames_files():
    renaming = {"os.replace", "os.rename", "shutil.move", "tf.io.gfile.rename"}
    renaming |= {"FileSystems.rename", "tempfile.NamedTemporaryFile", "tempfile.mkstemp"}
    found = {module for module in modules() if calls(module) & renaming}
    assert {m for m in found if not m.startswith("imcap.filesystem.")} == set()
