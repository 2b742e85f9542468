"""Vendors on loopback, speaking the vendors' own protocols: for `--demo`, tests and benchmarks.

`python -m edc.simulator` runs one by itself and prints its URLs.
"""
