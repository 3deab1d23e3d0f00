"""Two gateways on one journal would number facts twice: the second is refused, and a killed one leaves no lock behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge.core.errors import SettingsError
from edge.sole import hold

HOLDS = "import sys, time; from pathlib import Path; from edge.sole import hold; f = hold(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    first = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path / "var")], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    try:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(SettingsError, match=rf"gateway.state_dir = .*process {first.pid} runs in it"):
            hold(tmp_path / "var")
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
        first.stdout.close()
    os.close(hold(tmp_path / "var"))


def test_one_process_may_start_its_gateway_again(tmp_path: Path) -> None:
    for held in (hold(tmp_path), hold(tmp_path)):
        os.close(held)


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        SettingsError, match=r"gateway.state_dir = '.*/file \(File exists\)': expected a folder that this"
    ):
        hold(tmp_path / "file")
