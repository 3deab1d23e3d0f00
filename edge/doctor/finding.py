"""One check's result, and how results are shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Grade(StrEnum):
    """How bad it is: a warning will become a fault, or makes one harder to find."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, how it is, what was found, and what to do."""

    check: str
    grade: Grade
    found: str
    action: str = ""

    @property
    def ok(self) -> bool:
        """Whether the gateway can do its work as far as this goes."""
        return self.grade is not Grade.FAULT

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "check": self.check,
            "ok": self.ok,
            "grade": self.grade.value,
            "found": self.found,
            "action": self.action,
        }


def judged(check: str, good: bool, found: str, action: str, bad: Grade = Grade.FAULT) -> Finding:
    """OK, or `bad` with what to do."""
    return Finding(check, Grade.OK, found) if good else Finding(check, bad, found, action)


_MARKS = {Grade.OK: "[green]ok[/]", Grade.WARNING: "[yellow]warning[/]", Grade.FAULT: "[bold red]fault[/]"}


def report(findings: Iterable[Finding]) -> None:
    """The findings as a table, the worst first, and one line that sums up."""
    from rich.console import Console  # noqa: PLC0415 (only people see it)
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "check", "found", "what to do"):
        table.add_column(title, overflow="fold")
    worst = sorted(findings, key=lambda finding: -list(Grade).index(finding.grade))
    for finding in worst:
        table.add_row(_MARKS[finding.grade], finding.check, escape(finding.found), escape(finding.action))
    console = Console()
    console.print(table)
    faults = sum(finding.grade is Grade.FAULT for finding in worst)
    warnings = sum(finding.grade is Grade.WARNING for finding in worst)
    console.print(f"\n{len(worst)} checks: {faults} faults, {warnings} warnings")
