"""The settings: a name or a value of another type is refused."""

from __future__ import annotations

import pytest

from imcap import config as config_lib


def test_a_misspelt_key_names_the_nearest_one() -> None:
    config = config_lib.default()
    with pytest.raises(AttributeError, match="batch_size"):
        config.train.batchsize = 8
    with pytest.raises(KeyError, match="learning_rate"):
        config.update_from_flattened_dict({"train.learning_rat": 0.1})


def test_a_value_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match=r"batch_size"):
        config_lib.default().train.batch_size = "many"
