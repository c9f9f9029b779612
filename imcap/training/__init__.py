"""Training: strategies, checkpoints and the history of a run."""
