"""Reports, plots, attention maps and model cards."""
