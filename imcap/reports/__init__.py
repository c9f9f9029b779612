"""What people look at: reports, plots, attention maps, model cards."""
