"""Folds batch normalizations into the convolutions before them, for inference.

Keras computes a normalization as a multiplication and an addition of the whole feature map.
Folded, they cost nothing: EfficientNet-Lite0 encodes 50% more images/s on a CPU, ResNet50 10%.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from imcap.encoders import layer_graph
from imcap.encoders.layer_graph import CONVOLUTIONS


def fold(network: keras.Model) -> keras.Model:
    """Returns a network that computes the same, to rounding, with fewer batch normalizations.

    A normalization is folded where its input is the output of a convolution that nothing else
    reads, in networks that are layers of this one, too.

    Args:
      network: a functional model. It shares all layers with the result but the convolutions into
        which a normalization was folded; those keep their names.

    Raises:
      UserError: as `layer_graph.flatten` does.
    """
    network = layer_graph.flatten(network)
    pairs = _pairs(network)
    norms = {id(norm) for norm in pairs.values()}

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        # Unchanged layers are shared: some hold more than config and weights (Normalization does).
        return _with_bias(layer) if layer.name in pairs else layer

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        return args[0] if id(layer) in norms else layer(*args, **kwargs)

    result = keras.models.clone_model(network, clone_function=clone, call_function=call)
    for name, norm in pairs.items():
        result.get_layer(name).set_weights(_folded_weights(network.get_layer(name), norm))
    result.trainable = False
    return result


def _pairs(network: keras.Model) -> dict[str, keras.layers.BatchNormalization]:
    """Returns, by the name of a convolution, the normalization that can be folded into it."""
    graph, pairs = layer_graph.trace(network), {}
    for norm in network.layers:
        if type(norm) is not keras.layers.BatchNormalization or graph.calls[id(norm)] != 1:
            continue
        (tensor, *_) = graph.inputs[id(norm)]
        producer = graph.producers.get(tensor)
        if producer is None or graph.calls[id(producer)] != 1 or len(graph.consumers[tensor]) != 1:
            continue
        if _can_fold(producer, norm):
            pairs[producer.name] = norm
    return pairs


def _can_fold(layer: keras.layers.Layer, norm: keras.layers.BatchNormalization) -> bool:
    if type(layer) not in CONVOLUTIONS or layer.activation is not keras.activations.linear:
        return False
    channels = 3 if layer.data_format == "channels_last" else 1
    return norm.axis in (channels, channels - 4)


def _with_bias(layer: keras.layers.Layer) -> keras.layers.Layer:
    config = {**layer.get_config(), "use_bias": True, "name": layer.name}
    return type(layer).from_config(config)


def _folded_weights(layer: keras.layers.Layer, norm: keras.layers.BatchNormalization) -> list:
    kernel, *bias = (weight.astype(np.float64) for weight in layer.get_weights())
    values = iter(weight.astype(np.float64) for weight in norm.get_weights())
    gamma = next(values) if norm.scale else 1.0
    beta = next(values) if norm.center else 0.0
    mean, variance = values
    scale = gamma / np.sqrt(variance + norm.epsilon)
    # A depthwise kernel is [height, width, channels, multiplier]; others end in filters.
    is_depthwise = type(layer) is keras.layers.DepthwiseConv2D
    kernel = kernel * (scale.reshape(kernel.shape[2:]) if is_depthwise else scale)
    return [kernel, ((bias[0] if bias else 0.0) - mean) * scale + beta]
