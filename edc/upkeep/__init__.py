"""What is done to a lake at rest: closed partitions merged, old days removed, damage set aside.

`housekeeping` does it all, for the command line and for the daemon's timer.
"""
