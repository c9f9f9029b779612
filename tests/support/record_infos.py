"""What describes records of which nothing else is needed."""

from __future__ import annotations

from imcap import records

POSITIONS, CHANNELS = 6, 4


def make_info(dtype: str = "float32", splits: dict | None = None) -> records.Info:
    """Returns the description of a folder of small features."""
    return records.Info(
        schema_version=records.SCHEMA_VERSION,
        splits=splits or {},
        feature_shape=(POSITIONS, CHANNELS),
        feature_grid=(2, 3),
        feature_dtype=dtype,
        compression="",
        encoder={},
        preprocessing={},
        text={},
        vocabulary_digest="",
        counts={},
        problems={},
        versions={},
        dataset={},
    )
