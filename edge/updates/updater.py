"""The updater: one run asks the repository, carries out what is wanted, judges it, and leaves word for the gateway.

Every run first finishes what an earlier one was cut short in. Nothing here needs the gateway to run, and the gateway
needs nothing of this to run.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from edge.core.errors import GatewayError
from edge.core.instant import TimeQuality
from edge.files import read_table, write_json, write_whole
from edge.updates.errors import UpdateRefused
from edge.updates.files import Exchange
from edge.updates.judge import NOT_UP, baseline_of
from edge.updates.settings import Follow, UpdatePaths
from edge.updates.slots import Slots, Trial
from edge.updates.trust import Release, Repository
from edge.updates.versions import GATEWAY, order

WallClock = Callable[[int], tuple[int, TimeQuality]]
"""(wall time in µs, its quality) of a clock whose floor is at least the given wall time (µs)."""
_FIRMWARE_LIMIT: Final = 16 << 20


@dataclass(slots=True)
class Surroundings:
    """What an updater uses of the machine; tests put their own here."""

    clock: WallClock
    look: Callable[[], Mapping[str, Any]]
    judge: Callable[[Trial], str]
    install_model: Callable[[Path], str]  # a manifest beside its model → name and version
    follow: Callable[[], None] = lambda: None  # restart the gateway where another release is current
    say: Callable[[str], None] = lambda _: None
    boottime_s: Callable[[], float] = field(default=lambda: time.clock_gettime(time.CLOCK_BOOTTIME))


class Updater:
    """One machine's updater."""

    def __init__(self, paths: UpdatePaths, around: Surroundings, slots: Slots | None = None) -> None:
        self._paths, self.around = paths, around
        self.slots = slots or Slots(paths.slots)
        self.exchange = Exchange(paths.state / "updates")
        self._bad_file = paths.trust / "bad.json"

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Raises UpdateRefused (busy) while another updater works; the lock goes with the process."""
        self._paths.trust.mkdir(parents=True, exist_ok=True)
        with (self._paths.trust / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UpdateRefused("busy", "the updater works already") from None
            yield

    # --- what a person or a timer asks for --------------------------------------------------------------------------

    def check(self) -> list[Release]:
        """Ask the repository what is signed now; changes nothing that runs. Raises UpdateRefused by name."""
        with self._alone():
            return self._asked().releases()

    def run(self, only: Mapping[str, str] | None = None, *, again: bool = False) -> list[str]:
        """Do what is wanted (or `only` this, for a person); what was done, in words. Raises the last refusal.

        A refusal is left for the gateway's audit before it is raised. again: also what failed before.
        """
        with self._alone():
            done = self._settle()
            try:
                repository = self._asked()
            except UpdateRefused as refusal:
                self._tell_refusal("updates", "", "", refusal)
                raise
            goals = dict(only) if only is not None else self._goals(repository)
            failure: GatewayError | None = None
            for name, version in sorted(goals.items(), key=lambda goal: goal[0] == GATEWAY):  # software last
                try:
                    done += self._carry_out(repository, name, version, again=again)
                except UpdateRefused as refusal:
                    self._tell_refusal(name, self._running(name), version, refusal)
                    failure = refusal
            if failure is not None:
                raise failure
            return done

    def rollback(self) -> str:
        """Go back to the release that was good before, by hand. Raises UpdateRefused."""
        with self._alone():
            good, previous = self.slots.version("good"), self.slots.version("previous")
            if (trial := self.slots.trial()) is not None:
                self._fail(trial, "taken back by a person")
                return f"back to {self.slots.version('current')}"
            if not previous or previous == good:
                raise UpdateRefused("nothing_before", f"{self._paths.slots}: previous names no other release")
            self.slots.turn("current", previous)
            self.slots.turn("good", previous)
            self.exchange.tell(GATEWAY, (good, previous), detail="by a person")
            self.around.follow()
            return f"{good} is left, {previous} is current"

    def status(self) -> dict[str, Any]:
        """What runs, what is on trial, what is wanted, what was found and refused last."""
        trial = self.slots.trial()
        told = self.exchange.status()
        return {
            "current": self.slots.version("current"),
            "good": self.slots.version("good"),
            "previous": self.slots.version("previous"),
            "trial": trial.version if trial is not None else "",
            "wanted": self.exchange.wanted(),
            "checked_us": told.get("checked_us", 0),
            "signed_us": told.get("signed_us", 0),
            "available": told.get("available", {}),
            "refused": told.get("refused", ""),
        }

    # --- the repository ---------------------------------------------------------------------------------------------

    def _asked(self) -> Repository:
        """The repository's state, fresh and verified. Raises UpdateRefused, also while the clock is not known."""
        repository = Repository(self._paths.settings.url, self._paths.root, self._paths.trust)
        wall_us, quality = self.around.clock(repository.signed_us)
        if quality is TimeQuality.UNSET:
            self._note(refused="clock_unset")
            raise UpdateRefused("clock_unset", "expiry dates cannot be judged before the clock is set")
        try:
            repository.refresh()
        except UpdateRefused as refusal:
            self._note(refused=str(refusal))
            raise
        available = {release.name: release.version for release in repository.releases()}  # the newest comes last
        self._note(checked_us=wall_us, signed_us=repository.signed_us, available=available, refused="")
        return repository

    def _note(self, **news: Any) -> None:
        before = self.exchange.status()
        write_json(self.exchange.status_file, {**before, **news})

    def _goals(self, repository: Repository) -> dict[str, str]:
        """What is to run, by name, without a person."""
        follow = self._paths.settings.follow
        if follow is Follow.NOBODY:
            return {}
        newest = {release.name: release.version for release in repository.releases()}
        goals = newest if follow is Follow.LATEST else {}
        return {**goals, **self.exchange.wanted()}

    # --- carrying out -----------------------------------------------------------------------------------------------

    def _carry_out(self, repository: Repository, name: str, version: str, *, again: bool) -> list[str]:
        running = self._running(name)
        if running and order(running) == order(version):
            return []
        release = repository.find(name, version)
        if running and order(version) < order(running):
            raise UpdateRefused("rollback", f"{name}-{version} is older than {running}, which runs")
        bad = read_table(self._bad_file)
        if again:
            bad.pop(release.sha256, None)
            write_json(self._bad_file, bad)
            self._note(last_refusal="")
        if release.sha256 in bad:
            raise UpdateRefused("failed_before", f"{name}-{version}: {bad[release.sha256]}")
        self.around.say(f"{name}-{version}: {release.target.length} bytes")
        file = self._paths.trust / "incoming" / release.sha256
        for other in file.parent.glob("*"):  # one download at a time is kept
            if other != file:
                other.unlink()
        repository.fetch(release, file)
        return self._install(release, file, running)

    def _install(self, release: Release, file: Path, running: str) -> list[str]:
        try:
            match release.kind:
                case "software":
                    return self._install_software(release, file, running)
                case "model":
                    self._install_model(release, file)
                case _:
                    return self._lay_out_firmware(release, file)
        except UpdateRefused as refusal:
            if refusal.reason == "bad_release":
                self._remember_bad(release.sha256, refusal.detail)
            raise
        self._remember_running(release.name, release.version)
        self.exchange.tell(release.name, (running, release.version))
        file.unlink(missing_ok=True)
        return [f"{release.name} {running or 'none'} -> {release.version}"]

    def _install_software(self, release: Release, file: Path, running: str) -> list[str]:
        slots = self.slots
        slots.prune(keep=release.version)
        slots.fill(release.version, file, release.sha256)
        slots.probe(release.version)
        baseline = baseline_of(self.around.look())
        trial = Trial(release.version, running, release.sha256, self.around.boottime_s(), baseline)
        slots.begin_trial(trial)
        file.unlink(missing_ok=True)
        self.around.follow()
        return self._judge(trial)

    def _judge(self, trial: Trial) -> list[str]:
        fault = self.around.judge(trial)
        if fault or self.slots.version("current") != trial.version:
            raise self._fail(trial, fault or NOT_UP)
        self.exchange.tell(GATEWAY, (trial.before, trial.version))
        self.slots.end_trial(well=True)
        return [f"gateway {trial.before} -> {trial.version}"]

    def _fail(self, trial: Trial, fault: str) -> UpdateRefused:
        """Take the release back, and not try it again by itself. Told first: after the switch a cut would hide it."""
        refusal = UpdateRefused("unhealthy", f"{GATEWAY}-{trial.version}: {fault}")
        self._remember_bad(trial.sha256, fault)
        self._tell_refusal(GATEWAY, trial.before, trial.version, refusal)
        self.slots.end_trial(well=False)
        self.around.follow()
        return refusal

    def _settle(self) -> list[str]:
        """Finish what was cut short: a trial goes on, or has been ended by the gate."""
        trial = self.slots.trial()
        if trial is None:
            return []
        current, good = self.slots.version("current"), self.slots.version("good")
        if current == trial.version and current != good:
            self.around.say(f"{trial.version}: goes on being judged")
            self.around.follow()
            with contextlib.suppress(UpdateRefused):  # it is told already
                return self._judge(trial)
        if good == trial.version:
            self.slots.end_trial(well=True)
        elif self.slots.starts():
            self._fail(trial, NOT_UP)
        else:
            self.slots.end_trial(well=False)  # the switch was never made: it is made anew
        return []

    def _install_model(self, release: Release, file: Path) -> None:
        """A model comes as one file, with its manifest in the signed metadata."""
        folder = self._paths.trust / "model"
        manifest = str(release.custom.get("manifest", ""))
        write_whole(folder / "manifest.toml", manifest.encode())
        write_whole(folder / Path(release.target.path).name, file.read_bytes())
        try:
            self.around.install_model(folder / "manifest.toml")
        except (GatewayError, ValueError) as error:
            raise UpdateRefused("bad_release", f"{release.name}-{release.version}: {error}") from None

    def _lay_out_firmware(self, release: Release, file: Path) -> list[str]:
        """Put verified firmware where the gateway takes it to the devices."""
        if release.target.length > _FIRMWARE_LIMIT:
            raise UpdateRefused("bad_release", f"{release.name}: {release.target.length} bytes of firmware")
        folder = self.exchange.firmware / release.name
        paper = read_table(folder / "paper.json")
        if paper.get("sha256") == release.sha256:
            return []
        write_whole(folder / f"{release.sha256}.bin", file.read_bytes())
        paper = {key: release.custom.get(key, "") for key in ("version", "model", "signature")}
        write_json(folder / "paper.json", {**paper, "sha256": release.sha256})
        for other in folder.glob("*.bin"):
            if other.stem != release.sha256:
                other.unlink()
        return [f"{release.name}-{release.version} waits for its devices"]

    # --- memory -----------------------------------------------------------------------------------------------------

    def _running(self, name: str) -> str:
        if name == GATEWAY:
            return self.slots.version("good") or self.slots.version("current")
        return str(read_table(self._paths.trust / "installed.json").get(name, ""))

    def _remember_running(self, name: str, version: str) -> None:
        file = self._paths.trust / "installed.json"
        write_json(file, {**read_table(file), name: version})

    def _remember_bad(self, sha256: str, why: str) -> None:
        write_json(self._bad_file, {**read_table(self._bad_file), sha256: why[:500]})

    def _tell_refusal(self, name: str, old: str, new: str, refusal: UpdateRefused) -> None:
        """Once for the same refusal in a row: a timer that meets it every hour must not fill the audit."""
        said = json.dumps([name, old, new, refusal.reason, refusal.detail])
        if self.exchange.status().get("last_refusal") == said:
            return
        self.exchange.tell(name, (old, new), refusal.reason, refusal.detail)
        self._note(last_refusal=said, refused=str(refusal))
