"""MODEL_CARD.md: what an exported captioner is, what it was made from, and its scores."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ml_collections import ConfigDict

from imcap import metrics, records
from imcap.metrics import tables


def render(
    info: records.Info,
    *,
    model: ConfigDict,
    decode: ConfigDict,
    epochs: int,
    seed: int,
    scores: Mapping[str, Mapping[str, float | int | str]],
    word_vectors: str = "",
) -> str:
    """Returns the card, in Markdown.

    Args:
      info: of the records that the decoder was trained on.
      model: a config's `model` part.
      decode: a config's `decode` part.
      epochs: at most, of the training.
      seed: of the run.
      scores: split -> the content of its metrics.json (`files.read_scores`).
      word_vectors: what the embedding started from, in one line; empty: random values.
    """
    rows, columns = info.feature_grid
    size = info.preprocessing["image_size"]
    return f"""# Image captioner: {info.dataset["name"]}

Image bytes in, English captions out. Made with imcap.

| | |
| --- | --- |
| encoder | {_describe_encoder(info.encoder)} |
| images | at most {info.preprocessing["max_pixels"]:,} pixels, turned upright by their EXIF \
orientation, stretched to {size}x{size}, RGB |
| features | {rows}x{columns} positions of {info.feature_shape[1]} channels, {info.feature_dtype} |
| decoder | {model.decoder}, {model.units} units |{_word_vectors_row(word_vectors)}
| vocabulary | {info.text["vocabulary_size"]} token ids, digest {info.vocabulary_digest} |
| decoding | beam {decode.beam_size}, length penalty {decode.length_penalty}, at most \
{decode.max_length} words |
| trained on | {info.num_images("train") if "train" in info.splits else 0} images, at most \
{epochs} epochs, seed {seed} |
| versions | {", ".join(f"{name} {version}" for name, version in info.versions.items())} |

## Scores

Words are compared with words (lowercase, punctuation removed); markers never count; all
references are used.

{_score_table(scores)}

## Signatures

`serving_default` takes `image_bytes` (JPEG, PNG, GIF, BMP or still WebP) and returns

- `caption` and `score`: the best caption and its mean log-probability per token;
- `captions`: all captions of the beam, in descending order of `ranks`;
- `ranks`: the total log-probability divided by (number of tokens) ^ {decode.length_penalty}, the \
length penalty;
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


def _describe_encoder(encoder: Mapping[str, object]) -> str:
    """Returns the encoder's settings that are not empty, `name` first and without its key."""
    settings = [f"{key} {value}" for key, value in encoder.items() if value and key != "name"]
    name = os.path.basename(str(encoder["name"]))
    return ", ".join([name, *(setting.replace("_", " ", 1) for setting in settings)])


def _score_table(scores: Mapping[str, Mapping[str, float | int | str]]) -> str:
    if not scores:
        return "Not evaluated before the export."
    labels = [metrics.label(key) for key in metrics.METRICS]
    lines = [f"| split | images | {' | '.join(labels)} |", "| --- " * (len(labels) + 2) + "|"]
    for split, figures in scores.items():
        cells = " | ".join(tables.format_figures(figures))
        lines.append(f"| {split} | {figures['images']} | {cells} |")
    return "\n".join(lines)
