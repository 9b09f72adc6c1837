"""Benchmarks of the evaluation room."""
