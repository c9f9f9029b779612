"""Folders as `imcap eval` leaves them, of given captions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from imcap.metrics.scores import score_captions


def write_evaluation(
    folder: Path,
    references: Mapping[str, list[str]],
    captions: Mapping[str, str],
    **settings: object,
) -> Path:
    """Writes metrics.json, predictions.json and references.json; returns the folder."""
    folder.mkdir(parents=True)
    metrics = {**score_captions(references, captions).as_dict(), "split": "dev", **settings}
    rows = [
        {"image_id": image_id, "caption": caption, "score": -1.0}
        for image_id, caption in captions.items()
    ]
    contents = {"metrics": metrics, "references": references, "predictions": rows}
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder
