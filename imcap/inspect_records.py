"""Verifies a records folder, every checksum and digest, and reports what it holds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import tensorflow as tf

from imcap import filesystem, progress, records, text
from imcap.errors import UserError, one_line
from imcap.records import corruption, staging
from imcap.reports import html, thumbnails

REPORT = "inspect.html"


def find_records(folder: str) -> str:
    """Returns `folder/records` if there is one (a run's folder), else `folder`."""
    if filesystem.is_folder(below := filesystem.join(folder, "records")):
        return below
    return folder


def inspect_records(folder: str, samples: int = 12) -> list[str]:
    """Verifies a finished records folder and writes an HTML file with some of its examples.

    Args:
      folder: a records folder; of a remote one that is copied to be read, the copy is verified.
      samples: examples in `inspect.html`, which is written into the folder or its copy.

    Returns:
      Lines that describe what the folder holds.

    Raises:
      UserError: the folder is not finished, vocab.txt is not the records', or a shard is missing,
        corrupted or not the one that info.json describes; the first one is named, with the offset
        of the corruption in bytes.
    """
    folder = staging.local_folder(folder)
    info = records.read_info(folder)
    tokenizer = records.read_tokenizer(folder, info)
    _verify(folder, info)
    properties = _describe(info)
    _write_html(folder, info, properties, tokenizer, samples)
    lines = [f"{name}: {value}" for name, value in properties.items()]
    return [*lines, "every record and digest verified", os.path.join(folder, REPORT)]


def _verify(folder: str, info: records.Info) -> None:
    splits = info.splits.values()
    total = sum(sum(split["shard_bytes"]) for split in splits)
    with progress.bar("verify", "B", total, unit_scale=True) as bar:
        for name, split in info.splits.items():
            for path, length in records.shards(folder, info, name):
                index = records.shard_index(path)
                _verify_shard(path, info.compression, length, split["shard_digests"][index])
                bar.update(split["shard_bytes"][index])


def _verify_shard(path: str, compression: str, length: int, expected: str) -> None:
    try:
        digest, count = records.read_digest(path, compression)
    except tf.errors.OpError as error:
        raise UserError(corruption.describe(path, one_line(error))) from error
    if count != length or digest != expected:
        raise UserError(
            f"{path} holds {count} records with digest {digest}, info.json says "
            f"{length} with {expected}: delete it and run `imcap records` again"
        )


def _describe(info: records.Info) -> dict[str, str]:
    """Returns the folder's properties by name."""
    shape = "x".join(map(str, info.feature_shape))
    return {
        **{f"split {name}": _describe_split(info, name) for name in sorted(info.splits)},
        "features": f"{shape} {info.feature_dtype}, positions {info.feature_grid}",
        "encoder": ", ".join(f"{key} {value}" for key, value in info.encoder.items() if value),
        "text": ", ".join(f"{key} {value}" for key, value in info.text.items()),
        "counts": ", ".join(f"{key} {value:,}" for key, value in info.counts.items()),
        "versions": ", ".join(f"{key} {value}" for key, value in info.versions.items()),
        **{
            kind: f"{problem['count']:,} (first: {problem['first']})"
            for kind, problem in info.problems.items()
        },
    }


def _describe_split(info: records.Info, name: str) -> str:
    split, images = info.splits[name], info.num_images(name)
    size = sum(split["shard_bytes"])
    return (
        f"{images:,} images in {len(split['shard_lengths'])} shards, {size / 1e6:,.1f} MB "
        f"({size / max(images, 1):,.0f} bytes an image), {', '.join(split['views'])}"
    )


def _write_html(
    folder: str,
    info: records.Info,
    properties: Mapping[str, str],
    tokenizer: text.Tokenizer,
    samples: int,
) -> None:
    stream = html.load_template(REPORT).stream(
        title=os.path.abspath(folder),
        properties=properties,
        style=html.load_inline("report.css"),
        samples=_samples(folder, info, tokenizer, samples),
    )
    html.write_html(stream, os.path.join(folder, REPORT))


def _samples(
    folder: str, info: records.Info, tokenizer: text.Tokenizer, count: int
) -> Iterator[dict[str, object]]:
    """Yields the template's values for the first examples of every split, `count` in all."""
    per_split = max(count // max(len(info.splits), 1), 1)
    for split in sorted(info.splits):
        if not info.num_images(split):
            continue
        paths = [path for path, _ in records.shards(folder, info, split)]
        dataset = records.dataset(paths, info.compression).take(per_split).batch(per_split)
        for batch in dataset.map(lambda serialized: records.parse(serialized, info)):
            for index in range(len(batch["image_id"])):
                yield {"split": split, **_sample(batch, index, info, tokenizer)}


def _sample(
    batch: Mapping[str, tf.Tensor], index: int, info: records.Info, tokenizer: text.Tokenizer
) -> dict[str, object]:
    path = records.image_path(batch["path"][index].numpy(), info.dataset["dir"])
    image, reason = thumbnails.embed_thumbnail(path)
    captions = [raw.decode() for raw in batch["captions"][index].numpy()]
    tokens = tokenizer.decode(batch["tokens"][index][:, 1:].to_tensor())
    return {
        "image_id": batch["image_id"][index].numpy().decode(),
        "image": image,
        "reason": reason,
        "captions": list(zip(captions, tokens, strict=True)),
    }
