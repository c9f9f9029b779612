"""README and docs/: links lead somewhere, code runs, and what they name exists."""

from __future__ import annotations

import functools
import json
import re

import processes
import pytest

from imcap import cli, records
from imcap import config as config_lib
from imcap.command_line.command_flags import FLAGS

PAGES = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/demo.ipynb",
    *(f"docs/{path.name}" for path in sorted((processes.ROOT / "docs").glob("*.md"))),
)


def read(name: str) -> str:
    return (processes.ROOT / name).read_text(encoding="utf-8")


def anchors(page: str) -> set[str]:
    """Returns the anchors that a page's headings have on a code host."""
    headings = re.findall(r"^#+ (.+)$", read(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@functools.cache
def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)]+)\)", read(page)):
        if not re.match(r"[a-z]+:", target):
            name, _, anchor = target.partition("#")
            path = (processes.ROOT / page).parent / name if name else processes.ROOT / page
            assert path.exists(), target
            if anchor:
                assert anchor in anchors(str(path.resolve().relative_to(processes.ROOT))), target


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page):
    found = re.findall(r"(?:^    |`)(?:\S+=\S+ )?make ([a-z -]+)", read(page), re.MULTILINE)
    assert {target for line in found for target in line.split()} - make_targets() == set()


@pytest.mark.parametrize("page", PAGES)
def test_config_settings_exist(page):
    known = set(flattened(config_lib.default()))
    found = set(re.findall(r"--config\.([a-z_]+(?:\.[a-z_]+)*)", read(page)))
    assert found - known == set()


def commands(page: str) -> list[str]:
    """Returns the commands `imcap …` of a page, each as one line."""
    text = read(page).replace("\\\n", " ")
    return re.findall(r"\bimcap [a-z]+ [^\n`]*", text)


def wrong_flags(line: str) -> set[str]:
    """Returns the flags of imcap in a command line that its command does not take."""
    name = line.split()[line.split().index("imcap") + 1]
    given = set(re.findall(r"--(\w+)(?=[=\s]|$)", line)) - {"config", "help"}
    command = cli.COMMANDS[name]
    # The records job also takes Beam's flags.
    return (given & FLAGS.keys() if command.takes_unknown else given) - set(command.flag_names)


@pytest.mark.parametrize("page", PAGES)
def test_commands_take_the_flags_they_are_given(page):
    lines = [line for line in commands(page) if line.split()[1] in cli.COMMANDS]
    assert {line: wrong_flags(line) for line in lines if wrong_flags(line)} == {}


@pytest.mark.parametrize(
    "path", sorted((processes.ROOT / "benchmarks" / "results").glob("*.json")), ids=lambda p: p.stem
)
def test_the_command_of_a_result_can_be_given_again(path):
    line = json.loads(path.read_text(encoding="utf-8"))["command"]
    assert wrong_flags(line) == set()


def flattened(config: config_lib.ConfigDict, prefix: str = "") -> list[str]:
    """Returns the dotted names of all settings and of their groups."""
    names = []
    for key, value in config.items():
        names.append(prefix + key)
        if isinstance(value, config_lib.ConfigDict):
            names += flattened(value, f"{prefix}{key}.")
    return names


def test_readme_lists_its_sections():
    headings = re.findall(r"^## (.+)$", read("README.md"), re.MULTILINE)
    listed = re.findall(r"^- \[(.+?)\]\(#", read("README.md"), re.MULTILINE)
    assert [heading for heading in headings if heading != "Contents"] == listed


def test_records_page_names_every_key_of_info():
    named = set(re.findall(r"`(\w+)`", read("docs/records.md")))
    assert set(records.Info.__dataclass_fields__) - named == set()
