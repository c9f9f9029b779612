"""Training in PyTorch, in a process of its own.

    python -m imcap.benchmarks.peers.torch_training FILE DTYPE THREADS

trains on the batches that `torch_peer.prepare` wrote to FILE and prints the figures as JSON.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from imcap.benchmarks.peers import torch_decoder

Batch = tuple[torch.Tensor, torch.Tensor]
_WARM_UP_STEPS = 2


def read_batches(path: str) -> tuple[dict[str, Any], list[Batch]]:
    """Returns the settings, and features and tokens of each batch as the decoder takes them."""
    with np.load(path) as arrays:
        settings = json.loads(str(arrays["settings"]))
        batches = [
            (
                torch.from_numpy(arrays[f"features_{index}"]),
                torch.from_numpy(arrays[f"tokens_{index}"]).long(),
            )
            for index in range(settings["batches"])
        ]
    return settings, batches


def build_step(settings: Mapping[str, Any], dtype: str) -> Callable[[Batch], torch.Tensor]:
    """Returns a function that trains on a batch and returns the loss.

    Args:
      settings: `vocab_size`, `channels`, and the config's parts `model` and `train`.
      dtype: of matrix products: float32, or bfloat16 for PyTorch's autocast.
    """
    torch.manual_seed(0)
    decoder = torch_decoder.AttentionDecoder(
        settings["model"], settings["vocab_size"], settings["channels"]
    ).train()
    train, weights = settings["train"], list(decoder.parameters())
    optimizer = torch.optim.AdamW(
        weights, train["learning_rate"], (0.9, 0.98), weight_decay=train["weight_decay"], fused=True
    )

    def step(batch: Batch) -> torch.Tensor:
        features, tokens = batch
        with _precision(dtype):
            logits, targets = decoder(features.float(), tokens)
        loss = F.cross_entropy(logits.float(), targets, label_smoothing=train["label_smoothing"])
        optimizer.zero_grad()
        loss.backward()
        if train["clip_norm"]:
            torch.nn.utils.clip_grad_norm_(weights, train["clip_norm"])
        optimizer.step()
        return loss.detach()

    return step


def _precision(dtype: str) -> contextlib.AbstractContextManager[Any]:
    if dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast("cpu", dtype=getattr(torch, dtype))


def measure_training(path: str, dtype: str) -> dict[str, float]:
    """Trains on all batches of a file once.

    Returns:
      `seconds`, without the first steps, which are taken twice, and the last step's `loss`.
    """
    settings, batches = read_batches(path)
    step = build_step(settings, dtype)
    for batch in batches[:_WARM_UP_STEPS]:
        step(batch)
    began = time.monotonic()
    for batch in batches:
        loss = step(batch)
    return {"seconds": time.monotonic() - began, "loss": float(loss)}


def main(path: str, dtype: str, threads: str) -> None:
    """Measures training and prints its figures."""
    torch.set_num_threads(int(threads))
    print(json.dumps(measure_training(path, dtype)))


if __name__ == "__main__":
    main(*sys.argv[1:])
