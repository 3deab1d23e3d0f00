"""Would the tests notice? Small changes to journal and uplink, one at a time; the tests of that room must fail.

The operators are those of mutation testing's literature (Offutt et al. 1996): relational, arithmetic and logical
operators, constants, conditions negated, statements left out. Texts of errors, annotations and docstrings are left alone.
"""

from __future__ import annotations

import ast
import multiprocessing
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fault._campaign import Outcome, Promise, Trial
from tests.fault._mutating import passes, tree_of
from tests.fault.sabotage import ROOT

JOURNAL = ("edge/journal/log.py", "edge/journal/store.py", "edge/journal/writer.py", "edge/journal/schema.py")
UPLINK = ("cloud_bridge/uplink.py",)
TESTS = {
    "journal": (
        "tests/unit/test_journal.py",
        "tests/unit/test_journal_releases.py",
        "tests/unit/test_journal_promises.py",
        "tests/unit/test_journal_lanes.py",
    ),
    "uplink": ("tests/unit/test_uplink_promises.py", "tests/unit/test_bridge_uplink.py"),
}
KILLED_SHARE = 0.85

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """Replace what stands from `start` to `end` (character offsets) of a file."""

    room: str
    file: str
    line: int
    start: int
    end: int
    new: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.new}"


def _variants(node: ast.AST) -> Iterator[ast.AST | str]:
    """What may stand in a node's place."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in _COMPARED:
            yield ast.Compare(node.left, [_COMPARED[type(op)]()], node.comparators)
        case ast.BinOp(op=op) if type(op) in _COMPUTED and not isinstance(node.left, ast.Constant | ast.JoinedStr):
            yield ast.BinOp(node.left, _COMPUTED[type(op)](), node.right)
        case ast.BoolOp(op=op):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), node.values)
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value * 2 if abs(value) >= 10 else value + 1)
        case ast.IfExp():
            yield ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.AugAssign() | ast.Raise():
            yield "pass"
        case ast.Return(value=ast.Constant(value=False | None)):
            return  # None is as false as False: whoever asks "if not" cannot tell them apart
        case ast.Return(value=ast.Constant() | ast.Name() | ast.Attribute() | ast.Call() | ast.BinOp()):
            yield "return None"


def _untouched(tree: ast.AST) -> set[int]:
    """Nodes of annotations, decorators, docstrings, imports and the texts of errors."""
    left: set[int] = set()

    def leave(node: ast.AST | None) -> None:
        if node is not None:
            left.update(id(child) for child in ast.walk(node))

    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            leave(node.returns)
            for argument in (*node.args.args, *node.args.kwonlyargs):
                leave(argument.annotation)
            for decorator in node.decorator_list:
                leave(decorator)
        elif isinstance(node, ast.ClassDef):
            for decorator in node.decorator_list:
                leave(decorator)
        elif isinstance(node, ast.AnnAssign):
            leave(node.annotation)
        elif (
            (isinstance(node, ast.Call) and "Error" in ast.unparse(node.func))
            or isinstance(node, ast.JoinedStr)
            or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
            or (isinstance(node, ast.Call) and ast.unparse(node.func) in ("secrets.token_hex", "os.open"))
        ):
            leave(node)
    return left


def mutants(room: str, file: str) -> list[Mutant]:
    """Every change of a file, in the order of the text."""
    text = (ROOT / file).read_text(encoding="utf-8")
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line.encode()))
    data, tree = text.encode(), ast.parse(text)
    left, found = _untouched(tree), []
    for node in ast.walk(tree):
        if id(node) in left or not hasattr(node, "lineno"):
            continue
        for variant in _variants(node):
            new = variant if isinstance(variant, str) else f"({ast.unparse(ast.fix_missing_locations(variant))})"
            start = starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
            end = starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
            if data[start:end].decode() != new:
                found.append(Mutant(room, file, node.lineno, start, end, new))  # type: ignore[attr-defined]
    return sorted(found, key=lambda mutant: (mutant.start, mutant.end))


def all_mutants() -> list[Mutant]:
    """Of both rooms."""
    rooms = {"journal": JOURNAL, "uplink": UPLINK}
    return [mutant for room, files in rooms.items() for file in files for mutant in mutants(room, file)]


def survives(mutant: Mutant, folder: Path) -> bool:
    """Whether the room's tests pass with it."""
    tree = tree_of(folder)
    path = tree / mutant.file
    original = path.read_bytes()  # the copy: who works on the tree meanwhile moves nothing here
    path.write_bytes(original[: mutant.start] + mutant.new.encode() + original[mutant.end :])
    try:
        passed, failed = passes(tree, mutant.file, TESTS[mutant.room])
        if passed:
            return True
        # It is dead only when the same test fails twice: a busy machine fails a test now and then.
        return passes(tree, mutant.file, (failed,) if failed else TESTS[mutant.room])[0]
    finally:
        path.write_bytes(original)


class _Tried:
    """`survives` with a folder, for worker processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, mutant: Mutant) -> bool:
        return survives(mutant, self.folder)


def killed(trial: Trial) -> Outcome:
    """A sample of `count` mutants (all of them in --full), on all cores."""
    chosen = all_mutants()
    total = len(chosen)
    random.Random(trial.seed).shuffle(chosen)
    chosen = chosen[: trial.count]
    done = trial.saved.get("done", 0)
    alive = {"journal": trial.saved.get("journal", 0), "uplink": trial.saved.get("uplink", 0)}
    with multiprocessing.get_context("spawn").Pool(os.cpu_count() or 1) as pool:
        tried: Callable[[Mutant], bool] = _Tried(trial.folder)
        for mutant, survived in zip(chosen[done:], pool.imap(tried, chosen[done:]), strict=True):
            done += 1
            alive[mutant.room] += survived
            if survived:
                trial.say(f"  survives: {mutant}")
            trial.save({"done": done, **alive})
    of = {room: sum(mutant.room == room for mutant in chosen) for room in alive}
    shares = {room: 1 - alive[room] / max(1, of[room]) for room in alive}
    words = ", ".join(f"{room} {100 * shares[room]:.0f} % of {of[room]}" for room in alive)
    share = 1 - sum(alive.values()) / len(chosen)
    return Outcome(len(chosen), int(share < KILLED_SHARE), f"killed: {words} ({total} there are)")


PROMISES = (
    Promise("killed", "mutants of journal and uplink: at least 85 % killed by their tests", (0, 80, 9_999), killed),
)
