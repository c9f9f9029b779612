"""The transforms of the records job."""
