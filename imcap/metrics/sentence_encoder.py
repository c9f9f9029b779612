"""Sentence embeddings of a BERT-like encoder (Sentence-BERT, Reimers and Gurevych, 2019).

The encoder is read from a local folder in Hugging Face's layout; nothing is downloaded. keras-hub
builds the network, reads its weights and tokenizes with tensorflow-text. The cosines agree with
those of sentence-transformers to 1e-5.

    config.json                 the architecture; `model_type` is bert
    model.safetensors           the weights
    vocab.txt                   the word pieces, one a line
    tokenizer_config.json       whether letters are lowercased; missing: they are
    sentence_bert_config.json   the longest input in word pieces; missing: what config.json says
    1_Pooling/config.json       how the vectors of word pieces become one; missing: their mean
    modules.json                what comes after the network; missing: pooling and normalization

The vectors are always scaled to length 1.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from imcap import filesystem, progress
from imcap.errors import UserError, one_line

_CONFIG, _WEIGHTS, _VOCABULARY = "config.json", "model.safetensors", "vocab.txt"
_FILES = (_CONFIG, _WEIGHTS, _VOCABULARY)
# By the name in config.json: whether the approximation by tanh is meant.
_GELU = {"gelu": False, "gelu_new": True, "gelu_pytorch_tanh": True}
_POOLING = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}
_MODULES = ("Transformer", "Pooling", "Normalize")
_BATCH_SIZE = 128  # Sentences.


class SentenceEncoder:
    """Converts sentences to vectors of length 1, whose scalar products are cosines."""

    def __init__(self, folder: str) -> None:
        """Reads an encoder.

        Args:
          folder: a local one, as the module's docstring describes it.

        Raises:
          UserError: keras-hub is not installed, or the folder or one of its files is missing,
            corrupted, or of another architecture.
        """
        hub = _import_keras_hub()
        _check_files(folder)
        config = _read_object(folder, _CONFIG)
        _check_architecture(folder, config)
        longest = _read_object(folder, "sentence_bert_config.json").get("max_seq_length")
        pooling = _choose_pooling(folder)
        try:
            _check_shapes(os.path.join(folder, _WEIGHTS), config)
            self._tokenizer = _read_tokenizer(hub, folder, config)
            positions = config["max_position_embeddings"]
            self._max_pieces = min(int(longest or positions), positions)
            # An absolute path is never taken for the name of a model to download.
            backbone = hub.models.BertBackbone.from_preset(os.path.abspath(folder), dtype="float32")
        except UserError:
            raise
        except Exception as error:  # keras-hub and safetensors have no common exception.
            reason = f"{type(error).__name__}: {one_line(error)}"
            raise UserError(f"{folder} cannot be read as a BERT encoder ({reason})") from error
        for layer in backbone.transformer_layers:
            # keras-hub builds every BERT with the approximation.
            layer._feedforward_intermediate_dense.activation = functools.partial(
                keras.activations.gelu, approximate=_GELU[config["hidden_act"]]
            )
        self._network = hub.models.BertTextEmbedder(backbone, pooling_mode=pooling, normalize=True)
        pieces = tf.RaggedTensorSpec([None, None], tf.int32)
        self._tokenize = tf.function(
            self._tokenize_tf, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
        )
        self._embed = tf.function(self._embed_tf, input_signature=[pieces], autograph=False)

    def embed(self, sentences: Sequence[str]) -> np.ndarray:
        """Returns the vectors of sentences: float32 [sentences, size], each of length 1.

        Sentences of like length are computed together, which saves padding.
        """
        # A lone surrogate cannot be encoded; it is dropped like any invalid byte.
        raw = [sentence.encode("utf-8", "ignore") for sentence in sentences]
        pieces = self._tokenize(tf.constant(raw, tf.string))
        order = np.argsort(pieces.row_lengths().numpy(), kind="stable")
        vectors = np.zeros([len(raw), self._network.output.shape[-1]], np.float32)
        with progress.bar("similarity", "sentence", len(raw)) as bar:
            for start in range(0, len(raw), _BATCH_SIZE):
                rows = order[start : start + _BATCH_SIZE]
                vectors[rows] = self._embed(tf.gather(pieces, rows)).numpy()
                bar.update(len(rows))
        return vectors

    def _tokenize_tf(self, sentences: tf.Tensor) -> tf.RaggedTensor:
        """String [n] to ids of word pieces between [CLS] and [SEP]: int32 ragged [n, None]."""
        pieces = self._tokenizer(sentences)[:, : self._max_pieces - 2]
        start = tf.fill([pieces.nrows(), 1], self._tokenizer.cls_token_id)
        end = tf.fill([pieces.nrows(), 1], self._tokenizer.sep_token_id)
        return tf.concat([start, pieces, end], axis=1)

    def _embed_tf(self, pieces: tf.RaggedTensor) -> tf.Tensor:
        """Ids of word pieces to vectors: int32 ragged [n, None] to float32 [n, size]."""
        ids = pieces.to_tensor()
        inputs = {
            "token_ids": ids,
            "segment_ids": tf.zeros_like(ids),
            "padding_mask": tf.sequence_mask(pieces.row_lengths(), dtype=tf.int32),
        }
        return self._network(inputs, training=False)


def identify(folder: str) -> str:
    """Returns an encoder's name, for what is written of scores: its folder's, and a digest."""
    with open(os.path.join(folder, _WEIGHTS), "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{os.path.basename(os.path.abspath(folder))}, weights {digest[:12]}"


def _import_keras_hub() -> Any:
    try:
        import keras_hub
        import safetensors  # noqa: F401  # keras-hub needs it, but does not require it.
    except ImportError as error:
        raise UserError(
            f"sentence embeddings need {error.name}, which is not installed: "
            "pip install 'imcap[similarity]'"
        ) from error
    return keras_hub


def _check_files(folder: str) -> None:
    if not os.path.isdir(folder):
        raise UserError(f"{folder}: no such folder: give that of a BERT sentence encoder")
    if missing := [name for name in _FILES if not os.path.isfile(os.path.join(folder, name))]:
        raise UserError(
            f"{folder} has no {missing[0]}: the folder of a BERT encoder has {', '.join(_FILES)}"
        )


def _read_object(folder: str, name: str) -> dict[str, Any]:
    """Returns a JSON file's object; {} if there is no such file."""
    path = os.path.join(folder, name)
    value = filesystem.read_json(path) if filesystem.is_file(path) else {}
    if not isinstance(value, dict):
        raise UserError(f"{path} is corrupted: it must be a JSON object")
    return value


def _check_architecture(folder: str, config: dict[str, Any]) -> None:
    path = os.path.join(folder, _CONFIG)
    readable: dict[str, tuple[str | None, ...]] = {
        "model_type": ("bert",),
        "position_embedding_type": ("absolute", None),
        "hidden_act": tuple(_GELU),
    }
    for key, choices in readable.items():
        if config.get(key) not in choices:
            raise UserError(
                f"{path}: {key} is {config.get(key)!r}, but only encoders with {choices[0]!r} can "
                "be read: choose another one, such as all-MiniLM-L6-v2"
            )
    path = os.path.join(folder, "modules.json")
    modules = filesystem.read_json(path) if filesystem.is_file(path) else []
    if not isinstance(modules, list):
        raise UserError(f"{path} is corrupted: it must be a JSON array")
    types = [str(module.get("type")) for module in modules if isinstance(module, dict)]
    for name in (name.rpartition(".")[2] for name in types):
        if name not in _MODULES:
            raise UserError(f"{path}: an encoder with a {name} cannot be read: choose another")


def _choose_pooling(folder: str) -> str:
    name = "1_Pooling/config.json"
    config = _read_object(folder, name)
    # Older files have a flag for each mode, newer ones a mode.
    flags = [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
    modes = [_POOLING.get(flag, flag) for flag in flags] or [config.get("pooling_mode", "mean")]
    if len(modes) > 1 or modes[0] not in _POOLING.values():
        raise UserError(
            f"{os.path.join(folder, name)}: pooling {modes} cannot be computed: choose an encoder "
            f"with one of {', '.join(_POOLING.values())}"
        )
    return modes[0]


def _check_shapes(path: str, config: dict[str, Any]) -> None:
    """Raises ValueError if config.json, by which memory is allocated, is not of these weights."""
    import safetensors

    with safetensors.safe_open(path, framework="np") as file:
        shapes = {
            name.removeprefix("bert."): tuple(file.get_slice(name).get_shape())
            for name in file.keys()  # noqa: SIM118  # It is no mapping.
        }
    size, last = config["hidden_size"], config["num_hidden_layers"] - 1
    expected = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], size),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], size),
        f"encoder.layer.{last}.intermediate.dense.weight": (config["intermediate_size"], size),
    }
    for name, shape in expected.items():
        if shapes.get(name) != shape:
            found = f"is {list(shapes[name])}" if name in shapes else "is missing"
            raise ValueError(f"{name} {found} in {_WEIGHTS}, and {list(shape)} by {_CONFIG}")


def _read_tokenizer(hub: Any, folder: str, config: dict[str, Any]) -> Any:
    options = _read_object(folder, "tokenizer_config.json")
    lowercase = bool(options.get("do_lower_case", True))
    strip_accents = options.get("strip_accents")
    tokenizer = hub.tokenizers.BertTokenizer(
        vocabulary=os.path.join(folder, _VOCABULARY),
        lowercase=lowercase,
        # As BERT's own tokenizer decides where the file does not say.
        strip_accents=lowercase if strip_accents is None else bool(strip_accents),
    )
    if tokenizer.vocabulary_size() > config["vocab_size"]:
        raise ValueError(f"{_VOCABULARY} has more lines than {_CONFIG}'s vocab_size")
    return tokenizer
