"""tf.data from records to batches: features once per image, with a captions axis.

A batch is a dict of
  image_id: string [batch];
  features: [batch, positions, channels], the records' dtype, float32 where that is uint8;
  tokens: int32 [batch, captions, length], START first, 0 where a caption or the list ends.
"""

from imcap.input_pipeline.splits import count_tokens, eval_dataset, read_tokens
from imcap.input_pipeline.training_batches import steps_per_epoch, train_dataset, worker_dataset

__all__ = [
    "count_tokens",
    "eval_dataset",
    "read_tokens",
    "steps_per_epoch",
    "train_dataset",
    "worker_dataset",
]
