"""The operator's manual lists every alarm and cause that the code can raise, with what it means and what to do."""

from __future__ import annotations

import ast
import asyncio
import json
import re
from pathlib import Path

import edge
from devices.scale_sics.codec import Trouble
from devices.sdp.driver import ERROR_CAUSES
from edge.api.hints import HINTS
from edge.core.errors import DeviceError
from edge.health import Alarm
from edge.main import Gateway
from edge.plan import read_plan
from edge.runtime import INFERENCE_CAUSES
from tests.unit.api_support import SITE

ROOT = Path(edge.__file__).parents[1]
MANUAL = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def rows() -> dict[str, tuple[str, str]]:
    """Code → (meaning, action) of the manual's first table of alarms."""
    found: dict[str, tuple[str, str]] = {}
    for line in MANUAL.partition("| alarm or cause |")[2].partition("\n\n")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        for code in re.findall(r"`([A-Za-z_:]+)`", cells[0]):
            found.setdefault(code, (cells[1], cells[2]))
    return found


def strings_of(node: ast.AST) -> set[str]:
    return {part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)}


def heartbeats() -> set[str]:
    """Every name that the code expects a beat of."""
    found = set()
    for path in sorted((ROOT / "edge").rglob("*.py")):
        found |= set(re.findall(r"expect_beat\(\"(\w+)\"", path.read_text(encoding="utf-8")))
    return {f"heartbeat:{name}" for name in found}


def causes_of_devices() -> set[str]:
    """What drivers, supervisor and installation say of a device: literals and the enumerations they draw from."""
    said = {
        *ERROR_CAUSES.values(),
        *Trouble,
        *INFERENCE_CAUSES,
        *(kind.__name__ for kind in DeviceError.__subclasses__()),
    }
    calls = {"_trouble": 0, "_say_offline": 1, "_offline": 1, "DeviceStatus": 3, "_status": 1, "_say_inference": 1}
    speaking = [ROOT / "edge" / name for name in ("supervisor.py", "installation.py", "runtime.py")]
    for path in [*sorted((ROOT / "devices").rglob("*.py")), *speaking]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if name in calls and len(node.args) > calls[name]:
                    said |= strings_of(node.args[calls[name]])
            elif isinstance(node, ast.Assign) and any(
                isinstance(part, ast.Name) and part.id in ("cause", "trouble")
                for target in node.targets
                for part in (target.elts if isinstance(target, ast.Tuple) else [target])
            ):
                value = node.value.elts[0] if isinstance(node.value, ast.Tuple) else node.value
                said |= set() if isinstance(value, ast.JoinedStr) else strings_of(value)
    return {text for text in said if re.fullmatch(r"[A-Za-z_]+[a-z]", text)}


def test_every_alarm_and_heartbeat_has_meaning_action_and_hint() -> None:
    known = rows()
    raised = {str(alarm) for alarm in Alarm} | heartbeats()
    assert len(raised) >= 10
    assert raised - known.keys() == set(), "add them to docs/operations.md"
    assert raised - HINTS.keys() == set(), "add them to edge/api/hints.py"
    assert all(len(meaning) > 8 and len(action) > 8 for meaning, action in (known[name] for name in raised))


def test_every_cause_of_a_device_is_in_the_manual_and_has_its_words() -> None:
    raised = causes_of_devices() | {"crashed", "quarantined", "reboot_brown_out", "reboot_watchdog"}
    assert {"LinkLost", "cell_open", "overload", "report_buffer_overflow", "retired", "ended", "no_weight"} <= raised
    assert raised - rows().keys() == set(), "add them to docs/operations.md"
    words = json.loads((ROOT / "edge/api/words.json").read_text(encoding="utf-8"))
    assert {f"cause_{name}" for name in raised} - words.keys() == set(), "add them to edge/api/words.json"


def test_nothing_raises_an_alarm_past_the_list() -> None:
    for path in sorted((ROOT / "edge").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert path.name == "health.py" or not re.search(r"\.alarms(\[[^]]+\] = |\.pop)", text), path


def test_a_full_disk_is_an_alarm_while_it_lasts(tmp_path: Path) -> None:
    (tmp_path / "site.json").write_text(json.dumps(SITE), encoding="utf-8")
    (tmp_path / "gateway.toml").write_text('[gateway]\nplanogram = "site.json"\n[api]\nport = 0\n', encoding="utf-8")

    async def main() -> None:
        gateway = Gateway(read_plan(tmp_path / "gateway.toml"), lambda _: None)
        for since_s, alarms in ((1.0, {"journal_full"}), (None, set())):
            gateway.journal._full_since = since_s
            watching = asyncio.create_task(gateway._feed_watchdog())
            await asyncio.sleep(0)
            watching.cancel()
            assert gateway.health.alarms.keys() == alarms
        gateway.listener.close()

    asyncio.run(main())
