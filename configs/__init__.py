"""The experiments, one module each: `imcap … --config=NAME`."""
