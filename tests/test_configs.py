"""The packaged configs: each variant holds values that can work, and what its docstring says."""

from __future__ import annotations

import pytest

from imcap import config as config_lib
from imcap.command_line import config_flags
from imcap.errors import UserError

VARIANTS = {
    "coco": ("", "inject"),
    "flickr30k": ("", "inject"),
    "flickr8k": ("", "inject", "self_critical", "finetune", "small", "crops"),
    "shapes": ("", "tiny"),
    "table": ("", "folder", "webdataset", "tfrecord"),
    "systems/custom_cnn_flickr30k": ("", "no_image"),
    "systems/resnet50_fasttext": ("",),
    "systems/resnet50_flickr8k": ("",),
    "systems/vgg16_flickr8k": ("", "100"),
    "systems/vgg16_two_datasets": ("flickr8k", "flickr30k"),
}
ALL = [f"{name}:{variant}" for name, variants in VARIANTS.items() for variant in variants]
SYSTEMS = [name for name in VARIANTS if name.startswith("systems/")]


def load(name: str) -> config_lib.ConfigDict:
    config = config_flags.load(name.removesuffix(":"), None)
    assert config is not None
    return config


def test_every_packaged_config_is_here() -> None:
    assert config_flags.names() == sorted(VARIANTS)


@pytest.mark.parametrize("name", ALL)
def test_a_config_s_values_can_work(name: str) -> None:
    config = load(name)
    if not config.model.train_word_vectors:
        config.model.word_vectors = "any.vec"  # Each user's own.
    config_lib.resolve(config, "runs/any")


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_published_system_decodes_greedily_as_published(name: str) -> None:
    decode = load(f"{name}:{VARIANTS[name][0]}").decode
    assert (decode.beam_size, decode.length_penalty, decode.no_repeat_ngram) == (1, 0.0, 0)


@pytest.mark.parametrize("name", SYSTEMS)
def test_an_unknown_variant_is_one_line(name: str) -> None:
    with pytest.raises(UserError, match=r"--config: .*(variant|takes)"):
        load(f"{name}:unknown")


def test_two_datasets_are_one_architecture() -> None:
    first, second = (
        load(f"systems/vgg16_two_datasets:{name}") for name in ("flickr8k", "flickr30k")
    )
    for part in ("encoder", "text", "model", "train", "decode"):
        assert first[part] == second[part]
    assert first.model == load("systems/vgg16_flickr8k").model
