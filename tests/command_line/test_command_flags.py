"""Which command takes which flags, and their help."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from imcap import cli
from imcap.command_line import command_flags
from imcap.errors import UserError

COMMANDS = cli.COMMANDS


def parse(line: str) -> command_flags.Parsed:
    name, *arguments = line.split()
    return command_flags.parse(COMMANDS[name], arguments, COMMANDS.values())


def test_every_flag_is_some_command_s():
    taken = {name for command in COMMANDS.values() for name in command.flag_names}
    assert taken == command_flags.FLAGS.keys()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train --top=3", "imcap train takes no --top; imcap caption takes it"),
        ("serve --config=shapes", "imcap serve takes no --config; imcap records, pretrain, "),
        ("eval --distrbute=none", "imcap eval takes no --distrbute"),
        ("train --distrbute=none", "takes no --distrbute; did you mean --distribute?"),
        ("train now", "imcap train takes no 'now'"),
        ("serve --port=many", "^flag --port=many: invalid literal"),
        ("train --config=shapes --config.train.epochs=x", "^flag --config.train.epochs=x: .*'x'"),
    ],
)
def test_a_flag_that_the_command_does_not_take_is_refused(line, message):
    with pytest.raises(UserError, match=message):
        parse(line)


@pytest.mark.parametrize("flag", ["--config.seed=1", "-config.seed=1", "--noconfig.records.flip"])
def test_an_override_without_a_config_is_answered_with_what_is_missing(flag):
    with pytest.raises(UserError, match="--config=NAME is missing"):
        _ = parse(f"train {flag}").given_config


def test_beam_s_options_are_left_for_beam():
    parsed = parse("records --config=shapes --runner=FlinkRunner --config.seed=4 --overwrite")
    assert parsed.rest == ["--runner=FlinkRunner"]
    assert parsed.values.overwrite and parsed.given_config.seed == 4


def test_flags_stand_before_and_after_other_arguments():
    parsed = parse("caption a.jpg --model=m --top=2 b.jpg")
    assert parsed.rest == ["a.jpg", "b.jpg"]
    assert (parsed.values.model, parsed.values.top) == (["m"], 2)


def test_the_home_folder_is_expanded_in_every_flag(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    for flag in ("--workdir=~/run", "--workdir ~/run"):
        assert parse(f"train --config=shapes {flag}").workdir == "/home/me/run"
    models = parse("serve --model=~/a --model=b=~/b --model=c~/c --model=~").values.model
    assert models == ["/home/me/a", "b=/home/me/b", "c~/c", "/home/me"]
    bench = parse("bench scale --config=shapes --image_dir=~/images --out=~/out.json").values
    assert (bench.image_dir, bench.out) == ("/home/me/images", "/home/me/out.json")
    assert parse("app --samples=~/samples").values.samples == "/home/me/samples"
    assert parse("caption a=~/b.jpg").rest == ["a=~/b.jpg"]


@pytest.mark.parametrize("name", COMMANDS)
def test_interruption_says_which_commands_continue(name, monkeypatch, capsys):
    def interrupted(parsed):
        raise KeyboardInterrupt

    monkeypatch.setitem(COMMANDS, name, dataclasses.replace(COMMANDS[name], run=interrupted))
    monkeypatch.setattr(sys, "argv", ["imcap", name])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    continues = "; the same command continues" if name in ("records", "pretrain", "train") else ""
    assert caught.value.code == 130
    assert capsys.readouterr().err == f"imcap: interrupted{continues}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_a_command_s_own_flags_with_defaults(name):
    command = COMMANDS[name]
    text = command_flags.command_usage(command)
    assert command.summary in text
    for flag in command_flags.FLAGS:
        assert (f"  --{flag}\n" in text or f"  --{flag}=" in text) == (flag in command.flag_names)
        if flag in command.flag_names and command.default(flag) not in (None, "", [], False):
            assert f"Default: {command.default(flag)}." in " ".join(text.split())
    assert ("--config.KEY=VALUE" in text) == command.takes_config
    assert max(map(len, text.splitlines())) <= 100
