"""What the tests of encoders share: a network of Keras with its weights."""

from __future__ import annotations

import keras
import pytest
from small_encoders import SIZE


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, str]:
    """Keras' ResNet50 and the file of its weights."""
    keras.utils.set_random_seed(5)
    network = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(SIZE, SIZE, 3)
    )
    path = tmp_path_factory.mktemp("weights") / "resnet50.weights.h5"
    network.save_weights(path)
    return network, str(path)
