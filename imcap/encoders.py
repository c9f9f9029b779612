"""The CNNs: any keras.applications network, any saved Keras file, and imcap's own small one."""

from __future__ import annotations

import hashlib
import importlib
import os
import warnings
import zipfile

import keras
import ml_collections
import numpy as np
import tensorflow as tf

from imcap import addends, folding
from imcap.errors import UserError


class Encoder(tf.Module):
    """Turns RGB images in 0..255 into features, with the network's own preprocessing inside."""

    def __init__(self, network: keras.Model, preprocess, image_size: int) -> None:
        """`network` maps preprocessed images to [batch, ...features]; see `load`."""
        super().__init__(name="encoder")
        self._digest = _digest(network)
        self.network = addends.guard(folding.fold(network))
        self.image_size = image_size
        self.preprocess = _as_convolution(preprocess)
        # A network may leave the size of its images open.
        shape = network.compute_output_shape((None, image_size, image_size, 3))[1:]
        positions = int(np.prod(shape[:-1])) if len(shape) > 1 else 1
        self.feature_shape = (positions, int(shape[-1]))
        self.feature_grid = tuple(shape[:-1]) if len(shape) == 3 else (1, positions)

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """float32 [batch, image_size, image_size, 3] to float32 [batch, positions, channels]."""
        features = self.network(self.preprocess(images), training=False)
        return tf.reshape(tf.cast(features, tf.float32), (-1, *self.feature_shape))

    def digest(self) -> str:
        """Returns a hash of all weights: the same for the same numbers, wherever read from."""
        return self._digest


def _as_convolution(preprocess):
    """Returns a Keras preprocessing as one pass: they reorder, scale and shift channels, which
    takes Keras a pass each. What does anything else comes back as it is."""
    if preprocess is tf.identity:
        return preprocess
    corners = np.float32([[[[0, 0, 0], [256, 0, 0], [0, 256, 0], [0, 0, 256]]]])
    black, *primaries = np.array(preprocess(tf.constant(corners)))[0, 0]
    kernel = (np.array(primaries) - black) / 256
    colours = np.random.default_rng(0).uniform(0, 255, (1, 8, 8, 3)).astype(np.float32)
    if not np.allclose(colours @ kernel + black, preprocess(tf.constant(colours)), atol=1e-3):
        return preprocess

    def convolve(images: tf.Tensor) -> tf.Tensor:
        return tf.nn.bias_add(tf.nn.conv2d(images, kernel[None, None], 1, "VALID"), black)

    return convolve


def _digest(network: keras.Model) -> str:
    sha = hashlib.sha256()
    for weight in network.weights:
        sha.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return sha.hexdigest()[:32]


def build(config: ml_collections.ConfigDict) -> Encoder:
    """Builds the encoder that `config` (a config's `encoder` part) describes.

    Raises:
      UserError: an unknown name or layer, or weights that are missing or do not fit.
    """
    network, preprocess = load(config)
    try:
        return Encoder(network, preprocess, config.image_size)
    except ValueError as error:
        message = str(error).splitlines()[0]
        raise UserError(
            f"config.encoder.image_size={config.image_size} does not fit {config.name}: {message}"
        ) from error


def load(config: ml_collections.ConfigDict) -> tuple[keras.Model, object]:
    """Returns the network as Keras has it, cut at the asked layer, and its preprocessing.

    Raises:
      UserError: as `build` does.
    """
    if not config.weights:
        keras.utils.set_random_seed(config.seed)  # Not pretrained, yet the same every time.
    if os.path.splitext(config.name)[1] in (".keras", ".h5"):
        network, preprocess = _load_file(config.name), tf.identity
    elif config.name == "custom_cnn":
        network, preprocess = custom_cnn(config), tf.identity
        _load_weights(network, config)
    else:
        network, preprocess = _build_application(config)
    network = _cut(network, config)
    network.trainable = False
    return network, preprocess


def batch_size(config: ml_collections.ConfigDict) -> int:
    """Returns `config.batch_size`, or where it is 0 one that suits this machine."""
    return config.batch_size or (128 if tf.config.list_physical_devices("GPU") else 8)


def custom_cnn(config: ml_collections.ConfigDict) -> keras.Model:
    """imcap's own CNN: stages of residual 3x3 convolutions, each halving the side.

    Takes images float32 [batch, image_size, image_size, 3] in 0..255 and returns
    [batch, rows, columns, channels].
    """
    layers = keras.layers
    inputs = keras.Input((config.image_size, config.image_size, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    for stage in range(config.stages):
        channels = config.width * 2**stage
        x = layers.Conv2D(channels, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        y = layers.Conv2D(channels, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.Add()([x, layers.BatchNormalization()(y)]))
    return keras.Model(inputs, x, name="custom_cnn")


def _build_application(config: ml_collections.ConfigDict) -> tuple[keras.Model, object]:
    constructor = getattr(keras.applications, config.name, None)
    if not callable(constructor):
        names = [n for n in dir(keras.applications) if n[0].isupper()]
        raise UserError(
            f"config.encoder.name={config.name!r} is no keras.applications network, custom_cnn "
            f"or Keras file (.keras, .h5); the networks are {', '.join(names)}"
        )
    module = importlib.import_module(constructor.__module__)
    network = _construct(constructor, config, include_top=False)
    if config.layer and config.layer not in [layer.name for layer in network.layers]:
        network = _construct(constructor, config, include_top=True)
    if config.weights and config.weights != "imagenet":
        _load_weights(network, config)
    return network, module.preprocess_input


def _construct(constructor, config: ml_collections.ConfigDict, include_top: bool) -> keras.Model:
    weights = "imagenet" if config.weights == "imagenet" else None
    shape = (config.image_size, config.image_size, 3)
    try:
        return constructor(include_top=include_top, weights=weights, input_shape=shape)
    except Exception as error:  # Keras raises bare Exceptions for a failed download.
        message = str(error).splitlines()[0]
        raise UserError(
            f"config.encoder: {config.name} at image_size={config.image_size} with "
            f"weights={config.weights!r} cannot be built: {message}. Without a network, give the "
            f"path of a weights file: --config.encoder.weights=FILE"
        ) from error


def _load_file(path: str) -> keras.Model:
    if not os.path.isfile(path):
        raise UserError(f"config.encoder.name={path}: no such file")
    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, OSError, TypeError, KeyError) as error:
        message = str(error).splitlines()[0]
        raise UserError(f"config.encoder.name={path} is no Keras model: {message}") from error


def _load_weights(network: keras.Model, config: ml_collections.ConfigDict) -> None:
    if not config.weights:
        return
    if not os.path.isfile(config.weights):
        hint = " (`imcap pretrain` makes it)" if config.name == "custom_cnn" else ""
        raise UserError(f"config.encoder.weights={config.weights}: no such file{hint}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # One for every layer that does not fit.
            network.load_weights(config.weights)
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        message = str(error).splitlines()[0]
        raise UserError(
            f"config.encoder.weights={config.weights} does not fit {config.name}: {message}"
        ) from error


def _cut(network: keras.Model, config: ml_collections.ConfigDict) -> keras.Model:
    """Ends the network at the asked layer, and pools its positions if asked."""
    if len(network.inputs) != 1 or (len(network.outputs) != 1 and not config.layer):
        raise UserError(
            f"config.encoder.name={config.name} has {len(network.inputs)} inputs and "
            f"{len(network.outputs)} outputs: it must take images alone, and of several outputs "
            "config.encoder.layer names one"
        )
    output = network.outputs[0]
    if config.layer:
        names = [layer.name for layer in network.layers]
        if config.layer not in names:
            raise UserError(
                f"config.encoder.layer={config.layer!r} is no layer of {config.name}; "
                f"its last ones are {', '.join(names[-8:])}"
            )
        output = network.get_layer(config.layer).output
    if config.pooling == "avg" and len(output.shape) == 4:
        output = keras.layers.GlobalAveragePooling2D()(output)
    return keras.Model(network.inputs[0], output)
