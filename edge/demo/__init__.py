"""``smartstore demo``: `play` starts the processes and compares; `config`, `access`, `view` are its hands and eyes."""

from edge.demo.play import Cast, Stage, read_line, run_demo

__all__ = ["Cast", "Stage", "read_line", "run_demo"]
