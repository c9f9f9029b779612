"""Captions from an exported SavedModel: in Python, for files, and over REST."""
