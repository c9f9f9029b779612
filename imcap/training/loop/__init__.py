"""The loop over a training's steps, and what it shows and writes along the way."""
