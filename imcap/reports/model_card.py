"""MODEL_CARD.md: what an exported captioner is, what it was made from and how well it does."""

from __future__ import annotations

from ml_collections import ConfigDict

from imcap import metrics, records
from imcap.metrics import tables


def render(config: ConfigDict, info: records.Info, workdir: str) -> str:
    """Returns the card, in Markdown, of the model trained in `workdir`."""
    rows, columns = info.feature_grid
    return f"""# Image captioner: {info.dataset["name"]}

Image bytes in, English captions out. Made with imcap.

| | |
| --- | --- |
| encoder | {info.encoder["name"]}, weights {info.encoder["weights_digest"]} |
| images | stretched to {config.encoder.image_size}x{config.encoder.image_size}, {rows}x{columns} \
positions of {info.feature_shape[1]} channels |
| decoder | {config.model.decoder}, {config.model.units} units, {info.text["vocabulary_size"]} \
token ids |
| decoding | beam {config.decode.beam_size}, length penalty {config.decode.length_penalty}, at \
most {config.decode.max_length} words |
| trained on | {info.num_images("train") if "train" in info.splits else 0} photos, \
{config.train.epochs} epochs at most, seed {config.seed} |
| versions | {", ".join(f"{name} {version}" for name, version in info.versions.items())} |

## Scores

Words are compared with words (lowercase, punctuation removed); markers never count; all
references are used.

{_score_table(workdir)}

## Signatures

`serving_default`: `image_bytes` (JPEG, PNG, GIF, BMP or still WebP) to `caption`, `score` (mean
log-probability per token), `captions` and `scores` (all beams, best first).
`score`: `image_bytes` and `caption` to `score`, how well the caption fits the image.

## Limits

The captioner knows what its training photos show and the words of their captions, with the errors
and prejudices of both. It does not read text, count far, or recognise people, and it always
answers, also about what it has never seen: a low `score` is a hint. Do not rely on it where a
wrong caption does harm.
"""


def _score_table(workdir: str) -> str:
    found = tables.read_scores(workdir)
    if not found:
        return "Not evaluated before the export."
    labels = [metrics.label(key) for key in metrics.METRICS]
    lines = [f"| split | images | {' | '.join(labels)} |", "| --- " * (len(labels) + 2) + "|"]
    for split, scores in found.items():
        figures = " | ".join(tables.format_figures(scores))
        lines.append(f"| {split} | {scores['images']} | {figures} |")
    return "\n".join(lines)
