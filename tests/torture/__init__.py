"""Faults in numbers: what the daemon is put through, and what became of its events."""
