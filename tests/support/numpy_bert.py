"""A small random BERT in Hugging Face's layout, and its sentence embeddings in plain numpy.

The computation follows the paper (Devlin et al., 2019) and shares nothing with keras-hub.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import numpy as safetensors

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_WORDS = [
    "a", "the", "dog", "cat", "man", "run", "sit", "on", "grass", "sky", "red", "cafe", "over",
]  # fmt: skip
_PIECES = ["##s", "##ning", "##ting", "b", "##l", "##u", "##e", "wide", ".", "under"]
CONFIG = {
    "model_type": "bert", "hidden_act": "gelu", "vocab_size": 30, "hidden_size": 12,
    "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20,
    "max_position_embeddings": 16, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
}  # fmt: skip


def write_encoder(folder: Path, **changes: object) -> Path:
    """Writes an encoder of random weights into a new folder, and returns it.

    `changes` are of config.json, after the weights were drawn.
    """
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    (folder / "vocab.txt").write_text("\n".join([*_SPECIAL, *_WORDS, *_PIECES]) + "\n")
    safetensors.save_file(_draw_weights(), folder / "model.safetensors")
    return folder


def _draw_weights() -> dict[str, np.ndarray]:
    size, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    shapes = {
        "embeddings.word_embeddings.weight": [CONFIG["vocab_size"], size],
        "embeddings.position_embeddings.weight": [CONFIG["max_position_embeddings"], size],
        "embeddings.token_type_embeddings.weight": [CONFIG["type_vocab_size"], size],
    }
    norms, dense = ["embeddings.LayerNorm"], {"pooler.dense": [size, size]}
    for layer in range(CONFIG["num_hidden_layers"]):
        prefix = f"encoder.layer.{layer}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            dense[f"{prefix}.attention.{name}"] = [size, size]
        dense[f"{prefix}.intermediate.dense"] = [inner, size]
        dense[f"{prefix}.output.dense"] = [size, inner]
        norms += [f"{prefix}.attention.output.LayerNorm", f"{prefix}.output.LayerNorm"]
    shapes |= {f"{name}.weight": shape for name, shape in dense.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in dense.items()}
    shapes |= {f"{name}.{part}": [size] for name in norms for part in ("weight", "bias")}
    rng = np.random.default_rng(0)
    # A large LayerNorm bias would make all sentences alike.
    scales = {name: 0.1 if "LayerNorm.bias" in name else 0.7 for name in shapes}
    return {n: rng.normal(0, scales[n], shape).astype(np.float32) for n, shape in shapes.items()}


def embed(folder: Path, sentences: Sequence[str], pooling: str = "mean") -> np.ndarray:
    """Returns the embeddings, float64 [sentences, size], each of length 1."""
    config = json.loads((folder / "config.json").read_text())
    vocabulary = (folder / "vocab.txt").read_text().splitlines()
    weights = safetensors.load_file(folder / "model.safetensors")
    weights = {name: value.astype(np.float64) for name, value in weights.items()}
    longest = config["max_position_embeddings"]
    rows = []
    for sentence in sentences:
        pieces = [piece for word in _words(sentence) for piece in _split(word, set(vocabulary))]
        pieces = ["[CLS]", *pieces[: longest - 2], "[SEP]"]
        states = _forward(weights, config, [vocabulary.index(piece) for piece in pieces])
        rows.append({"mean": states.mean(0), "max": states.max(0), "cls": states[0]}[pooling])
    return np.array([row / np.linalg.norm(row) for row in rows])


def _words(sentence: str) -> list[str]:
    """Returns lowercase words without accents; each punctuation mark is a word."""
    letters = unicodedata.normalize("NFD", sentence.lower())
    letters = [c for c in letters if unicodedata.category(c) != "Mn"]
    is_mark = [unicodedata.category(c).startswith("P") for c in letters]
    return "".join(f" {c} " if m else c for c, m in zip(letters, is_mark, strict=True)).split()


def _split(word: str, vocabulary: set[str]) -> list[str]:
    """Returns a word's pieces: the longest that fits comes first."""
    pieces, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        ends = [n for n in range(start + 1, len(word) + 1) if prefix + word[start:n] in vocabulary]
        if not ends:
            return ["[UNK]"]
        pieces.append(prefix + word[start : ends[-1]])
        start = ends[-1]
    return pieces


def _forward(weights: dict[str, np.ndarray], config: dict, ids: list[int]) -> np.ndarray:
    """Returns the last layer's states, [pieces, size]."""

    def dense(name: str, x: np.ndarray) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def heads(name: str, x: np.ndarray) -> np.ndarray:
        return dense(name, x).reshape(len(ids), config["num_attention_heads"], -1).swapaxes(0, 1)

    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm("embeddings.LayerNorm", x + weights["embeddings.token_type_embeddings.weight"][0])
    for layer in range(config["num_hidden_layers"]):
        prefix = f"encoder.layer.{layer}"
        query, key, value = (
            heads(f"{prefix}.attention.self.{name}", x) for name in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(1, 2) / math.sqrt(query.shape[-1])
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (scores / scores.sum(-1, keepdims=True)) @ value
        mixed = dense(f"{prefix}.attention.output.dense", mixed.swapaxes(0, 1).reshape(x.shape))
        x = norm(f"{prefix}.attention.output.LayerNorm", x + mixed)
        inner = dense(f"{prefix}.intermediate.dense", x)
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        x = norm(f"{prefix}.output.LayerNorm", x + dense(f"{prefix}.output.dense", inner))
    return x
