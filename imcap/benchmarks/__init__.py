"""What `imcap bench` runs: comparisons within one run, as ratios, beside the physical limit."""
