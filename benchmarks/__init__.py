"""Scripts that measure; run them from the repository's root, as `python -m benchmarks.NAME`."""
