"""Benchmarks anyone can run: ``make bench``, or ``python -m benchmarks --help``."""
