"""One mutant, tried in a forked child: the foreign libraries are loaded once, our own packages anew for each mutant.

A worker owns a copy of the packages, imports the tests' modules from it once and forgets those that are ours. Each
child then starts with pytest and the libraries in memory, sees the changed file, and is limited in processor time and
memory, because a changed condition may well loop for ever.
"""

from __future__ import annotations

import compileall
import contextlib
import importlib
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tests.fault.sabotage import PACKAGES, ROOT

CPU_S = 40  # the tests of a room need 2 to 3 s
WALL_S = 240.0  # a deadlock uses no processor time; far above what a busy machine makes of 3 s
MEMORY_BYTES = 4 << 30
OPTIONS = ("-x", "-q", "--tb=line", "--no-header", "-p", "no:cacheprovider", "-p", "no:logging")

_warm: set[Path] = set()


def tree_of(folder: Path) -> Path:
    """This worker's own copy of the packages."""
    tree = folder / f"tree-{os.getpid()}"
    if not tree.exists():
        left_out = shutil.ignore_patterns("__pycache__", "node_modules")
        for package in PACKAGES:
            shutil.copytree(ROOT / package, tree / package, ignore=left_out)
        shutil.copy(ROOT / "pyproject.toml", tree / "pyproject.toml")
        compileall.compile_dir(tree, quiet=2)  # once, not at every mutant
    return tree


def _forget_ours() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES and name != "__main__"]:
        del sys.modules[name]


def _warm_up(tree: Path, tests: tuple[str, ...]) -> None:
    """Load what the tests import; the modules of our packages stay alive here, a child loads its own."""
    if tree in _warm:
        return
    ours = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in PACKAGES}
    sys.path.insert(0, str(tree))
    importlib.import_module("pytest")
    _forget_ours()
    for test in tests:
        importlib.import_module(test.removesuffix(".py").replace("/", "."))
    _forget_ours()
    sys.modules.update(ours)
    sys.path.remove(str(tree))
    _warm.add(tree)


class _Watch:
    """A pytest plugin: which test failed, and whether the mutant's file is the one that was loaded."""

    def __init__(self, told: Path, file: Path) -> None:
        self._told, self._file = told, file

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self._told.write_text(report.nodeid, encoding="utf-8")

    def pytest_collection_finish(self) -> None:
        module = sys.modules.get(".".join(self._file.with_suffix("").parts))
        if module is not None and Path(str(module.__file__)).resolve() != self._file.resolve():
            os._exit(99)


def _child(tree: Path, file: str, tests: tuple[str, ...], told: Path) -> None:
    """Never returns."""
    code = 98
    try:
        os.setpgid(0, 0)
        with told.with_suffix(".out").open("wb") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 5))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # half of a short run is plugins that nobody needs here
        sys.dont_write_bytecode = True
        os.chdir(tree)
        _forget_ours()
        sys.path.insert(0, str(tree))
        importlib.invalidate_caches()
        pytest = importlib.import_module("pytest")
        code = int(pytest.main([*OPTIONS, *tests], plugins=[_Watch(told, Path(file))]))
    finally:
        os._exit(code)


def _wait(pid: int) -> int:
    """Exit code, negative for a signal; ended after WALL_S."""
    until_s = time.monotonic() + WALL_S
    while time.monotonic() < until_s:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -signal.SIGKILL


def passes(tree: Path, file: str, tests: tuple[str, ...]) -> tuple[bool, str]:
    """Whether the tests pass in this tree, and else the test that failed first ("" when none did before it ended).

    Raises AssertionError when the child tested another file than the changed one, or could not begin.
    """
    _warm_up(tree, tuple(test for test in tests if "::" not in test))
    told = tree.with_suffix(".failed")
    told.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        _child(tree, file, tests, told)
    code = _wait(pid)
    assert code not in (98, 99), f"{file}: the tests did not load it (exit code {code})"
    failed = told.read_text(encoding="utf-8") if told.exists() else ""
    return code == 0, failed
