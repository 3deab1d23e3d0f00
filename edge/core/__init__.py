"""PURE. Observations go in, facts come out: no I/O, no clock, no threads, no randomness."""
