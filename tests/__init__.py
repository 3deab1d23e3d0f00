"""Tests, benchmarks, accuracy campaigns."""
