"""Runners: their options, their workers, and the errors that these raise."""
