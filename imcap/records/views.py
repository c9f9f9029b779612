"""The views of an image whose features a record holds."""

from __future__ import annotations

from typing import NamedTuple

from ml_collections import ConfigDict

# The keys of an image's features, of those of the image flipped from left to right, and how the
# keys of random crops' begin: `features_crop1` and so on.
FEATURES, FLIPPED, _CROP = "features", "features_flip", "features_crop"
SCALE = "_scale"  # Ends the key of the scale of features that are stored as levels.


class Views(NamedTuple):
    """What is encoded of an image beside the image itself.

    Attributes:
      flip: the flipped image, of the split `train`.
      flip_eval: the same of all other splits.
      crops: how many random crops, of the split `train`.
    """

    flip: bool = False
    flip_eval: bool = False
    crops: int = 0

    @classmethod
    def of(cls, config: ConfigDict) -> Views:
        """Returns what a config's `records` part says."""
        return cls(config.flip, config.flip_eval, config.crops)

    def num_crops(self, split: str) -> int:
        """Returns how many random crops there are of each of a split's images."""
        return self.crops if split == "train" else 0

    def keys(self, split: str) -> tuple[str, ...]:
        """Returns the keys of the features in a split's records, that of the image itself first."""
        is_flipped = self.flip if split == "train" else self.flip_eval
        crops = (f"{_CROP}{number}" for number in range(1, self.num_crops(split) + 1))
        return (FEATURES, *((FLIPPED,) if is_flipped else ()), *crops)
