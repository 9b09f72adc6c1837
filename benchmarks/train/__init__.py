"""Benchmarks of the training room: each `python -m benchmarks.train.NAME`, all of them `python -m benchmarks.train`."""
