"""Data sets whose images are bytes within files of many images: Parquet, tar, TFRecord."""
