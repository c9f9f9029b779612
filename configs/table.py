r"""Your own data: configs/flickr8k.py's recipe for captions in a table, a folder or other files.

A table, CSV here, with the columns `file`, `text` and `part` (train, dev or test) and images below
DIR/images:

make records train eval export CONFIG=table DATA=DIR ARGS="--config.dataset.captions=captions.csv \
    --config.dataset.images=images --config.dataset.columns.image=file \
    --config.dataset.columns.caption=text --config.dataset.columns.split=part"

Parquet files that hold the images, as Hugging Face's `datasets` writes them, in the columns `image`
and `caption`; the names of the files (train-00000-of-00002.parquet) split:

make records train eval export CONFIG=table DATA=DIR ARGS="--config.dataset.captions='*.parquet'"

A folder of images, each with its captions in a .txt file of the same name, and folders train/ and
val/ in it, or without these 80% to train on:

make records train eval export CONFIG=table:folder DATA=DIR

WebDataset: tar files of images, each with a .txt or .json file of the same name:

make records train eval export CONFIG=table:webdataset DATA=DIR

TFRecord files, here img2dataset's:

make records train eval export CONFIG=table:tfrecord DATA=DIR \
    ARGS="--config.dataset.columns.image=jpg --config.dataset.columns.id=key"

docs/own-data.md has what each of them may hold. For more than about 50,000 images, give
--config.records.num_shards=N, one shard for each 1,000 images or so.
"""

from imcap import config as config_lib


def get_config(variant: str = "") -> config_lib.ConfigDict:
    """`variant`: the reader, `table` where it is empty."""
    config = config_lib.default()
    config.dataset.name = variant or "table"
    config.train.epochs = 16
    config.train.compute_dtype = "auto"
    config.decode.beam_size = 5
    config.decode.length_penalty = 0.9
    return config
