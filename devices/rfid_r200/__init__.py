"""Serial UHF modules of the YRM100, M100 and R200 family."""
