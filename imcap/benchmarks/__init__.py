"""Rates and memory beside a limit or a peer measured in the same run; `imcap bench` runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from absl.flags import FlagValues
from ml_collections import ConfigDict

from imcap.errors import UserError

if TYPE_CHECKING:
    from imcap.benchmarks.common import Row

NAMES = ("records", "scale", "input", "notebook")


def measure(name: str, config: ConfigDict, flags: FlagValues) -> list[Row]:
    """Runs a benchmark.

    Args:
      name: one of NAMES.
      config: `input` needs it resolved and with finished records, `notebook` not resolved; the
        others use its `encoder` part only.
      flags: `imcap bench`'s.

    Raises:
      UserError: a flag is missing or has a bad value.
    """
    from imcap.benchmarks import input_reading, notebook, records, scale

    if name == "input":
        return input_reading.benchmark_input(config, flags.repeats)
    if name == "notebook":
        if flags.image_dir:
            raise UserError("imcap bench notebook takes --config.dataset.dir=DIR, not --image_dir")
        return notebook.benchmark_notebook(config, flags.num_images, flags.repeats)
    encoder = (config.encoder.name, config.encoder.weights)
    if name == "scale":
        return scale.benchmark_scale(flags.image_dir, *encoder, flags.num_images)
    if not flags.image_dir:
        raise UserError("imcap bench records needs --image_dir=DIR")
    return records.benchmark_records(flags.image_dir, *encoder, flags.num_images, flags.repeats)
