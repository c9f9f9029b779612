"""The wheel: what it declares, what it contains, and that it works without the checkout."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import landscapes
import processes
import pytest

import imcap
from imcap import export

PACKAGES = ("imcap", "beam_jobs", "configs")
# Distributions whose name is not that of the module, by the import that needs them.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "apache_beam": "apache-beam",
    "absl": "absl-py",
    "google.protobuf": "protobuf",
    "grpc": "grpcio",
    "keras_hub": "keras-hub",
    "tensorflow_hub": "tensorflow-hub",
    "tensorflow_serving": "tensorflow-serving-api",
    "tensorflow_text": "tensorflow-text",
    "tf_keras": "tf-keras",
}


def imported_modules(path: Path) -> set[str]:
    """Returns the dotted names that a file imports, at its top or within a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported_distributions() -> set[str]:
    """Returns the distributions that imcap, beam_jobs and configs import from."""
    found = set()
    for path in (p for package in PACKAGES for p in (processes.ROOT / package).rglob("*.py")):
        for name in imported_modules(path):
            top = name.split(".")[0]
            if top in sys.stdlib_module_names or top in PACKAGES:
                continue
            prefixes = [p for p in DISTRIBUTIONS if name == p or name.startswith(f"{p}.")]
            assert prefixes or top != "google", f"{path} imports {name}: name its distribution"
            found.add(normalized(DISTRIBUTIONS[prefixes[0]] if prefixes else top))
    return found


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(metadata: str) -> set[str]:
    """Returns what METADATA requires, for all extras but `test`."""
    lines = re.findall(r"^Requires-Dist: (.+)$", metadata, re.MULTILINE)
    kept = [line for line in lines if not re.search(r"extra == .test", line)]
    return {normalized(re.match(r"[\w.-]+", line)[0]) for line in kept}


@pytest.fixture(scope="module")
def wheel(landscape_run: Path, trained: landscapes.Trained, tmp_path_factory) -> Path:
    """The wheel, built from a copy of the sources, as a build leaves files in its folder, with the
    ready model `landscapes`."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(processes.ROOT / name, source)
    for name in PACKAGES:
        shutil.copytree(processes.ROOT / name, source / name)
    ready = source / "imcap" / "models" / "landscapes"
    ready.parent.mkdir(exist_ok=True)
    export.write_ready_model(trained.config, str(landscape_run), str(ready))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", out, source], check=True, timeout=120)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return archive.read(name).decode()


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that holds the wheel and sees the tests' dependencies, but
    not the checkout: `make check-wheel` does the same with downloaded dependencies."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    (packages,) = folder.glob("lib/python*/site-packages")
    # A path in a .pth file is searched, but the .pth files in it (an editable imcap) are not read.
    dependencies = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "dependencies.pth").write_text("\n".join(dependencies))
    command = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install"]
    subprocess.run([*command, "--quiet", "--no-deps", wheel], check=True, timeout=120)
    return folder / "bin"


def run(environment: Path, folder: Path, *arguments: object) -> str:
    """Returns what a command of the environment prints, run outside the checkout."""
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [str(environment / arguments[0]), *map(str, arguments[1:])]
    finished = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, timeout=300
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_imported_distributions_are_declared(metadata):
    assert imported_distributions() - declared(metadata) == set()


def test_declared_distributions_are_pinned(metadata):
    lines = (processes.ROOT / "constraints.txt").read_text().splitlines()
    pinned = {normalized(line.split("==")[0]) for line in lines if "==" in line}
    every = {
        normalized(n) for n in re.findall(r"^Requires-Dist: ([\w.-]+)", metadata, re.MULTILINE)
    }
    assert every - pinned == set()


def test_version_and_license_are_in_the_metadata(metadata):
    assert f"\nVersion: {imcap.__version__}\n" in metadata
    assert "Apache-2.0" in metadata and "\nLicense-File: LICENSE\n" in metadata


def test_version_is_written_once():
    files = [processes.ROOT / "setup.py", processes.ROOT / "pyproject.toml"]
    files += [p for package in PACKAGES for p in (processes.ROOT / package).rglob("*.py")]
    found = [path for path in files if f'"{imcap.__version__}"' in path.read_text()]
    assert found == [processes.ROOT / "imcap" / "__init__.py"]


def test_wheel_contains_every_module_template_and_config(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for package in PACKAGES:
        for path in (processes.ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.relative_to(processes.ROOT).as_posix() in names
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == set(PACKAGES)


def test_wheel_is_imported_from_its_environment(environment, tmp_path):
    code = "import imcap, beam_jobs, configs; print(imcap.__file__)"
    printed = run(environment, tmp_path, "python", "-c", code)
    assert printed.startswith(str(environment.parent))


def test_wheel_prints_help_and_version(environment, tmp_path):
    assert "imcap COMMAND" in run(environment, tmp_path, "imcap", "--help")
    assert imcap.__version__ in run(environment, tmp_path, "imcap", "--version")


def test_wheel_finds_a_config_by_name(environment, tmp_path):
    flags = ("--config=shapes:tiny", "--config.encoder.weights=", f"--workdir={tmp_path}/run")
    printed = run(environment, tmp_path, "imcap", "records", "--dry_run", *flags)
    assert "train" in printed and "images" in printed


def test_wheel_captions_an_image(environment, landscape_export, landscape_data, tmp_path):
    image = landscape_data / "45.jpg"
    printed = run(environment, tmp_path, "imcap", "caption", f"--model={landscape_export}", image)
    assert str(image) in printed and "sky" in printed


def test_wheel_captions_an_image_with_a_model_that_it_holds(environment, landscape_data, tmp_path):
    flags = ("--model=landscapes", f"--weights={landscape_data / 'encoder.keras'}")
    image = landscape_data / "45.jpg"
    printed = run(environment, tmp_path, "imcap", "caption", *flags, image)
    assert str(image) in printed and "sky" in printed


def test_templates_are_read_from_the_wheel(environment, tmp_path):
    code = "from imcap.reports import html; print(html.load_template('report.html').name)"
    assert "report.html" in run(environment, tmp_path, "python", "-c", code)


def test_benchmarks_are_imported_from_the_wheel(environment, tmp_path):
    code = (
        "from imcap.benchmarks import input_reading, peers, records, scale\nprint(scale.__file__)"
    )
    printed = run(environment, tmp_path, "python", "-c", code)
    assert printed.startswith(str(environment.parent))
