"""Training: objectives, strategies, checkpoints and the history of a run."""

from imcap.registry import Registry

OBJECTIVES = Registry(
    "config.train.objective",
    {
        "cross_entropy": "imcap.training.objectives:CrossEntropy",
        "self_critical": "imcap.training.self_critical:SelfCritical",
    },
)
