"""Bench scales that speak MT-SICS."""
