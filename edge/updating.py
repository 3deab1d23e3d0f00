"""The composition root's share of updates: settings, the updater's surroundings, and the gateway's rollout."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edge.clock import SystemClock
from edge.core.errors import SettingsError
from edge.core.instant import TimeQuality
from edge.files import write_json
from edge.settings import ApiSettings, GatewaySettings, SettingsFile
from edge.updates.files import Exchange
from edge.updates.report import LAST, UpdateDesk
from edge.updates.rollout import RolloutPorts, UpdateRollout
from edge.updates.settings import UpdatePaths, UpdateSettings

if TYPE_CHECKING:
    from edge.access import Access
    from edge.installation import Installation
    from edge.runtime import Runtime
    from edge.updates.slots import Trial
    from edge.updates.updater import Updater


def update_paths(file: SettingsFile) -> UpdatePaths | None:
    """``[updates]`` with its paths resolved, None where no repository is named. Raises SettingsError."""
    settings = file.section("updates", UpdateSettings)
    settings.check(file.path)
    if not settings.url:
        return None
    state = file.resolve(file.section("gateway", GatewaySettings).state_dir)
    return UpdatePaths(
        settings, file.resolve(settings.root), file.resolve(settings.slots), file.resolve(settings.trust_dir), state
    )


def signed_floor_us(state_dir: Path) -> int:
    """When the newest state was signed that the updater verified (µs since 1970): wall time cannot be earlier."""
    told = Exchange(state_dir / "updates").status().get("signed_us", 0)
    return told if isinstance(told, int) else 0


def make_updater(config: Path, say: Callable[[str], None]) -> Updater:
    """The updater of a settings file. Raises SettingsError where no repository is named."""
    from edge.updates.judge import HealthPage, Judge  # noqa: PLC0415 (the gateway itself never judges)
    from edge.updates.updater import Surroundings, Updater  # noqa: PLC0415 (tuf is the updater's alone)

    file = SettingsFile(config)
    paths = update_paths(file)
    if paths is None:
        raise SettingsError(str(config), "updates.url", "", "the address of the publisher's repository")
    api = file.section("api", ApiSettings)
    look = HealthPage(api.own_address, api.port, api.https, paths.state / "tls")
    updater = Updater(paths, Surroundings(_clock, look, lambda _: "", functools.partial(_install_model, paths.state)))

    def judge(trial: Trial) -> str:
        def still() -> bool:
            return updater.slots.version("current") == trial.version

        return Judge(look, still, paths.settings.gate_s, say=say).verdict(trial.version, trial.baseline)

    def follow() -> None:
        write_json(paths.slots / "turned.json", {"current": updater.slots.version("current")})  # a path unit watches it

    updater.around = replace(updater.around, judge=judge, follow=follow, say=say)
    return updater


def _clock(floor_us: int) -> tuple[int, TimeQuality]:
    """This machine's wall time, not before the build, nor before the last signature that was verified."""
    now = SystemClock(0, None, signed_us=floor_us).now()
    return now.wall_us, now.quality


def _install_model(state: Path, manifest: Path) -> str:
    from models.update import install  # noqa: PLC0415 (onnxruntime only where a model comes)

    return str(install(manifest, state / "models"))


class Served(Protocol):
    """What the rollout uses of a gateway (`edge.main.Gateway`)."""

    runtime: Runtime
    installation: Installation
    access: Access


def make_desk(gateway: Served, file: SettingsFile) -> UpdateDesk:
    """What a technician sees and may ask of the updater."""
    return UpdateDesk(update_paths(file), lambda: gateway.runtime.journal.get(LAST))


def make_rollout(gateway: Served, state_dir: Path, store_open: Callable[[], bool]) -> UpdateRollout:
    """The gateway's share, over its journal, audit and drivers."""
    runtime = gateway.runtime
    ports = RolloutPorts(
        keyed=runtime.journal,
        audit=gateway.access.audit.add,
        tell=runtime.tell,
        now_us=runtime.clock_us,
        wall_us=lambda: runtime.clock.now().wall_us,
        devices=lambda: runtime.health.devices,
        driver=gateway.installation.driver,
        store_open=store_open,
    )
    return UpdateRollout(Exchange(state_dir / "updates"), ports)
