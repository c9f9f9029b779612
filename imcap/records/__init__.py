"""Records on disk: their schema, their shards, and what describes a finished folder."""

from imcap.records.info import (
    COMPLETED,
    FAILURES,
    INFO,
    SCHEMA_VERSION,
    VOCABULARY,
    Info,
    fingerprint,
    parse_info,
    read_info,
    read_vocabulary,
)
from imcap.records.schema import DTYPES, VIEWS, parse, parse_lengths, serialize
from imcap.records.shards import (
    NO_AUTOTUNE,
    Digest,
    dataset,
    interleave,
    shard_index,
    shard_name,
    shards,
    stable_bucket,
)

__all__ = [
    "COMPLETED",
    "DTYPES",
    "FAILURES",
    "INFO",
    "NO_AUTOTUNE",
    "SCHEMA_VERSION",
    "VIEWS",
    "VOCABULARY",
    "Digest",
    "Info",
    "dataset",
    "fingerprint",
    "interleave",
    "parse",
    "parse_info",
    "parse_lengths",
    "read_info",
    "read_vocabulary",
    "serialize",
    "shard_index",
    "shard_name",
    "shards",
    "stable_bucket",
]
