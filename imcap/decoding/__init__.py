"""Decoding: captions from features, for any decoder."""
