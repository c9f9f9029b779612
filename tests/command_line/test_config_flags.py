"""`--config` by file, by name and from the run; overrides; one line for each mistake in them."""

from __future__ import annotations

import sys

import pytest
from absl import flags

from imcap import config as config_lib
from imcap.command_line import config_flags
from imcap.errors import UserError

HEAD = "from imcap import config\ndef get_config(variant=''):\n    c = config.default()\n"


def load(tmp_path, body: str, variant: str = "") -> config_lib.ConfigDict:
    path = tmp_path / "mine.py"
    path.write_text(HEAD + body + "    return c\n")
    return config_flags.load(f"{path}{variant}", None)


def overridden(*arguments: str) -> config_lib.ConfigDict:
    config, values = config_lib.default(), flags.FlagValues()
    config_flags.define_overrides(values, config, arguments)
    values(["imcap", *arguments])
    return config


@pytest.mark.parametrize("arguments", [["--config=x"], ["--config", "x"], ["-config", "x"]])
def test_the_config_is_split_off(arguments):
    assert config_flags.take(["a", *arguments, "--b"]) == ("x", ["a", "--b"])


def test_overrides_and_what_follows_two_dashes_stay():
    arguments = ["--config.seed=1", "--", "--config=x"]
    assert config_flags.take(arguments) == (None, arguments)


@pytest.mark.parametrize("name", config_flags.names())
def test_a_packaged_config_is_found_by_name_from_any_folder(tmp_path, monkeypatch, name):
    folder = tmp_path / "configs"
    folder.mkdir()
    for module in ("__init__", "coco", "flickr8k"):
        (folder / f"{module}.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # As `python -m imcap` has the folder it is called in.
    for module in [module for module in sys.modules if module.partition(".")[0] == "configs"]:
        monkeypatch.delitem(sys.modules, module)
    assert config_flags.load(name, None)


def test_a_variant_follows_a_colon():
    assert config_flags.load("flickr8k:inject", None).model.decoder == "inject"


def test_without_a_name_the_run_s_own_config_is_taken(tmp_path):
    config_lib.save(config_flags.load("shapes", None), str(tmp_path))
    assert config_flags.load(None, str(tmp_path)).dataset.name == "shapes"
    assert config_flags.load(None, str(tmp_path / "new")) is None
    assert config_flags.load(None, None) is None


def test_a_named_config_without_a_data_folder_takes_the_run_s(tmp_path):
    config = config_flags.load("flickr8k", None)
    config.dataset.dir = "/data/flickr8k"
    config_lib.save(config, str(tmp_path))
    assert config_flags.load("flickr8k", str(tmp_path)).dataset.dir == "/data/flickr8k"
    assert config_flags.load("flickr8k", str(tmp_path / "new")).dataset.dir == ""
    assert config_flags.load("coco", str(tmp_path)).dataset.dir == ""
    assert config_flags.load("shapes", str(tmp_path)).dataset.dir == "{workdir}/shapes"


def test_a_named_config_replaces_a_corrupted_one(tmp_path):
    (tmp_path / "config.json").write_text("{")
    assert config_flags.load("flickr8k", str(tmp_path)).dataset.name == "flickr8k"


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(
        UserError, match=r"^--config=shape: no such file or .*; did you mean shapes"
    ):
        config_flags.load("shape", None)
    with pytest.raises(UserError, match="by name there are coco, flickr30k, flickr8k, shapes"):
        config_flags.load("zzz", None)


def test_ml_collections_names_the_nearest_key(tmp_path):
    """Fails where ml_collections words its messages in another way: see `summarize`."""
    with pytest.raises(UserError) as caught:
        load(tmp_path, "    c.trian.epochs = 1\n")
    place = f"--config: {tmp_path}/mine.py, line 4: "
    hint = '\'trian\' Did you mean "train" instead of "trian"?'
    assert str(caught.value) == f"{place}AttributeError: {hint}"
    with pytest.raises(UserError) as caught:
        load(tmp_path, "    c.train.epoch = 1\n")
    missing = 'Key "epoch" does not exist and cannot be added since the config is locked.'
    assert str(caught.value).startswith(f"{place}AttributeError: {missing} Did you mean")
    assert str(caught.value).endswith('Did you mean "epochs" instead of "epoch"?')


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("    c.train.epochs = 'many'\n", "mine.py, line 4: TypeError: .*'epochs'.*many"),
        ("    nonsense\n", "mine.py, line 4: NameError: .*'nonsense'"),
        ("    import nowhere\n", "mine.py, line 4: ModuleNotFoundError: .*'nowhere'"),
        (
            "    return {'train': 1}\n",
            r"mine.py: get_config\(\) must return imcap\.config\.default",
        ),
        ("    return None\n", r"mine.py: get_config\(\) must return imcap\.config\.default"),
        ("    c :=\n", r"mine.py, line 4: invalid syntax"),
    ],
)
def test_a_mistake_in_a_config_file_is_named_with_its_line(tmp_path, body, message):
    with pytest.raises(UserError, match=message) as caught:
        load(tmp_path, body)
    assert "\n" not in str(caught.value)


def test_a_file_without_get_config_is_named(tmp_path):
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(UserError, match=r"empty\.py: .*has no attribute 'get_config'"):
        config_flags.load(str(tmp_path / "empty.py"), None)


def test_overrides_take_the_type_of_the_setting():
    config = overridden(
        "--config.train.epochs=3", "--config.train.learning_rate", "1", "--config.records.flip",
        "--noconfig.dataset.restval", "--config.dataset.ratios=(0.5,0.5,0.0)",
        "--config.dataset.columns.image=file",
    )  # fmt: skip
    assert (config.train.epochs, config.train.learning_rate, config.records.flip) == (3, 1.0, True)
    assert not config.dataset.restval
    assert config.dataset.ratios == (0.5, 0.5, 0.0)
    assert config.dataset.columns.image == "file"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.train.batchsize=3", "no key batchsize; did you mean batch_size?"),
        ("--config.trian.epochs=3", "no key trian; did you mean train?"),
        ("--config.zzz=3", "no key zzz; there are dataset, decode, encoder"),
        ("--config.seed.more=3", "no key more: that setting is one value"),
    ],
)
def test_a_misspelt_key_is_answered_with_the_nearest(argument, message):
    with pytest.raises(UserError, match=message):
        overridden(argument)
