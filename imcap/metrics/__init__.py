"""Scores of captions."""

from imcap.metrics.scores import Scores, diversity, read_all, score, table

__all__ = ["Scores", "diversity", "read_all", "score", "table"]
