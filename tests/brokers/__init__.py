"""Real brokers of the tests' own, and the proof that what goes through them arrives once."""
