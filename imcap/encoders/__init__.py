"""The encoders: any keras.applications network, any saved Keras file, and imcap's own CNN."""

from imcap.encoders.encoder import Encoder, batch_size, build
from imcap.encoders.networks import custom_cnn, load

__all__ = ["Encoder", "batch_size", "build", "custom_cnn", "load"]
