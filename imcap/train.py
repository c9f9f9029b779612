"""Training: one loop for every strategy, which can be killed and continued at any step."""

from __future__ import annotations

import os
import time

import keras
import tensorflow as tf
import tqdm
from absl import logging
from ml_collections import ConfigDict

from imcap import decoders, input_pipeline, progress, records, runtime, text
from imcap.decoders.base import Dropout
from imcap.decoding.predictions import Predictor, score_predictions
from imcap.errors import UserError
from imcap.records import corruption
from imcap.reports import plots
from imcap.training import checkpoints, strategies
from imcap.training.history import History

_SAMPLES = 4  # Dev photos whose captions go to TensorBoard at each evaluation.


def train_and_evaluate(config: ConfigDict, workdir: str, distribute: str = "auto") -> History:
    """Trains a decoder on the records of `config.records.dir`, or goes on where it stopped.

    Writes checkpoints/, logs/, history.csv and history.png in `workdir`.

    Raises:
      UserError: no finished records, an unknown strategy, a checkpoint of another model.
    """
    strategy = strategies.build(distribute)
    info = records.read_info(config.records.dir)
    if config.records.skip_corrupted:
        for split in sorted({"train", "dev"} & info.splits.keys()):
            info = corruption.skip_corrupted(config.records.dir, info, split)
    os.makedirs(workdir, exist_ok=True)
    trainer = Trainer(config, workdir, info, strategy)
    trainer.restore()
    trainer.fit()
    return trainer.history


class Trainer:
    """The weights, the optimizer and the position of one training."""

    def __init__(
        self,
        config: ConfigDict,
        workdir: str,
        info: records.Info,
        strategy: tf.distribute.Strategy,
    ) -> None:
        """Makes everything at its initial state; `restore` looks for a checkpoint."""
        self.config, self.workdir, self.info, self.strategy = config, workdir, info, strategy
        self.is_chief = strategies.is_chief(strategy)
        self.tokenizer = text.Tokenizer(
            records.read_vocabulary(config.records.dir), config.text.max_length
        )
        self.per_epoch = input_pipeline.steps_per_epoch(info, config.train.batch_size)
        self.total_steps = self.per_epoch * config.train.epochs
        with strategy.scope():
            self.decoder = decoders.build(
                config.model, self.tokenizer.size, info.feature_shape[1],
                compute_dtype=self._choose_dtype(), seed=config.seed,
            )  # fmt: skip
            self.optimizer = build_optimizer(config.train, self.total_steps)
            self.optimizer.build(self.decoder.trainable_variables)
            self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
            # Sums since the epoch began: loss, tokens and captions.
            self.sums = tf.Variable(tf.zeros([3]), trainable=False, name="sums")
        self.predictor = Predictor(
            self.decoder, self.tokenizer, config.decode, config.records.dir, info
        )
        state = {"optimizer": self.optimizer, "step": self.step, "sums": self.sums}
        self.last = checkpoints.manager(workdir, self.decoder, "last", **state)
        self.best = checkpoints.manager(workdir, self.decoder, "best", step=self.step)
        self.history = History(workdir)

    def _choose_dtype(self) -> str:
        model, batch = self.config.model, self.config.train.batch_size
        shapes = [
            # The LSTM's step, with five captions of each image.
            (5 * batch, model.units + model.embedding_size, 4 * model.units),
            (batch * self.info.feature_shape[0], self.info.feature_shape[1], model.units),
        ]
        choice = runtime.choose_dtype(self.config.train.compute_dtype, shapes)
        logging.info("compute dtype %s (%s)", *choice)
        return choice.name

    def restore(self) -> None:
        """Continues from the last checkpoint, if there is one."""
        path = self.last.latest_checkpoint
        if not path:
            return
        try:
            self.last.checkpoint.restore(path).assert_existing_objects_matched()
        except (ValueError, AssertionError, IndexError, tf.errors.OpError) as error:
            raise UserError(
                f"{path} is of another model or vocabulary ({str(error).splitlines()[0]}); "
                "choose another --workdir or remove its checkpoints"
            ) from error
        self.history = History(self.workdir, int(self.step.numpy()))

    def fit(self) -> None:
        """Runs the steps that are left."""
        first = int(self.step.numpy())
        if first >= self.total_steps or self._is_stalled():
            print(f"{self.workdir}: trained already, {first} steps")
            return
        train_step, batches = self.compile(first)
        progress = _Progress(self, first)
        saved = time.monotonic()
        for step in range(first + 1, self.total_steps + 1):
            loss = train_step(next(batches))
            progress.update(step, loss)
            if step % self.per_epoch == 0:
                self._end_epoch(step // self.per_epoch, progress.rate())
                saved = time.monotonic()
                if self._is_stalled():
                    break
            elif time.monotonic() - saved > 60 * self.config.train.checkpoint_minutes:
                self._save(self.last, step)
                saved = time.monotonic()
        progress.close()

    def compile(self, step: int):
        """Returns the graph of one step and the iterator of batches behind `step`."""
        dataset = input_pipeline.train_dataset(
            self.config.records.dir,
            self.info,
            batch_size=self.config.train.batch_size,
            shuffle_buffer=self.config.train.shuffle_buffer,
            seed=self.config.seed,
            step=step,
            readers=self.config.train.readers,
        )
        # Every worker reads the same stream and takes its part of each batch, so that any
        # number of workers trains on the same batches.
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = (
            tf.data.experimental.AutoShardPolicy.DATA
        )
        dataset = self.strategy.experimental_distribute_dataset(dataset.with_options(options))
        train_step = tf.function(self._train_step, input_signature=[dataset.element_spec])
        return train_step, self._batches(dataset)

    def _batches(self, dataset):
        try:
            yield from dataset
        except corruption.ERRORS as error:
            corruption.raise_corrupted(self.config.records.dir, self.info, "train", error)

    def _train_step(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """Updates the weights; returns the mean cross-entropy per token, without smoothing."""
        sums = self.strategy.run(self._replica_step, args=(batch,))
        sums = self.strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)
        self.sums.assign_add(sums)
        self.step.assign_add(1)
        return sums[0] / sums[1]

    def _replica_step(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """One replica's share of the step; returns its loss, tokens and captions."""
        context = tf.distribute.get_replica_context()
        seed = tf.stack([self.config.seed, tf.cast(self.step, tf.int32)])
        seed = tf.random.experimental.stateless_fold_in(
            seed, tf.cast(context.replica_id_in_sync_group, tf.int32)
        )
        tokens = batch["tokens"]
        weights = self.decoder.trainable_variables
        with tf.GradientTape() as tape:
            losses, entropies = self._losses(batch["features"], tokens, Dropout(seed))
            count = tf.cast(tf.size(losses), tf.float32)
            all_tokens = context.all_reduce(tf.distribute.ReduceOp.SUM, count)
            loss = tf.reduce_sum(losses) / all_tokens
        gradients = tape.gradient(loss, [weight.value for weight in weights])
        gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if self.config.train.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.config.train.clip_norm)
        self.optimizer.apply(gradients)
        captions = tf.math.count_nonzero(tokens[:, :, 0], dtype=tf.float32)
        return tf.stack([tf.reduce_sum(entropies), count, captions])

    def _losses(self, features, tokens, dropout) -> tuple[tf.Tensor, tf.Tensor]:
        """Smoothed losses and plain cross-entropies of all words that are there, [words]."""
        hidden = self.decoder.hidden(features, tokens[..., :-1], dropout)
        targets = tokens[..., 1:]
        # The output layer is the dearest: it sees no padding.
        is_word = targets != text.PAD
        logits = self.decoder.logits(tf.boolean_mask(hidden, is_word))
        targets = tf.boolean_mask(targets, is_word)
        entropies = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        smoothing = self.config.train.label_smoothing
        if not smoothing:
            return entropies, entropies
        uniform = tf.reduce_logsumexp(logits, -1) - tf.reduce_mean(logits, -1)
        return (1 - smoothing) * entropies + smoothing * uniform, entropies

    def _end_epoch(self, epoch: int, rate: float) -> None:
        loss, tokens, _ = self.sums.numpy()
        step = epoch * self.per_epoch
        row = {
            "epoch": epoch,
            "step": step,
            "loss": float(loss / tokens),
            "learning_rate": float(self.optimizer.learning_rate),
            "captions_per_second": rate,
        }
        is_last = epoch == self.config.train.epochs
        if "dev" in self.info.splits and (epoch % self.config.train.eval_every == 0 or is_last):
            row |= self._evaluate(step)
        self.sums.assign(tf.zeros([3]))
        self.history.append(row, write=self.is_chief)
        if self.is_chief:
            self._report(row)
        scores = self.history.scores(self._column())
        if self._column() in row and _argmax(scores) == len(scores) - 1:
            self._save(self.best, step)
        self._save(self.last, step)

    def _evaluate(self, step: int) -> dict[str, float]:
        predictions = self.predictor.predict_split("dev", limit=self.config.train.eval_images)
        scores = score_predictions(predictions)
        self._write_summaries(step, predictions, scores)
        return {
            "dev_loss": predictions.loss,
            **{f"dev_{key}": value for key, value in scores.corpus.items()},
        }

    def _report(self, row: dict[str, float]) -> None:
        plots.draw_history(self.history.path, os.path.join(self.workdir, "history.png"))
        line = " ".join(
            f"{key}={value}" if isinstance(value, int) else f"{key}={value:.4g}"
            for key, value in row.items()
        )
        tqdm.tqdm.write(line)
        with self._writer().as_default(step=row["step"]):
            for key, value in row.items():
                tf.summary.scalar(key, value)
        self._writer().flush()

    def _write_summaries(self, step: int, predictions, scores) -> None:
        if not self.is_chief:
            return
        with self._writer().as_default(step=step):
            for name, value in scores.as_dict().items():
                tf.summary.scalar(f"dev/{name}", float(value))
            samples = list(predictions.captions.items())[:_SAMPLES]
            lines = [f"{image_id}: {found[0].caption}" for image_id, found in samples]
            tf.summary.text("dev/captions", "\n\n".join(lines))

    def _writer(self) -> tf.summary.SummaryWriter:
        if not hasattr(self, "_summary_writer"):
            self._summary_writer = tf.summary.create_file_writer(os.path.join(self.workdir, "logs"))
        return self._summary_writer

    def _save(self, manager: tf.train.CheckpointManager, step: int) -> None:
        if self.is_chief:
            manager.save(checkpoint_number=step)

    def _column(self) -> str:
        return f"dev_{self.config.train.best_metric}"

    def _is_stalled(self) -> bool:
        scores, patience = self.history.scores(self._column()), self.config.train.patience
        return bool(patience) and len(scores) - 1 - _argmax(scores) >= patience


def build_optimizer(config: ConfigDict, total_steps: int) -> keras.optimizers.Optimizer:
    """Adam (decoupled weight decay if asked) with linear warm-up and cosine decay to zero."""
    warmup = round(config.warmup * total_steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else config.learning_rate,
        decay_steps=max(total_steps - warmup, 1),
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    return SummedAdamW(schedule, weight_decay=config.weight_decay, beta_2=0.98, epsilon=1e-8)


class SummedAdamW(keras.optimizers.AdamW):
    """Takes gradients that are summed over all replicas already, as clipping needs them."""

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return list(grads_and_vars)  # Keras would add them up a second time.


def _argmax(scores: list[float]) -> int:
    return max(range(len(scores)), key=lambda i: scores[i], default=0)


class _Progress:
    """A bar on a terminal, else a line now and then: steps, loss, captions/s, time left."""

    _EVERY = 20  # Steps between looks at the loss: each look waits for the device.

    def __init__(self, trainer: Trainer, step: int) -> None:
        self._trainer = trainer
        self._start, self._captions = time.monotonic(), trainer.sums.numpy()[2]
        self._bar = progress.bar(
            "train", "step", trainer.total_steps, initial=step, disable=not trainer.is_chief
        )

    def update(self, step: int, loss: tf.Tensor) -> None:
        if step % self._EVERY == 0:
            epoch = (step - 1) // self._trainer.per_epoch + 1
            self._bar.set_postfix(
                epoch=epoch, loss=f"{float(loss):.3f}", captions_s=f"{self.rate():.0f}",
                refresh=False,
            )  # fmt: skip
        self._bar.update()
        if step % self._trainer.per_epoch == 1 or self._trainer.per_epoch == 1:
            self._start, self._captions = time.monotonic(), self._trainer.sums.numpy()[2]

    def rate(self) -> float:
        """Returns captions per second since the epoch's first step."""
        captions = float(self._trainer.sums.numpy()[2] - self._captions)
        return captions / max(time.monotonic() - self._start, 1e-9)

    def close(self) -> None:
        self._bar.close()
