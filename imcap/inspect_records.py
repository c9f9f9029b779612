"""What a records folder holds, verified: every record's checksum, every shard's digest."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import tensorflow as tf

from imcap import progress, records, text
from imcap.errors import UserError, one_line
from imcap.records import corruption
from imcap.reports import html

PAGE = "inspect.html"


def inspect_records(folder: str, samples: int = 12) -> list[str]:
    """Verifies a finished records folder and writes a page with some of its photos.

    Args:
      folder: a records folder.
      samples: photos on the page `inspect.html`, which is written into the folder.

    Returns:
      Lines that say what the folder holds.

    Raises:
      UserError: the folder is not finished, or a shard is missing, corrupted or not the one that
        info.json describes; it names the first one, and the offset of the corruption in bytes.
    """
    info = records.read_info(folder)
    vocabulary = records.read_vocabulary(folder)
    if records.fingerprint(vocabulary) != info.vocabulary_digest:
        raise UserError(f"{folder}/{records.VOCABULARY} is not the one that the tokens are of")
    _verify(folder, info)
    facts = _facts(info)
    _write_page(folder, info, facts, vocabulary, samples)
    lines = [f"{name}: {value}" for name, value in facts.items()]
    return [*lines, "every record and digest verified", os.path.join(folder, PAGE)]


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
    digest, count = records.Digest(), 0
    try:
        for serialized in records.dataset([path], compression).as_numpy_iterator():
            digest.update(serialized)
            count += 1
    except tf.errors.OpError as error:
        raise UserError(corruption.describe(path, one_line(error))) from error
    if count != length or digest.hexdigest() != expected:
        raise UserError(
            f"{path} holds {count} records with digest {digest.hexdigest()}, info.json says "
            f"{length} with {expected}: delete it and run `imcap records` again"
        )


def _facts(info: records.Info) -> dict[str, str]:
    facts = {}
    for name, split in sorted(info.splits.items()):
        size = sum(split["shard_bytes"])
        images = info.num_images(name)
        facts[f"split {name}"] = (
            f"{images:,} images in {len(split['shard_lengths'])} shards, {size / 1e6:,.1f} MB "
            f"({size / max(images, 1):,.0f} bytes an image), {' and '.join(split['views'])}"
        )
    shape = "x".join(map(str, info.feature_shape))
    facts |= {
        "features": f"{shape} {info.feature_dtype}, positions {info.feature_grid}",
        "encoder": ", ".join(f"{key} {value}" for key, value in info.encoder.items() if value),
        "text": ", ".join(f"{key} {value}" for key, value in info.text.items()),
        "counts": ", ".join(f"{key} {value:,}" for key, value in info.counts.items()),
        "versions": ", ".join(f"{key} {value}" for key, value in info.versions.items()),
    }
    for kind, problem in info.problems.items():
        facts[kind] = f"{problem['count']:,} (first: {problem['first']})"
    return facts


def _write_page(folder, info, facts, vocabulary, samples: int) -> None:
    tokenizer = text.Tokenizer(vocabulary, info.text["max_length"])
    page = html.environment().get_template(PAGE)
    stream = page.stream(
        folder=os.path.abspath(folder),
        facts=facts,
        style=html.asset("report.css"),
        samples=_samples(folder, info, tokenizer, samples),
    )
    html.dump(stream, pathlib.Path(folder) / PAGE)


def _samples(folder, info, tokenizer, count: int) -> Iterator[dict[str, object]]:
    each = max(count // max(len(info.splits), 1), 1)
    for name in sorted(info.splits):
        paths = [path for path, _ in records.shards(folder, info, name)]
        dataset = records.dataset(paths, info.compression).take(each).batch(each)
        for batch in dataset.map(lambda serialized: records.parse(serialized, info)):
            for index, image_id in enumerate(batch["image_id"].numpy()):
                relative = batch["path"][index].numpy().decode("utf-8", "surrogateescape")
                photo, reason = html.photo(os.path.join(info.dataset["dir"], relative), 224)
                captions = [raw.decode() for raw in batch["captions"][index].numpy()]
                tokens = tokenizer.decode(batch["tokens"][index][:, 1:].to_tensor())
                yield {
                    "split": name,
                    "image_id": image_id.decode(),
                    "photo": photo,
                    "reason": reason,
                    "captions": list(zip(captions, tokens, strict=True)),
                }
