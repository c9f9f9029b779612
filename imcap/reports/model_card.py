"""MODEL_CARD.md: what an exported captioner is, what it was made from, and its scores."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ml_collections import ConfigDict

from imcap import records
from imcap.metrics import files, tables


def render(
    info: records.Info,
    *,
    model: ConfigDict,
    decode: ConfigDict,
    epochs: int,
    seed: int,
    checkpoint: Mapping[str, str | int],
    scores: Mapping[str, files.Scores],
    word_vectors: str = "",
) -> str:
    """Returns the card, in Markdown.

    Args:
      info: of the records that the decoder was trained on.
      model: a config's `model` part.
      decode: a config's `decode` part.
      epochs: at most, of the training.
      seed: of the run.
      checkpoint: which weights they are: `checkpoint`, `epoch` if it is known, and `step`.
      scores: split -> the content of its metrics.json, of these weights.
      word_vectors: what the embedding started from, in one line; empty: random values.
    """
    rows, columns = info.feature_grid
    size = info.preprocessing["image_size"]
    return f"""# Image captioner: {info.dataset["name"]}

Image bytes in, captions in the language of its training captions out. Made with imcap.

| | |
| --- | --- |
| encoder | {_describe_encoder(info.encoder)} |
| images | at most {info.preprocessing["max_pixels"]:,} pixels, turned upright by their EXIF \
orientation, stretched to {size}x{size}, RGB |
| features | {rows}x{columns} positions of {info.feature_shape[1]} channels, {info.feature_dtype} |
| decoder | {model.decoder}, {model.units} units, LSTM layers: {model.layers} \
|{_word_vectors_row(word_vectors)}
| vocabulary | {info.text["vocabulary_size"]} token ids, digest {info.vocabulary_digest} |
| decoding | beam {decode.beam_size}, length penalty {decode.length_penalty}, at most \
{decode.max_length} words |{_reranking_row(decode, info)}
| trained on | {info.num_images("train") if "train" in info.splits else 0} images, at most \
{epochs} epochs, seed {seed} |
| weights | {", ".join(_describe_weights(checkpoint))} |
| versions | {", ".join(f"{name} {version}" for name, version in info.versions.items())} |

## Scores

Words are compared with words (lowercase, punctuation removed); markers do not count unless a table
says so; all references are used.

{_score_tables(scores)}

## Signatures

`serving_default` takes `image_bytes` (JPEG, PNG, GIF, BMP or still WebP) and returns

- `caption` and `score`: the best caption and its mean log-probability per token;
- `captions`: all captions of the beam, in descending order of `ranks`;
- `ranks`: {_describe_ranks(decode)};
- `scores`: the mean log-probability per token of each. It does not decide the order.

`score` takes `image_bytes` and `caption` and returns `score`: how well the caption fits the image,
as the mean log-probability per token.

## Limits

The captioner knows only what its training images show and the words of their captions, with the
errors and biases of both. It does not read text, count reliably, or recognise people, and it
returns a caption for every image, whatever it shows: a low `score` is a hint. Do not rely on it
where a wrong caption does harm.
"""


def _word_vectors_row(word_vectors: str) -> str:
    return f"\n| word vectors | {word_vectors} |" if word_vectors else ""


def _reranking_row(decode: ConfigDict, info: records.Info) -> str:
    if decode.rerank == "none":
        return ""
    if decode.rerank == "mbr":
        return "\n| reranking | minimum Bayes risk: agreement with the other captions of the beam |"
    images = min(info.num_images("train"), decode.rerank_images)
    return (
        "\n| reranking | retrieval: agreement (CIDEr-D) with the captions of the "
        f"{min(decode.rerank_neighbors, images)} most similar of {images:,} training images, which "
        "this model holds; its scores are not those of a captioner that retrieves nothing |"
    )


def _describe_ranks(decode: ConfigDict) -> str:
    if decode.rerank != "none":
        return (
            "what the reranking orders them by: CIDEr-D with other captions, and some of `scores`"
        )
    return (
        f"the total log-probability divided by (number of tokens) ^ {decode.length_penalty}, the "
        "length penalty"
    )


def _describe_encoder(encoder: Mapping[str, object]) -> str:
    """Returns the encoder's settings that are not empty, `name` first and without its key."""
    settings = [f"{key} {value}" for key, value in encoder.items() if value and key != "name"]
    name = os.path.basename(str(encoder["name"]))
    return ", ".join([name, *(setting.replace("_", " ", 1) for setting in settings)])


def _describe_weights(checkpoint: Mapping[str, str | int]) -> list[str]:
    names = {"best": "the best by dev score", "last": "the last"}
    kind = [names[name] for name in names if name == checkpoint["checkpoint"]]
    epoch = [f"epoch {checkpoint['epoch']}"] if "epoch" in checkpoint else []
    return [*kind, *epoch, f"step {checkpoint['step']}"]


def _score_tables(scores: Mapping[str, files.Scores]) -> str:
    if not scores:
        return "Not evaluated before the export."
    return "\n\n".join(_format(table) for table in tables.tabulate(list(scores.items())))


def _format(table: tables.ScoreTable[str]) -> str:
    header = ["split", "images", *table.labels]
    lines = [f"| {' | '.join(header)} |", "| --- " * len(header) + "|"]
    for split, images, figures in table.rows:
        lines.append(f"| {' | '.join([split, images, *figures])} |")
    return "\n".join([f"{table.caveat}:\n", *lines] if table.caveat else lines)
