"""The flags of a run that takes seconds."""

from __future__ import annotations

import processes

CONFIG = f"--config={processes.ROOT / 'configs' / 'shapes.py'}:tiny"


SMALL = (
    "--config.dataset.size=60",
    "--config.encoder.image_size=32",
    "--config.train.epochs=1",
)
