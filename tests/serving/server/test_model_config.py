"""Which models are served: the command line's, and those of TensorFlow Serving's config file."""

from __future__ import annotations

import os

import pytest
from refusals import refusal

from imcap.serving.server import model_config
from imcap.serving.server.model_config import ModelConfig

# As in TensorFlow Serving's documentation.
TEXT = """
model_config_list {
  config {
    name: 'my_first_model'
    base_path: '/tmp/my_first_model/'
    model_platform: 'tensorflow'
    model_version_policy { specific { versions: 42 versions: 43 } }
    version_labels { key: 'stable' value: 42 }
    version_labels { key: 'canary' value: 43 }
  }
  config { name: 'all' base_path: 'all' model_version_policy { all {} } }
  config { name: 'two' base_path: 'two' model_version_policy { latest { num_versions: 2 } } }
}
"""
FOUND = {1: "/1", 42: "/42", 7: "/7"}


def test_tf_servings_config_file_is_read(tmp_path):
    path = tmp_path / "models.config"
    path.write_text(TEXT)
    first, every, two = model_config.read(str(path))
    labels = {"stable": 42, "canary": 43}
    assert first == ModelConfig("my_first_model", "/tmp/my_first_model/", 1, (42, 43), labels)
    assert first.choose(FOUND) == {42: "/42"}
    assert (every.folder, every.choose(FOUND)) == (str(tmp_path / "all"), FOUND)
    assert two.choose(FOUND) == {7: "/7", 42: "/42"}
    assert ModelConfig("a", "a").choose(FOUND) == {42: "/42"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "No such file"),
        ("model_config_list { config { nmae: 'a' } }", "nmae"),
        ("", "no model in its model_config_list"),
        ("model_config_list { config { name: 'a' } }", "each model needs a name, a base_path"),
        ("model_config_list { config { name: 'a' base_path: 'a' model_platform: 'x' } }", "each"),
        ("model_config_list { " + "config { name: 'a' base_path: 'a' } " * 2 + "}", "two models"),
        ("model_config_list { config { name: 'a/b' base_path: 'a' } }", "--model=a/b"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, text, problem):
    path = tmp_path / "models.config"
    if text is not None:
        path.write_text(text)
    message = refusal(model_config.read, str(path))
    assert problem in message
    assert "\n" not in message


def test_a_change_of_the_file_is_noticed_and_a_mistake_changes_nothing(tmp_path, logged):
    path = tmp_path / "models.config"
    path.write_text("model_config_list { config { name: 'b' base_path: '/b' } }")
    source = model_config.ConfigSource({"a": "/a"}, str(path))
    both = [ModelConfig("a", "/a"), ModelConfig("b", "/b")]
    assert source.read() == both
    assert source.read_if_changed() is None
    path.write_text("model_config_list {")
    os.utime(path, ns=(1, 1))
    assert source.read_if_changed() is None
    assert "the models stay as they are" in logged()[-1]
    path.write_text("model_config_list { config { name: 'c' base_path: '/c' } }")
    os.utime(path, ns=(2, 2))
    assert source.read_if_changed() == [ModelConfig("a", "/a"), ModelConfig("c", "/c")]


def test_a_name_that_is_given_twice_or_never_is_refused(tmp_path):
    path = tmp_path / "models.config"
    path.write_text("model_config_list { config { name: 'a' base_path: '/b' } }")
    source = model_config.ConfigSource({"a": "/a"}, str(path))
    assert "a name that --model gives, too" in refusal(source.read)
    assert "--model=NAME=DIR" in refusal(model_config.ConfigSource({}).read)
