"""What can be checked of the Dockerfile without Docker."""

from __future__ import annotations

import json
import re

import processes

from imcap import cli

DOCKERFILE = (processes.ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_copied_files_exist():
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    names = [name for line in copies for name in line.split()]
    assert names and all((processes.ROOT / name).exists() for name in names)


def test_wheel_stage_has_all_that_the_build_reads():
    stage = DOCKERFILE.split("AS wheel")[1].split("FROM ")[0]
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", *packages()):
        assert re.search(rf"^COPY .*\b{re.escape(name)}\b", stage, re.MULTILINE), name


def packages() -> set[str]:
    setup = (processes.ROOT / "setup.py").read_text(encoding="utf-8")
    return set(re.findall(r'"(\w+)\.\*"', setup))


def test_beam_versions_match_constraints():
    constraints = (processes.ROOT / "constraints.txt").read_text(encoding="utf-8")
    (version,) = re.findall(r"^apache-beam==(.+)$", constraints, re.MULTILINE)
    found = re.findall(r"beam_python[\d.]+_sdk:(\S+)|apache-beam\[\w+\]==([\d.]+)", DOCKERFILE)
    assert {a or b for a, b in found} == {version}


def test_python_is_a_supported_one():
    versions = re.findall(r"FROM \D+(3\.\d+)", DOCKERFILE)
    assert versions and set(versions) <= {"3.11", "3.12", "3.13"}


def test_later_stages_copy_from_earlier_ones():
    for name in re.findall(r"COPY --from=(\w+)", DOCKERFILE):
        assert f" AS {name}\n" in DOCKERFILE.split(f"--from={name}")[0]


def test_entry_point_is_a_command_of_imcap():
    entry_point = json.loads(re.search(r"^ENTRYPOINT (.+)$", DOCKERFILE, re.MULTILINE)[1])
    assert entry_point[0] == "imcap" and entry_point[1] in cli.COMMANDS
