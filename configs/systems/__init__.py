"""Five published captioning projects, one module each: `imcap … --config=systems/NAME`."""
