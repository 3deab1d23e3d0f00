"""``smartstore demo``: `play` starts the processes (`cast`), watches them (`stage`) and compares; `view` shows it."""

from edge.demo.cast import Cast, read_line
from edge.demo.play import run_demo
from edge.demo.stage import Stage

__all__ = ["Cast", "Stage", "read_line", "run_demo"]
