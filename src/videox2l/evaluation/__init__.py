"""Measuring answers: exact match with intervals, oracle recall, cache size."""
