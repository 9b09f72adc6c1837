"""The corpus room beside its peers: same input, same run, one command each (`python -m benchmarks.corpus.NAME`)."""
