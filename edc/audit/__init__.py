"""`edc audit`: is the lake whole, and what does it lack? Begin at `verdict`."""
