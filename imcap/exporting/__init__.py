"""What an exported captioner is made of, how it is checked, and where ready models are."""

from __future__ import annotations

import os

import imcap

READY_MODELS = os.path.join(os.path.dirname(imcap.__file__), "models")
DEFAULT_MODEL = "flickr8k_resnet50"  # Which of them captions where none is named.
DIGESTS = "digests.json"  # The file by which a ready model's folder is known.
CARD = "MODEL_CARD.md"


def find_ready_model(name: str) -> str | None:
    """Returns the folder of a ready model; None if there is none of that name.

    `name`: a folder, or the name of a model that imcap comes with.
    """
    for folder in (name, os.path.join(READY_MODELS, name)):
        if os.path.isfile(os.path.join(folder, DIGESTS)):
            return folder
    return None
