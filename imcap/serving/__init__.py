"""Captions from an exported SavedModel: in Python, for files, over REST, and on a web page."""
