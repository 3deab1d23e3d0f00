"""The command ``smartstore``: `app` (all commands), and what the larger ones are made of."""

from edge.cli.app import app, main

__all__ = ["app", "main"]
