"""MODEL_CARD.md: what an exported captioner is, what it was made from, and its scores."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from imcap import records
from imcap.metrics import files, tables

_OTHER_TERMS = "those of the data set that it was trained on"
_FLICKR = "the images belong to people who put them on Flickr and are given out for non-commercial"
# What the owners of published data sets allow, by the reader's name.
_TERMS = {
    "flickr8k": f"{_FLICKR} research and education (Hodosh et al., 2013)",
    "flickr30k": f"{_FLICKR} research and education (Young et al., 2014)",
    "coco": "the captions are CC BY 4.0; the images are under the terms of Flickr (Lin et al., "
    "2014)",
    "shapes": "drawn by imcap; none",
}


class Member(NamedTuple):
    """A decoder of the captioner.

    Attributes:
      name: what an ensemble calls it.
      model: the `model` part of the config that it was trained with.
      epochs: at most, of the training.
      seed: of the run.
      checkpoint: which weights they are: `checkpoint`, `epoch` if it is known, and `step`.
      word_vectors: what the embedding started from, in one line; empty: random values.
    """

    name: str
    model: ConfigDict
    epochs: int
    seed: int
    checkpoint: Mapping[str, str | int]
    word_vectors: str = ""


def render(
    info: records.Info,
    *,
    members: Sequence[Member],
    decode: ConfigDict,
    scores: Mapping[str, files.Scores],
    tuned: str = "",
    dtypes: str = "",
) -> str:
    """Returns the card, in Markdown.

    Args:
      info: of the records that the decoder was trained on.
      members: the decoder, or those of an ensemble.
      decode: a config's `decode` part.
      scores: split -> the content of its metrics.json, of these weights.
      tuned: which layers of the encoder were trained with the decoder, in one line; empty: none.
      dtypes: of what is stored and computed, in one line; empty: float32.
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
| features | {rows}x{columns} positions of {info.feature_shape[1]} channels, {info.feature_dtype} \
|{_tuned_row(tuned)}
{_decoder_rows(members)}
| vocabulary | {info.text["vocabulary_size"]} token ids, digest {info.vocabulary_digest} |
| decoding | beam {decode.beam_size}, length penalty {decode.length_penalty}, at most \
{decode.max_length} words{", of the image and its mirror image" if decode.both_views else ""} \
|{_reranking_row(decode, info)}
{_training_rows(members, info)}
| numbers | {dtypes or "stored and computed as float32"} |
| terms of the data | {_TERMS.get(info.dataset["name"], _OTHER_TERMS)} |
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


def _decoder_rows(members: Sequence[Member]) -> str:
    if len(members) == 1:
        return _row("decoder", _describe_model(members[0].model)) + _word_vectors_row(members[0])
    what = f"an ensemble of {len(members)}: the mean of their probabilities decides each word"
    rows = [_row(f"member {member.name}", _describe_member(member)) for member in members]
    return "\n".join([_row("decoder", what), *rows])


def _training_rows(members: Sequence[Member], info: records.Info) -> str:
    images = f"{info.num_images('train') if 'train' in info.splits else 0} images"
    if len(members) > 1:
        return _row("trained on", images)
    weights = ", ".join(_describe_weights(members[0].checkpoint))
    return "\n".join([
        _row("trained on", f"{images}, {_describe_training(members[0])}"),
        _row("weights", weights),
    ])  # fmt: skip


def _row(name: str, value: str) -> str:
    return f"| {name} | {value} |"


def _describe_model(model: ConfigDict) -> str:
    return f"{model.decoder}, {model.units} units, LSTM layers: {model.layers}"


def _describe_training(member: Member) -> str:
    return f"at most {member.epochs} epochs, seed {member.seed}"


def _describe_member(member: Member) -> str:
    """Returns model, training and weights of an ensemble's member in one line."""
    vectors = f"word vectors of {member.word_vectors}" if member.word_vectors else ""
    parts = [_describe_model(member.model), vectors, _describe_training(member)]
    return "; ".join([*filter(None, parts), ", ".join(_describe_weights(member.checkpoint))])


def _word_vectors_row(member: Member) -> str:
    return f"\n{_row('word vectors', member.word_vectors)}" if member.word_vectors else ""


def _tuned_row(tuned: str) -> str:
    return f"\n{_row('trained with the decoder', tuned)}" if tuned else ""


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
