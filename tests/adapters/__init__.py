"""Tests of single vendors, beside the suites that all of them pass."""
