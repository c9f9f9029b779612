"""Every setting of a config with its default."""

from __future__ import annotations

from ml_collections import ConfigDict


def default() -> ConfigDict:
    """Returns every setting with its default; configs/*.py change what differs."""
    config = ConfigDict()
    config.seed = 0
    config.dataset = dataset_defaults()
    config.encoder = encoder_defaults()
    config.records = ConfigDict(
        {
            "dir": "",  # Empty: WORKDIR/records. Several runs can share one folder.
            "cache_dir": "",  # For copies of remote records; empty: ~/.cache/imcap/records.
            "num_shards": 16,  # Of each split; 0: as many as `shard_mb` asks for.
            "shard_mb": 256.0,  # Wanted size of the largest split's shards, where num_shards is 0.
            # Of the features, rounded to float16, bfloat16 or float32; or to 80 levels of each
            # image, uint8, compressed: ResNet50's take an eighth of float16's bytes.
            "dtype": "float16",
            # Or GZIP: ResNet50's shards are a quarter of the size and EfficientNet-Lite0's a fifth,
            # read at a quarter of the images/s.
            "compression": "",
            "limit": 0,  # Images of each split, for a first look; 0: all.
            "max_failures": "",  # Images (100) or share of them (1%) that may fail; empty: any.
            # Leaves out training images that are also in another split. This reads each image
            # once more, which a bucket charges for.
            "find_duplicates": True,
            "skip_corrupted": False,  # Train and score without what a corrupted shard has lost.
            "flip": False,  # Also encode each training image flipped from left to right.
            "flip_eval": False,  # The same with the images of all other splits.
            # Also encode this many random crops of each training image, drawn with the seed. With
            # `flip`, each is flipped by chance.
            "crops": 0,
        }
    )
    config.text = ConfigDict(
        {
            "max_length": 22,  # Words; a longer caption is cut and has no end token.
            "min_count": 4,  # Rarer training words become [UNK].
            "vocab_size": 20_000,  # Words at most, the most frequent ones.
            "vocabulary": "",  # An existing vocab.txt instead of building one.
        }
    )
    config.model = model_defaults()
    config.train = train_defaults()
    config.decode = ConfigDict(
        {
            "beam_size": 3,
            "length_penalty": 0.7,  # Total log-probability is divided by length ** this.
            "max_length": 22,  # Words.
            # The mean of the probabilities for the image and for its mirror image. Evaluation needs
            # records with `flip_eval`.
            "both_views": False,
            "no_repeat_ngram": 3,  # No n-gram of this many words twice; 0 allows them.
            # Or, for a beam of about 20: captions first that agree with its others (mbr), or with
            # the captions of similar training images (consensus).
            "rerank": "none",
            "rerank_score_weight": 0.1,  # Of a caption's score, beside its CIDEr-D.
            "rerank_mbr_weight": 0.0,  # For consensus: of the agreement within the beam.
            "rerank_neighbors": 40,  # Similar training images, with five captions each.
            "rerank_sharpness": 8.0,  # An image counts e ** (this * cosine of its features).
            "rerank_dimensions": 256,  # Of the whitened features that images are compared by.
            "rerank_images": 30_000,  # Training images to search at most; an export holds them.
        }
    )
    config.export = ConfigDict(
        {
            # Of the encoder's convolutions in the exported model: float32, bfloat16, which changes
            # some captions, or auto for the one that is faster on this machine by measurement.
            "compute_dtype": "float32",
            # Of the kernels in its files: float32 or float16, which takes half of the bytes.
            "weights_dtype": "float32",
        }
    )
    config.eval = ConfigDict(
        {
            # The folder of a BERT sentence encoder (config.json, model.safetensors, vocab.txt), by
            # which captions are compared with references in meaning; empty: they are not.
            "similarity_encoder": "",
            # BLEU-1 and BLEU-2 with startseq and endseq counted as words, as notebook projects do.
            "markers": False,
            "meteor": False,  # METEOR 1.5, of English captions; needs Java.
        }
    )
    return config.lock()


def dataset_defaults() -> ConfigDict:
    """Returns the settings of `dataset` with their defaults."""
    return ConfigDict(
        {
            "name": "flickr8k",  # One of imcap.datasets.READERS.
            "dir": "",
            "images": "",  # The images' folder below dir; empty: as the layout has it.
            "captions": "",  # The captions' file below dir; empty: as the layout has it.
            "ratios": (0.8, 0.1, 0.1),  # Train, dev, test, where the data set has no splits.
            "holdout": 0,  # Training images moved to the split `holdout`.
            # Files, separated by commas, with an image id or file name per line: these images are
            # left out, as those of a split list on which another data set is scored. Names match
            # with and without extension, and Flickr8k's NUMBER_SECRET.jpg and Flickr30k's
            # NUMBER.jpg match each other.
            "exclude": "",
            "restval": True,  # Karpathy's restval images count as train.
            "seed": 0,
            "size": 5_000,  # Scenes of the shapes data set.
            "columns": {"image": "image", "caption": "caption", "id": "", "split": ""},
        }
    )


def encoder_defaults() -> ConfigDict:
    """Returns the settings of `encoder` with their defaults."""
    return ConfigDict(
        {
            # A keras.applications name, custom_cnn, or the path of a saved Keras file.
            "name": "ResNet50",
            "weights": "imagenet",  # imagenet, a path, or empty: not pretrained.
            "image_size": 224,
            "layer": "",  # A named inner layer instead of the last one.
            "pooling": "spatial",  # Or avg: one vector per image.
            # A named layer below `layer`: records hold its output, and training goes on with the
            # layers above it, together with the decoder (docs/fine-tuning.md); empty: the whole
            # network stays as it is.
            "tune_from": "",
            "batch_size": 0,  # Images; 0: 8 on CPUs, 128 on a GPU.
            # Of the convolutions in the records job: float32, bfloat16, or auto for the one that is
            # faster here by measurement. bfloat16 changes the features a little.
            "compute_dtype": "float32",
            "max_pixels": 100_000_000,  # Larger images are refused before decoding.
            "seed": 0,  # Of weights that are not pretrained.
            "width": 32,  # Channels of custom_cnn's first stage.
            "stages": 4,  # Of custom_cnn; each halves the side and doubles the channels.
            # `imcap pretrain` teaches custom_cnn to name the words of the captions.
            "pretrain": {
                "epochs": 10,
                "batch_size": 64,
                "learning_rate": 2e-3,
                "words": 100,
                "augment": False,  # Flip by chance and crop; not where captions say left or right.
            },
        }
    )


def model_defaults() -> ConfigDict:
    """Returns the settings of `model` with their defaults."""
    return ConfigDict(
        {
            "decoder": "attention",
            "layers": 1,  # LSTM layers; `dropout` applies between them, too.
            "units": 512,  # Of each LSTM layer.
            "embedding_size": 256,
            # A file of word vectors that the embedding starts from, of embedding_size numbers each
            # (docs/word-vectors.md); empty: random ones.
            "word_vectors": "",
            # False: the embedding keeps the values that it starts from.
            "train_word_vectors": True,
            "tie_embeddings": True,  # The word vectors are the output layer's kernel, too.
            "heads": 1,
            # Of the attention decoder: the features' square roots, normalized at each position,
            # and keys that are a product of the values.
            "normalize_features": False,
            "separate_keys": False,
            "dropout": 0.5,
            "embedding_dropout": 0.3,
            "feature_dropout": 0.2,
            "weight_drop": 0.0,  # Dropout of the LSTM's recurrent kernels.
        }
    )


def train_defaults() -> ConfigDict:
    """Returns the settings of `train` with their defaults."""
    return ConfigDict(
        {
            "batch_size": 64,  # Images, over all replicas; each comes with all its captions.
            # Parts that a batch is computed in, one after another, for less memory; the update,
            # and what counts as a step, are those of the whole batch.
            "accumulate_steps": 1,
            "epochs": 12,
            "objective": "cross_entropy",  # Or self_critical: minus sampled captions' CIDEr-D.
            "self_critical": {
                "samples": 5,  # Captions per image.
                "temperature": 0.5,  # Of the sampling: logits are divided by it.
                "dropout": False,  # The model's dropout while samples are learnt from.
                "bleu4_weight": 0.0,  # Of smoothed sentence BLEU-4 (0..1) in the reward.
                "cross_entropy_weight": 0.0,  # Of the references' cross-entropy in the loss.
            },
            "from_checkpoint": "",  # Initial weights: a run's folder, or a checkpoint's.
            "learning_rate": 1e-3,
            "encoder_learning_rate": 1e-5,  # Of the layers above encoder.tune_from; 0: kept.
            "warmup": 0.1,  # Share of all steps over which the rate rises from zero.
            "weight_decay": 0.0,
            "label_smoothing": 0.1,
            "clip_norm": 5.0,  # 0: gradients are not clipped.
            # Of matrix products: also bfloat16, float16 (for GPUs; the loss is scaled), or auto:
            # float32 or bfloat16, the faster one by measurement.
            "compute_dtype": "float32",
            "shuffle_buffer": 2048,  # Images.
            "readers": 2,  # Shards read at a time.
            # Each worker reads its own shards alone, and every image exactly once an epoch. False:
            # all read the same stream, so that any number of workers sees the same batches.
            "shard_per_worker": False,
            "eval_every": 1,  # Epochs between dev scores.
            "best_metric": "cider",
            "patience": 0,  # Evaluations without a better score until it stops; 0: never.
            "checkpoint_minutes": 5.0,  # Between checkpoints within an epoch.
            # The weights after every epoch (all) or after the last N epochs (N) stay in the run;
            # empty: only the best and the last ones.
            "keep_checkpoints": "",
            "eval_images": 0,  # Dev images scored while training; 0: all.
        }
    )
