"""The style budget of ARCHITECTURE.md, as a test: sizes, nesting, clocks, broad excepts, names of this workplace."""

from __future__ import annotations

import ast
import io
import shutil
import subprocess
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("edge", "devices", "firmware_sim", "cloud_bridge", "models")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TOP = {
    *(*PACKAGES, "tests", "deploy", "docs", ".ci"),
    *("README.md", "README.ja.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md", "LICENSE"),
    *("requirements.lock", "requirements-gateway.lock", "requirements-build.lock"),
    *("Makefile", "pyproject.toml", ".importlinter", ".gitignore"),
}
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 70
MAX_NESTING = 4
MAX_POSITIONAL = 6
WALL_CLOCK = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today")}
WALL_CLOCK_ROOMS = ("edge/clock.py", "models/train", "models/presence_training", "cloud_bridge/ingest", "firmware_sim")
BROAD_EXCEPT_ROOMS = ("edge/supervisor.py", "edge/journal/writer.py")
BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.AsyncFor, ast.AsyncWith, ast.Match)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def code_lines(text: str) -> int:
    """Lines that carry code: no blank lines, comments, docstrings."""
    tree = ast.parse(text)
    docs: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            docs |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    skip = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skip:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docs)


def nesting(node: ast.AST, depth: int = 0) -> int:
    """Deepest nesting of blocks below a function; an elif is no deeper than its if."""
    deepest = depth
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*FUNCTIONS, ast.ClassDef, ast.Lambda)):
            continue
        inner = depth + isinstance(child, BLOCKS)
        if isinstance(node, ast.If) and node.orelse == [child] and isinstance(child, ast.If):
            inner = depth
        deepest = max(deepest, nesting(child, inner))
    return deepest


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_sizes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    faults = []
    if (lines := code_lines(text)) > MAX_MODULE_LINES:
        faults.append(f"{lines} lines of code, expected at most {MAX_MODULE_LINES}")
    for function in functions(ast.parse(text)):
        length = (function.end_lineno or 0) - function.lineno + 1
        if length > MAX_FUNCTION_LINES:
            faults.append(f"{function.name}: {length} lines, expected at most {MAX_FUNCTION_LINES}")
        if (deep := nesting(function)) > MAX_NESTING:
            faults.append(f"{function.name}: nested {deep} deep, expected at most {MAX_NESTING}")
        positional = [a.arg for a in (*function.args.posonlyargs, *function.args.args) if a.arg not in ("self", "cls")]
        if len(positional) > MAX_POSITIONAL:
            faults.append(
                f"{function.name}: {len(positional)} positional parameters, expected at most {MAX_POSITIONAL}"
            )
    assert not faults, "; ".join(faults)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_wall_clock_is_read_in_one_place(path: Path) -> None:
    if name(path).startswith(WALL_CLOCK_ROOMS):
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in WALL_CLOCK, f"line {node.lineno}: take time from a Clock"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_broad_excepts_live_in_the_supervisor(path: Path) -> None:
    if name(path) in BROAD_EXCEPT_ROOMS:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception")
            assert not broad, f"line {node.lineno}: name what you expect"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_modules_say_what_they_are(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), "expected a module docstring"


def test_tests_weigh_at_least_as_much_as_a_third_of_the_source() -> None:
    source = sum(code_lines(path.read_text(encoding="utf-8")) for path in SOURCES)
    tests = sum(code_lines(path.read_text(encoding="utf-8")) for path in (ROOT / "tests").rglob("*.py"))
    assert tests * 3 >= source


def test_the_top_of_the_repository_holds_what_the_house_names() -> None:
    """What git keeps, so that neither a stray download nor a picture of an experiment is ever shipped."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("this is no checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    assert {path.partition("/")[0] for path in listed.split("\0") if path} <= TOP
