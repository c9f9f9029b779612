"""imcap: from images and captions to a served image captioner."""

__version__ = "0.2.0.dev0"
