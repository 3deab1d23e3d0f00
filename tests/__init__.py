"""Tests, benchmarks, accuracy campaigns."""

import edge  # noqa: F401 (one BLAS thread, as in production, before numpy is imported)
